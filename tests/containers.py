"""What docker-compose.yml comes to, and the programs that its containers run, outside of them."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"

EVERYTHING = ("demo", "shop", "tls", "scale", "tools")  # all profiles
ONCE = {"models", "gate", "tools", "trainer"}  # services that do one thing and end
OUR_IMAGES = ("deepbot:", "deepbot-train:", "deepbot-router:")

Service = dict[str, Any]  # of Compose's own model

_START_S = 15


def program(name: str) -> str:
    """Return a program of the `checks` extra, or of this machine."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(name, path=path)
    if not found:
        pytest.skip(f"{name} is not installed (make train-setup)")
    return found


def compose(*profiles: str, **environment: str) -> dict[str, Any]:
    """Return the whole model that Compose itself makes of the file, for some profiles."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    result = subprocess.run(
        [
            program("docker-compose"),
            *("--file", str(ROOT / "docker-compose.yml"), "--env-file", os.devnull),
            *(*chosen, "config", "--format", "json"),
        ],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    model: dict[str, Any] = json.loads(result.stdout)
    return model


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@asynccontextmanager
async def caddy(
    folder: Path, files: Mapping[str, str], health: int, **environment: str
) -> AsyncIterator[None]:
    """Run Caddy on `files` (`Caddyfile` and what it imports) from when it is healthy."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        program("caddy"),
        *("run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"),
        cwd=folder,
        env={"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(_START_S):
            while not await _is_healthy(health):
                assert process.returncode is None, (await reading)[1].decode()
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await reading


async def _is_healthy(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200")
