"""Handing a chat over to a human. Each function works inside the caller's transaction.

Whoever changes something of a handoff holds the lock of the chat's row (`db/claims.py`), and an
admin's words are stored under it like a customer's, so that a chat's messages have one order.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, Insert, bindparam, insert, select, update

from db.models import Chat, Conversation, Customer, Handoff, Kind, Message, utc_now
from db.queries import insert_into, open_conversation, storable


class NotTakenError(Exception):
    """The chat was not taken over by that admin, or is given back by now."""


@dataclass(frozen=True, slots=True)
class OpenHandoff:
    """A handoff that has not ended; until `taken_at` it is only asked for."""

    id: int
    bot_id: int
    chat_id: int
    customer_id: int
    customer_name: str
    asked_at: datetime | None
    admin_id: int | None
    taken_at: datetime | None


_OPEN = (
    select(
        Handoff.id,
        Handoff.bot_id,
        Handoff.chat_id,
        Handoff.customer_id,
        Customer.name,
        Handoff.asked_at,
        Handoff.admin_id,
        Handoff.taken_at,
    )
    .join(Customer, Customer.id == Handoff.customer_id)
    .where(Handoff.ended_at.is_(None), Handoff.bot_id == bindparam("bot"))
)
_OPEN_IN_CHAT = _OPEN.where(Handoff.chat_id == bindparam("chat"))
_LOCK_CHAT = (
    select(Chat.chat_id)
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .with_for_update()
)
_TAKE = (
    update(Handoff)
    .where(Handoff.id == bindparam("handoff"))
    .values(admin_id=bindparam("admin"), taken_at=bindparam("now"))
)
_END = update(Handoff).where(Handoff.id == bindparam("handoff")).values(ended_at=bindparam("now"))
_TAKEN_CHAT = (
    select(Handoff.bot_id, Handoff.chat_id)
    .join(Conversation, Conversation.chat_id == Handoff.chat_id)
    .where(
        Conversation.id == bindparam("conversation"),
        Handoff.admin_id == bindparam("admin"),
        Handoff.ended_at.is_(None),
    )
    .limit(1)
)
_SAID = select(Message.id).where(
    Message.bot_id == bindparam("bot"), Message.update_id == bindparam("update")
)
_GO_ON = (
    update(Conversation)
    .where(Conversation.id == bindparam("conversation"))
    .values(last_at=bindparam("now"), stale=True)
)
_ADD = insert(Message).returning(Message.id)


@cache
def _ask(dialect: str) -> Insert:
    return insert_into(dialect, Handoff).on_conflict_do_nothing()


def find_open(connection: Connection, bot_id: int, chat_id: int) -> OpenHandoff | None:
    """Return the handoff of a chat that has not ended, None where there is none."""
    row = connection.execute(_OPEN_IN_CHAT, {"bot": bot_id, "chat": chat_id}).one_or_none()
    return OpenHandoff(*row) if row else None


def ask(connection: Connection, bot_id: int, chat_id: int, customer_id: int, now: datetime) -> None:
    """Note that a customer asks for a human; while a handoff is open there, it says so already.

    Until an admin takes the chat over, the bot goes on answering: who waits is not left alone.
    """
    connection.execute(
        _ask(connection.dialect.name),
        {"bot_id": bot_id, "chat_id": chat_id, "customer_id": customer_id, "asked_at": now},
    )


def take(
    connection: Connection,
    bot_id: int,
    chat_id: int,
    customer_id: int,
    admin_id: int,
    now: datetime,
    *,
    told: str,
) -> bool:
    """Take a chat over, asked for or not: from now on the bot is silent there.

    The customer is `told` so, once. False where another admin has the chat.
    """
    connection.execute(_LOCK_CHAT, {"bot": bot_id, "chat": chat_id}).one()
    found = find_open(connection, bot_id, chat_id)
    if found and found.admin_id is not None:
        return found.admin_id == admin_id
    if found is None:
        connection.execute(
            insert(Handoff).values(
                bot_id=bot_id,
                chat_id=chat_id,
                customer_id=customer_id,
                admin_id=admin_id,
                taken_at=now,
            )
        )
    else:
        customer_id = found.customer_id
        connection.execute(_TAKE, {"handoff": found.id, "admin": admin_id, "now": now})
    conversation_id = open_conversation(connection, chat_id, customer_id, now=now)
    _add(connection, bot_id, chat_id, conversation_id, admin_id, new_update_id(), told)
    return True


def give_back(
    connection: Connection, bot_id: int, chat_id: int, now: datetime, *, told: str
) -> None:
    """End a chat's handoff, if one is open; where the bot was silent, the customer is `told`."""
    connection.execute(_LOCK_CHAT, {"bot": bot_id, "chat": chat_id}).one()
    found = find_open(connection, bot_id, chat_id)
    if found is None:
        return
    connection.execute(_END, {"handoff": found.id, "now": now})
    if found.admin_id is not None:
        conversation_id = open_conversation(connection, chat_id, found.customer_id, now=now)
        _add(connection, bot_id, chat_id, conversation_id, found.admin_id, new_update_id(), told)


def new_update_id() -> int:
    """Return what names an admin's words among the updates, none of which is negative."""
    return -1 - secrets.randbits(62)


def say(
    connection: Connection, conversation_id: int, admin_id: int, text: str, update_id: int
) -> int:
    """Store an admin's words as a message of the chat, and return its id.

    A worker sends them within about a second, as a turn like any other; its answer has a
    `sent_at` from then on, and never where the customer has shut the bot out. Stored again with
    the same `update_id` (`new_update_id`), they are stored once. Raises `NotTakenError` unless
    the admin has taken the conversation's chat over.
    """
    taken = {"conversation": conversation_id, "admin": admin_id}
    if (chat := connection.execute(_TAKEN_CHAT, taken).one_or_none()) is None:
        raise NotTakenError
    connection.execute(_LOCK_CHAT, {"bot": chat.bot_id, "chat": chat.chat_id}).one()
    # Once more under the lock: it may have been given back meanwhile.
    if connection.execute(_TAKEN_CHAT, taken).one_or_none() is None:
        raise NotTakenError
    said: int | None = connection.scalar(_SAID, {"bot": chat.bot_id, "update": update_id})
    if said is not None:
        return said
    return _add(connection, chat.bot_id, chat.chat_id, conversation_id, admin_id, update_id, text)


def _add(
    connection: Connection,
    bot_id: int,
    chat_id: int,
    conversation_id: int,
    admin_id: int,
    update_id: int,
    text: str,
) -> int:
    now = utc_now()
    connection.execute(_GO_ON, {"conversation": conversation_id, "now": now})
    message_id: int = connection.execute(
        _ADD,
        {
            "conversation_id": conversation_id,
            "bot_id": bot_id,
            "chat_id": chat_id,
            "update_id": update_id,
            "author_id": admin_id,
            "kind": Kind.ADMIN,
            "text": storable(text),
            "received_at": now,
        },
    ).scalar_one()
    return message_id
