"""An answer on its way: kept first, then sent part by part, so that a crash repeats little.

An answer is a text and `more`, a list of what is sent besides:

    {"text", "keyboard"}              another message after it
    {"file": "png" | "pdf", "estimate", "keyboard"}   a quote, drawn when it is sent
    {"contact"}                       a caller's name and phone, worded when it is sent
    {"speech"}                        the answer's text, spoken
    {"edit", "keyboard"}              new buttons for a message that is there
    {"to", "text" | "call", "keyboard"}   a message to an admin, sent before all others
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection
from telegram.error import BadRequest, ChatMigrated, Forbidden

from bot import metrics
from bot.estimate.wording import NO_DOCUMENT
from bot.formatting import Formatted, parse, split_formatted, split_plain
from bot.outbound import Keyboard, Outbound
from db import claims, privacy, queries
from db.database import Database, Work
from db.models import PASSING_KINDS, Kind, Way, utc_now
from db.queries import SavedAnswer, Turn

log = structlog.get_logger()

_SPEECH_LIMIT_S = 20.0  # that a chat waits for its answer spoken
_NOT_SENT = 0  # stands for the id of a message that could not be sent


@dataclass(frozen=True, slots=True)
class File:
    """What is sent as a picture (`caption` beside it) or as a document."""

    name: str
    content: bytes
    caption: str = ""


class Artist(Protocol):
    """Makes what `more` only names."""

    async def draw(self, item: dict[str, Any]) -> File | None:
        """Return the file; None where what it shows is gone."""

    async def word(self, item: dict[str, Any]) -> str | None:
        """Return the text of a message to an admin; None where its matter is gone."""


class Speaker(Protocol):
    """Speaks answers."""

    is_on: bool

    async def speak(self, text: str) -> bytes | None:
        """Return a voice note; None where none can be made."""


@dataclass(slots=True)
class Run:
    """One try at a turn, with what is kept of its answer so far."""

    turn: Turn
    worker_id: str
    drafts_refused: bool = False

    @property
    def answer(self) -> queries.SavedAnswer:
        """The answer so far."""
        return self.turn.answer


class Delivery:
    """Keeps answers and sends them."""

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        artist: Artist,
        speaker: Speaker,
        bot_id: int,
        notice: str,
    ) -> None:
        self._database = database
        self._outbound = outbound
        self._artist = artist
        self._speaker = speaker
        self._bot_id = bot_id
        self._first_notice = notice

    async def keep(
        self,
        run: Run,
        *,
        text: str,
        keyboard: Keyboard,
        way: Way,
        more: list[dict[str, Any]] | None = None,
        also: Work[None] | None = None,
        spent: int = 0,
        **facts: Any,  # noqa: ANN401 - column values
    ) -> None:
        """Store the finished answer before it is sent, unless the turn is another worker's.

        `also` is written in the same transaction. Raises `ClaimLostError`.
        """

        def make(connection: Connection) -> SavedAnswer:
            if also:
                also(connection)
            return SavedAnswer(text, keyboard, more=more or [])

        def spend(connection: Connection) -> None:
            if spent:
                queries.spend_tokens(connection, run.turn.customer_id, spent)

        await self.keep_made(run, make, way=way, first=spend, **facts)

    async def keep_made(
        self,
        run: Run,
        make: Work[SavedAnswer],
        *,
        way: Way,
        first: Work[None],
        **facts: Any,  # noqa: ANN401 - column values
    ) -> None:
        """Store the answer that `make` returns, as `keep` does, in the same transaction.

        `first` is for the customer's row, which is locked before the chat's, as when storing.
        Somebody's first answer brings the notice of what is kept along.
        """
        turn = run.turn

        def keep(connection: Connection) -> SavedAnswer:
            first(connection)
            is_first = not turn.told and privacy.tell(connection, turn.customer_id)
            if turn.kind not in PASSING_KINDS:
                claims.check_claim(connection, turn, self._bot_id, run.worker_id)
            answer = make(connection)
            if (
                turn.speaks
                and self._speaker.is_on
                and answer.text
                and turn.kind not in PASSING_KINDS
            ):
                answer.more = [{"speech": True}, *answer.more]
            if is_first:
                answer.more = [*answer.more, {"text": self._first_notice}]
            queries.write_answer(
                connection,
                turn.message_id,
                text=answer.text,
                keyboard=answer.keyboard,
                more=answer.more,
                way=way,
                **facts,
            )
            if run.drafts_refused:
                queries.refuse_drafts(connection, self._bot_id, turn.chat_id)
            return answer

        kept = await self._database.insist(keep)
        run.answer.text, run.answer.keyboard, run.answer.more = kept.text, kept.keyboard, kept.more
        metrics.TURNS.labels("stopped" if facts.get("stopped") else way).inc()

    async def note_sent(self, run: Run, sent_ids: list[int]) -> None:
        """Store the ids of what was sent so far."""
        await self._database.insist(
            lambda c: queries.write_answer(c, run.turn.message_id, sent_ids=sent_ids)
        )
        run.answer.sent_ids = sent_ids

    async def send(self, run: Run) -> Work[None]:
        """Send the kept answer, or the parts of it that an earlier try did not send.

        Returns what is to be noted with the turn's end.
        """
        answer = run.answer
        parts = self._parts(run)
        sent_ids = list(answer.sent_ids)
        for number, part in enumerate(parts):
            begun = sent_ids[number] if number < len(sent_ids) else None
            sent = await part(begun)
            sent_ids = [*sent_ids[:number], sent, *sent_ids[number + 1 :]]
            if sent != begun and number < len(parts) - 1:  # the last is noted with the turn's end
                await self.note_sent(run, sent_ids)
        return lambda c: queries.write_answer(
            c, run.turn.message_id, sent_ids=sent_ids, sent_at=utc_now()
        )

    def _parts(self, run: Run) -> list[Callable[[int | None], Awaitable[int]]]:
        """Return what is to be sent, in order; each takes the id it has already, if any."""
        answer, chat_id = run.answer, run.turn.chat_id
        notices = [item for item in answer.more if "to" in item]
        own = [item for item in answer.more if "to" not in item]
        # An admin's marks are none of ours.
        split = split_plain if run.turn.kind == Kind.ADMIN else split_formatted
        texts = split(answer.text or "")
        keyboards: list[Keyboard] = [[] for _ in texts]
        if keyboards:
            keyboards[-1] = answer.keyboard
        return [
            *(self._notice(item) for item in notices),
            *(self._text(chat_id, *pair) for pair in zip(texts, keyboards, strict=True)),
            *(
                self._speech(chat_id, answer.text or "")
                if "speech" in item
                else self._more(chat_id, item)
                for item in own
            ),
        ]

    def _text(
        self, chat_id: int, part: Formatted, keyboard: Keyboard
    ) -> Callable[[int | None], Awaitable[int]]:
        async def send(begun: int | None) -> int:
            if begun is not None:
                try:
                    await self._outbound.edit(chat_id, begun, part, keyboard)
                except BadRequest:  # somebody deleted it
                    log.info("growing_message_gone")
                else:
                    return begun
            return await self._outbound.send(chat_id, part, keyboard)

        return send

    def _more(self, chat_id: int, item: dict[str, Any]) -> Callable[[int | None], Awaitable[int]]:
        async def send(begun: int | None) -> int:
            if begun is not None:
                return begun
            keyboard: Keyboard = item.get("keyboard", [])
            if "edit" in item:
                await self._outbound.edit_keyboard(chat_id, item["edit"], keyboard)
                return int(item["edit"])
            if "file" not in item:
                text = item.get("text") or await self._artist.word(item)
                if text is None:
                    return _NOT_SENT
                return await self._outbound.send(chat_id, parse(text), keyboard)
            file = await self._artist.draw(item)
            if file is None:  # what hangs under it is wanted all the same
                return await self._outbound.send(chat_id, parse(NO_DOCUMENT), keyboard)
            if item["file"] == "png":
                return await self._outbound.send_photo(
                    chat_id, file.content, file.caption, keyboard
                )
            return await self._outbound.send_document(chat_id, file.content, file.name, keyboard)

        return send

    def _speech(self, chat_id: int, text: str) -> Callable[[int | None], Awaitable[int]]:
        async def send(begun: int | None) -> int:
            if begun is not None:
                return begun
            try:
                async with asyncio.timeout(_SPEECH_LIMIT_S):
                    note = await self._speaker.speak(text)
            except TimeoutError:  # the text is there already
                return _NOT_SENT
            if note is None:
                return _NOT_SENT
            try:
                return await self._outbound.send_voice(chat_id, note)
            except BadRequest as error:  # who forbids voice messages has the text
                log.info("voice_refused", error=error.message)
                return _NOT_SENT

        return send

    def _notice(self, item: dict[str, Any]) -> Callable[[int | None], Awaitable[int]]:
        """Return the sending of a message to an admin, whose absence is no customer's concern."""

        async def send(begun: int | None) -> int:
            if begun is not None:
                return begun
            text = item.get("text") or await self._artist.word(item)
            if not text:
                return _NOT_SENT
            try:
                return await self._outbound.send(item["to"], parse(text), item.get("keyboard", []))
            except (Forbidden, BadRequest, ChatMigrated) as error:
                log.error("admin_unreachable", admin=item["to"], error=type(error).__name__)
                return _NOT_SENT

        return send
