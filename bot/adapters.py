"""Which adapter a chat is answered with: the trial's for its share, else the stable one."""

import hashlib
from collections import Counter
from typing import NamedTuple

import structlog

from db import rollouts
from db.database import Database

log = structlog.get_logger()

_MOST_MISSES = 5  # of a candidate in a row; then nobody gets it any more
_PARTS = 10_000


class Chat(NamedTuple):
    """A chat of a bot: who keeps one adapter for the whole of a trial."""

    bot_id: int
    chat_id: int


class Choice(NamedTuple):
    """The adapters to ask until one answers, None for the base model.

    `trial_id` is the trial's whose candidate stands first, None where it is not a candidate.
    """

    adapters: tuple[str | None, ...]
    trial_id: int | None = None


class Adapters:
    """Chooses by the database, which knows the trial and what was promoted, else by a setting."""

    def __init__(self, database: Database | None, usual: str | None) -> None:
        self._database = database
        self._usual = usual
        self._misses: Counter[int] = Counter()  # by trial, in a row

    async def choose(self, chat: Chat | None) -> Choice:
        """Return what a chat is answered with now, and what else where that is missing.

        It is read anew for each answer, so that every process follows a change at once.
        """
        if self._database is None:
            return Choice((self._usual,))
        trial, promoted = await self._database.insist(rollouts.state)
        # A server that was started anew may have nothing but what its own settings name.
        stable = [promoted.candidate, self._usual] if promoted else [self._usual]
        if trial and chat and not trial.halted_at and is_drawn(chat, trial.id, trial.share):
            return Choice(_once(trial.candidate, *stable), trial.id)
        return Choice(_once(*stable))

    async def note(self, choice: Choice, *, answered: str | None) -> None:
        """Note which of a choice answered; a candidate that keeps failing is left alone."""
        if self._database is None or choice.trial_id is None:
            return
        if answered == choice.adapters[0]:
            del self._misses[choice.trial_id]
            return
        self._misses[choice.trial_id] += 1
        if self._misses[choice.trial_id] >= _MOST_MISSES:
            trial_id = choice.trial_id
            del self._misses[trial_id]
            log.error("adapter_halted", adapter=choice.adapters[0], misses=_MOST_MISSES)
            await self._database.insist(lambda c: rollouts.halt(c, trial_id))


def is_drawn(chat: Chat, trial_id: int, share: int) -> bool:
    """Return whether a chat is of the `share` of 100 that gets a trial's candidate.

    The same on every process; a share that grows takes new ones in and leaves none out.
    """
    drawn = hashlib.sha256(f"{chat.bot_id} {chat.chat_id} {trial_id}".encode()).digest()
    return int.from_bytes(drawn[:8]) % _PARTS < share * (_PARTS // 100)


def _once(*adapters: str | None) -> tuple[str | None, ...]:
    return tuple(dict.fromkeys(adapters))
