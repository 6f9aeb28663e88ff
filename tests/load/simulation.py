"""Customers of many shops, and what serves them, event by event; times in seconds.

A message passes in turn

    Postgres → a bot process → (if the model is asked) a GPU → Telegram

Postgres and the processes take one message at a time a core or process; a GPU takes new requests
between the steps of a running batch, while there is room, and reading a prompt halts the batch.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.load.customers import DAY_S, Customer, Message
from tests.load.roofline import MOST_AT_ONCE, Server


@dataclass(frozen=True, slots=True)
class Plant:
    """What serves them. Without `processes` each shop has one of its own."""

    gpus: int
    server: Server
    known: float  # tokens that begin every prompt, and are read once
    processes: int | None
    process_s: float  # of a bot process for a message
    postgres_cores: int
    postgres_s: float  # of a core for a message
    calls: float  # to Telegram for an answer
    calls_a_second: float  # that Telegram takes of a shop's bot


@dataclass(slots=True)
class Passage:
    """One message's way; when it came, and when each part was done with it."""

    came: float
    waited_postgres: float = 0.0
    waited_process: float = 0.0
    waited_gpu: float | None = None  # None where the model was not asked
    first: float = 0.0
    ended: float = 0.0


@dataclass
class Result:
    """What a run showed: every message's way."""

    passages: list[Passage]
    present_s: float  # the integral over time of how many messages are on their way

    def between(self, start: float, end: float) -> list[Passage]:
        """Return the ways of the messages that came in a part of each day."""
        return [p for p in self.passages if start <= p.came % DAY_S < end]


class _Line:
    """Servers with one line before them, first come, first served."""

    def __init__(self, servers: int) -> None:
        self._free = [0.0] * servers

    def take(self, now: float, seconds: float) -> tuple[float, float]:
        """Return when a job begins and when it ends."""
        began = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, began + seconds)
        return began, began + seconds


@dataclass(slots=True)
class _Request:
    came: float
    message: Message
    passage: Passage
    then: Callable[[float], None]


class _Gpu:
    """A batch that runs: how far it is, who ends when, who waits."""

    def __init__(self, server: Server, known: float) -> None:
        self._server = server
        self._known = known
        self._now = 0.0
        self._halted = 0.0  # seconds of prompts yet to be read
        self._steps = 0.0  # that the batch has made
        self._running: list[tuple[float, int, _Request]] = []  # by the step at which it ends
        self._kept = 0.0  # tokens, as if each had joined at step 0
        self._promised = 0.0  # tokens that the running ones will have at their ends
        self._waiting: deque[_Request] = deque()
        self._count = 0

    @property
    def load(self) -> int:
        """How many requests are here."""
        return len(self._running) + len(self._waiting)

    def add(self, now: float, request: _Request) -> None:
        """Take a request."""
        self.advance(now)
        self._waiting.append(request)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            message = self._waiting[0].message
            tokens = message.prompt + message.answer
            if self._running and self._promised + tokens > self._server.room:
                return
            request = self._waiting.popleft()
            request.passage.waited_gpu = self._now + self._halted - request.came
            self._halted += self._server.read_s(max(0.0, message.prompt - self._known))
            self._count += 1
            heapq.heappush(self._running, (self._steps + message.answer, self._count, request))
            self._kept += message.prompt - self._steps
            self._promised += tokens
            request.passage.first = self._now + self._halted + self._step_s()

    def _step_s(self) -> float:
        batch = len(self._running)
        return self._server.step_s(batch, self._kept + batch * self._steps)

    def next_end(self) -> float | None:
        """Return when the next request ends, if nothing else comes."""
        if not self._running:
            return None
        return self._now + self._halted + (self._running[0][0] - self._steps) * self._step_s()

    def advance(self, now: float) -> None:
        """Let time pass; nothing ends before `now`."""
        passed = now - self._now
        self._now = now
        read = min(passed, self._halted)
        self._halted -= read
        if self._running:
            self._steps += (passed - read) / self._step_s()

    def end(self, now: float) -> _Request:
        """End the request that is due."""
        self.advance(now)
        ends, _, request = heapq.heappop(self._running)
        tokens = request.message.prompt + request.message.answer
        self._steps = ends  # but for rounding it is there
        self._kept -= request.message.prompt - (ends - request.message.answer)
        self._promised -= tokens
        self._admit()
        return request


class _World:
    """The events to come, the clock, and how many messages are on their way."""

    def __init__(self) -> None:
        self.present_s = 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._present = 0
        self._now = 0.0

    def at(self, when: float, do: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, do))

    def enter(self) -> None:
        self._present += 1

    def leave(self) -> None:
        self._present -= 1

    def run(self) -> None:
        while self._events:
            now, _, do = heapq.heappop(self._events)
            self.present_s += self._present * (now - self._now)
            self._now = now
            do(now)


class _Shop:
    """A shop's bot: its own process, where it has one, and the calls that Telegram takes of it."""

    def __init__(self) -> None:
        self.line = _Line(1)
        self._owed, self._since = 0.0, 0.0

    def call(self, now: float, calls: float, a_second: float) -> float:
        """Note an answer's calls; return when Telegram takes the last: a second's worth at once."""
        self._owed = max(0.0, self._owed - (now - self._since) * a_second) + calls
        self._since = now
        return now + max(0.0, self._owed / a_second - 1.0)


def simulate(plant: Plant, customers: Sequence[Customer]) -> Result:
    """Serve all customers, from the first to the last answer."""
    return _Run(plant).run(customers)


class _Run:
    """One run over a plant."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._world = _World()
        self._postgres = _Line(plant.postgres_cores)
        self._shared = _Line(plant.processes) if plant.processes else None
        self._shops: defaultdict[int, _Shop] = defaultdict(_Shop)
        self._gpus = [_Gpu(plant.server, plant.known) for _ in range(plant.gpus)]
        self._stamps = [0] * plant.gpus  # an end that was foreseen before a change is none
        self._passages: list[Passage] = []

    def run(self, customers: Sequence[Customer]) -> Result:
        for customer in customers:
            self._world.at(customer.at, partial(self._say, customer, 0))
        self._world.run()
        return Result(self._passages, self._world.present_s)

    def _say(self, customer: Customer, number: int, now: float) -> None:
        passage = Passage(now)
        self._passages.append(passage)
        self._world.enter()
        began, stored = self._postgres.take(now, self._plant.postgres_s)
        passage.waited_postgres = began - now
        self._world.at(stored, partial(self._understand, customer, number, passage))

    def _understand(self, customer: Customer, number: int, passage: Passage, now: float) -> None:
        line = self._shared or self._shops[customer.shop].line
        began, ready = line.take(now, self._plant.process_s)
        passage.waited_process = began - now
        message = customer.messages[number]
        answer = partial(self._answer, customer, number, passage)
        ask = partial(self._ask, message, passage, answer)
        self._world.at(ready, ask if message.answer else answer)

    def _ask(
        self, message: Message, passage: Passage, then: Callable[[float], None], now: float
    ) -> None:
        number = min(range(len(self._gpus)), key=lambda each: self._gpus[each].load)
        self._gpus[number].add(now, _Request(now, message, passage, then))
        self._foresee(number)

    def _foresee(self, number: int) -> None:
        self._stamps[number] += 1
        when = self._gpus[number].next_end()
        if when is not None:
            self._world.at(when, partial(self._end, number, self._stamps[number]))

    def _end(self, number: int, stamp: int, now: float) -> None:
        if stamp == self._stamps[number]:
            request = self._gpus[number].end(now)
            self._foresee(number)
            request.then(now)

    def _answer(self, customer: Customer, number: int, passage: Passage, now: float) -> None:
        shop = self._shops[customer.shop]
        passage.ended = shop.call(now, self._plant.calls, self._plant.calls_a_second)
        if passage.waited_gpu is None:
            passage.first = passage.ended
        self._world.at(passage.ended, partial(self._leave, customer, number + 1))

    def _leave(self, customer: Customer, number: int, now: float) -> None:
        self._world.leave()
        if number < len(customer.messages):
            after = customer.messages[number].after
            self._world.at(now + after, partial(self._say, customer, number))
