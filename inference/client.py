"""A lean streaming client of OpenAI-compatible chat servers (vLLM, llama.cpp) over aiohttp.

Protocol: https://platform.openai.com/docs/api-reference/chat-streaming
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypedDict

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError  # a line beyond all bounds
from pydantic import BaseModel

from inference.breaker import Breaker

_TURNED_AWAY = {429, 503}  # by a server or router that is full or still loading
_RETRY_PAUSE_S = 0.5


class ChatMessage(TypedDict):
    """One message of a chat request."""

    role: str
    content: str


class Failure(StrEnum):
    """What went wrong at the model's side."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    REFUSED = "refused"  # 4xx: the request or the key
    BUSY = "server_busy"  # 429, 503: full or still loading, whatever is asked
    OPEN = "open"  # not asked: it has failed too often just now
    BROKEN = "broken"  # 5xx, an error in the stream, or a stream that ends early


class ModelError(Exception):
    """The one error of this client; its text holds nothing of the request or of the answer.

    `works` where the server shows that it works, though it did not answer.
    """

    def __init__(self, failure: Failure, detail: str, *, works: bool = False) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.works = works


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, as the server counted; None where it does not say."""

    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()


class _Counts(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(BaseModel):
    """One event of a stream, as far as it is used."""

    model: str | None = None
    choices: list[_Choice] = []
    usage: _Counts | None = None
    error: Any = None

    @property
    def text(self) -> str:
        """The piece of the answer, often none."""
        return (self.choices[0].delta.content or "") if self.choices else ""

    def count(self, usage: Usage) -> Usage:
        """Return `usage` with what this event says of it."""
        counts = self.usage
        return Usage(
            self.model or usage.model,
            counts.prompt_tokens if counts else usage.prompt_tokens,
            counts.completion_tokens if counts else usage.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds for reaching the server, for its first token and for the whole answer."""

    connect: float = 5.0
    first_token: float = 60.0
    total: float = 180.0


class ModelClient:
    """Streams answers; leaving the iterator early closes the request, which the server sees."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str = "",
        limits: TimeLimits | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._limits = limits or TimeLimits()
        self._breaker = Breaker()
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No limit on connections: the bot bounds its turns, the server its queue. None is kept:
        # beside an answer's length a new one costs nothing, and a kept one may have been closed.
        self._session = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(limit=0, force_close=True)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            msg = "ModelClient is used outside `async with`"
            raise RuntimeError(msg)
        return self._session

    async def ready(self) -> bool:
        """Return whether the server answers and accepts our key."""
        try:
            async with self._open().get(
                f"{self.url}/models", timeout=aiohttp.ClientTimeout(total=self._limits.connect)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def stream(
        self,
        messages: list[ChatMessage],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        model: str | None = None,
    ) -> AsyncGenerator[str | Usage]:
        """Yield pieces of the answer's text, then one `Usage`. Raises `ModelError`.

        `model` is asked in place of the client's own, such as an adapter on the same server.
        """
        body = {
            "model": model or self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        attempt = self._breaker.admit()
        if attempt is None:
            raise ModelError(Failure.OPEN, "asked too often in vain")
        works = fails = False
        try:
            async with aclosing(self._stream(body)) as parts:
                async for part in parts:
                    works = True
                    yield part
        except ModelError as error:
            fails = not error.works
            raise
        finally:
            if fails:
                self._breaker.fail(attempt)
            elif works:
                self._breaker.succeed(attempt)
            else:
                self._breaker.forget(attempt)

    async def _stream(self, body: dict[str, Any]) -> AsyncGenerator[str | Usage]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + self._limits.first_token
        response: aiohttp.ClientResponse | None = None
        # Each wait has its own limit: a limit around the `yield` could fire in the caller's code.
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._begin(body)
            usage = Usage(body["model"], None, None)
            while True:
                async with asyncio.timeout_at(deadline):
                    chunk = await _next_chunk(response.content)
                if chunk is None:
                    break
                usage = chunk.count(usage)
                if text := chunk.text:
                    deadline = started + self._limits.total
                    yield text
            yield usage
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ModelError(Failure.UNREACHABLE, type(error).__name__) from error
        except TimeoutError as error:
            raise ModelError(Failure.TIMEOUT, f"{loop.time() - started:.1f} s") from error
        except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
            raise ModelError(Failure.BROKEN, type(error).__name__) from error
        finally:
            if response is not None:
                response.close()  # mid-stream this hangs up, and the server stops generating

    async def _begin(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        """Send the request; once more where the server cannot have begun to work on it."""
        for is_last in (False, True):
            try:
                response = await self._open().post(
                    f"{self.url}/chat/completions",
                    json=body,
                    timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect),
                )
            except aiohttp.ClientConnectorError:
                if is_last:
                    raise
            else:
                if response.status not in _TURNED_AWAY or is_last:
                    _raise_for_status(response)
                    return response
                response.close()
            await asyncio.sleep(_RETRY_PAUSE_S)
        raise AssertionError


def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status == 200:
        return
    response.close()
    # A refusal is about the request or the rate of ours, and comes from a server that works.
    is_refusal = 400 <= response.status < 500
    failure = Failure.REFUSED if is_refusal else Failure.BROKEN
    if response.status in _TURNED_AWAY:
        failure = Failure.BUSY
    raise ModelError(failure, f"status {response.status}", works=is_refusal)


async def _next_chunk(content: aiohttp.StreamReader) -> _Chunk | None:
    """Return the next event, or None at `[DONE]`. Raises `ModelError`, `ValueError`."""
    while line := await content.readline():
        if not line.startswith(b"data:"):
            continue  # blank lines and keep-alive comments
        data = line[5:].strip()
        if data == b"[DONE]":
            return None
        chunk = _Chunk.model_validate_json(data)
        if chunk.error is not None:
            raise ModelError(Failure.BROKEN, "error in the stream")
        return chunk
    raise ModelError(Failure.BROKEN, "the stream ended early")
