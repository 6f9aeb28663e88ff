"""The machine a figure was measured on, and what a process took of it."""

import os
import platform
import resource
from importlib import metadata
from pathlib import Path

import psutil

from training.runs import Machine

_PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets")


def describe_machine() -> Machine:
    """Return the processor, its cores that we may use, the memory and the first GPU."""
    gpu = _gpu()
    return Machine(
        cpu=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        gpu=gpu[0] if gpu else None,
        gpu_memory_bytes=gpu[1] if gpu else None,
    )


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that train."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | versions


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def peak_gpu_bytes() -> int | None:
    """Return the most GPU memory that this process has reserved; None without a GPU."""
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpu() -> tuple[str, int] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return found.name, found.total_memory
