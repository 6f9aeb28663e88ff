"""The model client against a real HTTP server: pieces, failures, hanging up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from inference.client import ChatMessage, Failure, ModelClient, ModelError, TimeLimits, Usage
from tests.modelserver import MODEL, ModelServer

SENTENCE = "벽지는 하루 이틀 말린 뒤에 눌러 주세요."


def asked(question: str = "벽지가 들떴어요") -> list[ChatMessage]:
    return [{"role": "user", "content": question}]


async def collect(
    client: ModelClient, question: str = "벽지가 들떴어요", into: list[str] | None = None
) -> tuple[str, Usage]:
    """Return the whole text and the usage, which must come last and once."""
    pieces = [] if into is None else into
    usage: list[Usage] = []
    async with aclosing(client.stream(asked(question), max_tokens=50)) as parts:
        async for part in parts:
            assert not usage
            if isinstance(part, Usage):
                usage.append(part)
            else:
                pieces.append(part)
    return "".join(pieces), usage[0]


async def failure_of(client: ModelClient, into: list[str] | None = None) -> Failure:
    with pytest.raises(ModelError) as caught:
        await collect(client, into=into)
    return caught.value.failure


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def event(body: object) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def piece(text: str) -> bytes:
    return event({"model": MODEL, "choices": [{"delta": {"content": text}}]})


DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def saying(writes: Sequence[bytes]) -> AsyncIterator[str]:
    """A server that answers each request with these writes, each a packet of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for data in writes:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Answers


async def test_pieces_come_in_order_then_the_usage(model: ModelServer) -> None:
    model.reply = lambda _question: SENTENCE
    pieces: list[str] = []
    async with ModelClient(model.url, MODEL) as client:
        text, usage = await collect(client, into=pieces)
    assert text == SENTENCE
    assert pieces == ["벽지는 ", "하루 ", "이틀 ", "말린 ", "뒤에 ", "눌러 ", "주세요."]
    assert usage == Usage(MODEL, prompt_tokens=7, completion_tokens=7)


async def test_pieces_come_while_the_server_still_writes(model: ModelServer) -> None:
    model.reply, model.token_s = lambda _question: "하나 둘", 0.05
    async with (
        ModelClient(model.url, MODEL) as client,
        aclosing(client.stream(asked(), max_tokens=5)) as parts,
    ):
        assert await anext(parts) == "하나 "
        assert model.finished == 0


async def test_the_request_says_what_was_asked_for(model: ModelServer) -> None:
    async with ModelClient(model.url + "/", MODEL) as client:
        parts = client.stream(asked("왜요?"), max_tokens=9, temperature=0.5)
        assert "모르겠습니다." in [part async for part in parts]
    request = model.requests[0]
    assert request["messages"] == [{"role": "user", "content": "왜요?"}]
    assert (request["max_tokens"], request["temperature"]) == (9, 0.5)


async def test_usage_is_unknown_where_the_server_does_not_count() -> None:
    async with saying([piece("네."), DONE]) as url, ModelClient(url, MODEL) as client:
        assert await collect(client) == ("네.", Usage(MODEL, None, None))


async def test_keep_alive_comments_and_empty_pieces_are_passed_over() -> None:
    first = event({"choices": [{"delta": {"role": "assistant", "content": None}}]})
    last = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    writes = [
        b": ping\n\n",
        first,
        piece("네"),
        b":\r\n\r\n",
        b"event: x\n",
        piece("."),
        last,
        DONE,
    ]
    async with saying(writes) as url, ModelClient(url, MODEL) as client:
        assert (await collect(client))[0] == "네."


async def test_korean_split_at_every_byte_comes_whole() -> None:
    everything = piece("도배풀이 ") + piece("덜 말랐어요 😀") + DONE
    bytewise = [everything[i : i + 1] for i in range(len(everything))]
    async with saying(bytewise) as url, ModelClient(url, MODEL) as client:
        assert (await collect(client))[0] == "도배풀이 덜 말랐어요 😀"


async def test_two_streams_run_side_by_side(model: ModelServer) -> None:
    model.reply, model.token_s = lambda question: f"{question} {question} {question}", 0.05
    async with ModelClient(model.url, MODEL) as client:
        pieces: list[str] = []
        answers = await asyncio.gather(
            collect(client, "하나", into=pieces), collect(client, "둘", into=pieces)
        )
    assert {pieces[0].strip(), pieces[1].strip()} == {"하나", "둘"}
    assert [usage.completion_tokens for _, usage in answers] == [3, 3]


# Hanging up


async def test_closing_the_stream_hangs_up(model: ModelServer) -> None:
    model.reply, model.token_s = lambda _question: "말 " * 1000, 0.01
    async with ModelClient(model.url, MODEL) as client:
        parts = client.stream(asked(), max_tokens=1000)
        assert await anext(parts) == "말 "
        await parts.aclose()
        await until(lambda: model.cancelled == 1)
    assert model.finished == 0


@pytest.mark.parametrize("hang", [False, True], ids=["mid-stream", "before the first token"])
async def test_cancelling_the_task_hangs_up(model: ModelServer, hang: bool) -> None:
    model.reply, model.token_s, model.hang = lambda _question: "말 " * 1000, 0.01, hang
    async with ModelClient(model.url, MODEL) as client:
        pieces: list[str] = []
        task = asyncio.create_task(collect(client, into=pieces))
        await until(lambda: bool(model.requests and (hang or pieces)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: model.cancelled == 1)


async def test_a_client_goes_on_after_a_hang_up(model: ModelServer) -> None:
    model.reply = lambda _question: "말 " * 50 + "끝"
    async with ModelClient(model.url, MODEL) as client:
        for _ in range(3):
            parts = client.stream(asked(), max_tokens=100)
            await anext(parts)
            await parts.aclose()
        text, _ = await collect(client)
    assert text.endswith("끝")


# Failures


async def test_a_closed_port_is_unreachable() -> None:
    async with ModelClient(f"http://127.0.0.1:{free_port()}/v1", MODEL) as client:
        assert await failure_of(client) is Failure.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, Failure.REFUSED),
        (401, Failure.REFUSED),
        (404, Failure.REFUSED),
        (429, Failure.BUSY),
        (500, Failure.BROKEN),
        (503, Failure.BUSY),
    ],
)
async def test_a_status_says_what_failed(model: ModelServer, status: int, failure: Failure) -> None:
    model.status = status
    async with ModelClient(model.url, MODEL) as client:
        assert await failure_of(client) is failure


async def test_an_unknown_model_is_refused(model: ModelServer) -> None:
    async with ModelClient(model.url, "another-model") as client:
        assert await failure_of(client) is Failure.REFUSED


async def test_silence_ends_at_the_first_token_limit(model: ModelServer) -> None:
    model.hang = True
    limits = TimeLimits(first_token=0.2, total=60)
    async with ModelClient(model.url, MODEL, limits=limits) as client:
        async with asyncio.timeout(5):
            assert await failure_of(client) is Failure.TIMEOUT
        await until(lambda: model.cancelled == 1)


async def test_a_slow_answer_ends_at_the_total_limit(model: ModelServer) -> None:
    model.reply, model.token_s = lambda _question: "말 " * 1000, 0.05
    limits = TimeLimits(first_token=60, total=0.4)
    pieces: list[str] = []
    async with ModelClient(model.url, MODEL, limits=limits) as client:
        async with asyncio.timeout(5):
            assert await failure_of(client, into=pieces) is Failure.TIMEOUT
        await until(lambda: model.cancelled == 1)
    assert pieces


async def test_after_the_first_token_only_the_total_limit_counts(model: ModelServer) -> None:
    model.reply, model.token_s = lambda _question: "하나 둘 셋 넷 다섯", 0.1
    limits = TimeLimits(first_token=0.3, total=30)
    async with ModelClient(model.url, MODEL, limits=limits) as client:
        assert (await collect(client))[0] == "하나 둘 셋 넷 다섯"


async def test_a_limit_never_fires_in_the_callers_code(model: ModelServer) -> None:
    limits = TimeLimits(first_token=0.2, total=0.2)
    async with (
        ModelClient(model.url, MODEL, limits=limits) as client,
        aclosing(client.stream(asked(), max_tokens=5)) as parts,
    ):
        assert await anext(parts) == "모르겠습니다."
        await asyncio.sleep(0.4)  # would raise CancelledError or TimeoutError here


@pytest.mark.parametrize("pieces", [0, 2])
async def test_a_dropped_connection_is_broken(model: ModelServer, pieces: int) -> None:
    model.reply, model.break_after = lambda _question: "하나 둘 셋 넷", pieces
    arrived: list[str] = []
    async with ModelClient(model.url, MODEL) as client:
        assert await failure_of(client, into=arrived) is Failure.BROKEN
    assert len(arrived) == pieces


async def test_an_error_in_the_stream_is_broken(model: ModelServer) -> None:
    model.reply, model.error_after = lambda _question: "하나 둘 셋", 1
    arrived: list[str] = []
    async with ModelClient(model.url, MODEL) as client:
        assert await failure_of(client, into=arrived) is Failure.BROKEN
    assert arrived == ["하나 "]


@pytest.mark.parametrize(
    "line",
    [
        b"data: {\n\n",
        b"data: <html>\n\n",
        b"data: []\n\n",
        b"data: null\n\n",
        b'data: "text"\n\n',
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": {"0": 1}}\n\n',
        b'data: {"choices": [{"delta": "text"}]}\n\n',
        b"data: {\xff}\n\n",
        b"data: " + b"x" * 1_000_000 + b"\n\n",
        b'data: {"error": {"message": "out of memory"}}\n\n',
    ],
    ids=lambda line: line[6:40].decode(errors="replace").strip(),
)
async def test_what_is_no_chat_stream_is_broken(line: bytes) -> None:
    async with saying([piece("네"), line, DONE]) as url, ModelClient(url, MODEL) as client:
        assert await failure_of(client) is Failure.BROKEN


async def test_an_end_without_its_sign_is_broken() -> None:
    async with saying([piece("네")]) as url, ModelClient(url, MODEL) as client:
        assert await failure_of(client) is Failure.BROKEN


# Readiness


async def test_ready_when_the_server_answers(model: ModelServer) -> None:
    async with ModelClient(model.url, MODEL) as client:
        assert await client.ready()


async def test_ready_only_with_the_right_key(model: ModelServer) -> None:
    model.api_key = "right"
    for key, ready in (("right", True), ("wrong", False), ("", False)):
        async with ModelClient(model.url, MODEL, api_key=key) as client:
            assert await client.ready() is ready


@pytest.mark.parametrize("host", ["127.0.0.1", "does-not-exist.invalid"])
async def test_not_ready_where_nobody_listens(host: str) -> None:
    async with ModelClient(f"http://{host}:{free_port()}/v1", MODEL) as client:
        assert not await client.ready()


async def test_not_ready_where_the_server_is_silent() -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    closing = asyncio.Event()
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, ModelClient(url, MODEL, limits=TimeLimits(connect=0.2)) as client:
        assert not await client.ready()
        closing.set()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_is_full_is_asked_once_more(status: int) -> None:
    server = ModelServer(reply=lambda _: SENTENCE, status=status)
    async with server.serve(), ModelClient(server.url, MODEL) as client:

        async def recover() -> None:
            await server.wait_until_asked(1)
            server.status = 200

        recovery = asyncio.create_task(recover())
        assert (await collect(client))[0] == SENTENCE
        await recovery
        assert len(server.requests) == 2
        server.status = 500  # it may have worked on it
        assert await failure_of(client) == Failure.BROKEN
        assert len(server.requests) == 3
