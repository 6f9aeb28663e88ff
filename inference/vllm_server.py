"""vLLM as processes: started, asked until they answer, started again when they die, ended."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from inference import prompts
from inference.client import ModelClient, ModelError, TimeLimits
from inference.vllm import DRAIN_S, Plan, Server

log = structlog.get_logger()

Say = Callable[[str], None]

_LOOK_S = 1.0
_RESTART_PAUSE_S = 5.0
_END_S = DRAIN_S + 10
_FIRST = TimeLimits(connect=10, first_token=300, total=600)  # graphs and kernels may be made now
_WARMING_TOKENS = 4
_CACHE = re.compile(r"^vllm:cache_config_info\{(.+)\} ", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class VllmError(Exception):
    """A vLLM server does not start or does not answer; its text is one Korean sentence."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of itself."""

    url: str
    version: str
    models: tuple[str, ...]
    context: int
    cache_tokens: int | None  # that its KV cache holds; None where it does not say


class VllmServer:
    """A vLLM process, and all that it has started, from `start` to `stop`."""

    def __init__(self, server: Server, *, program: str, key: str) -> None:
        self._server = server
        self._program = program
        self._key = key
        self._process: asyncio.subprocess.Process | None = None

    @property
    def root(self) -> str:
        """The address at which this machine reaches it."""
        host = "127.0.0.1" if self._server.host in {"0.0.0.0", "::"} else self._server.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    async def start(self, context: int) -> Served:
        """Start it, wait until it answers, and have it read what each request begins with.

        Raises `VllmError`.
        """
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *self._server.arguments,
            env=_environment(self._server.environment, self._key),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr,  # beside what we say
            start_new_session=True,  # Ctrl-C is ours to handle: it is to finish its answers
        )
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(base_url=self.root, headers=headers, timeout=10) as http:
            await self._until_healthy(http)
            served = await _ask_about(http, f"{self.root}/v1")
        for name in served.models:
            await self._warm(name, context)
        return served

    async def wait(self) -> None:
        """Wait until it ends."""
        if self._process:
            await self._process.wait()

    async def stop(self) -> None:
        """End it and all that it has started, its answers first; nothing where none runs."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # an engine may outlive its server
        await self._process.wait()

    async def _until_healthy(self, http: httpx.AsyncClient) -> None:
        """Wait as long as it runs: a first start may fetch gigabytes."""
        while True:
            with suppress(httpx.TransportError):
                if (await http.get("/health")).status_code == 200:
                    return
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), _LOOK_S)
                msg = "vLLM이 시작하지 못하고 끝났어요. 위의 기록에 까닭이 있어요."
                raise VllmError(msg)

    async def _warm(self, name: str, context: int) -> None:
        """Ask for real: /health says 200 also of a server that dies of its first request."""
        chat = prompts.consultation("안녕하세요", (), context_tokens=context)
        try:
            async with ModelClient(
                f"{self.root}/v1", name, api_key=self._key, limits=_FIRST
            ) as client:
                async for _ in client.stream(chat, max_tokens=_WARMING_TOKENS):
                    pass
        except ModelError as error:
            msg = f"vLLM이 첫 질문에 답하지 못했어요 ({name}, {error}). 위의 기록에 까닭이 있어요."
            raise VllmError(msg) from error


async def serve(plan: Plan, *, program: str, key: str, say: Say) -> None:
    """Serve a plan until cancelled; a server that dies later is started again.

    Raises `VllmError` where one does not come up.
    """
    if plan.template:
        _write(plan.template, plan.template_text)
    servers = [VllmServer(each, program=program, key=key) for each in plan.servers]
    try:
        async with asyncio.TaskGroup() as group:
            starting = [group.create_task(each.start(plan.context)) for each in servers]
        for each in starting:
            say(describe(each.result()))
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(_keep_alive(server, plan.context))
    except* VllmError as errors:
        raise VllmError(str(errors.exceptions[0])) from None
    finally:
        await asyncio.gather(*(each.stop() for each in servers))


def describe(served: Served) -> str:
    """Return what a server serves, in one line."""
    cache = "" if served.cache_tokens is None else f", KV 캐시 {served.cache_tokens:,}토큰"
    return (
        f"준비됐어요: {served.url} (vLLM {served.version}, 모델 {', '.join(served.models)},"
        f" 문맥 {served.context:,}토큰{cache})"
    )


async def _keep_alive(server: VllmServer, context: int) -> None:
    while True:
        await server.wait()
        log.warning("vllm_died", url=server.root)
        await server.stop()
        await asyncio.sleep(_RESTART_PAUSE_S)
        with suppress(VllmError):
            await server.start(context)


async def _ask_about(http: httpx.AsyncClient, url: str) -> Served:
    try:
        models = (await http.get("/v1/models")).raise_for_status().json()["data"]
        version = (await http.get("/version")).raise_for_status().json()["version"]
        metrics = (await http.get("/metrics")).raise_for_status().text
        return Served(
            url,
            str(version),
            tuple(str(each["id"]) for each in models),
            int(models[0]["max_model_len"]),
            _count_cache(metrics),
        )
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        msg = f"vLLM이 무엇을 올렸는지 말하지 않아요: {url} ({type(error).__name__})"
        raise VllmError(msg) from error


def _count_cache(metrics: str) -> int | None:
    """Return how many tokens the KV cache holds, of all engines together."""
    total = 0
    for labels in _CACHE.findall(metrics):
        found = dict(_LABEL.findall(labels))
        with suppress(KeyError, ValueError):
            total += int(found["num_gpu_blocks"]) * int(found["block_size"])
    return total or None


def _environment(own: Mapping[str, str], key: str) -> dict[str, str]:
    """Return our environment with the server's; the key goes no other way."""
    return {**os.environ, **own, "VLLM_API_KEY": key}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
