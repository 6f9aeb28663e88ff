"""vLLM and its router as processes: started, asked until they answer, kept alive, ended."""

import asyncio
import errno
import os
import re
import signal
import socket
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


@dataclass(frozen=True, slots=True)
class Programs:
    """What is run, and what of our environment it is not given."""

    vllm: str
    router: str  # of use only where a plan has one
    secrets: frozenset[str]  # names, in capitals


class Process:
    """A server's process, and all that it has started, from `launch` to `stop`."""

    def __init__(self, title: str, server: Server, program: str, own: Mapping[str, str]) -> None:
        self._title = title
        self._server = server
        self._program = program
        self._environment = {**own, **server.environment}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def root(self) -> str:
        """The address at which this machine reaches it."""
        return self._server.root

    def require_port(self) -> None:
        """Raise `VllmError` where another listens already: its answers would pass for ours."""
        host, port = self._server.host, self._server.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            used = error.errno == errno.EADDRINUSE
            why = "다른 프로그램이 이미 쓰고 있어요" if used else "이 컴퓨터에서 열 수 없어요"
            msg = f"{host}:{port}: {why}. --port(또는 --host)를 바꿔 주세요."
            raise VllmError(msg) from error

    async def start(self) -> None:
        """Start it and wait until it says that it is well: a first start may fetch gigabytes.

        Raises `VllmError`.
        """
        self.require_port()
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                *self._server.arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr,  # beside what we say
                start_new_session=True,  # Ctrl-C is ours to handle: it is to finish its answers
            )
        except OSError as error:
            msg = f"실행할 수 없어요: {self._program} ({error.strerror})"
            raise VllmError(msg) from error
        async with httpx.AsyncClient(base_url=self.root, timeout=10) as http:
            while not await self._is_healthy(http):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.wait(), _LOOK_S)
                    msg = f"시작하지 못하고 끝났어요: {self._title}. 위의 기록에 까닭이 있어요."
                    raise VllmError(msg)

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

    async def _is_healthy(self, http: httpx.AsyncClient) -> bool:
        with suppress(httpx.TransportError):
            well = (await http.get("/health")).status_code == 200
            return well and self._process is not None and self._process.returncode is None
        return False


class VllmServer(Process):
    """A vLLM's process, which is ready when it has answered under each of its names."""

    def __init__(self, plan: Plan, server: Server, programs: Programs, key: str) -> None:
        own = {**_environment(programs.secrets), "VLLM_API_KEY": key}  # which goes no other way
        super().__init__("vLLM", server, programs.vllm, own)
        self._key = key
        self._context = plan.context
        self.served: Served | None = None

    async def start(self) -> None:
        """Start it, and have it read what each request begins with. Raises `VllmError`."""
        await super().start()
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(base_url=self.root, headers=headers, timeout=10) as http:
            self.served = await _ask_about(http, f"{self.root}/v1")
        for name in self.served.models:
            await self._warm(name)

    async def _warm(self, name: str) -> None:
        """Ask for real: /health says 200 also of a server that dies of its first request."""
        chat = prompts.consultation("안녕하세요", (), context_tokens=self._context)
        try:
            async with ModelClient(
                f"{self.root}/v1", name, api_key=self._key, limits=_FIRST
            ) as client:
                async for _ in client.stream(chat, max_tokens=_WARMING_TOKENS):
                    pass
        except ModelError as error:
            msg = f"vLLM이 첫 질문에 답하지 못했어요 ({name}, {error}). 위의 기록에 까닭이 있어요."
            raise VllmError(msg) from error


async def serve(plan: Plan, *, programs: Programs, key: str, say: Say) -> None:
    """Serve a plan until cancelled; a process that dies later is started again.

    Raises `VllmError` where one does not come up.
    """
    if plan.template:
        _write(plan.template, plan.template_text)
    servers = [VllmServer(plan, each, programs, key) for each in plan.servers]
    processes: list[Process] = [*servers]
    router = None
    if plan.router:
        own = _environment(programs.secrets)
        router = Process("vllm-router", plan.router, programs.router, own)
        router.require_port()  # before minutes of loading
        processes.append(router)
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(server.start())
        for server in servers:
            if server.served:
                say(describe(server.served))
        if router:
            await router.start()
            say(f"준비됐어요: {router.root}/v1 (vllm-router, 서버 {len(servers)}개)")
        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(_keep_alive(process))
    except ExceptionGroup as group:  # an `except*` of some Pythons would wrap what it raises
        failures = group.subgroup(VllmError)
        if failures is None:
            raise
        raise VllmError(str(failures.exceptions[0])) from None
    finally:
        await asyncio.gather(*(each.stop() for each in processes))


def describe(served: Served) -> str:
    """Return what a server serves, in one line."""
    cache = "" if served.cache_tokens is None else f", KV 캐시 {served.cache_tokens:,}토큰"
    return (
        f"준비됐어요: {served.url} (vLLM {served.version}, 모델 {', '.join(served.models)},"
        f" 문맥 {served.context:,}토큰{cache})"
    )


async def _keep_alive(process: Process) -> None:
    while True:
        await process.wait()
        log.warning("server_died", url=process.root)
        while not await _restart(process):
            pass


async def _restart(process: Process) -> bool:
    await process.stop()
    await asyncio.sleep(_RESTART_PAUSE_S)
    try:
        await process.start()
    except VllmError as error:  # of which a part may still run
        log.error("server_not_restarted", url=process.root, why=str(error))
        return False
    log.info("server_restarted", url=process.root)
    return True


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


def _environment(secrets: frozenset[str]) -> dict[str, str]:
    """Return our environment without our secrets."""
    return {name: value for name, value in os.environ.items() if name.upper() not in secrets}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
