"""What the bot asks of the table of estimates.

Each function works inside the caller's transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Select, and_, bindparam, case, select, update
from sqlalchemy.orm import InstrumentedAttribute

from db import search
from db.models import Answer, Estimate, Message, Recording, utc_now
from db.queries import insert_into

_SHOWN = 10  # of one customer's estimates

REDACTED = "(연락처)"  # stands in the place of a message that gave name or phone


@dataclass(frozen=True, slots=True)
class Saved:
    """An estimate as it is stored."""

    id: int
    bot_id: int
    chat_id: int
    customer_id: int
    state: str
    form: dict[str, Any]
    result: dict[str, Any] | None
    consented_at: datetime | None
    called_at: datetime | None
    created_at: datetime
    updated_at: datetime


def columns() -> list[InstrumentedAttribute[Any]]:
    """Return the columns of `Saved`, in its order."""
    return [getattr(Estimate, name) for name in Saved.__dataclass_fields__]


_OF_CUSTOMER = (
    select(*columns())
    .where(
        Estimate.bot_id == bindparam("bot"),
        Estimate.chat_id == bindparam("chat"),
        Estimate.customer_id == bindparam("customer"),
    )
    .order_by(Estimate.updated_at.desc(), Estimate.id.desc())
)
_LATEST = (
    _OF_CUSTOMER.where(Estimate.state != "cancelled")
    .order_by(None)
    .order_by(case((Estimate.state == "asking", 0), else_=1), Estimate.updated_at.desc())
    .limit(1)
)
_OPEN = _OF_CUSTOMER.where(Estimate.state.in_(("asking", "paused"))).limit(1)
_FINISHED = _OF_CUSTOMER.where(Estimate.result.is_not(None), Estimate.state != "cancelled").limit(
    _SHOWN
)
_ONE = select(*columns()).where(Estimate.id == bindparam("estimate"))
_CALLED = (
    select(*columns())
    .where(Estimate.customer_id == bindparam("customer"), Estimate.called_at.is_not(None))
    .order_by(Estimate.id)
)
_SET_ASIDE = (
    update(Estimate)
    .where(
        Estimate.bot_id == bindparam("bot"),
        Estimate.chat_id == bindparam("chat"),
        Estimate.customer_id == bindparam("customer"),
        Estimate.state == "asking",
        Estimate.id != bindparam("estimate"),
    )
    .values(state="paused")
)


@cache
def _upsert(dialect: str) -> Insert:
    statement = insert_into(dialect, Estimate)
    changing = ("state", "form", "result", "consented_at", "called_at", "updated_at")
    return statement.on_conflict_do_update(
        index_elements=[Estimate.id],
        set_={name: getattr(statement.excluded, name) for name in changing}
        | {
            # Who asks for a call again waits again.
            "progress": case(
                (
                    and_(
                        statement.excluded.called_at.is_not(None),
                        Estimate.called_at.is_distinct_from(statement.excluded.called_at),
                    ),
                    "new",
                ),
                else_=Estimate.progress,
            )
        },
    )


def latest(connection: Connection, bot_id: int, chat_id: int, customer_id: int) -> Saved | None:
    """Return the estimate that asks a customer, else the last that they did something about."""
    return _one(connection, _LATEST, {"bot": bot_id, "chat": chat_id, "customer": customer_id})


def open_estimate(
    connection: Connection, bot_id: int, chat_id: int, customer_id: int
) -> Saved | None:
    """Return the estimate that a customer has begun and not ended in that chat."""
    return _one(connection, _OPEN, {"bot": bot_id, "chat": chat_id, "customer": customer_id})


def finished(connection: Connection, bot_id: int, chat_id: int, customer_id: int) -> list[Saved]:
    """Return a customer's last estimates that have a sum, the newest first."""
    rows = connection.execute(_FINISHED, {"bot": bot_id, "chat": chat_id, "customer": customer_id})
    return [Saved(*row) for row in rows]


def called(connection: Connection, customer_id: int) -> list[Saved]:
    """Return the estimates for which a customer waits to be called back."""
    rows = connection.execute(_CALLED, {"customer": customer_id})
    return [Saved(*row) for row in rows]


def find(connection: Connection, estimate_id: int) -> Saved | None:
    """Return an estimate; whose it is, the caller has to look at."""
    return _one(connection, _ONE, {"estimate": estimate_id})


def save(connection: Connection, estimate: Saved) -> None:
    """Store an estimate; one that asks sets the customer's others aside."""
    values = {name: getattr(estimate, name) for name in Saved.__dataclass_fields__}
    connection.execute(_upsert(connection.dialect.name), {**values, "updated_at": utc_now()})
    if estimate.state == "asking":
        connection.execute(
            _SET_ASIDE,
            {
                "bot": estimate.bot_id,
                "chat": estimate.chat_id,
                "customer": estimate.customer_id,
                "estimate": estimate.id,
            },
        )


def redact(connection: Connection, message_id: int) -> None:
    """Take name or phone out of a message: they stand in the estimate, to be forgotten there.

    Of a voice message also out of what was heard, its sound, and the question whether it was so.
    """
    search.forget(connection, [message_id])
    connection.execute(update(Message).where(Message.id == message_id).values(text=REDACTED))
    spoken = connection.execute(
        update(Recording)
        .where(Recording.message_id == message_id)
        .values(heard=REDACTED, said=REDACTED, content=None)
    )
    if spoken.rowcount:
        connection.execute(
            update(Answer)
            .where(Answer.message_id == message_id, Answer.sent_at.is_not(None))
            .values(text=REDACTED)
        )


def _one(connection: Connection, statement: Select[Any], given: dict[str, int]) -> Saved | None:
    row = connection.execute(statement, given).one_or_none()
    return Saved(*row) if row else None
