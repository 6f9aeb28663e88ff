"""Voice messages in the database. Each function works inside the caller's transaction."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from db.models import Conversation, Customer, Message, Recording, utc_now


class Heard(NamedTuple):
    """What is known of a voice message so far; `outcome` is None until it was heard."""

    message_id: int
    file_id: str
    seconds: int
    size: int | None
    notice_id: int | None
    outcome: str | None
    said: str | None


_COLUMNS = (
    Recording.message_id,
    Recording.file_id,
    Recording.seconds,
    Recording.size,
    Recording.notice_id,
    Recording.outcome,
    Recording.said,
)


def find(connection: Connection, message_id: int) -> Heard | None:
    """Return a message's recording."""
    row = connection.execute(
        select(*_COLUMNS).where(Recording.message_id == message_id)
    ).one_or_none()
    return Heard(*row) if row else None


def find_unsure(connection: Connection, message_id: int, customer_id: int) -> Heard | None:
    """Return a recording of a customer's that waits for being confirmed."""
    row = connection.execute(
        select(*_COLUMNS)
        .join(Message, Message.id == Recording.message_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(
            Recording.message_id == message_id,
            Recording.outcome == "unsure",
            Conversation.customer_id == customer_id,
        )
    ).one_or_none()
    return Heard(*row) if row else None


def note_notice(connection: Connection, message_id: int, notice_id: int) -> None:
    """Remember the Telegram message that says that a recording is listened to."""
    _write(connection, message_id, notice_id=notice_id)


def note_heard(
    connection: Connection,
    message_id: int,
    *,
    outcome: str,
    heard: str,
    said: str | None,
    confidence: float,
    content: bytes | None,
) -> None:
    """Store what a recording holds; `said`, what is taken for said, becomes the message's text."""
    noted = connection.execute(
        update(Recording)
        .where(Recording.message_id == message_id, Recording.outcome.is_(None))
        .values(
            outcome=outcome,
            heard=heard,
            said=said,
            confidence=confidence,
            content=content,
            heard_at=utc_now(),
        )
    )
    if said is not None and noted.rowcount:  # else another worker was first
        connection.execute(update(Message).where(Message.id == message_id).values(text=said))


def confirm(connection: Connection, message_id: int) -> None:
    """Note that a customer did say what was heard; it cannot be confirmed again."""
    _write(connection, message_id, outcome="confirmed")


def sound(connection: Connection, message_id: int) -> bytes | None:
    """Return the file of a recording, None where it is not kept (any more)."""
    content: bytes | None = connection.scalar(
        select(Recording.content).where(Recording.message_id == message_id)
    )
    return content


def forget_sound(connection: Connection, before: datetime) -> int:
    """Delete the sound of recordings heard before a time; return of how many."""
    old = connection.execute(
        update(Recording)
        .where(Recording.content.is_not(None), Recording.heard_at < before)
        .values(content=None)
    )
    return old.rowcount


def speak(connection: Connection, customer_id: int, *, on: bool) -> None:
    """Remember whether a customer wants answers spoken, too."""
    connection.execute(update(Customer).where(Customer.id == customer_id).values(speaks=on))


def _write(connection: Connection, message_id: int, **values: object) -> None:
    connection.execute(update(Recording).where(Recording.message_id == message_id).values(**values))
