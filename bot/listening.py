"""A voice message on its way to text: it is fetched, heard, and put right; nothing is lost."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter

from bot import keyboards, texts
from bot.formatting import parse
from bot.hearing import MOST_BYTES, Ears, Heard
from bot.outbound import Outbound
from db import recordings
from db.database import Database
from db.queries import Turn
from db.recordings import Heard as Saved
from inference.prompts import MAX_QUESTION_CHARS
from inference.speech.mishearing import Judge, correct
from inference.speech.recognition import RecognizerError

log = structlog.get_logger()

_AT_ONCE = 2  # recordings that are fetched and heard

# What is said where a recording gave no text.
_ANSWERS = {
    "nothing": texts.HEARD_NOTHING,
    "silent": texts.HEARD_SILENCE,
    "foreign": texts.HEARD_FOREIGN,
    "broken": texts.HEARD_BROKEN,
    "gone": texts.HEARD_BROKEN,
    "big": texts.HEARD_BIG,
    "away": texts.HEARD_AWAY,
}


class Listener:
    """Makes text of voice messages; without `ears` none is understood.

    The sound is kept for the shop's admins where `keeps_sound` says so.
    """

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        ears: Ears | None,
        judge: Callable[[], Judge],
        *,
        keeps_sound: bool,
    ) -> None:
        self._database = database
        self._outbound = outbound
        self._ears = ears
        self._judge = judge
        self._keeps_sound = keeps_sound
        self._few = asyncio.Semaphore(_AT_ONCE)

    @property
    def is_on(self) -> bool:
        """Whether voice messages are understood at all."""
        return self._ears is not None

    async def listen(self, turn: Turn, *, quietly: bool = False) -> Saved:
        """Return what a turn's recording holds, hearing it unless an earlier try did.

        The customer is told that it is listened to, unless `quietly`. Raises `TelegramError`
        where it could not be fetched this time.
        """
        saved = await self._find(turn)
        if saved.outcome is not None:
            return saved
        if saved.notice_id is None and not quietly:
            notice = await self._outbound.send(turn.chat_id, parse(texts.LISTENING), [])
            await self._database.insist(
                lambda c: recordings.note_notice(c, turn.message_id, notice)
            )
        content, heard = await self._hear(saved)
        said = kept = None
        if heard.outcome in {"sure", "unsure"}:
            said, kept = heard.text, content if self._keeps_sound else None
            if len(said) <= MAX_QUESTION_CHARS:  # else it is refused anyway
                said = await asyncio.to_thread(correct, said, self._judge())
        await self._database.insist(
            lambda c: recordings.note_heard(
                c,
                turn.message_id,
                outcome=heard.outcome,
                heard=heard.text,
                said=said,
                confidence=heard.confidence,
                content=kept,
            )
        )
        return await self._find(turn)

    async def show(self, turn: Turn, saved: Saved) -> None:
        """Make the notice that it listens a quote of what was heard, with a button to mend it."""
        if saved.notice_id is None:
            return
        quote = texts.HEARD.format(text=saved.said)
        with suppress(BadRequest):  # somebody deleted it
            await self._outbound.edit(
                turn.chat_id, saved.notice_id, parse(quote), keyboards.mend(turn.message_id)
            )

    def explain(self, saved: Saved) -> str:
        """Return what is said of a recording that gave no text."""
        if saved.outcome == "long":
            most_s = self._ears.most_s if self._ears else 0
            return texts.HEARD_LONG.format(minutes=max(1, round(most_s / 60)))
        return _ANSWERS[saved.outcome or "broken"]

    async def _find(self, turn: Turn) -> Saved:
        saved = await self._database.insist(lambda c: recordings.find(c, turn.message_id))
        assert saved is not None  # noqa: S101 - stored with its message
        return saved

    async def _hear(self, saved: Saved) -> tuple[bytes | None, Heard]:
        """Return the sound and what it holds; what is too much is not even fetched."""
        assert self._ears  # noqa: S101 - asked before
        if saved.size is not None and saved.size > MOST_BYTES:
            return None, Heard("big")
        if saved.seconds > self._ears.most_s:
            return None, Heard("long")
        async with self._few:  # each holds its sound in memory
            try:
                content = await self._outbound.fetch(saved.file_id, MOST_BYTES)
            except BadRequest as error:
                return None, Heard("big" if "too big" in error.message.lower() else "gone")
            except (Forbidden, InvalidToken):  # of the file; the bot itself is logged in
                return None, Heard("gone")
            except (NetworkError, RetryAfter):
                return None, Heard("away")
            if len(content) > MOST_BYTES:
                return None, Heard("big")
            try:
                heard = await self._ears.hear(content)
            except RecognizerError as error:
                log.error("recognizer_away", error=str(error))
                return None, Heard("away")
        log.info("voice_heard", outcome=heard.outcome, seconds=heard.seconds, taken_s=heard.taken_s)
        return content, heard
