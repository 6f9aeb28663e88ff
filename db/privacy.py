"""What is told and forgotten of customers. Each function works inside the caller's transaction.

To forget is to delete where a customer is old (`purge`), and to make nobody's where one asks for
it (`erase`): then the rows stay, to be counted, without a word, a name or a number in them. A
private chat has its customer's Telegram id for its own, so chats are forgotten like names.
"""

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from db import search
from db.models import (
    Answer,
    Chat,
    Conversation,
    Customer,
    Estimate,
    Feedback,
    Handoff,
    Kind,
    Message,
    Recording,
    Review,
    utc_now,
)

NO_CHAT = 0  # stands in the place of a chat that is forgotten

_TOGETHER = 500  # ids in one statement
_WRITTEN = (Kind.TEXT, Kind.VOICE, Kind.COMMAND, Kind.OTHER, Kind.EXCESS)


class Erased(NamedTuple):
    """How much of a customer's is gone; presses of buttons are no messages to them."""

    messages: int
    recordings: int
    estimates: int


class Purged(NamedTuple):
    """How much a batch deleted; the next begins after the conversation `last_id`."""

    conversations: int
    messages: int
    customers: int
    last_id: int


# Telling


def tell(connection: Connection, customer_id: int) -> bool:
    """Note that a customer is told what is kept; return whether they were not before."""
    told = connection.execute(
        update(Customer)
        .where(Customer.id == customer_id, Customer.noticed_at.is_(None))
        .values(noticed_at=utc_now())
    )
    return bool(told.rowcount)


# Forgetting one who asks for it


def asked(connection: Connection, message_id: int, customer_id: int, command: str) -> bool:
    """Return whether a message is that command of that customer: button data may be forged."""
    found = connection.scalar(
        select(Message.id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(
            Message.id == message_id,
            Message.kind == Kind.COMMAND,
            Message.text == command,
            Conversation.customer_id == customer_id,
        )
    )
    return found is not None


def hold(connection: Connection, customer_id: int) -> None:
    """Let nothing new of a customer be stored until the transaction ends."""
    connection.execute(select(Customer.id).where(Customer.id == customer_id).with_for_update())


def erase(connection: Connection, customer_id: int, running_id: int) -> Erased:
    """Make all that is kept of a held customer nobody's, and end what is unfinished.

    The message `running_id`, whose turn does this, is left its chat, so that its answer can be
    sent there whatever happens meanwhile; `unlink` is for that.
    """
    now = utc_now()
    conversations = select(Conversation.id).where(Conversation.customer_id == customer_id)
    own = Message.conversation_id.in_(conversations)
    chats = connection.execute(select(Message.bot_id, Message.chat_id).where(own).distinct()).all()
    for bot_id, chat_id in sorted(tuple(chat) for chat in chats):
        _hold_chat(connection, bot_id, chat_id)  # no turn of theirs keeps an answer from here on
    ids = connection.scalars(select(Message.id).where(own)).all()
    erased = Erased(
        _count(connection, own, Message.kind.in_(_WRITTEN)),
        _count(connection, own, exists().where(Recording.message_id == Message.id)),
        _count(connection, own, exists().where(Estimate.id == Message.id)),
    )
    for some in _parts(ids):
        _forget_matters(connection, some)
        connection.execute(
            update(Recording)
            .where(Recording.message_id.in_(some))
            .values(
                file_id="",
                notice_id=None,
                outcome=func.coalesce(Recording.outcome, "gone"),  # else it would still be heard
                heard=None,
                said=None,
                content=None,
            )
        )
        answers = select(Answer.id).where(Answer.message_id.in_(some))
        # A verdict and its labels are the reviewer's; a correction may quote the customer.
        connection.execute(
            update(Review).where(Review.answer_id.in_(answers)).values(corrected=None)
        )
        connection.execute(
            update(Answer)
            .where(Answer.message_id.in_(some))
            .values(text="", keyboard=[], more=[], sent_ids=[], asked=None)
        )
        connection.execute(
            update(Message)
            .where(Message.id.in_(some), Message.id != running_id)
            .values(
                text="",
                chat_id=NO_CHAT,
                telegram_message_id=None,
                callback_id=None,
                done_at=func.coalesce(Message.done_at, now),
            )
        )
    connection.execute(delete(Feedback).where(Feedback.customer_id == customer_id))
    connection.execute(delete(Handoff).where(Handoff.customer_id == customer_id))
    connection.execute(
        update(Conversation)
        .where(Conversation.customer_id == customer_id)
        .values(chat_id=NO_CHAT, ended_at=func.coalesce(Conversation.ended_at, now))
    )
    connection.execute(
        update(Customer)
        .where(Customer.id == customer_id)
        .values(name="", telegram_id=-1 - secrets.randbelow(2**62), speaks=False)
    )
    for bot_id, chat_id in chats:
        _drop_chat(connection, bot_id, chat_id)
    return erased


def unlink(connection: Connection, message_id: int, *, is_running: bool = True) -> None:
    """Forget the chat of an erased customer's message, which was kept to answer there.

    While its turn is running its worker holds the chat.
    """
    bot_id, chat_id = connection.execute(
        select(Message.bot_id, Message.chat_id).where(Message.id == message_id)
    ).one()
    connection.execute(
        update(Message)
        .where(Message.id == message_id)
        .values(text="", chat_id=NO_CHAT, telegram_message_id=None, callback_id=None)
    )
    connection.execute(
        update(Answer).where(Answer.message_id == message_id).values(more=[], sent_ids=[])
    )
    _drop_chat(connection, bot_id, chat_id, is_ours=is_running)


def sweep(connection: Connection) -> None:
    """Do what was left: turns ended without `unlink`, and chats were in use while they emptied."""
    left = connection.scalars(
        select(Message.id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(
            Conversation.chat_id == NO_CHAT,
            Message.chat_id != NO_CHAT,
            Message.done_at.is_not(None),
        )
    ).all()
    for message_id in left:
        unlink(connection, message_id, is_running=False)
    empty = connection.execute(
        select(Chat.bot_id, Chat.chat_id).where(
            Chat.worker_id.is_(None), ~exists().where(Conversation.chat_id == Chat.chat_id)
        )
    ).all()
    for bot_id, chat_id in sorted(tuple(chat) for chat in empty):
        _drop_chat(connection, bot_id, chat_id)


# Forgetting what is old


def count_old(connection: Connection, before: datetime) -> Purged:
    """Return how much `purge` would delete, batch by batch."""
    old = select(Conversation.id).where(*_is_old(before))
    messages = select(func.count()).where(Message.conversation_id.in_(old))
    return Purged(
        connection.scalar(select(func.count()).select_from(old.subquery())) or 0,
        connection.scalar(messages) or 0,
        0,
        0,
    )


def purge(connection: Connection, before: datetime, after_id: int, limit: int) -> Purged | None:
    """Delete up to `limit` conversations that ended before a time, with all that hangs on them.

    None where there is none after the conversation `after_id`. What is unfinished stays, and so
    does a conversation with an estimate that was taken up later.
    """
    found = connection.execute(
        select(Conversation.id, Conversation.customer_id)
        .where(Conversation.id > after_id, *_is_old(before))
        .order_by(Conversation.id)
        .limit(limit)
    ).all()
    if not found:
        return None
    last_id = found[-1].id
    customers = sorted({row.customer_id for row in found})
    connection.execute(
        select(Customer.id)
        .where(Customer.id.in_(customers))
        .order_by(Customer.id)
        .with_for_update()
    )
    # Once more under the locks: the customers may have written since.
    conversations = connection.scalars(
        select(Conversation.id).where(
            Conversation.id.in_([row.id for row in found]), *_is_old(before)
        )
    ).all()
    own = Message.conversation_id.in_(conversations)
    chats = connection.execute(select(Message.bot_id, Message.chat_id).where(own).distinct()).all()
    messages = connection.scalars(select(Message.id).where(own)).all()
    for some in _parts(messages):
        _delete_messages(connection, some)
    connection.execute(delete(Conversation).where(Conversation.id.in_(conversations)))
    connection.execute(
        delete(Handoff).where(Handoff.customer_id.in_(customers), Handoff.ended_at < before)
    )
    gone = connection.execute(
        delete(Customer).where(
            Customer.id.in_(customers),
            *(
                ~exists().where(table.customer_id == Customer.id)
                for table in (Conversation, Estimate, Feedback, Handoff)
            ),
        )
    )
    for bot_id, chat_id in sorted(tuple(chat) for chat in chats):
        _drop_chat(connection, bot_id, chat_id)
    return Purged(len(conversations), len(messages), gone.rowcount, last_id)


def _is_old(before: datetime) -> tuple[ColumnElement[bool], ...]:
    lives = exists().where(
        Message.conversation_id == Conversation.id,
        or_(Message.received_at >= before, Message.done_at.is_(None)),
    )
    is_estimated = exists().where(
        Message.conversation_id == Conversation.id,
        Estimate.id == Message.id,
        Estimate.updated_at >= before,
    )
    return Conversation.started_at < before, ~lives, ~is_estimated


def _delete_messages(connection: Connection, ids: Sequence[int]) -> None:
    _forget_matters(connection, ids)
    answers = select(Answer.id).where(Answer.message_id.in_(ids))
    connection.execute(delete(Review).where(Review.answer_id.in_(answers)))
    connection.execute(delete(Feedback).where(Feedback.answer_id.in_(answers)))
    connection.execute(delete(Answer).where(Answer.message_id.in_(ids)))
    connection.execute(delete(Recording).where(Recording.message_id.in_(ids)))
    connection.execute(delete(Message).where(Message.id.in_(ids)))


# For both


def _forget_matters(connection: Connection, message_ids: Sequence[int]) -> None:
    """Delete what was made of messages: the one place for all that is, an index included."""
    search.forget(connection, message_ids)
    connection.execute(delete(Estimate).where(Estimate.id.in_(message_ids)))


def _hold_chat(connection: Connection, bot_id: int, chat_id: int) -> str | None:
    """Lock a chat's row, as whoever stores or runs something there does; return who holds it."""
    holder: str | None = connection.scalar(
        select(Chat.worker_id)
        .where(Chat.bot_id == bot_id, Chat.chat_id == chat_id)
        .with_for_update()
    )
    return holder


def _drop_chat(connection: Connection, bot_id: int, chat_id: int, *, is_ours: bool = False) -> None:
    """Delete a chat where nothing is left of what was said, unless a turn runs there."""
    holder = _hold_chat(connection, bot_id, chat_id)
    if holder is not None and not is_ours:
        return
    # A statement of its own, which sees what was stored before the lock was had.
    if connection.scalar(select(exists().where(Conversation.chat_id == chat_id))):
        return
    connection.execute(delete(Chat).where(Chat.bot_id == bot_id, Chat.chat_id == chat_id))


def _count(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(Message).where(*conditions)) or 0


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _TOGETHER):
        yield ids[start : start + _TOGETHER]
