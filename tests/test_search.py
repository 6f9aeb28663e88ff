"""Search: every part of a word is found, nothing else is, and what is gone is found no more."""

import asyncio
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, select, text

from bot.inquiry import CLEAR
from db import claims, conversations, estimates, queries, recordings, search
from db import database as db
from db.conversations import Filter
from db.database import Database
from db.models import Answer, Conversation, Kind, Message, SearchTerms, Way, utc_now
from db.queries import Incoming, Sound, Turn
from tests.test_database import incoming, store

_ALPHABET = "가나곰팡이벽지요 aB1%_'\"*()-:^\\\n\t😀ㅠ"


def begin(connection: Connection, what: Incoming) -> Turn:
    """Store a message whose turn goes on."""
    new = store(connection, what)
    assert new
    return new.turn


def say(
    connection: Connection,
    update_id: int,
    said: str,
    answer: str | None = None,
    *,
    chat: int = 5,
    new: bool = False,
    kind: Kind = Kind.TEXT,
    **facts: object,
) -> Turn:
    """Store a message and end its turn, with an answer or without."""
    turn = begin(connection, incoming(update_id, said, kind=kind, new=new, chat=chat))
    if answer is not None:
        queries.write_answer(
            connection,
            turn.message_id,
            **{"text": answer, "way": Way.STORED, "confidence": 1.0, "sent_at": utc_now(), **facts},
        )
    claims.finish(connection, turn.message_id)
    return turn


def find(connection: Connection, words: str) -> set[int]:
    """Return the conversations found, with the index brought up to date."""
    while search.catch_up(connection, 3):
        pass
    return {found.id for found in pages(connection, Filter(text=words))}


def pages(
    connection: Connection, wanted: Filter, limit: int = 50
) -> Iterator[conversations.Listed]:
    """Yield what is on all pages."""
    page = conversations.find(connection, wanted, limit=limit)
    yield from page.conversations
    while page.after:
        page = conversations.find(connection, wanted, before=page.after, limit=limit)
        yield from page.conversations


@pytest.mark.parametrize(
    "words",
    [
        *("곰팡", "팡이", "곰팡이가", "곰", "이가 벽", "벽지에 곰팡", "곰팡이가  벽지에\n"),
        *("MOLD", "mold", "oL", "100%", "락스", "락스 곰팡", "ㅠㅠ", "이?"),
        unicodedata.normalize("NFD", "곰팡이"),
    ],
)
async def test_any_part_of_a_word_is_found(database: Database, words: str) -> None:
    def work(c: Connection) -> None:
        turn = say(c, 1, "벽지에 곰팡이가 100% (Mold) 생겼어요ㅠㅠ 왜 이래요, 이?", "락스로 닦아요")
        say(c, 2, "합지는요?", "종이예요", chat=6)
        assert find(c, words) == {turn.conversation_id}

    await database.run(work)


@pytest.mark.parametrize(
    "words",
    [
        *("곰이", "팡곰", "벽지곰팡", "곰팡이는", "없는말", "장판지"),
        *('"', "곰팡*", "곰팡 OR 합지", "NOT", "terms:곰", "곰팡'", "^곰", "%", "_", "곰_이", "\\"),
        *("\0", "곰\0팡", "\ud800", "😀", "🙂곰", "''; DROP TABLE messages; --", "(곰", "{곰}"),
        *("곰팡" * 500, "각 " * 500, "".join(map(chr, range(0xAC00, 0xAC00 + 1000)))),
    ],
)
async def test_nothing_else_is_found_whatever_is_typed(database: Database, words: str) -> None:
    def work(c: Connection) -> None:
        say(c, 1, "벽지에 곰팡이가 생겼어요", "닦아요")
        say(c, 2, "합지는 장판 판지?", "종이예요", chat=6)
        assert find(c, words) == set()

    await database.run(work)


async def test_no_words_are_no_search(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = say(c, 1, "안녕하세요")
        assert find(c, " \n\t") == {turn.conversation_id}

    await database.run(work)


class _UndoneError(Exception):
    """Rolls an example back."""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.lists(st.text(_ALPHABET, max_size=12), max_size=4), min_size=1, max_size=6),
    words=st.text(_ALPHABET, max_size=6),
)
async def test_what_is_found_is_what_python_finds(
    database: Database, said: list[list[str]], words: str
) -> None:
    def work(c: Connection) -> None:
        holding, number = set(), 0
        for chat, texts in enumerate(said, 1):
            for place, one in enumerate(["안녕", *texts]):
                number += 1
                own = place % 2 == 0
                turn = say(c, number, one if own else "", None if own else one, chat=chat)
                if place == 1:  # the rest is added to what is indexed already
                    search.catch_up(c)
            whole = "\n".join(["안녕", *texts]).lower()
            if all(any(w in t.lower() for t in ["안녕", *texts]) for w in words.lower().split()):
                holding.add(turn.conversation_id)
                assert all(w in whole for w in words.lower().split())
        assert find(c, words) == holding
        raise _UndoneError

    with pytest.raises(_UndoneError):
        await database.run(work)


async def test_words_may_stand_in_different_messages(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = say(c, 1, "곰팡이가 있어요", "닦아요")
        say(c, 2, "합지는요?", "종이예요")
        say(c, 3, "곰팡이는요?", "없애요", new=True)
        assert find(c, "종이 곰팡") == {turn.conversation_id}

    await database.run(work)


async def test_customers_and_answers_are_searched_and_no_buttons_or_commands(
    database: Database,
) -> None:
    def work(c: Connection) -> None:
        say(c, 1, "start", "벽지에 곰팡이가 생겼나요?", kind=Kind.COMMAND)
        say(c, 2, "rate:1:up", kind=Kind.RATING)
        button = say(
            c, 3, "ask:DB_001", "환기하세요", kind=Kind.BUTTON, asked="결로는 왜 생기나요?", chat=6
        )
        for words in ("곰팡", "start", "rate", "up", "ask"):
            assert find(c, words) == set()
        for words in ("결로", "환기"):
            assert find(c, words) == {button.conversation_id}

    await database.run(work)


async def test_a_turn_is_found_when_it_has_ended(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = begin(c, incoming(1, "벽지가 들떴어요"))
        assert find(c, "벽지") == set()
        queries.write_answer(c, turn.message_id, text="풀을 넣어요", way=Way.STORED)
        claims.finish(c, turn.message_id)
        assert find(c, "벽지") == find(c, "풀을") == {turn.conversation_id}
        later = begin(c, incoming(2, "천장은요?"))
        assert find(c, "벽지") == {turn.conversation_id}
        claims.finish(c, later.message_id)
        assert find(c, "천장") == {turn.conversation_id}

    await database.run(work)


async def test_what_was_heard_is_found(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = begin(c, Incoming(1, 1, 5, 5, "손님", Kind.VOICE, "", sound=Sound("file", 3, 1_000)))
        recordings.note_heard(
            c,
            turn.message_id,
            outcome="sure",
            heard="벽지가",
            said="벽지가 떴어요",
            confidence=0.9,
            content=None,
        )
        claims.finish(c, turn.message_id)
        assert find(c, "떴어") == {turn.conversation_id}

    await database.run(work)


async def test_what_was_redacted_is_found_no_more(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = say(c, 1, "홍길동 010-1234-5678", "고마워요, 홍길동 님은 아니죠")
        say(c, 2, "실크 벽지요")
        assert find(c, "길동") == find(c, "1234") == {turn.conversation_id}
        queries.write_answer(c, turn.message_id, text="고마워요")
        estimates.redact(c, turn.message_id)
        for words in ("길동", "1234", "5678", "홍"):
            assert find(c, words) == set()
        assert _hits(c, "길동") == []  # nor does the index know it
        assert find(c, "실크") == find(c, "고마") == {turn.conversation_id}

    await database.run(work)


async def test_who_is_deleted_leaves_nothing_in_the_index(database: Database) -> None:
    def work(c: Connection) -> None:
        gone, kept = say(c, 1, "홍길동이에요"), say(c, 2, "홍길동 아니에요", chat=6)
        assert find(c, "홍길동") == {gone.conversation_id, kept.conversation_id}
        search.forget(c, [gone.message_id])
        c.execute(delete(Answer).where(Answer.message_id == gone.message_id))
        c.execute(delete(Message).where(Message.id == gone.message_id))
        c.execute(delete(Conversation).where(Conversation.id == gone.conversation_id))
        assert _hits(c, "길동") == [kept.conversation_id]
        assert c.scalars(select(SearchTerms.conversation_id)).all() == [kept.conversation_id]
        assert find(c, "홍길동") == {kept.conversation_id}
        search.forget(c, [])

    await database.run(work)


def _hits(connection: Connection, words: str) -> list[int]:
    """Return what the index itself finds."""
    query = search.candidates(connection, search.words(words))
    assert query is not None
    return list(connection.scalars(query))


async def test_the_index_is_brought_up_to_date_in_parts_the_newest_first(
    database: Database,
) -> None:
    def work(c: Connection) -> None:
        turns = [say(c, n, "벽지요", chat=n) for n in range(1, 6)]
        assert search.catch_up(c, 2) == 2
        newest = {turn.conversation_id for turn in turns[-2:]}
        assert {row.id for row in pages(c, Filter(text="벽지"))} == newest
        assert [search.catch_up(c, 2) for _ in range(3)] == [2, 1, 0]
        assert len(_hits(c, "벽지")) == 5

    await database.run(work)


async def test_several_may_bring_it_up_to_date_at_once(database: Database) -> None:
    for n in range(1, 21):
        await database.run(lambda c, n=n: say(c, n, "벽지요", "네", chat=n))  # type: ignore[misc]
    # Which of them takes what, and what is passed over since somebody just speaks there, is chance.
    await asyncio.gather(
        *(database.insist(lambda c: search.catch_up(c, 20)) for _ in range(4)),
        *(database.insist(lambda c, n=n: say(c, 100 + n, "천장", chat=n)) for n in range(1, 21)),  # type: ignore[misc]
    )
    assert len(await database.run(lambda c: find(c, "벽지"))) == 20
    assert len(await database.run(lambda c: find(c, "천장"))) == 20


async def test_what_was_there_before_the_index_is_found(database_url: str) -> None:
    database = db.open_database(database_url)
    await db.upgrade(database, "0006")

    def fill(c: Connection) -> None:
        values = {"now": utc_now() if c.dialect.name == "postgresql" else "2026-01-02 03:04:05.0"}
        for statement in (
            "INSERT INTO customers (id, telegram_id, name, created_at) VALUES (1, 5, '손님', :now)",
            "INSERT INTO conversations (id, customer_id, chat_id, started_at)"
            " VALUES (1, 1, 5, :now), (2, 1, 5, :now)",
            "INSERT INTO messages (id, conversation_id, bot_id, update_id, kind, text,"
            " received_at, done_at) VALUES (1, 1, 9, 7, 'text', '곰팡이', :now, :now)",
        ):
            c.execute(text(statement), values)

    await database.run(fill)
    await db.upgrade(database)
    assert await database.run(lambda c: find(c, "팡이")) == {1}
    stale = select(func.count()).select_from(Conversation).where(Conversation.stale)
    assert await database.run(lambda c: c.scalar(stale)) == 0
    received = await database.run(lambda c: c.scalar(select(Message.received_at)))
    last = select(Conversation.last_at)
    assert await database.run(lambda c: c.scalars(last).all()) == [received, received]
    await db.downgrade(database, "0006")
    await database.close()


def test_what_counts_as_unsure_is_what_the_bot_is_not_clear_about() -> None:
    assert search.CLEAR == CLEAR
