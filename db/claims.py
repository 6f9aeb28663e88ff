"""Who runs the turns of which chat: workers, their leases, and the queue of each chat.

A worker (one bot process) holds a chat while turns wait or run there, and nobody else runs them.
Every change of hands happens under the lock of the chat's row, on Postgres between processes, on
SQLite within one. A worker that stops renewing its lease loses its chats to the others, together
with whatever it left unfinished; what it still tries to keep is refused (`ClaimLostError`).
"""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, or_, select, update

from db.models import (
    PASSING_KINDS,
    Answer,
    Chat,
    Conversation,
    Customer,
    Handoff,
    Kind,
    Message,
    Worker,
    utc_now,
)
from db.queries import SavedAnswer, Turn, day_of, insert_new

LEASE_S = 10.0
_OWN_S = 0.3  # from storing a turn to running it, at the most
_ALIVE = select(Worker.id).where(
    Worker.bot_id == bindparam("bot"), Worker.alive_until > bindparam("now")
)


class ClaimLostError(Exception):
    """Another worker has taken the chat over: this one was silent for too long."""


def register(connection: Connection, bot_id: int, *, alone: bool) -> str:
    """Begin a worker and return its id; one that is alone by design inherits every chat."""
    worker_id = uuid.uuid4().hex
    if alone:
        connection.execute(delete(Worker).where(Worker.bot_id == bot_id))
    connection.execute(
        insert_new(connection, Worker).values(
            id=worker_id, bot_id=bot_id, alive_until=_now(connection) + timedelta(seconds=LEASE_S)
        )
    )
    return worker_id


def renew(connection: Connection, bot_id: int, worker_id: str) -> int | None:
    """Renew a lease; return how many workers live, or None where this one counts as dead."""
    now = _now(connection)
    renewed = connection.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(alive_until=now + timedelta(seconds=LEASE_S))
    )
    if not renewed.rowcount:
        return None
    return connection.scalar(
        select(func.count())
        .select_from(Worker)
        .where(Worker.bot_id == bot_id, Worker.alive_until > now)
    )


def leave(connection: Connection, worker_id: str) -> None:
    """End a worker; the chats it still holds are free to be taken over at once."""
    connection.execute(delete(Worker).where(Worker.id == worker_id))


def take_over(connection: Connection, bot_id: int, worker_id: str) -> list[int]:
    """Take the chats of dead workers, and find those with a message that nobody runs.

    Such a message is old, and its chat is held by nobody, or by this worker, which then should
    know: an answer of the database that was lost on its way leaves that behind.
    """
    now = _now(connection)
    given = {"bot": bot_id, "now": now, "worker": worker_id}
    if worker_id not in connection.scalars(_ALIVE, given).all():
        return []  # whoever counts as dead judges nobody
    before = utc_now() - timedelta(seconds=LEASE_S)
    chats = {
        *connection.scalars(_ORPHANED, given),
        *connection.scalars(_FORGOTTEN, {**given, "before": before}),
    }
    if chats:
        connection.execute(
            update(Chat)
            .where(Chat.bot_id == bot_id, Chat.chat_id.in_(chats))
            .values(worker_id=worker_id)
        )
    connection.execute(delete(Worker).where(Worker.bot_id == bot_id, Worker.alive_until <= now))
    return sorted(chats)


_ORPHANED = (
    select(Chat.chat_id)
    .where(
        Chat.bot_id == bindparam("bot"),
        Chat.worker_id.is_not(None),
        Chat.worker_id.not_in(_ALIVE),
    )
    .with_for_update(skip_locked=True)
)
_FORGOTTEN = (
    select(Chat.chat_id)
    .where(
        Chat.bot_id == bindparam("bot"),
        or_(Chat.worker_id.is_(None), Chat.worker_id == bindparam("worker")),
        Chat.chat_id.in_(
            select(Message.chat_id).where(
                Message.bot_id == bindparam("bot"),
                Message.done_at.is_(None),
                Message.received_at < bindparam("before"),
            )
        ),
    )
    .with_for_update(skip_locked=True)
)


def take_said(
    connection: Connection, bot_id: int, worker_id: str, running: Collection[int]
) -> list[int]:
    """Take the chats in which an admin said something that nobody runs yet, but `running`.

    Another process stored it, which runs no turns, and so could wake nobody.
    """
    given = {"bot": bot_id, "worker": worker_id, "running": list(running)}
    chats = list(connection.scalars(_SAID, given))
    if chats:
        connection.execute(
            update(Chat)
            .where(Chat.bot_id == bot_id, Chat.chat_id.in_(chats))
            .values(worker_id=worker_id)
        )
    return chats


_SAID = (
    select(Chat.chat_id)
    .where(
        Chat.bot_id == bindparam("bot"),
        or_(Chat.worker_id.is_(None), Chat.worker_id == bindparam("worker")),
        Chat.chat_id.not_in(bindparam("running", expanding=True)),
        Chat.chat_id.in_(
            select(Message.chat_id).where(
                Message.bot_id == bindparam("bot"),
                Message.done_at.is_(None),
                Message.kind == Kind.ADMIN,
            )
        ),
    )
    .with_for_update(skip_locked=True)
)


def check_claim(connection: Connection, turn: Turn, bot_id: int, worker_id: str) -> None:
    """Raise `ClaimLostError` where another worker runs, or has run, the turn.

    Until the transaction ends, nobody can take the chat over.
    """
    row = connection.execute(
        _CLAIM, {"bot": bot_id, "chat": turn.chat_id, "message": turn.message_id}
    ).one()
    if row.worker_id != worker_id or row.done_at is not None:
        raise ClaimLostError


_CLAIM = (
    select(
        Chat.worker_id,
        select(Message.done_at)
        .where(Message.id == bindparam("message"))
        .scalar_subquery()
        .label("done_at"),
    )
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .with_for_update(of=Chat)
)

_LOCK = (
    update(Chat)
    .where(
        Chat.bot_id == bindparam("bot"),
        Chat.chat_id == bindparam("chat"),
        or_(Chat.worker_id.is_(None), Chat.worker_id == bindparam("worker")),
    )
    .values(worker_id=bindparam("worker"))
)
_RELEASE = (
    update(Chat)
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .values(worker_id=None)
)
_FINISH = update(Message).where(Message.id == bindparam("message")).values(done_at=bindparam("now"))
_TURNS = (
    select(
        Message.id,
        Message.chat_id,
        Message.kind,
        Message.text,
        Message.callback_id,
        Message.telegram_message_id,
        Message.conversation_id,
        Message.received_at,
        Conversation.customer_id,
        Customer.day,
        Customer.day_tokens,
        Chat.drafts_refused,
        Customer.speaks,
        Customer.noticed_at,
        Chat.blocked_at,
        exists()
        .where(
            Handoff.bot_id == Message.bot_id,
            Handoff.chat_id == Message.chat_id,
            Handoff.ended_at.is_(None),
            Handoff.taken_at.is_not(None),
        )
        .label("taken"),
        Answer.text.label("answer_text"),
        Answer.keyboard,
        Answer.sent_ids,
        Answer.more,
    )
    .join(Conversation, Message.conversation_id == Conversation.id)
    .join(Customer, Conversation.customer_id == Customer.id)
    .join(Chat, and_(Chat.bot_id == Message.bot_id, Chat.chat_id == Message.chat_id))
    .outerjoin(Answer, Answer.message_id == Message.id)
    .where(Message.bot_id == bindparam("bot"), Message.done_at.is_(None))
    .order_by(Message.id)
)
# What passes the queue runs already where it was stored; in the queue it has no place unless
# whoever stored it is gone.
_NEXT = _TURNS.where(
    Message.chat_id == bindparam("chat"),
    or_(
        Message.kind.not_in(PASSING_KINDS),
        Message.received_at < bindparam("forgotten"),
    ),
).limit(1)
_STOPS = _TURNS.where(
    Message.kind == Kind.STOP,
    Chat.worker_id == bindparam("worker"),
    Message.received_at < bindparam("before"),
    Message.id.not_in(bindparam("running", expanding=True)),
)


def next_turn(connection: Connection, bot_id: int, chat_id: int, worker_id: str) -> Turn | None:
    """Hold the chat and return its oldest unfinished turn.

    Where there is none, or another worker holds the chat, it is let go of.
    """
    chat = {"bot": bot_id, "chat": chat_id}
    if not connection.execute(_LOCK, {**chat, "worker": worker_id}).rowcount:
        return None
    forgotten = utc_now() - timedelta(seconds=LEASE_S)
    row = connection.execute(_NEXT, {**chat, "forgotten": forgotten}).one_or_none()
    if row is None:
        connection.execute(_RELEASE, chat)
        return None
    return _turn(row)


def stops(
    connection: Connection, bot_id: int, worker_id: str, running: Collection[int]
) -> list[Turn]:
    """Return the stops that other workers stored for the chats of this one.

    Its own are on their way to it; they are left out by their youth, or by `running`.
    """
    before = utc_now() - timedelta(seconds=_OWN_S)
    rows = connection.execute(
        _STOPS,
        {"bot": bot_id, "worker": worker_id, "before": before, "running": list(running)},
    )
    return [_turn(row) for row in rows]


def finish(connection: Connection, message_id: int) -> None:
    """Note that a message's turn has ended."""
    connection.execute(_FINISH, {"message": message_id, "now": utc_now()})


def _turn(row: Any) -> Turn:  # noqa: ANN401 - a row of `_TURNS`
    return Turn(
        row.id,
        row.chat_id,
        Kind(row.kind),
        row.text,
        row.callback_id,
        row.telegram_message_id,
        row.conversation_id,
        row.customer_id,
        row.received_at,
        row.day_tokens if row.day == day_of(utc_now()) else 0,
        row.drafts_refused,
        speaks=row.speaks,
        told=row.noticed_at is not None,
        blocked=row.blocked_at is not None,
        taken=row.taken,
        answer=SavedAnswer(row.answer_text, row.keyboard or [], row.sent_ids or [], row.more or []),
    )


def _now(connection: Connection) -> datetime:
    """Return the time by which leases are measured: on Postgres the server's, for all alike."""
    if connection.dialect.name != "postgresql":
        return utc_now()
    return connection.execute(select(func.now())).scalar_one()
