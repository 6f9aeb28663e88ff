"""Consulted answers to be learnt from, a page at a time, and the log of taking them out.

Each function works inside the caller's transaction.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from db.models import (
    Answer,
    Conversation,
    Customer,
    Estimate,
    Feedback,
    Message,
    Review,
    Way,
)
from db.reviews import IS_CONSULTATION


class Answered(NamedTuple):
    """One answer with its question in full and what customer and reviewer made of it."""

    id: int
    message_id: int
    conversation_id: int
    customer_id: int
    question: str
    text: str
    way: Way
    sources: list[dict[str, Any]]
    rating: int | None
    verdict: str | None
    labels: list[str] | None
    corrected: str | None


# What is no example of a good answer: an apology, or what a reviewer found bad, unless corrected.
_WORTH_LEARNING = or_(
    Review.corrected.is_not(None),
    and_(Answer.way != Way.FAILED, or_(Review.verdict.is_(None), Review.verdict != "bad")),
)
_PAGE = (
    select(
        Answer.id,
        Answer.message_id,
        Message.conversation_id,
        Conversation.customer_id,
        func.coalesce(Answer.asked, Message.text),
        Answer.text,
        Answer.way,
        Answer.sources,
        Feedback.value,
        Review.verdict,
        Review.labels,
        Review.corrected,
    )
    .join(Message, Message.id == Answer.message_id)
    .join(Conversation, Conversation.id == Message.conversation_id)
    .outerjoin(
        Feedback,
        and_(Feedback.answer_id == Answer.id, Feedback.customer_id == Conversation.customer_id),
    )
    .outerjoin(Review, and_(Review.answer_id == Answer.id, Review.reviewed_at.is_not(None)))
    .where(
        Answer.id > bindparam("after"),
        Answer.sent_at.is_not(None),
        IS_CONSULTATION,
        _WORTH_LEARNING,
    )
    .order_by(Answer.id)
    .limit(bindparam("most"))
)
_NAMES = select(Customer.id, Customer.name).where(
    Customer.id.in_(bindparam("customers", expanding=True))
)
_ESTIMATE_NAMES = select(Estimate.customer_id, Estimate.form["name"].as_string()).where(
    Estimate.customer_id.in_(bindparam("customers", expanding=True))
)


def page(
    connection: Connection,
    after_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    reviewed_only: bool = False,
    most: int,
) -> list[Answered]:
    """Return the next answers after an id: to messages received from `since` on, before `until`."""
    statement = _PAGE
    if since:
        statement = statement.where(Message.received_at >= since)
    if until:
        statement = statement.where(Message.received_at < until)
    if reviewed_only:
        statement = statement.where(Review.reviewed_at.is_not(None))
    rows = connection.execute(statement, {"after": after_id, "most": most})
    return [Answered(*row) for row in rows]


def names(connection: Connection, customer_ids: Collection[int]) -> dict[int, set[str]]:
    """Return the names that customers have on Telegram and gave for their estimates."""
    found: dict[int, set[str]] = {id_: set() for id_ in customer_ids}
    for statement in (_NAMES, _ESTIMATE_NAMES):
        for id_, name in connection.execute(statement, {"customers": list(customer_ids)}):
            if name:
                found[id_].add(name)
    return found
