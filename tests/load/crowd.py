"""Customers in many chats of a playground that runs in this process, driven without HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bot import texts
from bot.playground.events import Hub
from bot.playground.faults import Faults
from bot.playground.records import Json
from bot.playground.server import FAULTS, UPDATES, create_app, serve
from bot.playground.store import Store
from bot.playground.updates import Updates
from tests.playground import TOKEN

Listener = Callable[[int, str, Json], None]

_NOTICE = texts.NOTICE.partition("{")[0]


class Ears(Hub):
    """A hub that also tells one listener of every event, in the moment it happens."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def publish(self, chat_id: int, event: str, data: Callable[[], dict[str, Any]]) -> None:
        """Tell the listener, then the watchers."""
        self._listener(chat_id, event, data())
        super().publish(chat_id, event, data)


@dataclass
class Question:
    """What a customer asked, what should come back, and when it did (seconds since asking)."""

    chat_id: int
    message_id: int
    whole: str
    asked_at: float
    first_s: float | None = None
    final_s: float | None = None
    shown: dict[int, str] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, event: str, view: Json) -> None:
        """Note an event of the chat."""
        if event == "typing" or not view.get("text") or view["from"] != "bot":
            return
        if view["text"].startswith(_NOTICE):  # no part of the answer that it comes with
            return
        now = time.perf_counter() - self.asked_at
        self.first_s = self.first_s or now
        if event == "draft" or view["id"] < self.message_id:
            return
        self.shown[view["id"]] = view["text"]
        if _squeeze("".join(self.shown.values())) == self.whole and self.final_s is None:
            self.final_s = now
            self.answered.set()


class Crowd:
    """Everybody who writes to the bot."""

    def __init__(self, store: Store, updates: Updates, faults: Faults, url: str) -> None:
        self.store = store
        self.faults = faults
        self.url = url
        self._updates = updates
        self._open: dict[int, Question] = {}
        self.listeners: list[Listener] = [self._hear]

    @property
    def calls(self) -> int:
        """How many calls the bot has made that are about a chat."""
        return self.faults.count

    def hear(self, chat_id: int, event: str, view: Json) -> None:
        """Pass an event on."""
        for listener in self.listeners:
            listener(chat_id, event, view)

    def _hear(self, chat_id: int, event: str, view: Json) -> None:
        if question := self._open.get(chat_id):
            question.see(event, view)

    def say(self, chat_id: int, text: str) -> int:
        """Write a message and return its id."""
        chat = self.store.open_chat(chat_id)
        user_id = chat_id if chat_id > 0 else -chat_id
        message = self.store.add_message(chat, {"text": text}, user_id)
        self._updates.put("message", message.body)
        return message.id

    async def ask(self, chat_id: int, text: str, whole: str, limit_s: float = 60.0) -> Question:
        """Ask and wait until the bot's messages make up the whole answer."""
        question = Question(chat_id, 0, _squeeze(whole), time.perf_counter())
        self._open[chat_id] = question
        question.message_id = self.say(chat_id, text)
        try:
            async with asyncio.timeout(limit_s):
                await question.answered.wait()
        except TimeoutError:
            pass  # an answer without `final_s` is incomplete
        finally:
            del self._open[chat_id]
        return question


@asynccontextmanager
async def gather_crowd(port: int = 0) -> AsyncIterator[Crowd]:
    """Open a playground with nobody in it."""
    store = Store()
    app = create_app(store, token=TOKEN)
    async with serve(app, port) as real_port:
        crowd = Crowd(store, app[UPDATES], app[FAULTS], f"http://127.0.0.1:{real_port}")
        store.hub = Ears(crowd.hear)
        yield crowd
    store.close()


def _squeeze(text: str) -> str:
    """Leave out spaces: parts of a split answer lose those at their ends."""
    return "".join(text.split())
