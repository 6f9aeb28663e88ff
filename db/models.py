"""The tables: customers, their conversations, each message with its one answer, estimates,
voice messages, feedback, imported knowledge; who works on which chat; what admins do: reviews,
handoffs, trials of adapters, sign-in and the log of it all; and what is found by search.
"""

from array import array
from datetime import UTC, datetime
from enum import IntFlag, StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return `value` with the zone SQLite dropped."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Kind(StrEnum):
    """What a customer's message is."""

    TEXT = "text"
    VOICE = "voice"
    COMMAND = "command"
    BUTTON = "button"
    RATING = "rating"
    STOP = "stop"
    OTHER = "other"
    ADMIN = "admin"  # an admin's words to the customer, sent through the bot
    EXCESS = "excess"  # came faster than a customer may write: kept, not worked on


# What depends on no other turn of its chat, and is run at once.
PASSING_KINDS = (Kind.STOP, Kind.RATING)


class Way(StrEnum):
    """Which way an answer came."""

    STORED = "stored"  # a knowledge entry's answer, as it stands
    MODEL = "model"  # written by the model
    FALLBACK = "fallback"  # a stored answer, since the model was away or failed the check
    UNSURE = "unsure"  # nothing was found that surely fits: a question back, a human
    DECLINED = "declined"  # none of the shop's business
    FIXED = "fixed"  # a command's or a button's text
    FORM = "form"  # a step of an estimate
    FAILED = "failed"  # an apology


class Mark(IntFlag):
    """What is to be seen of a conversation in the list of all."""

    VOICE = 1
    ESTIMATE = 2
    LIKED = 4
    DISLIKED = 8
    FAILED = 16
    UNSURE = 32  # an answer from what did not clearly fit, or none
    REVIEWED = 64
    UNREVIEWED = 128  # an answer that a reviewer has not looked at


class PackedInts(TypeDecorator[list[int]]):
    """Integers of 32 bits, for SQLite, which has no arrays."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: list[int] | None, dialect: Dialect) -> bytes | None:
        """Return the bytes of `value`."""
        return None if value is None else array("i", value).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> list[int] | None:
        """Return the integers in `value`."""
        return None if value is None else array("i", value).tolist()


# Answers that a reviewer should see early; 0.6 is where `bot.inquiry` is sure.
DOUBTFUL = (
    "way IN ('unsure', 'failed') OR way IN ('stored', 'model', 'fallback') AND confidence < 0.6"
)

MAX_NAME = 256  # characters of a customer's name that are kept


class Base(DeclarativeBase):
    """Names for every constraint, so that migrations can drop them on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime}  # noqa: RUF012 - SQLAlchemy's own form


class Customer(Base):
    """Somebody who wrote to the bot, with what they used of their limits.

    `minute` and `day` number the minute and the Korean day that the counts beside them are of;
    `speaks` says that answers are to be spoken, too; `noticed_at` is when the notice of what is
    kept was put to an answer. One who had everything deleted has no name, and a `telegram_id`
    below zero, which is nobody's.
    """

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    telegram_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    minute: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    minute_messages: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    day: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    day_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    speaks: Mapped[bool] = mapped_column(default=False, server_default=false())
    noticed_at: Mapped[datetime | None]


class Worker(Base):
    """A bot process that runs turns; past `alive_until` it counts as dead."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    bot_id: Mapped[int] = mapped_column(BigInteger)
    alive_until: Mapped[datetime]


class Chat(Base):
    """A chat as the bot finds it on Telegram; its row is the lock on the chat's turns.

    `worker_id` is null while no turn waits or runs. It is no foreign key: a worker's row goes
    when the worker does, and a name without a row is how the others see what it left.
    """

    __tablename__ = "chats"

    bot_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    worker_id: Mapped[str | None] = mapped_column(String(32), index=True)
    blocked_at: Mapped[datetime | None]
    drafts_refused: Mapped[bool] = mapped_column(default=False, server_default=false())


class Conversation(Base):
    """What one customer and the bot said in one chat until /new.

    `last_at` is when a message last came. `marks` are a `Mark`, `labels` what reviewers gave its
    answers; whatever may change them, or a text, says so by `stale`, and `db/search.py` follows.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "chat_id", "customer_id", "ended_at"),
        # Whole, so that going through all for a rare mark reads nothing else.
        Index(None, "last_at", "id", "started_at", "marks"),
        Index(
            "ix_conversations_stale",
            "id",
            sqlite_where=text("stale"),
            postgresql_where=text("stale"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    chat_id: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    last_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=text("'1970-01-01'"))
    stale: Mapped[bool] = mapped_column(default=True, server_default=true())
    marks: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    labels: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")


class Message(Base):
    """One update from a customer; `done_at` is null until its turn has ended.

    An admin's words are a message, too: with `author_id`, and a negative number of their own in
    place of the update's id, which is never negative.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("bot_id", "update_id"),
        Index(None, "conversation_id", "id"),
        Index(
            "ix_messages_unfinished",
            "bot_id",
            "chat_id",
            "id",
            sqlite_where=text("done_at IS NULL"),
            postgresql_where=text("done_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    bot_id: Mapped[int] = mapped_column(BigInteger)
    chat_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    update_id: Mapped[int] = mapped_column(BigInteger)
    author_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[Kind] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    telegram_message_id: Mapped[int | None] = mapped_column(BigInteger)
    callback_id: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(default=utc_now)
    done_at: Mapped[datetime | None]


class Recording(Base):
    """The sound of a voice message, `seconds` and `size` as Telegram names them.

    `heard` is what the recogniser made of it, `said` what is taken for said, `content` the file
    while it is kept; `notice_id` the bot's message that says that it listens.
    """

    __tablename__ = "recordings"

    message_id: Mapped[int] = mapped_column(
        ForeignKey("messages.id"), primary_key=True, autoincrement=False
    )
    file_id: Mapped[str] = mapped_column(Text)
    seconds: Mapped[int]
    size: Mapped[int | None] = mapped_column(BigInteger)
    notice_id: Mapped[int | None] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(String(16))
    heard: Mapped[str | None] = mapped_column(Text)
    said: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[float | None]
    heard_at: Mapped[datetime | None]
    # Last: SQLite reads through what stands before a column.
    content: Mapped[bytes | None] = mapped_column(LargeBinary)


class Answer(Base):
    """The one answer to a message, with the facts of how it came.

    `text` is null until it is final; `more` is what is sent besides (`bot/delivery.py`);
    `sent_ids` holds the ids of the Telegram messages in their order, written as soon as each
    exists, so that a turn taken up again edits or goes on. `asked` is what the message asks in
    full, where it leans on earlier ones or is a button's.
    """

    __tablename__ = "answers"
    __table_args__ = (
        Index(
            "ix_answers_doubtful",
            "id",
            sqlite_where=text(DOUBTFUL),
            postgresql_where=text(DOUBTFUL),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    text: Mapped[str | None] = mapped_column(Text)
    keyboard: Mapped[list[list[dict[str, str]]]] = mapped_column(JSON, default=list)
    more: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, server_default="[]")
    sent_ids: Mapped[list[int]] = mapped_column(JSON, default=list)
    sent_at: Mapped[datetime | None]
    way: Mapped[Way | None] = mapped_column(String(16))
    stopped: Mapped[bool] = mapped_column(default=False)
    asked: Mapped[str | None] = mapped_column(Text)
    sources: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    confidence: Mapped[float | None]
    model: Mapped[str | None] = mapped_column(String(256))
    adapter: Mapped[str | None] = mapped_column(String(256))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    first_token_s: Mapped[float | None]
    total_s: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(String(64))


class Estimate(Base):
    """A customer's estimate, named by the message that began it.

    `form` holds the answers so far, with name and phone once they are given; `result` what was
    worked out, null before. `state` is the form's, `progress` the shop's.
    `called_at` is when a callback was asked for.
    """

    __tablename__ = "estimates"
    __table_args__ = (Index(None, "bot_id", "chat_id", "customer_id", "updated_at"),)

    id: Mapped[int] = mapped_column(
        ForeignKey("messages.id"), primary_key=True, autoincrement=False
    )
    bot_id: Mapped[int] = mapped_column(BigInteger)
    chat_id: Mapped[int] = mapped_column(BigInteger)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    form: Mapped[dict[str, Any]] = mapped_column(JSON)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    consented_at: Mapped[datetime | None]
    called_at: Mapped[datetime | None]
    progress: Mapped[str] = mapped_column(String(16), default="new", server_default="new")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class KnowledgeRow(Base):
    """An imported knowledge entry, which replaces the knowledge file's of the same id, or hides it.

    `revision` grows with every change of the table, so that the newest one names its state.
    """

    __tablename__ = "knowledge"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    questions: Mapped[list[str]] = mapped_column(JSON)
    category: Mapped[str] = mapped_column(Text)
    answers: Mapped[list[str]] = mapped_column(JSON)
    removed: Mapped[bool]
    revision: Mapped[int] = mapped_column(index=True)
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)


class Feedback(Base):
    """A customer's 👍 (1) or 👎 (-1) on an answer; a second press replaces the first."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("answer_id", "customer_id"),
        CheckConstraint("value IN (-1, 1)", name="value"),
        Index(
            "ix_feedback_down",
            "answer_id",
            sqlite_where=text("value = -1"),
            postgresql_where=text("value = -1"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    answer_id: Mapped[int] = mapped_column(ForeignKey("answers.id"))
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    value: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Handoff(Base):
    """A chat that a human of the shop is asked into, until `ended_at`.

    From `taken_at` on the bot is silent there. Admins are named by their Telegram ids.
    """

    __tablename__ = "handoffs"
    __table_args__ = (
        Index(
            "ix_handoffs_open",
            "bot_id",
            "chat_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    bot_id: Mapped[int] = mapped_column(BigInteger)
    chat_id: Mapped[int] = mapped_column(BigInteger)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    asked_at: Mapped[datetime | None]
    admin_id: Mapped[int | None] = mapped_column(BigInteger)
    taken_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Review(Base):
    """What a reviewer makes of an answer; until `reviewed_at` it is only in their hands.

    `corrected` is what should have been answered, `entry_id` the knowledge entry made of that.
    """

    __tablename__ = "reviews"

    answer_id: Mapped[int] = mapped_column(
        ForeignKey("answers.id"), primary_key=True, autoincrement=False
    )
    admin_id: Mapped[int] = mapped_column(BigInteger)
    claimed_until: Mapped[datetime]
    reviewed_at: Mapped[datetime | None] = mapped_column(index=True)
    verdict: Mapped[str | None] = mapped_column(String(8))
    labels: Mapped[list[str]] = mapped_column(JSON, default=list)
    corrected: Mapped[str | None] = mapped_column(Text)
    entry_id: Mapped[str | None] = mapped_column(String(64))


class Stage(StrEnum):
    """How far an adapter has come."""

    TRIAL = "trial"  # answers a share of the chats
    PROMOTED = "promoted"  # the newest of these answers all others
    BACK = "back"  # was taken back


class Rollout(Base):
    """An adapter that is tried beside the one before it, and what became of it.

    While it is a trial, `candidate` answers `share` of 100 chats, and the others are `stable`'s,
    null for the base model. `path` is where the servers find the candidate. From `halted_at` on
    nobody gets it, since the servers kept refusing it.
    """

    __tablename__ = "rollouts"
    __table_args__ = (
        CheckConstraint("share BETWEEN 0 AND 100", name="share"),
        Index(
            "ix_rollouts_trial",
            "stage",
            unique=True,
            sqlite_where=text("stage = 'trial'"),
            postgresql_where=text("stage = 'trial'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    stable: Mapped[str | None] = mapped_column(String(256))
    candidate: Mapped[str] = mapped_column(String(256))
    path: Mapped[str] = mapped_column(Text)
    share: Mapped[int] = mapped_column(SmallInteger)
    stage: Mapped[Stage] = mapped_column(String(16))
    begun_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    halted_at: Mapped[datetime | None]


class LoginLink(Base):
    """A link that signs one admin in, once; only its hash is kept."""

    __tablename__ = "login_links"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    telegram_id: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]


class AdminSession(Base):
    """A browser in which an admin is signed in; only the hash of its cookie is kept."""

    __tablename__ = "admin_sessions"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    telegram_id: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """Who saw, changed or exported what: `action` on `subject`."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    telegram_id: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(256))


class SearchTerms(Base):
    """What a conversation is found by, up to a message, as `db/search.py` numbers it.

    The index over `terms`, named search_fts, is each database's own and known to the migration
    only: of Postgres over the column, of SQLite a table beside, which cannot forget a row unless
    it is told the terms again.
    """

    __tablename__ = "search_terms"

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("conversations.id"), primary_key=True, autoincrement=False
    )
    up_to: Mapped[int]
    terms: Mapped[list[int]] = mapped_column(
        postgresql.ARRAY(Integer).with_variant(PackedInts(), "sqlite")
    )
