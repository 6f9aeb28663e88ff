"""Migrations up and down on both databases, units of work, and the queries' promises."""

import asyncio
import dataclasses

import pytest
from sqlalchemy import Connection, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db import database as db
from db import feedback, queries
from db.database import Database
from db.models import (
    Answer,
    Base,
    Chat,
    Conversation,
    Customer,
    Feedback,
    Kind,
    Message,
    Way,
    utc_now,
)
from db.queries import Incoming, Stored

WORKER = "a worker"


def incoming(
    update_id: int,
    text: str = "안녕",
    *,
    kind: Kind = Kind.TEXT,
    new: bool = False,
    chat: int = 5,
) -> Incoming:
    return Incoming(1, update_id, chat, chat, "손님", kind, text, new_conversation=new)


def store(connection: Connection, what: Incoming, limit: int = 0) -> Stored | None:
    return queries.store(connection, what, WORKER, limit)


def stored(connection: Connection, what: Incoming) -> queries.Turn:
    new = store(connection, what)
    assert new
    return new.turn


async def tables(database: Database) -> set[str]:
    return await database.run(lambda c: set(inspect(c).get_table_names()))


async def test_migrations_go_up_match_the_models_and_go_down(database_url: str) -> None:
    database = db.open_database(database_url)
    await asyncio.gather(db.upgrade(database), db.upgrade(database))  # as replicas do
    await db.check(database)
    assert set(Base.metadata.tables) < await tables(database)
    await db.downgrade(database, "base")
    assert await tables(database) == {"alembic_version"}
    await db.upgrade(database)
    await database.close()


async def test_migrations_carry_what_was_said_along(database_url: str) -> None:
    database = db.open_database(database_url)
    await db.upgrade(database, "0001")

    def fill(connection: Connection) -> None:
        now = {"now": utc_now().isoformat(" ")}
        if connection.dialect.name == "postgresql":
            now = {"now": utc_now()}  # type: ignore[dict-item]
        for statement in (
            "INSERT INTO customers (id, telegram_id, name, created_at) VALUES (1, 5, '손님', :now)",
            "INSERT INTO conversations (id, customer_id, chat_id, started_at)"
            " VALUES (1, 1, 5, :now)",
            "INSERT INTO messages"
            " (id, conversation_id, bot_id, update_id, kind, text, received_at)"
            " VALUES (1, 1, 9, 7, 'text', '곰팡이', :now)",
            "INSERT INTO answers (message_id, created_at, keyboard, sent_ids, stopped, sources)"
            " VALUES (1, :now, '[]', '[]', false, '[]')",
        ):
            connection.execute(text(statement), now if ":now" in statement else {})

    await database.run(fill)
    await db.upgrade(database)
    chats = await database.run(lambda c: c.execute(select(Chat.bot_id, Chat.chat_id)).all())
    assert chats == [(9, 5)]
    assert await database.run(lambda c: c.scalar(select(Message.chat_id))) == 5
    await db.downgrade(database, "0001")
    assert await database.run(lambda c: c.scalar(text("SELECT text FROM messages"))) == "곰팡이"
    await database.close()


async def test_sqlite_keeps_its_promises(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("db") / "new" / "folder" / "x.db"
    database = db.open_database(f"sqlite:///{path}")
    for pragma, value in (("journal_mode", "wal"), ("foreign_keys", 1)):
        statement = text(f"PRAGMA {pragma}")
        assert await database.run(lambda c, s=statement: c.scalar(s)) == value  # type: ignore[misc]
    await database.close()


async def test_a_failing_unit_of_work_fails_alone(database: Database) -> None:
    def fail(connection: Connection) -> None:
        store(connection, incoming(1))
        connection.execute(text("SELECT * FROM nowhere"))

    results = await asyncio.gather(
        database.run(lambda c: store(c, incoming(2))),
        database.run(fail),
        database.run(lambda c: store(c, incoming(3))),
        return_exceptions=True,
    )
    assert [isinstance(r, Exception) for r in results] == [False, True, False]
    kept = await database.run(lambda c: c.scalars(select(Message.update_id)).all())
    assert sorted(kept) == [2, 3]


async def test_work_waits_for_a_database_that_is_away(database: Database) -> None:
    tries = 0

    def work(_: Connection) -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionResetError
        return "done"

    assert await database.insist(work) == "done"
    with pytest.raises(ZeroDivisionError):
        await database.insist(lambda _: 1 / 0)


def test_what_passes_by_itself_is_told_from_what_does_not() -> None:
    class Refusal(Exception):  # noqa: N818 - as the drivers have it
        sqlstate = "57P01"  # admin shutdown

    assert db.is_passing(OperationalError("SELECT", {}, Refusal()))
    Refusal.sqlstate = "42P01"  # undefined table
    assert not db.is_passing(OperationalError("SELECT", {}, Refusal()))
    assert not db.is_bad_row(OperationalError("SELECT", {}, Refusal()))
    Refusal.sqlstate = "25006"  # read-only: a standby
    assert db.is_passing(OperationalError("SELECT", {}, Refusal()))
    assert db.is_passing(PoolTimeout())
    assert db.is_passing(ConnectionRefusedError())
    assert not db.is_passing(ValueError())


@pytest.mark.parametrize(
    "bad",
    [
        incoming(2**70),
        incoming(1, "널\0문자"),
        incoming(1, "\ud800"),
        dataclasses.replace(incoming(1), customer_name="가" * 300),
    ],
)
async def test_what_no_row_can_hold_is_told_from_a_database_that_is_away(
    database: Database, bad: Incoming
) -> None:
    (result,) = await asyncio.gather(database.run(lambda c: store(c, bad)), return_exceptions=True)
    if isinstance(result, Exception):  # SQLite takes some of it
        assert db.is_bad_row(result)
        assert not db.is_passing(result)
    assert await database.run(lambda c: store(c, incoming(9)))


async def test_an_update_is_stored_once_however_often_it_comes(database: Database) -> None:
    results = await asyncio.gather(
        *(database.insist(lambda c: store(c, incoming(77))) for _ in range(8))
    )
    assert sum(new is not None for new in results) == 1
    for table in (Message, Customer, Conversation, Chat):
        rows = await database.run(lambda c, t=table: c.execute(select(t)).all())  # type: ignore[misc]
        assert len(rows) == 1


async def test_new_ends_the_conversation_and_history_stays_in_it(database: Database) -> None:
    def work(c: Connection) -> None:
        first = stored(c, incoming(1, "첫 질문"))
        queries.write_answer(c, first.message_id, text="첫 답", way=Way.STORED, sent_at=utc_now())
        second = stored(c, incoming(2, "둘째 질문"))
        past = queries.history(c, second.conversation_id, second.message_id, 4)
        assert past == [queries.Exchange("첫 질문", "첫 답")]
        third = stored(c, incoming(3, "new", new=True))
        assert store(c, incoming(3, "new", new=True)) is None
        fourth = stored(c, incoming(4, "셋째 질문"))
        assert third.conversation_id == fourth.conversation_id != second.conversation_id
        assert queries.history(c, fourth.conversation_id, fourth.message_id, 4) == []
        ended = c.scalars(select(Conversation.ended_at)).all()
        assert sum(end is not None for end in ended) == 1

    await database.run(work)


async def test_an_answer_is_one_row_whatever_is_written_of_it(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = stored(c, incoming(1))
        queries.write_answer(c, turn.message_id, sent_ids=[7])
        queries.write_answer(c, turn.message_id, text="답", way=Way.MODEL)
        (row,) = c.execute(select(Answer.text, Answer.sent_ids, Answer.stopped)).all()
        assert row == ("답", [7], False)

    await database.run(work)


async def test_a_second_rating_replaces_the_first(database: Database) -> None:
    def work(c: Connection) -> tuple[int, int]:
        turn = stored(c, incoming(1))
        queries.write_answer(c, turn.message_id, text="답")
        answer = feedback.answer_in_chat(c, turn.message_id, 1, chat_id=5)
        assert answer
        assert feedback.answer_in_chat(c, turn.message_id, 1, chat_id=6) is None
        assert feedback.answer_in_chat(c, turn.message_id, 2, chat_id=5) is None
        feedback.rate(c, answer.id, turn.customer_id, 1)
        feedback.rate(c, answer.id, turn.customer_id, -1)
        assert c.scalars(select(Feedback.value)).all() == [-1]
        return answer.id, turn.customer_id

    ids = await database.run(work)
    with pytest.raises(IntegrityError):
        await database.run(lambda c: feedback.rate(c, *ids, 7))


async def test_the_first_message_too_many_is_told_so_and_the_rest_are_kept(
    database: Database,
) -> None:
    def work(c: Connection) -> None:
        c.execute(insert(Customer).values(telegram_id=5, name="손님"))
        new = [store(c, incoming(n), limit=2) for n in range(1, 6)]
        if c.scalar(select(Customer.minute_messages)) != 5:
            return  # a minute ended meanwhile
        assert [n and n.turn.kind for n in new] == [Kind.TEXT, Kind.TEXT, Kind.EXCESS, None, None]
        stop = store(c, incoming(6, kind=Kind.STOP), limit=2)
        assert stop
        assert stop.turn.kind == Kind.STOP
        assert store(c, incoming(7, chat=6), limit=2)  # somebody else
        rows = c.execute(select(Message.kind, Message.done_at).order_by(Message.id)).all()
        assert [row.kind for row in rows[2:5]] == [Kind.EXCESS] * 3
        assert [row.done_at is None for row in rows[2:5]] == [True, False, False]
        c.execute(update(Customer).values(minute=0))
        later = store(c, incoming(8), limit=2)
        assert later
        assert later.turn.kind == Kind.TEXT

    await database.run(work)


async def test_tokens_are_counted_by_the_day(database: Database) -> None:
    def work(c: Connection) -> None:
        customer_id = stored(c, incoming(1)).customer_id
        queries.spend_tokens(c, customer_id, 300)
        queries.spend_tokens(c, customer_id, 40)
        assert stored(c, incoming(2)).tokens_today == 340
        c.execute(update(Customer).values(day=Customer.day - 1))
        assert stored(c, incoming(3)).tokens_today == 0
        queries.spend_tokens(c, customer_id, 5)
        assert stored(c, incoming(4)).tokens_today == 5

    await database.run(work)
