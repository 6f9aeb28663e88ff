"""What the bot asks of the database. Each function works inside the caller's transaction.

The statements stand ready-made: building one costs more than SQLite takes to run it.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Insert,
    bindparam,
    case,
    exists,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from db.models import (
    Answer,
    Base,
    Chat,
    Conversation,
    Customer,
    Handoff,
    Kind,
    Message,
    Recording,
    Way,
    utc_now,
)

KOREA = timezone(timedelta(hours=9))  # a customer's day


class Sound(NamedTuple):
    """A recording as Telegram names it; `size` in bytes, where it says so."""

    file_id: str
    seconds: int
    size: int | None


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
    sound: Sound | None = None


@dataclass(slots=True)
class SavedAnswer:
    """What is kept of an answer so far; `text` is None until it is final."""

    text: str | None = None
    keyboard: list[list[dict[str, str]]] = field(default_factory=list)
    sent_ids: list[int] = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stored message whose turn is to be run, with what running it needs to know."""

    message_id: int
    chat_id: int
    kind: Kind
    text: str
    callback_id: str | None
    telegram_message_id: int | None
    conversation_id: int
    customer_id: int
    received_at: datetime
    tokens_today: int = 0
    drafts_refused: bool = False
    spoken_id: int | None = None  # the voice message that `text` was said in
    speaks: bool = False  # the customer wants answers spoken, too
    told: bool = False  # the customer knows what is kept of them
    blocked: bool = False  # the customer shut the bot out after writing this
    taken: bool = False  # an admin has taken the chat over
    answer: SavedAnswer = field(default_factory=SavedAnswer)

    @property
    def is_said(self) -> bool:
        """Whether `text` is the customer's own words, written or spoken."""
        return self.kind == Kind.TEXT or self.spoken_id is not None


class Stored(NamedTuple):
    """A newly stored message, and who runs the turns of its chat.

    `is_free` says that nobody did before, so that nothing older waits there.
    """

    turn: Turn
    worker_id: str
    is_free: bool


class Exchange(NamedTuple):
    """One question of a conversation, in full, with its answer and the ids of its sources."""

    question: str
    answer: str
    sources: tuple[str, ...] = ()


_CONSULTED = (Way.STORED, Way.MODEL, Way.FALLBACK)


def is_id(text: str) -> bool:
    """Return whether a text, which anybody may have written, can be the id of a row."""
    return re.fullmatch("[0-9]{1,9}", text) is not None


def storable(text: str) -> str:
    """Drop what no database takes: Postgres refuses NUL, UTF-8 has no lone surrogates."""
    return text.replace("\0", "").encode(errors="ignore").decode()


def insert_new(connection: Connection, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say what to do on a conflict."""
    return insert_into(connection.dialect.name, table)


def insert_into(dialect: str, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT of a dialect that can say what to do on a conflict."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


# Storing what comes

_KNOWN = select(Message.id).where(
    Message.bot_id == bindparam("bot"), Message.update_id == bindparam("update")
)
_GO_ON = (
    update(Conversation)
    .where(
        Conversation.chat_id == bindparam("chat"),
        Conversation.customer_id == bindparam("customer"),
        Conversation.ended_at.is_(None),
    )
    .values(last_at=bindparam("now"), stale=True)
    .returning(Conversation.id)
)
_END_CONVERSATION = (
    update(Conversation)
    .where(
        Conversation.chat_id == bindparam("chat"),
        Conversation.customer_id == bindparam("customer"),
        Conversation.ended_at.is_(None),
    )
    .values(ended_at=bindparam("now"))
)
_ADD_RECORDING = insert(Recording).values(
    message_id=bindparam("message"),
    file_id=bindparam("file_id"),
    seconds=bindparam("seconds"),
    size=bindparam("size"),
)
_HOLD_CHAT = (
    update(Chat)
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .values(worker_id=bindparam("worker"))
)


@cache
def _upsert_customer(dialect: str) -> Insert:
    insert = insert_into(dialect, Customer)
    same_minute = Customer.minute == insert.excluded.minute
    counted: Any = insert.excluded.minute_messages
    return insert.on_conflict_do_update(
        index_elements=[Customer.telegram_id],
        set_={
            "name": insert.excluded.name,
            "minute": insert.excluded.minute,
            "minute_messages": case(
                (same_minute, Customer.minute_messages + counted), else_=counted
            ),
        },
    ).returning(
        Customer.id,
        Customer.minute_messages,
        Customer.day,
        Customer.day_tokens,
        Customer.speaks,
        Customer.noticed_at,
    )


_TAKEN = exists().where(
    Handoff.bot_id == bindparam("of_bot"),
    Handoff.chat_id == bindparam("in_chat"),
    Handoff.ended_at.is_(None),
    Handoff.taken_at.is_not(None),
)
# What an admin said, and nobody has taken up yet.
_Said = aliased(Message)
_SAID_BEFORE = exists().where(
    _Said.bot_id == bindparam("of_bot"),
    _Said.chat_id == bindparam("in_chat"),
    _Said.done_at.is_(None),
    _Said.kind == Kind.ADMIN,
)


@cache
def _insert_message(dialect: str) -> Insert:
    # Both are looked at under the lock of the chat's row, by a statement begun since.
    return (
        insert_into(dialect, Message)
        .on_conflict_do_nothing()
        .returning(Message.id, _TAKEN.label("taken"), _SAID_BEFORE.label("said_before"))
    )


@cache
def _upsert_chat(dialect: str) -> Insert:
    # The update takes the row's lock; whoever lets go of the chat takes it too, so that no
    # message is stored unseen between its last look and its letting go.
    return (
        insert_into(dialect, Chat)
        .on_conflict_do_update(
            index_elements=[Chat.bot_id, Chat.chat_id], set_={"blocked_at": null()}
        )
        .returning(Chat.worker_id, Chat.drafts_refused)
    )


def store(
    connection: Connection, incoming: Incoming, worker_id: str, messages_a_minute: int
) -> Stored | None:
    """Store `incoming`; a chat that nobody works on falls to `worker_id`.

    None where nothing is to be done: the update is known already, or one that came too fast is
    not the first of its minute to do so. A limit of 0 is none.
    """
    chat = {"bot": incoming.bot_id, "chat": incoming.chat_id}
    update_key = {"bot": incoming.bot_id, "update": incoming.update_id}
    if connection.scalar(_KNOWN, update_key) is not None:
        return None
    now = utc_now()
    dialect = connection.dialect.name
    customer = connection.execute(
        _upsert_customer(dialect),
        {
            "telegram_id": incoming.customer_id,
            "name": incoming.customer_name,
            "created_at": now,
            "minute": int(now.timestamp()) // 60,
            "minute_messages": int(incoming.kind != Kind.STOP),
        },
    ).one()
    # Once more under the lock of the customer's row: two deliveries of one update may race.
    if dialect == "postgresql" and connection.scalar(_KNOWN, update_key) is not None:
        return None
    excess = customer.minute_messages - messages_a_minute if messages_a_minute else 0
    kind = Kind.EXCESS if excess > 0 and incoming.kind != Kind.STOP else incoming.kind
    passed_over = kind == Kind.EXCESS and excess > 1
    held = connection.execute(
        _upsert_chat(dialect), {"bot_id": incoming.bot_id, "chat_id": incoming.chat_id}
    ).one()
    # After the chat's row: whoever holds that may come to lock the conversation's, too.
    if incoming.new_conversation:
        whose = {"chat": incoming.chat_id, "customer": customer.id}
        connection.execute(_END_CONVERSATION, {**whose, "now": now})
    conversation_id = open_conversation(connection, incoming.chat_id, customer.id, now=now)
    added = connection.execute(
        _insert_message(dialect),
        {
            "of_bot": incoming.bot_id,
            "in_chat": incoming.chat_id,
            "conversation_id": conversation_id,
            "bot_id": incoming.bot_id,
            "chat_id": incoming.chat_id,
            "update_id": incoming.update_id,
            "kind": kind,
            "text": incoming.text,
            "telegram_message_id": incoming.telegram_message_id,
            "callback_id": incoming.callback_id,
            "received_at": now,
            "done_at": now if passed_over else None,
        },
    ).one_or_none()
    if added is None or passed_over:  # None: another process stored it since
        return None
    if incoming.sound and kind == Kind.VOICE:
        connection.execute(_ADD_RECORDING, {"message": added.id, **incoming.sound._asdict()})
    if held.worker_id is None:
        connection.execute(_HOLD_CHAT, {**chat, "worker": worker_id})
    turn = Turn(
        added.id,
        incoming.chat_id,
        kind,
        incoming.text,
        incoming.callback_id,
        incoming.telegram_message_id,
        conversation_id,
        customer.id,
        now,
        customer.day_tokens if customer.day == day_of(now) else 0,
        held.drafts_refused,
        speaks=customer.speaks,
        taken=added.taken,
        told=customer.noticed_at is not None,
    )
    is_free = held.worker_id is None and not added.said_before
    return Stored(turn, held.worker_id or worker_id, is_free)


def open_conversation(
    connection: Connection, chat_id: int, customer_id: int, *, now: datetime
) -> int:
    """Return the id of a customer's open conversation in a chat, which goes on, or begins."""
    whose = {"chat": chat_id, "customer": customer_id, "now": now}
    found: int | None = connection.scalar(_GO_ON, whose)
    if found is None:
        found = connection.scalar(
            insert_new(connection, Conversation)
            .values(customer_id=customer_id, chat_id=chat_id, started_at=now, last_at=now)
            .returning(Conversation.id)
        )
        assert found is not None  # noqa: S101 - an INSERT without conflict returns its row
    return found


def day_of(now: datetime) -> int:
    """Return the number of the Korean day."""
    return now.astimezone(KOREA).toordinal()


# Running turns

_HISTORY = (
    select(func.coalesce(Answer.asked, Message.text), Answer.text, Answer.sources)
    .select_from(Message)
    .join(Answer, Answer.message_id == Message.id)
    .where(
        Message.conversation_id == bindparam("conversation"),
        Message.id < bindparam("before"),
        Answer.sent_at.is_not(None),
        Answer.way.in_(_CONSULTED),
        Answer.stopped.is_(False),
    )
    .order_by(Message.id.desc())
    .limit(bindparam("most"))
)
_BLOCK = (
    update(Chat)
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .values(blocked_at=bindparam("now"))
)
_REFUSE_DRAFTS = (
    update(Chat)
    .where(Chat.bot_id == bindparam("bot"), Chat.chat_id == bindparam("chat"))
    .values(drafts_refused=True)
)
_SPEND = (
    update(Customer)
    .where(Customer.id == bindparam("customer"))
    .values(
        day=bindparam("today"),
        day_tokens=case(
            (Customer.day == bindparam("today"), Customer.day_tokens + bindparam("tokens")),
            else_=bindparam("tokens"),
        ),
    )
)


@cache
def _upsert_answer(dialect: str, columns: tuple[str, ...]) -> Insert:
    insert = insert_into(dialect, Answer)
    return insert.on_conflict_do_update(
        index_elements=[Answer.message_id],
        set_={name: getattr(insert.excluded, name) for name in columns},
    )


def history(
    connection: Connection, conversation_id: int, before_id: int, limit: int
) -> list[Exchange]:
    """Return the last `limit` questions before a message that got a real answer, oldest first."""
    rows = connection.execute(
        _HISTORY, {"conversation": conversation_id, "before": before_id, "most": limit}
    )
    return [
        Exchange(question, answer or "", tuple(source["id"] for source in sources))
        for question, answer, sources in rows
    ][::-1]


def write_answer(
    connection: Connection,
    message_id: int,
    **values: Any,  # noqa: ANN401 - column values
) -> None:
    """Write columns of the answer to a message, made where there is none yet."""
    statement = _upsert_answer(connection.dialect.name, tuple(values))
    connection.execute(statement, {"message_id": message_id, **values})


def spend_tokens(connection: Connection, customer_id: int, tokens: int) -> None:
    """Count a model's tokens to a customer's day."""
    connection.execute(
        _SPEND, {"customer": customer_id, "tokens": tokens, "today": day_of(utc_now())}
    )


def block_chat(connection: Connection, bot_id: int, chat_id: int) -> None:
    """Remember that a chat has shut the bot out; its next message lets the bot in again."""
    connection.execute(_BLOCK, {"bot": bot_id, "chat": chat_id, "now": utc_now()})


def refuse_drafts(connection: Connection, bot_id: int, chat_id: int) -> None:
    """Remember that Telegram takes no drafts for a chat."""
    connection.execute(_REFUSE_DRAFTS, {"bot": bot_id, "chat": chat_id})


class Person(NamedTuple):
    """A customer as the shop may know them."""

    name: str
    telegram_id: int


def customer(connection: Connection, customer_id: int) -> Person:
    """Return who a customer is."""
    row = connection.execute(
        select(Customer.name, Customer.telegram_id).where(Customer.id == customer_id)
    ).one()
    return Person(row.name, row.telegram_id)
