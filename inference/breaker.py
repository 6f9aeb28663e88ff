"""A circuit breaker: a server that keeps failing is left alone for a while."""

import asyncio
from dataclasses import dataclass

_FAILURES = 5  # in a row, that open the circuit
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that was let through; `is_trial` where the circuit was open."""

    is_trial: bool


class Breaker:
    """Opens after some failures in a row; after a pause one request at a time tries again.

    The pause doubles with each trial that fails. Each attempt is followed by one of `succeed`,
    `fail` and `forget`.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        """Whether the last word on the server was that it fails."""
        return self._failures >= _FAILURES

    def admit(self) -> Attempt | None:
        """Return an attempt if a request may be made now."""
        if not self.is_open:
            return Attempt(is_trial=False)
        if self._on_trial or _now() < self._open_until:
            return None
        self._on_trial = True
        return Attempt(is_trial=True)

    def succeed(self, attempt: Attempt) -> None:
        """Note that a request worked: the circuit closes."""
        self._failures, self._pause_s = 0, _FIRST_PAUSE_S
        self.forget(attempt)

    def fail(self, attempt: Attempt) -> None:
        """Note that a request failed."""
        self._failures += 1
        if attempt.is_trial:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        if attempt.is_trial or self._failures == _FAILURES:
            self._open_until = _now() + self._pause_s
        self.forget(attempt)

    def forget(self, attempt: Attempt) -> None:
        """Note that a request ended without saying anything of the server, such as by a stop."""
        if attempt.is_trial:
            self._on_trial = False


def _now() -> float:
    return asyncio.get_running_loop().time()
