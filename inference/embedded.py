"""The embedded CPU model: llama.cpp's OpenAI-compatible server in a process of its own.

As a module (`python -m inference.embedded`) it is that process; `EmbeddedServer` starts it,
starts it again when it dies, and ends it. It ends by itself when its parent does.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

# Tuned to answer from what was found, or to say that it is not there (docs/runs/qwen-grounded).
TUNED = Path(str(resources.files("inference").joinpath("weights", "grounded.gguf")))
CONTEXT_TOKENS = 2048  # of each of the parallel requests
PARALLEL = 2
_START_LIMIT_S = 60
_RESTART_PAUSE_S = 1.0


class EmbeddedServerError(Exception):
    """The embedded server did not start."""


class EmbeddedServer:
    """The embedded server's process, kept alive from `start` to `stop`."""

    def __init__(
        self,
        model: Path,
        *,
        adapter: Path | None = None,
        threads: int | None = None,
        port: int = 0,
        api_key: str = "",
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.api_key = api_key or secrets.token_urlsafe(24)
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The base URL of the OpenAI API; it stays the same over restarts."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and keep it alive. Raises `EmbeddedServerError`."""
        await self._start()
        self._watch = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """End the process; nothing happens where none runs."""
        if self._watch:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._kill()

    async def _start(self) -> None:
        """Start the process and wait until it says where it listens."""
        order = {
            "model": str(self.model),
            "adapter": str(self.adapter) if self.adapter else None,
            "port": self._port,
            "threads": self._threads,
            "api_key": self.api_key,  # by pipe: a command line can be read by every user
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "inference.embedded"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            if self._process.stdin is None or self._process.stdout is None:
                raise AssertionError
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            async with asyncio.timeout(_START_LIMIT_S):
                line = await self._process.stdout.readline()
            self._port = int(line)
        except (OSError, ValueError, TimeoutError) as error:
            await self._kill()
            msg = f"내장 모델 서버가 시작되지 않았어요: {self.model.name}"
            raise EmbeddedServerError(msg) from error

    async def _kill(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _keep_alive(self) -> None:
        while True:
            if self._process:
                await self._process.wait()
            log.warning("embedded_server_died", model=self.model.name)
            await asyncio.sleep(_RESTART_PAUSE_S)
            with suppress(EmbeddedServerError):
                await self._start()


def _parameters(order: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    """Return llama.cpp's parameters."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = order["model"]
    parameters.model_alias = {Path(order["model"]).stem}
    if order["adapter"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(order["adapter"], 1.0)]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = order["port"]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.api_keys = [order["api_key"]]
    parameters.n_parallel = PARALLEL
    parameters.n_ctx = CONTEXT_TOKENS * PARALLEL
    parameters.cpuparams.n_threads = order["threads"]
    parameters.cpuparams_batch.n_threads = order["threads"]
    parameters.use_jinja = True
    # Grounded answers mostly copy from their prompt: n-gram speculation guesses those copies.
    speculative = parameters.speculative
    speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    speculative.ngram_simple.size_n = 4
    speculative.ngram_simple.size_m = 16
    return parameters


def main() -> None:
    """Serve the model ordered on standard input until that closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    output = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints to stdout; only the port belongs there
    import xllamacpp

    server = xllamacpp.Server(_parameters(json.loads(sys.stdin.readline())))
    port = server.listening_address.rsplit(":", 1)[1]
    os.write(output, f"{port}\n".encode())
    sys.stdin.read()
    os._exit(0)  # the parent is gone; no request is worth finishing


if __name__ == "__main__":
    main()
