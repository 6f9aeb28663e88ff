"""Migrations up and down on both databases, and the queries' promises."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import queries, sessions
from db.models import Base, Conversation, Customer, Feedback, Kind, Message, Way, utc_now
from db.queries import Incoming


def incoming(update_id: int, text: str = "안녕", *, new: bool = False, chat: int = 5) -> Incoming:
    return Incoming(1, update_id, chat, chat, "손님", Kind.TEXT, text, new_conversation=new)


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_migrations_go_up_match_the_models_and_go_down(database_url: str) -> None:
    engine = sessions.create_engine(database_url)
    await sessions.upgrade(engine)
    await sessions.check(engine)
    assert set(Base.metadata.tables) < await tables(engine)
    await sessions.downgrade(engine, "base")
    assert await tables(engine) == {"alembic_version"}
    await sessions.upgrade(engine)
    await engine.dispose()


async def test_sqlite_keeps_its_promises(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("db") / "new" / "folder" / "x.db"
    engine = sessions.create_engine(f"sqlite:///{path}")
    async with engine.connect() as connection:
        for pragma, value in (("journal_mode", "wal"), ("foreign_keys", 1)):
            assert await connection.scalar(text(f"PRAGMA {pragma}")) == value
    await engine.dispose()


async def test_an_update_is_stored_once_however_often_it_comes(engine: AsyncEngine) -> None:
    make = sessions.create_sessions(engine)

    async def store() -> queries.Turn | None:
        async with make.begin() as session:
            return await queries.store(session, incoming(77))

    turns = await asyncio.gather(*(store() for _ in range(8)))
    assert sum(turn is not None for turn in turns) == 1
    async with make.begin() as session:
        assert len((await session.scalars(select(Message))).all()) == 1
        assert len((await session.scalars(select(Customer))).all()) == 1


async def test_new_ends_the_conversation_and_history_stays_in_it(engine: AsyncEngine) -> None:
    make = sessions.create_sessions(engine)
    async with make.begin() as session:
        first = await queries.store(session, incoming(1, "첫 질문"))
        assert first
        answer = await queries.open_answer(session, first.message_id)
        answer.text, answer.way, answer.sent_at = "첫 답", Way.STORED, answer.created_at
        second = await queries.store(session, incoming(2, "둘째 질문"))
        assert second
        past = await queries.history(session, second.conversation_id, second.message_id, 4)
        assert past == [("첫 질문", "첫 답")]
        third = await queries.store(session, incoming(3, "new", new=True))
        assert await queries.store(session, incoming(3, "new", new=True)) is None
        fourth = await queries.store(session, incoming(4, "셋째 질문"))
        assert third
        assert fourth
        assert third.conversation_id == fourth.conversation_id != second.conversation_id
        assert await queries.history(session, fourth.conversation_id, fourth.message_id, 4) == []
        ended = (await session.scalars(select(Conversation.ended_at))).all()
    assert sum(end is not None for end in ended) == 1


async def test_unfinished_turns_come_back_in_order_of_their_messages(engine: AsyncEngine) -> None:
    make = sessions.create_sessions(engine)
    async with make.begin() as session:
        turns = [await queries.store(session, incoming(n, f"{n}")) for n in (3, 1, 2)]
        assert turns[1]
        await queries.finish(session, turns[1].message_id)
    async with make.begin() as session:
        left = await queries.unfinished(session, bot_id=1, before=utc_now())
        assert left == [turns[0], turns[2]]
        assert await queries.unfinished(session, 1, utc_now() - timedelta(minutes=1)) == []
        assert await queries.unfinished(session, bot_id=2, before=utc_now()) == []


async def test_a_second_rating_replaces_the_first(engine: AsyncEngine) -> None:
    make = sessions.create_sessions(engine)
    async with make.begin() as session:
        turn = await queries.store(session, incoming(1))
        assert turn
        answer = await queries.open_answer(session, turn.message_id)
        assert (await queries.open_answer(session, turn.message_id)).id == answer.id
        await queries.rate(session, answer.id, turn.customer_id, 1)
        await queries.rate(session, answer.id, turn.customer_id, -1)
        assert (await session.scalars(select(Feedback.value))).all() == [-1]
        assert await queries.answer_in_chat(session, answer.id, chat_id=5)
        assert await queries.answer_in_chat(session, answer.id, chat_id=6) is None
    with pytest.raises(IntegrityError):
        async with make.begin() as session:
            await queries.rate(session, answer.id, turn.customer_id, 7)
