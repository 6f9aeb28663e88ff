"""Conversations as admins see them: found, listed, read. Each function works in a transaction.

The list is gone through by where one stands, never by counting from its beginning. A conversation
that goes on moves to the front, and so is not met again further on.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
)

from db import search
from db.models import (
    Answer,
    Conversation,
    Customer,
    Feedback,
    Handoff,
    Kind,
    Mark,
    Message,
    Recording,
    Review,
    Way,
)
from db.queries import KOREA

_SNIPPET = 120  # characters
_BEFORE = 30  # of them before what was searched
_MOST_LOOKED_AT = 200  # conversations of which the texts are read for one page
_SILENT = (Kind.RATING, Kind.STOP)  # buttons that leave nothing in the chat


@dataclass(frozen=True, slots=True)
class Filter:
    """Which conversations are wanted: those that all of this is true of.

    Every word of `text` is said in it, by anyone; something was said from `since` to `until`,
    Korean days. `reviewed` asks for an answer that was reviewed, or for one that was not;
    `waiting` for one into which a human is called; `unsure` for an answer from what did not
    clearly fit.
    """

    text: str = ""
    since: date | None = None
    until: date | None = None
    customer_id: int | None = None
    has: Literal["voice", "estimate"] | None = None
    rating: Literal[1, -1] | None = None
    reviewed: bool | None = None
    label: str | None = None
    unsure: bool = False
    failed: bool = False
    waiting: bool = False

    @property
    def marks(self) -> Mark:
        """The marks that are wanted."""
        wanted = {
            Mark.VOICE: self.has == "voice",
            Mark.ESTIMATE: self.has == "estimate",
            Mark.LIKED: self.rating == 1,
            Mark.DISLIKED: self.rating == -1,
            Mark.FAILED: self.failed,
            Mark.UNSURE: self.unsure,
            Mark.REVIEWED: self.reviewed is True or self.label is not None,
            Mark.UNREVIEWED: self.reviewed is False,
        }
        return Mark(sum(mark for mark, is_wanted in wanted.items() if is_wanted))


class Cursor(NamedTuple):
    """Where the next page begins: after this conversation."""

    last_at: datetime
    id: int


class Snippet(NamedTuple):
    """A piece of what was said, in a message or its answer."""

    message_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in the list; the snippet is what was searched, or the customer's last words.

    `is_waiting` says that a human is called into its chat, or there.
    """

    id: int
    customer_id: int
    customer_name: str
    chat_id: int
    started_at: datetime
    last_at: datetime
    messages: int
    snippet: Snippet | None
    marks: Mark
    labels: list[str]
    is_waiting: bool


class Page(NamedTuple):
    """Conversations, the newest first, and where to go on, if there may be more.

    A page may hold fewer than were asked for, and still not be the last: a search ends it where it
    has read for long enough.
    """

    conversations: list[Listed]
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Heard:
    """How a voice message was understood; `is_kept` says that its sound is there."""

    seconds: int
    outcome: str | None
    confidence: float | None
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Given:
    """The answer to a message, with how it came, and what was made of it.

    `more` is what was sent besides to the customer (`bot/delivery.py`).
    """

    id: int
    text: str | None
    more: list[dict[str, Any]]
    way: Way | None
    sources: list[dict[str, Any]]
    confidence: float | None
    model: str | None
    adapter: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_s: float | None
    total_s: float | None
    error: str | None
    stopped: bool
    sent_at: datetime | None
    rating: int | None
    reviewed_at: datetime | None
    verdict: str | None
    labels: list[str]
    corrected: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message with its answer; of an admin's own words `author_id` says whose they are.

    `asked` is the question in full, where it leans on earlier ones or is a button's.
    """

    message_id: int
    kind: Kind
    text: str
    asked: str | None
    at: datetime
    author_id: int | None
    voice: Heard | None
    answer: Given | None


# The list

_WAITING = (
    select(Conversation.id)
    .join(
        Handoff,
        and_(
            Handoff.chat_id == Conversation.chat_id,
            Handoff.customer_id == Conversation.customer_id,
        ),
    )
    .where(Handoff.ended_at.is_(None), Conversation.ended_at.is_(None))
)
_ROWS = select(
    Conversation.id,
    Conversation.customer_id,
    Customer.name,
    Conversation.chat_id,
    Conversation.started_at,
    Conversation.last_at,
    Conversation.marks,
    Conversation.labels,
    select(func.count())
    .select_from(Message)
    .where(Message.conversation_id == Conversation.id, Message.kind.not_in(_SILENT))
    .scalar_subquery()
    .label("messages"),
    Conversation.id.in_(_WAITING).label("is_waiting"),
    select(Message.id)
    .where(Message.conversation_id == Conversation.id, Message.kind.in_((Kind.TEXT, Kind.VOICE)))
    .order_by(Message.conversation_id.desc(), Message.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("last_id"),
).join(Customer, Customer.id == Conversation.customer_id)
_TEXTS = select(Message.id, Message.text).where(Message.id.in_(bindparam("ids", expanding=True)))


def find(
    connection: Connection, wanted: Filter, *, before: Cursor | None = None, limit: int = 50
) -> Page:
    """Return the wanted conversations after `before`, by their last message, the newest first."""
    words = search.words(wanted.text)
    conditions = _conditions(connection.dialect.name, wanted)
    if not words:
        found = _next(connection, conditions, before, limit + 1)
        more = found[limit - 1] if len(found) > limit else None
        return Page(_describe(connection, found[:limit], None), more)
    if (candidates := search.candidates(connection, words)) is not None:
        conditions.append(Conversation.id.in_(candidates))
    snippets: dict[int, Snippet] = {}
    holding: list[Cursor] = []
    met = _next(connection, conditions, before, _MOST_LOOKED_AT)
    after = met[-1] if len(met) == _MOST_LOOKED_AT else None
    for start in range(0, len(met), limit + 1):
        part = met[start : start + limit + 1]
        snippets |= _read_for(connection, part, words)
        holding += [cursor for cursor in part if cursor.id in snippets]
        if len(holding) > limit:
            after = holding[limit - 1]
            break
    return Page(_describe(connection, holding[:limit], snippets), after)


def _conditions(dialect: str, wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if marks := int(wanted.marks):
        conditions.append(Conversation.marks.bitwise_and(marks) == marks)
    if wanted.since:
        conditions.append(Conversation.last_at >= _midnight(wanted.since))
    if wanted.until:
        conditions.append(Conversation.started_at < _midnight(wanted.until + timedelta(days=1)))
    if wanted.customer_id is not None:
        conditions.append(Conversation.customer_id == wanted.customer_id)
    if wanted.label is not None:
        conditions.append(_has_label(dialect, wanted.label))
    if wanted.waiting:
        conditions.append(Conversation.id.in_(_WAITING))
    return conditions


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), KOREA).astimezone(UTC)


def _has_label(dialect: str, label: str) -> ColumnElement[bool]:
    """Return whether a label is among a conversation's, by the text of their JSON.

    A quotation mark inside of a label stands behind a backslash there, so that none begins one.
    """
    find = func.instr if dialect == "sqlite" else func.strpos
    labels, quoted = cast(Conversation.labels, Text), json.dumps(label)
    return or_(find(labels, f"[{quoted}") > 0, find(labels, f", {quoted}") > 0)


def _next(
    connection: Connection,
    conditions: list[ColumnElement[bool]],
    before: Cursor | None,
    limit: int,
) -> list[Cursor]:
    query = select(Conversation.last_at, Conversation.id).where(*conditions)
    if before:
        query = query.where(tuple_(Conversation.last_at, Conversation.id) < tuple_(*before))
    query = query.order_by(Conversation.last_at.desc(), Conversation.id.desc()).limit(limit)
    return [Cursor(*row) for row in connection.execute(query)]


def _describe(
    connection: Connection, page: Sequence[Cursor], snippets: dict[int, Snippet] | None
) -> list[Listed]:
    """Return what the list shows of conversations; without snippets, with the last words."""
    ids = [cursor.id for cursor in page]
    rows = {row.id: row for row in connection.execute(_ROWS.where(Conversation.id.in_(ids)))}
    if snippets is None:
        last_ids = {row.last_id: row.id for row in rows.values() if row.last_id is not None}
        snippets = {
            last_ids[message_id]: Snippet(message_id, _excerpt(text))
            for message_id, text in connection.execute(_TEXTS, {"ids": list(last_ids)})
        }
    return [
        Listed(
            id=row.id,
            customer_id=row.customer_id,
            customer_name=row.name,
            chat_id=row.chat_id,
            started_at=row.started_at,
            last_at=row.last_at,
            messages=row.messages,
            snippet=snippets.get(row.id),
            marks=Mark(row.marks),
            labels=row.labels,
            is_waiting=row.is_waiting,
        )
        for row in map(rows.__getitem__, ids)
    ]


# Searching


def _read_for(
    connection: Connection, conversations: Sequence[Cursor], words: list[str]
) -> dict[int, Snippet]:
    """Return the conversations that hold every word, each with where.

    Best is the newest text with all of them, else the newest with any.
    """
    missing = {cursor.id: set(words) for cursor in conversations}
    best: dict[int, tuple[int, Snippet]] = {}
    for conversation_id, message_id, said in _said(connection, list(missing)):
        most = best[conversation_id][0] if conversation_id in best else 0
        if most == len(words):
            continue
        folded = search.fold(said)
        held = [word for word in words if word in folded]
        missing[conversation_id].difference_update(held)
        if len(held) > most:
            snippet = Snippet(message_id, _excerpt(said, held[0]))
            best[conversation_id] = len(held), snippet
    return {id_: best[id_][1] for id_, left in missing.items() if not left}


def _said(connection: Connection, conversation_ids: list[int]) -> Iterator[tuple[int, int, str]]:
    """Yield the conversations' texts with their messages' ids, the newest first."""
    for conversation_id, message_id, said, answer in connection.execute(
        search.texts_of(conversation_ids)
    ):
        for text in (said, answer):
            if text:
                yield conversation_id, message_id, text


def _excerpt(text: str, word: str = "") -> str:
    """Return a line of `text` around a word."""
    line = " ".join(text.split())
    start = max(0, line.lower().find(word) - _BEFORE)
    end = start + _SNIPPET
    return "…" * (start > 0) + line[start:end] + "…" * (end < len(line))


# One conversation

_GIVEN = (
    Answer.id.label("answer_id"),
    Answer.text.label("answer_text"),
    Answer.more,
    Answer.way,
    Answer.asked,
    Answer.sources,
    Answer.confidence.label("answer_confidence"),
    Answer.model,
    Answer.adapter,
    Answer.prompt_tokens,
    Answer.completion_tokens,
    Answer.first_token_s,
    Answer.total_s,
    Answer.error,
    Answer.stopped,
    Answer.sent_at,
)
_ENTRIES = (
    select(
        Message.id,
        Message.kind,
        Message.text,
        Message.received_at,
        Message.author_id,
        Recording.seconds,
        Recording.outcome,
        Recording.confidence,
        Recording.content.is_not(None).label("is_kept"),
        *_GIVEN,
        Feedback.value,
        Review.reviewed_at,
        Review.verdict,
        Review.labels,
        Review.corrected,
    )
    .join(Conversation, Conversation.id == Message.conversation_id)
    .outerjoin(Recording, Recording.message_id == Message.id)
    .outerjoin(Answer, Answer.message_id == Message.id)
    .outerjoin(
        Feedback,
        and_(Feedback.answer_id == Answer.id, Feedback.customer_id == Conversation.customer_id),
    )
    .outerjoin(Review, Review.answer_id == Answer.id)
    .where(
        Message.conversation_id == bindparam("conversation"),
        Message.id > bindparam("after"),
        Message.kind.not_in(_SILENT),
    )
    .order_by(Message.conversation_id, Message.id)
    .limit(bindparam("most"))
)


def read(
    connection: Connection, conversation_id: int, *, after_id: int = 0, limit: int = 200
) -> list[Entry]:
    """Return what was said in a conversation after a message, the oldest first."""
    rows = connection.execute(
        _ENTRIES, {"conversation": conversation_id, "after": after_id, "most": limit}
    )
    return [
        Entry(
            message_id=row.id,
            kind=Kind(row.kind),
            text=row.text,
            asked=row.asked,
            at=row.received_at,
            author_id=row.author_id,
            voice=Heard(row.seconds, row.outcome, row.confidence, row.is_kept)
            if row.seconds is not None
            else None,
            answer=_given(row) if row.answer_id is not None else None,
        )
        for row in rows
    ]


def _given(row: Any) -> Given:  # noqa: ANN401 - a row of `_ENTRIES`
    return Given(
        id=row.answer_id,
        text=row.answer_text,
        more=[item for item in row.more if "to" not in item],
        way=Way(row.way) if row.way else None,
        sources=row.sources,
        confidence=row.answer_confidence,
        model=row.model,
        adapter=row.adapter,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        first_token_s=row.first_token_s,
        total_s=row.total_s,
        error=row.error,
        stopped=row.stopped,
        sent_at=row.sent_at,
        rating=row.value,
        reviewed_at=row.reviewed_at,
        verdict=row.verdict,
        labels=row.labels or [],
        corrected=row.corrected,
    )
