"""Trouble on request: faults, flood control as Telegram's, and a log of the bot's calls."""

import math
import time
from collections import deque
from dataclasses import asdict, dataclass
from http import HTTPStatus

from bot.playground.errors import BotApiError, too_many_requests
from bot.playground.records import Json

MAX_CALLS = 50_000


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` calls of a method."""

    method: str = "*"
    status: int = 0
    retry_after: int = 0
    times: int = 1
    drop: bool = False  # close the connection without an answer
    after: bool = False  # do the work first: accepted, but the bot never knows
    chat_id: int | None = None
    delay_s: float = 0.0
    description: str = ""  # of the refusal, such as "Bad Request: TEXTDRAFT_PEER_INVALID"

    def error(self) -> BotApiError:
        """Return the refusal to answer with; a dropped connection never shows it."""
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return too_many_requests(self.retry_after or 1)
        status = HTTPStatus(self.status or HTTPStatus.BAD_GATEWAY)
        return BotApiError(status, self.description or status.phrase)


@dataclass(slots=True)
class Call:
    """One call of the bot, without its texts."""

    method: str
    chat_id: int | None
    time: float
    status: int
    text_length: int


class Bucket:
    """Calls per second, with a burst of one second; who goes over has to wait."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._size = max(1.0, rate)
        self._tokens = self._size
        self._at = time.monotonic()
        self._penalty_until = 0.0

    def take(self) -> int:
        """Take one call; return 0, or the seconds to wait."""
        now = time.monotonic()
        if now < self._penalty_until:
            return math.ceil(self._penalty_until - now)
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        wait = math.ceil((1 - self._tokens) / self._rate)
        self._penalty_until = now + wait
        return wait


class Faults:
    """The faults and limits in force."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self.count = 0  # of all calls that were about a chat
        self.set_limits(None, None)

    def set_limits(self, per_chat_s: float | None, overall_s: float | None) -> None:
        """Limit the calls per second; `None` switches a limit off."""
        self._per_chat_s = per_chat_s
        self._overall = Bucket(overall_s) if overall_s else None
        self._chats: dict[int, Bucket] = {}

    def take(self, method: str, chat_id: int | None) -> Fault | None:
        """Return the fault that this call meets, counted down by one."""
        for fault in self.faults:
            if fault.method.lower() not in {"*", method.lower()}:
                continue
            if fault.chat_id not in {None, chat_id}:
                continue
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            return fault
        return None

    def check_limits(self, chat_id: int | None) -> None:
        """Refuse a call that comes too fast; calls without a chat are not limited."""
        if chat_id is None:
            return
        wait = 0
        if self._per_chat_s:
            if chat_id not in self._chats:
                self._chats[chat_id] = Bucket(self._per_chat_s)
            wait = self._chats[chat_id].take()
        if self._overall and not wait:
            wait = self._overall.take()
        if wait:
            raise too_many_requests(wait)

    def record(self, method: str, chat_id: int | None, status: int, text_length: int) -> None:
        """Note a call; status 0 means that the connection was dropped."""
        self.count += chat_id is not None
        self._calls.append(Call(method, chat_id, time.monotonic(), status, text_length))

    def calls(self, method: str = "", chat_id: int | None = None) -> list[Json]:
        """Return the calls noted, oldest first."""
        return [
            asdict(call)
            for call in self._calls
            if method.lower() in {"", call.method.lower()} and chat_id in {None, call.chat_id}
        ]
