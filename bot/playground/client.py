"""A client of the customers' API, for tests and benchmarks.

async with Playground("http://127.0.0.1:8765") as playground:
    customer = playground.customer(1001)
    asked = await customer.send("안녕하세요")
    (answer,) = await customer.wait_for(1, after=asked.id)
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from bot.playground.records import Json


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its customer sees it; a growing draft has a negative id."""

    id: int
    sender: str
    text: str
    final: bool
    button_rows: list[list[Json]]
    file: Json | None
    date: int
    edited: bool
    entities: list[Json]
    can_stop: bool
    reply_to: int | None
    user: Json

    @classmethod
    def of(cls, view: Json) -> "Message":
        """Build a message from its JSON."""
        names = {"sender": "from"}
        return cls(**{name: view[names.get(name, name)] for name in cls.__dataclass_fields__})

    @property
    def from_bot(self) -> bool:
        """Whether the bot sent it."""
        return self.sender == "bot"

    @property
    def buttons(self) -> list[Json]:
        """The buttons that can be pressed."""
        return [b for row in self.button_rows for b in row if b["data"] is not None]


Condition = Callable[[list[Message]], bool]


class PlaygroundError(Exception):
    """The playground refused a request."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status}: {sentence}")
        self.status = status


class Playground:
    """A running playground."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    def customer(self, chat_id: int, user: int | None = None) -> "Customer":
        """Return the customer of a chat; in a group, `user` is who writes."""
        return Customer(self, chat_id, user)

    async def chats(self) -> list[Json]:
        """Return all chats."""
        chats: list[Json] = await self.request("GET", "/api/chats")
        return chats

    async def new_chat(self, name: str = "", kind: str = "private") -> "Customer":
        """Make a chat with a fresh id."""
        chat = await self.request("POST", "/api/chats", {"name": name, "type": kind})
        return self.customer(chat["id"])

    async def fault(
        self,
        method: str = "*",
        *,
        status: int = 0,
        retry_after: int = 0,
        times: int = 1,
        drop: bool = False,
        after: bool = False,
        chat_id: int | None = None,
        delay_s: float = 0.0,
        description: str = "",
    ) -> None:
        """Let the bot's next calls of a method fail, hang or get no answer."""
        body = {
            "method": method,
            "status": status,
            "retry_after": retry_after,
            "times": times,
            "drop": drop,
            "after": after,
            "chat_id": chat_id,
            "delay_s": delay_s,
            "description": description,
        }
        await self.request("POST", "/api/faults", body)

    async def clear_faults(self) -> None:
        """Remove the faults that are left."""
        await self.request("DELETE", "/api/faults")

    async def limit(
        self, *, per_chat_s: float | None = None, overall_s: float | None = None
    ) -> None:
        """Set flood control in calls per second; `None` switches it off."""
        await self.request(
            "POST", "/api/limits", {"per_chat_s": per_chat_s, "overall_s": overall_s}
        )

    async def calls(self, method: str = "", chat_id: int | None = None) -> list[Json]:
        """Return the bot's calls, oldest first."""
        query = {"method": method} | ({} if chat_id is None else {"chat_id": str(chat_id)})
        async with self._session.get(f"{self.url}/api/calls", params=query) as response:
            calls: list[Json] = await _checked(response)
            return calls

    async def commands(self) -> list[Json]:
        """Return the bot's commands."""
        commands: list[Json] = await self.request("GET", "/api/commands")
        return commands

    async def download(self, path: str) -> bytes:
        """Return the bytes behind a file's `url`."""
        async with self._session.get(self.url + path) as response:
            response.raise_for_status()
            return await response.read()

    async def request(self, method: str, path: str, body: Json | bytes | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send JSON, or bytes as they are, and return the JSON of the answer."""
        data = (
            None
            if body is None
            else BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        )
        async with self._session.request(method, self.url + path, data=data) as response:
            return await _checked(response)

    async def stream(self, path: str) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield the server-sent events of a path."""
        async with self._session.get(self.url + path) as response:
            name = ""
            rest = b""  # lines are put together here: a history may be longer than aiohttp's limit
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"event: "):
                        name = line[7:].decode()
                    elif line.startswith(b"data: "):
                        yield name, json.loads(line[6:])


class Customer:
    """One chat, from the customer's side."""

    def __init__(self, playground: Playground, chat_id: int, user: int | None = None) -> None:
        self._playground = playground
        self.chat_id = chat_id
        self._sender: Json = {} if user is None else {"user": user}

    async def send(
        self, text: str = "", *, edit: int | None = None, raw: Json | None = None
    ) -> Message:
        """Write a message, or change one; `raw` adds to the Bot API's body (stickers, ...)."""
        body: Json = {"text": text, "raw": raw or {}, **self._sender}
        return Message.of(await self._post("messages", body | ({"edit": edit} if edit else {})))

    async def voice(self, data: bytes) -> Message:
        """Send a recording in any usual format."""
        return Message.of(await self._post("voice", data))

    async def photo(self, data: bytes) -> Message:
        """Send a picture, PNG or JPEG."""
        return Message.of(await self._post("photo", data))

    async def document(self, data: bytes, name: str) -> Message:
        """Send a file."""
        return Message.of(await self._post(f"document?name={quote(name, '')}", data))

    async def press(self, message_id: int, data: str) -> str:
        """Press the button with this callback data; returns the id of the query."""
        body = {"message_id": message_id, "data": data, **self._sender}
        pressed: str = (await self._post("buttons", body))["callback_query_id"]
        return pressed

    async def press_text(self, text: str) -> str:
        """Press the newest button whose label contains this text."""
        for message in reversed(await self.messages()):
            for button in message.buttons:
                if text in button["text"]:
                    return await self.press(message.id, button["data"])
        raise LookupError(f"no button with {text!r}")

    async def stop(self, draft_id: int) -> None:
        """Press the Stop button of a growing draft."""
        await self._post("stop", {"draft_id": draft_id})

    async def block(self, blocked: bool = True) -> None:
        """Block the bot, or let it back in."""
        await self._post("block", {"blocked": blocked, **self._sender})

    async def messages(self) -> list[Message]:
        """Return the chat so far, a growing draft last."""
        views = await self._playground.request("GET", f"/api/chats/{self.chat_id}/messages")
        return [Message.of(view) for view in views]

    async def events(self) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield the chat's events, the history first."""
        stream = self._playground.stream(f"/api/chats/{self.chat_id}/events")
        async with aclosing(stream):
            async for event in stream:
                yield event

    async def wait_for(
        self,
        condition: int | Condition = 1,
        *,
        after: int = 0,
        timeout: float = 10.0,  # noqa: ASYNC109 - a deadline belongs to waiting
    ) -> list[Message]:
        """Wait until the messages after an id meet a condition, and return them.

        A number waits for that many final messages of the bot, and returns the bot's only. A
        function gets everything in the chat after that id, a growing draft last.
        """
        shown: dict[int, Message] = {}
        async with asyncio.timeout(timeout), aclosing(self.events()) as events:
            async for name, data in events:
                _apply(shown, name, data)
                later = [m for m in shown.values() if m.id > after or not m.final]
                if isinstance(condition, int):
                    final = [m for m in later if m.final and m.from_bot]
                    if len(final) >= condition:
                        return final
                elif condition(later):
                    return later
        raise ConnectionError("the playground closed the stream")

    async def _post(self, action: str, body: Json | bytes) -> Json:
        path = f"/api/chats/{self.chat_id}/{action}"
        answer: Json = await self._playground.request("POST", path, body)
        return answer


def _apply(shown: dict[int, Message], event: str, data: Json) -> None:
    if event == "history":
        shown.clear()
        shown.update((view["id"], Message.of(view)) for view in data["messages"])
    elif event in ("message", "edit", "draft"):
        shown[data["id"]] = Message.of(data)
    elif event in ("draft_gone", "delete"):
        shown.pop(data["id"], None)


async def _checked(response: aiohttp.ClientResponse) -> Any:  # noqa: ANN401 - JSON
    body = await response.json()
    if response.status >= 400:
        raise PlaygroundError(response.status, body.get("error", ""))
    return body
