"""The answers that admins look over: who has which in hand, and what they make of it.

Each function works inside the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    Connection,
    Insert,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from db.models import DOUBTFUL, Answer, Conversation, Feedback, Kind, Message, Review, Way
from db.queries import insert_into

Verdict = Literal["good", "bad"]
NOBODY = 0  # in place of an admin
_REST = timedelta(hours=1)

# What may be wrong with an answer.
LABELS = (*("wrong_fact", "off_topic", "rude", "unsafe", "price_promised", "unclear", "outdated"),)

# What was consulted on, and so is reviewed and learnt from: neither buttons nor estimates.
WAYS = (Way.STORED, Way.MODEL, Way.FALLBACK, Way.UNSURE, Way.DECLINED, Way.FAILED)
IS_CONSULTATION = and_(
    Answer.way.in_(WAYS),
    Answer.text.is_not(None),
    Answer.stopped.is_(False),
    or_(Message.kind.in_((Kind.TEXT, Kind.VOICE)), Answer.asked.is_not(None)),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer to be reviewed, with what it answers and what was made of it so far."""

    answer_id: int
    message_id: int
    conversation_id: int
    question: str
    answer: str
    way: Way
    sources: list[dict[str, Any]]
    rating: int | None
    verdict: Verdict | None
    labels: list[str]
    corrected: str | None
    entry_id: str | None


_IN_HAND = (
    select(Review.answer_id)
    .where(
        Review.admin_id == bindparam("admin"),
        Review.reviewed_at.is_(None),
        Review.claimed_until > bindparam("now"),
    )
    .order_by(Review.answer_id.desc())
    .limit(1)
)


_SHOWN = (
    select(
        Answer.id,
        Answer.message_id,
        Message.conversation_id,
        func.coalesce(Answer.asked, Message.text),
        Answer.text,
        Answer.way,
        Answer.sources,
        Feedback.value,
        Review.verdict,
        Review.labels,
        Review.corrected,
        Review.entry_id,
    )
    .join(Message, Message.id == Answer.message_id)
    .join(Conversation, Conversation.id == Message.conversation_id)
    .outerjoin(Review, Review.answer_id == Answer.id)
    .outerjoin(
        Feedback,
        and_(Feedback.answer_id == Answer.id, Feedback.customer_id == Conversation.customer_id),
    )
    .where(Answer.id == bindparam("answer"), IS_CONSULTATION)
)


def _waiting(
    statement: Select[int], answer_id: InstrumentedAttribute[int] = Answer.id
) -> Select[int]:
    """Return the newest of a statement's answers that nobody has reviewed or has in hand.

    It goes along `answer_id`, the column of the statement's index.
    """
    taken = exists().where(
        Review.answer_id == Answer.id,
        or_(Review.reviewed_at.is_not(None), Review.claimed_until > bindparam("now")),
    )
    return (
        statement.join(Message, Message.id == Answer.message_id)
        .where(IS_CONSULTATION, ~taken)
        .order_by(answer_id.desc())
        .limit(1)
    )


# One after another, each by an index of its own. Its condition has to stand in the statement as
# it does in the index, not as a parameter.
_QUEUES = (
    _waiting(
        select(Answer.id)
        .join(Feedback, Feedback.answer_id == Answer.id)
        .where(Feedback.value == literal(-1, literal_execute=True)),
        Feedback.answer_id,
    ),
    _waiting(select(Answer.id).where(text(f"({DOUBTFUL})"))),
    _waiting(select(Answer.id)),
)


@cache
def _claim(dialect: str) -> Insert:
    statement = insert_into(dialect, Review).values(labels=[])
    return statement.on_conflict_do_update(
        index_elements=[Review.answer_id],
        set_={
            "admin_id": statement.excluded.admin_id,
            "claimed_until": statement.excluded.claimed_until,
        },
        where=and_(Review.reviewed_at.is_(None), Review.claimed_until <= bindparam("now")),
    ).returning(Review.answer_id)


def claim(connection: Connection, admin_id: int, now: datetime, *, minutes: int = 15) -> int | None:
    """Return the answer that an admin is to review next, theirs alone for `minutes`.

    What they have in hand comes first; then what customers disliked, what is doubtful, the
    newest. None where nothing waits.
    """
    until = now + timedelta(minutes=minutes)
    in_hand = connection.scalar(_IN_HAND, {"admin": admin_id, "now": now})
    if in_hand is not None:
        _write(connection, in_hand, claimed_until=until)
        return in_hand
    for queue in _QUEUES:
        while (found := connection.scalar(queue, {"now": now})) is not None:
            given = {"answer_id": found, "admin_id": admin_id, "claimed_until": until, "now": now}
            if connection.scalar(_claim(connection.dialect.name), given) is not None:
                return found
            # Another reviewer was faster, which the next look sees.
    return None


def show(connection: Connection, answer_id: int) -> Judged | None:
    """Return an answer with its review, None where it is none that is reviewed."""
    row = connection.execute(_SHOWN, {"answer": answer_id}).one_or_none()
    return replace(Judged(*row), labels=row.labels or []) if row else None


def postpone(connection: Connection, answer_id: int, admin_id: int, now: datetime) -> None:
    """Put an answer that an admin has in hand aside for an hour, for whoever comes then."""
    connection.execute(
        update(Review)
        .where(
            Review.answer_id == answer_id,
            Review.admin_id == admin_id,
            Review.reviewed_at.is_(None),
        )
        .values(admin_id=NOBODY, claimed_until=now + _REST)
    )


def save(
    connection: Connection,
    answer_id: int,
    admin_id: int,
    verdict: Verdict,
    labels: Sequence[str],
    corrected: str | None,
    now: datetime,
) -> None:
    """Store what an admin makes of an answer, in place of an earlier review.

    Raises `ValueError` for a label that is none.
    """
    if unknown := set(labels) - set(LABELS):
        msg = f"no labels: {unknown}"
        raise ValueError(msg)
    values: dict[str, Any] = {
        "admin_id": admin_id,
        "claimed_until": now,
        "reviewed_at": now,
        "verdict": verdict,
        "labels": list(labels),
        "corrected": corrected,
    }
    statement = insert_into(connection.dialect.name, Review).values(answer_id=answer_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[Review.answer_id], set_=values)
    )


def note_entry(connection: Connection, answer_id: int, entry_id: str) -> None:
    """Remember the knowledge entry that was made of a corrected answer."""
    _write(connection, answer_id, entry_id=entry_id)


def _write(connection: Connection, answer_id: int, **values: object) -> None:
    connection.execute(update(Review).where(Review.answer_id == answer_id).values(**values))
