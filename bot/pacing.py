"""How many calls Telegram takes: one budget a chat, one for all, and penalties.

The limits: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
"""

from dataclasses import dataclass

OVERALL = 30.0  # calls a second
_PRIVATE = (1.0, 20.0)  # "short bursts" are let through; a 429 ends one
_GROUP = (20.0 / 60.0, 5.0)
_RESERVE = 1 / 3  # of the overall budget, for what may not be dropped
_MANY_CHATS = 10_000


@dataclass(slots=True)
class Budget:
    """Tokens that come back at `rate` a second up to `burst`; going into debt is possible."""

    rate: float
    burst: float
    tokens: float
    at: float = 0.0

    def level(self, now: float) -> float:
        """Return the tokens at the time `now`, in seconds of any clock."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        return self.tokens

    def wait(self, now: float) -> float:
        """Return the seconds until one token is there."""
        return max(0.0, (1.0 - self.level(now)) / self.rate)


class Pacing:
    """The budgets and penalties of one bot. Every call takes from its chat's and the overall.

    `overall` is what all processes of the bot together may call in a second.
    """

    def __init__(self, overall: float = OVERALL) -> None:
        self._rate = overall
        self._overall = _full(overall, max(1.0, overall))
        self._chats: dict[int, Budget] = {}
        self._penalties: dict[int, float] = {}  # chat id → time until which it is closed

    def admits(self, chat_id: int, now: float) -> bool:
        """Return whether a cosmetic call may be made: it must leave enough for a final one."""
        return (
            self._penalties.get(chat_id, 0.0) <= now
            and self._chat(chat_id).level(now) >= 2.0
            and self._overall.level(now) >= max(1.0, _RESERVE * self._overall.burst)
        )

    def share(self, processes: int) -> None:
        """Leave the others' part of the overall budget to them."""
        self._overall.rate = self._rate / processes
        self._overall.burst = max(1.0, self._overall.rate)  # less would never let a call through

    def wait(self, chat_id: int, now: float) -> float:
        """Return the seconds that a final call should wait."""
        return max(
            0.0,
            self._penalties.get(chat_id, 0.0) - now,
            self._chat(chat_id).wait(now),
            self._overall.wait(now),
        )

    def take(self, chat_id: int, now: float) -> None:
        """Note a call."""
        for budget in (self._chat(chat_id), self._overall):
            budget.tokens = budget.level(now) - 1.0

    def penalize(self, chat_id: int, seconds: float, now: float) -> None:
        """Note that Telegram wants nothing for a chat for some time, and no burst after it."""
        self._penalties[chat_id] = now + seconds
        chat = self._chat(chat_id)
        chat.tokens = min(chat.level(now), 0.0)

    def _chat(self, chat_id: int) -> Budget:
        if chat_id not in self._chats:
            if len(self._chats) >= _MANY_CHATS:
                self._forget_idle()
            self._chats[chat_id] = _full(*(_PRIVATE if chat_id > 0 else _GROUP))
        return self._chats[chat_id]

    def _forget_idle(self) -> None:
        """Drop what is as good as new, so that memory does not grow with every chat ever."""
        now = self._overall.at
        self._chats = {c: b for c, b in self._chats.items() if b.level(now) < b.burst}
        self._penalties = {c: until for c, until in self._penalties.items() if until > now}


def _full(rate: float, burst: float) -> Budget:
    return Budget(rate, burst, tokens=burst)
