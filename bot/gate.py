"""The line before the model: so many are asked at once, so many may wait, and how long."""

import asyncio
from collections import deque

from bot import metrics

_FIRST_GUESS_S = 5.0  # what a question holds its place for, before anything was measured
_WEIGHT = 0.2  # of the newest measurement in the running mean


class FullError(Exception):
    """The line is full; `seconds` says when it may be worth asking again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Gate:
    """Lets `at_once` questions through to the model, and `most_waiting` wait in order."""

    def __init__(self, *, at_once: int, most_waiting: int) -> None:
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._inside = 0
        self._line: deque[Place] = deque()
        self._mean_s = _FIRST_GUESS_S

    def join(self) -> "Place":
        """Return a place, to be left in any case. Raises `FullError`."""
        if self._inside >= self._at_once and len(self._line) >= self._most_waiting:
            raise FullError(self.seconds_behind(len(self._line)))
        place = Place(self)
        self._line.append(place)
        self._let_in()
        return place

    def seconds_behind(self, ahead: int) -> int:
        """Return how long somebody with so many ahead will wait, about."""
        return max(1, round((ahead + 1) * self._mean_s / self._at_once))

    def position(self, place: "Place") -> int:
        """Return how many wait before a place."""
        return self._line.index(place) if place in self._line else 0

    def leave(self, place: "Place") -> None:
        """Give a place up, and its turn to the next."""
        if place in self._line:
            self._line.remove(place)
        elif place.entered_at is not None:
            self._inside -= 1
            held_s = _now() - place.entered_at
            self._mean_s += _WEIGHT * (held_s - self._mean_s)
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self._inside < self._at_once:
            self._inside += 1
            self._line.popleft().enter()
        metrics.WAITING.set(len(self._line))


class Place:
    """One question's place in the line."""

    def __init__(self, gate: Gate) -> None:
        self.entered_at: float | None = None
        self._gate = gate
        self._entered = asyncio.Event()

    @property
    def seconds(self) -> int:
        """How long this place will wait, about."""
        return self._gate.seconds_behind(self._gate.position(self))

    def enter(self) -> None:
        """Let the question through."""
        self.entered_at = _now()
        self._entered.set()

    async def reached(self, within_s: float) -> bool:
        """Wait at most `within_s` and return whether the question may be asked now."""
        if not self._entered.is_set():
            try:
                async with asyncio.timeout(within_s):
                    await self._entered.wait()
            except TimeoutError:
                return False
        return True

    def leave(self) -> None:
        """Give the place up."""
        self._gate.leave(self)


def _now() -> float:
    return asyncio.get_running_loop().time()
