"""A conversation with the chat it is in, for those who step into it."""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from db.models import Conversation, Customer, Message


class Talk(NamedTuple):
    """A conversation: whose it is, and where."""

    id: int
    bot_id: int
    chat_id: int
    customer_id: int
    customer_name: str


_FIND = (
    select(
        Conversation.id,
        Message.bot_id,
        Conversation.chat_id,
        Conversation.customer_id,
        Customer.name,
    )
    .join(Customer, Customer.id == Conversation.customer_id)
    .join(Message, Message.conversation_id == Conversation.id)
    .where(Conversation.id == bindparam("conversation"))
    .order_by(Message.id.desc())
    .limit(1)
)

_CURRENT = (
    select(Conversation.id)
    .where(
        Conversation.chat_id == bindparam("chat"),
        Conversation.customer_id == bindparam("customer"),
        Conversation.ended_at.is_(None),
    )
    .order_by(Conversation.id.desc())
    .limit(1)
)


def find(connection: Connection, conversation_id: int) -> Talk | None:
    """Return a conversation, None where there is none."""
    row = connection.execute(_FIND, {"conversation": conversation_id}).one_or_none()
    return Talk(*row) if row else None


def current(connection: Connection, talk: Talk) -> int:
    """Return the conversation in which a customer's chat goes on, which may be a later one."""
    found: int | None = connection.scalar(
        _CURRENT, {"chat": talk.chat_id, "customer": talk.customer_id}
    )
    return talk.id if found is None else found
