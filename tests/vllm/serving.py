"""`deepbot serve` as a process on this processor, and what its server says of itself."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.processes import started

KEY = "checked-0123456789abcdef"
START_S = 1200  # a busy machine loads for minutes
_ON_A_PROCESSOR = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; the share of a card is not for a processor
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "MODEL_API_KEY": KEY,
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    root: str
    ready: str  # what `deepbot serve` said of it

    @classmethod
    def behind(cls, router: "Server", number: int) -> "Server":
        """Return one of the servers, from 1 on, that a router has started beside itself."""
        host, _, port = router.root.rpartition(":")
        return cls(f"{host}:{int(port) + number}", router.ready)

    @property
    def url(self) -> str:
        """The base of the OpenAI API."""
        return f"{self.root}/v1"

    def http(self, key: str = KEY) -> httpx.AsyncClient:
        """Return a client that has the key, or another."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.root, headers=headers, timeout=600)

    async def measure(self, name: str) -> float:
        """Return a figure of /metrics, of all labels together."""
        async with self.http() as http:
            text = (await http.get("/metrics")).text
        return sum(map(float, re.findall(rf"^vllm:{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)))


async def deepbot(*arguments: str, work: Path) -> tuple[int, str, str]:
    """Run a command to its end, however busy the machine; return its code, output and errors."""
    async with started(*arguments, cwd=work, MODEL_API_KEY=KEY, HF_HUB_OFFLINE="1") as process:
        async with asyncio.timeout(START_S):
            output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()


@asynccontextmanager
async def serving(vllm: Path, *arguments: str, work: Path) -> AsyncIterator[Server]:
    """Run `deepbot serve` until it has said that it is ready; then end it as an operator does."""
    port = _free_port()
    command = ("serve", *arguments, "--vllm", str(vllm), "--port", str(port))
    command += ("--gpu-memory", "24")
    log = work / "vllm.log"
    async with started(*command, cwd=work, **_ON_A_PROCESSOR) as process:
        assert process.stdout
        assert process.stderr
        logging = asyncio.create_task(_keep(process.stderr, log))
        said = ""
        async with asyncio.timeout(START_S):
            while not said.startswith(f"준비됐어요: http://127.0.0.1:{port}/"):
                line = await process.stdout.readline()
                assert line, f"deepbot serve ended: {log}"
                said = line.decode().strip()
        try:
            yield Server(f"http://127.0.0.1:{port}", said)
        finally:  # also where a check has failed: vLLM would outlive a `deepbot` that is killed
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.wait()
            await logging
        assert process.returncode == 0
        assert KEY not in log.read_text(encoding="utf-8", errors="replace")


async def _keep(stream: asyncio.StreamReader, path: Path) -> None:
    with path.open("ab") as file:
        while piece := await stream.read(1 << 16):
            os.write(file.fileno(), piece)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
