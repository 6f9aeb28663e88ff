"""What the bot asks of the database. Each function works inside the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Answer, Base, Conversation, Customer, Feedback, Kind, Message, Way, utc_now


@dataclass(frozen=True, slots=True)
class Incoming:
    """One update, as the bot understood it."""

    bot_id: int
    update_id: int
    chat_id: int
    customer_id: int  # the customer's Telegram id
    customer_name: str
    kind: Kind
    text: str
    telegram_message_id: int | None = None
    callback_id: str | None = None
    new_conversation: bool = False


class Turn(NamedTuple):
    """A stored message whose turn is to be run."""

    message_id: int
    chat_id: int
    kind: Kind
    text: str
    callback_id: str | None
    telegram_message_id: int | None
    conversation_id: int
    customer_id: int


class Exchange(NamedTuple):
    """One question of a conversation with its answer."""

    question: str
    answer: str


_CONSULTED = (Way.STORED, Way.MODEL, Way.FALLBACK)

_TURN = (
    select(
        Message.id,
        Conversation.chat_id,
        Message.kind,
        Message.text,
        Message.callback_id,
        Message.telegram_message_id,
        Message.conversation_id,
        Conversation.customer_id,
    )
    .join(Conversation, Message.conversation_id == Conversation.id)
    .order_by(Message.id)
)


def _insert_new(session: AsyncSession, table: type[Base]) -> Insert:
    """Return an INSERT that leaves an existing row as it is (the same word in both dialects)."""
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()


async def _customer(session: AsyncSession, telegram_id: int, name: str) -> int:
    """Return the id of the customer, made or renamed where needed."""
    await session.execute(_insert_new(session, Customer).values(telegram_id=telegram_id, name=name))
    customer = (
        await session.scalars(select(Customer).where(Customer.telegram_id == telegram_id))
    ).one()
    customer.name = name
    return customer.id


async def _conversation(session: AsyncSession, chat_id: int, customer_id: int, *, new: bool) -> int:
    """Return the id of the open conversation; `new` ends it and opens another."""
    is_open = (
        (Conversation.chat_id == chat_id)
        & (Conversation.customer_id == customer_id)
        & Conversation.ended_at.is_(None)
    )
    if new:
        await session.execute(update(Conversation).where(is_open).values(ended_at=utc_now()))
    found = await session.scalar(select(Conversation.id).where(is_open).limit(1))
    if found is not None:
        return found
    conversation = Conversation(customer_id=customer_id, chat_id=chat_id)
    session.add(conversation)
    await session.flush()
    return conversation.id


async def store(session: AsyncSession, incoming: Incoming) -> Turn | None:
    """Store `incoming` and return its turn; None where its update id is known already."""
    known = select(Message.id).where(
        Message.bot_id == incoming.bot_id, Message.update_id == incoming.update_id
    )
    if await session.scalar(known) is not None:
        return None
    customer_id = await _customer(session, incoming.customer_id, incoming.customer_name)
    conversation_id = await _conversation(
        session, incoming.chat_id, customer_id, new=incoming.new_conversation
    )
    message_id = await session.scalar(
        _insert_new(session, Message)
        .values(
            conversation_id=conversation_id,
            bot_id=incoming.bot_id,
            update_id=incoming.update_id,
            kind=incoming.kind,
            text=incoming.text,
            telegram_message_id=incoming.telegram_message_id,
            callback_id=incoming.callback_id,
        )
        .returning(Message.id)
    )
    if message_id is None:  # another process stored it since
        return None
    return Turn(
        message_id,
        incoming.chat_id,
        incoming.kind,
        incoming.text,
        incoming.callback_id,
        incoming.telegram_message_id,
        conversation_id,
        customer_id,
    )


async def unfinished(session: AsyncSession, bot_id: int, before: datetime) -> list[Turn]:
    """Return the turns of messages from before a time that never ended, in their order."""
    rows = await session.execute(
        _TURN.where(
            Message.bot_id == bot_id, Message.done_at.is_(None), Message.received_at < before
        )
    )
    return [Turn(*row) for row in rows]


async def open_answer(session: AsyncSession, message_id: int) -> Answer:
    """Return the answer to a message, made where there is none yet."""
    await session.execute(_insert_new(session, Answer).values(message_id=message_id))
    return (await session.scalars(select(Answer).where(Answer.message_id == message_id))).one()


async def finish(session: AsyncSession, message_id: int) -> None:
    """Note that a message's turn has ended."""
    await session.execute(update(Message).where(Message.id == message_id).values(done_at=utc_now()))


async def history(
    session: AsyncSession, conversation_id: int, before_id: int, limit: int
) -> list[Exchange]:
    """Return the last `limit` questions before a message that got a real answer, oldest first."""
    rows = await session.execute(
        select(Message.text, Answer.text)
        .join(Answer, Answer.message_id == Message.id)
        .where(
            Message.conversation_id == conversation_id,
            Message.id < before_id,
            Answer.sent_at.is_not(None),
            Answer.way.in_(_CONSULTED),
            Answer.stopped.is_(False),
        )
        .order_by(Message.id.desc())
        .limit(limit)
    )
    return [Exchange(question, answer or "") for question, answer in rows][::-1]


async def answer_in_chat(session: AsyncSession, answer_id: int, chat_id: int) -> Answer | None:
    """Return an answer if it was given in that chat: a button's data may be forged."""
    return await session.scalar(
        select(Answer)
        .join(Message, Answer.message_id == Message.id)
        .join(Conversation, Message.conversation_id == Conversation.id)
        .where(Answer.id == answer_id, Conversation.chat_id == chat_id)
    )


async def rate(session: AsyncSession, answer_id: int, customer_id: int, value: int) -> None:
    """Store a customer's 1 or -1 on an answer, in place of an earlier one."""
    await session.execute(
        _insert_new(session, Feedback).values(
            answer_id=answer_id, customer_id=customer_id, value=value
        )
    )
    await session.execute(
        update(Feedback)
        .where(Feedback.answer_id == answer_id, Feedback.customer_id == customer_id)
        .values(value=value, created_at=utc_now())
    )
