"""The embedded server as a real process: it answers, comes back when killed, and never stays."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from subprocess import PIPE, Popen
from time import monotonic

import pytest
import pytest_asyncio

from inference import check, prompts
from inference.client import ChatMessage, Failure, ModelClient, ModelError, Usage
from inference.embedded import PARALLEL, TUNED, EmbeddedServer, EmbeddedServerError
from inference.knowledge import starter_path
from inference.knowledge.files import load
from inference.models import DEMO_MODEL, load_manifest

MODEL = load_manifest()[DEMO_MODEL]

module_loop = pytest.mark.asyncio(loop_scope="module")

HELLO: list[ChatMessage] = [
    {"role": "system", "content": "한국어로 짧게 답하세요."},
    {"role": "user", "content": "안녕하세요? 인사해 주세요."},
]
LONG: list[ChatMessage] = [{"role": "user", "content": "1부터 1000까지 하나씩 모두 세어 주세요."}]

# Starts the server, says its process id, and waits to be killed.
PARENT = """
import asyncio, pathlib, sys
from inference.embedded import EmbeddedServer

async def main():
    server = EmbeddedServer(pathlib.Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def model_file() -> Path:
    if not MODEL.is_fetched():
        pytest.skip("the language model is not there: run `deepbot models fetch`")
    return MODEL.path()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(model_file: Path) -> AsyncIterator[EmbeddedServer]:
    """One server for all tests that leave it running."""
    server = EmbeddedServer(model_file)
    await server.start()
    yield server
    await server.stop()


def client_of(server: EmbeddedServer, *, key: str | None = None) -> ModelClient:
    return ModelClient(
        server.url, server.model.stem, api_key=server.api_key if key is None else key
    )


async def ask(
    client: ModelClient, messages: list[ChatMessage], max_tokens: int
) -> tuple[str, Usage]:
    *pieces, usage = [part async for part in client.stream(messages, max_tokens=max_tokens)]
    assert isinstance(usage, Usage)
    return "".join(map(str, pieces)), usage


def is_running(pid: int) -> bool:
    """Return whether the process runs; an ended one that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
        if sys.platform != "linux":
            return True
        return read_process(pid, "stat").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def read_process(pid: int | None, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def until(condition: Callable[[], bool], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.05)


async def until_ready(client: ModelClient) -> None:
    async with asyncio.timeout(60):
        while not await client.ready():
            await asyncio.sleep(0.1)


@pytest.mark.model
@module_loop
async def test_it_answers_in_korean_and_counts_tokens(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        assert await client.ready()
        text, usage = await ask(client, HELLO, max_tokens=24)
    assert re.search(r"[가-힣]", text)
    assert "\ufffd" not in text
    assert usage.model == server.model.stem
    assert usage.prompt_tokens is not None
    assert usage.prompt_tokens > 10
    assert usage.completion_tokens is not None
    assert 0 < usage.completion_tokens <= 24


@pytest.mark.model
@module_loop
@pytest.mark.parametrize("key", ["", "wrong"])
async def test_it_refuses_a_wrong_key(server: EmbeddedServer, key: str) -> None:
    async with client_of(server, key=key) as client:
        assert not await client.ready()
        with pytest.raises(ModelError) as caught:
            await ask(client, HELLO, max_tokens=4)
    assert caught.value.failure is Failure.REFUSED


@pytest.mark.model
@module_loop
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_its_key_is_in_no_command_line(server: EmbeddedServer) -> None:
    command_line = read_process(server.pid, "cmdline")
    assert "inference.embedded" in command_line
    assert server.api_key not in command_line


@pytest.mark.model
@module_loop
async def test_tuned_it_answers_from_what_it_is_given_or_says_that_it_cannot(
    model_file: Path,
) -> None:
    tuned = EmbeddedServer(model_file, adapter=TUNED)
    await tuned.start()
    found = [entry for entry in load(starter_path()) if entry.id in {"DB_002", "DB_105"}]
    try:
        async with client_of(tuned) as client:
            for question, knows in (
                ("곰팡이 한번 싹 닦아냈는데 또 생길까봐 겁나요 평소에 뭘 신경써야 하나요?", True),
                ("온누리상품권이나 지역화폐로도 결제 가능한가요", False),
            ):
                chat = prompts.consultation(question, found, context_tokens=2048)
                text, _ = await ask(client, chat, max_tokens=prompts.MAX_ANSWER_TOKENS)
                assert prompts.is_refusal(check.split_sentences(text)[0]) is not knows
                answers = [answer for entry in found for answer in entry.answers]
                assert check.find_problem(text, question, answers) is None
    finally:
        await tuned.stop()


@pytest.mark.model
@module_loop
async def test_a_hang_up_frees_its_place(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        streams = [client.stream(LONG, max_tokens=1800) for _ in range(PARALLEL)]
        for stream in streams:  # every place is taken, for a minute or more
            await anext(stream)
        for stream in streams:
            await stream.aclose()
        started = monotonic()
        await ask(client, HELLO, max_tokens=2)
        assert monotonic() - started < 10


@pytest.mark.model
@module_loop
async def test_killed_it_comes_back_at_the_same_address(server: EmbeddedServer) -> None:
    url, pid = server.url, server.pid
    assert pid is not None
    async with client_of(server) as client:
        stream = client.stream(LONG, max_tokens=1800)
        await anext(stream)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelError) as caught:
            async for _ in stream:
                pass
        assert caught.value.failure is Failure.BROKEN
        await until_ready(client)
        text, _ = await ask(client, HELLO, max_tokens=8)
    assert text
    assert server.url == url
    assert server.pid not in {pid, None}


@pytest.mark.model
@pytest.mark.parametrize("killed", [False, True], ids=["running", "just killed"])
async def test_stopped_it_is_gone_and_stays_gone(model_file: Path, killed: bool) -> None:
    server = EmbeddedServer(model_file)
    await server.start()
    pid = server.pid
    assert pid is not None
    assert is_running(pid)
    if killed:
        os.kill(pid, signal.SIGKILL)
        await until(lambda: server.pid is None, 5)
    await server.stop()
    assert not is_running(pid)
    await asyncio.sleep(1.3)  # longer than the pause before a restart
    assert server.pid is None


@pytest.mark.model
async def test_it_ends_when_its_parent_is_killed(model_file: Path) -> None:
    with Popen([sys.executable, "-c", PARENT, str(model_file)], stdout=PIPE, text=True) as parent:  # noqa: ASYNC220 - short-lived
        assert parent.stdout is not None
        try:
            pid = int(await asyncio.to_thread(parent.stdout.readline))
            assert is_running(pid)
        finally:
            parent.kill()
    await until(lambda: not is_running(pid), 10)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"not a model" * 100, b"GGUF\x03\x00\x00\x00" + b"\x00" * 64],
    ids=["missing", "empty", "garbage", "cut off"],
)
async def test_a_broken_model_file_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    server = EmbeddedServer(path)
    with pytest.raises(EmbeddedServerError, match=r"broken\.gguf") as caught:
        await server.start()
    assert "\n" not in str(caught.value)
    assert server.pid is None
    await server.stop()


async def test_stopping_what_never_ran_is_nothing(tmp_path: Path) -> None:
    await EmbeddedServer(tmp_path / "none.gguf").stop()
