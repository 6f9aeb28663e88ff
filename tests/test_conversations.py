"""Conversations as admins see them: the list, its filters and pages, and one from its beginning."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, insert, select, update

from db import claims, conversations, feedback, queries, recordings, search
from db.conversations import Filter
from db.database import Database
from db.estimates import Saved, save
from db.models import (
    Answer,
    Conversation,
    Handoff,
    Kind,
    Mark,
    Message,
    Review,
    Way,
    utc_now,
)
from db.queries import Incoming, Sound, Turn
from tests.modelserver import ModelServer
from tests.shop import ask, open_shop
from tests.test_database import incoming
from tests.test_search import begin, pages, say


def found(connection: Connection, wanted: Filter, limit: int = 50) -> list[int]:
    """Return the ids on all pages, with the index brought up to date."""
    while search.catch_up(connection):
        pass
    return [row.id for row in pages(connection, wanted, limit)]


def answer_id(connection: Connection, turn: Turn) -> int:
    return connection.scalars(select(Answer.id).where(Answer.message_id == turn.message_id)).one()


def rate(connection: Connection, turn: Turn, value: int) -> None:
    feedback.rate(connection, answer_id(connection, turn), turn.customer_id, value)
    search.touch(connection, turn.message_id)


def review(connection: Connection, turn: Turn, *labels: str, is_done: bool = True) -> None:
    connection.execute(
        insert(Review).values(
            answer_id=answer_id(connection, turn),
            admin_id=1,
            claimed_until=utc_now(),
            reviewed_at=utc_now() if is_done else None,
            verdict="wrong" if is_done else None,
            labels=list(labels),
            corrected="이렇게요" if is_done else None,
        )
    )
    search.touch(connection, turn.message_id)


def speak(connection: Connection, update_id: int, chat: int, *, is_kept: bool = True) -> Turn:
    turn = begin(
        connection,
        Incoming(1, update_id, chat, chat, "손님", Kind.VOICE, "", sound=Sound("file", 3, 9)),
    )
    recordings.note_heard(
        connection,
        turn.message_id,
        outcome="sure",
        heard="벽지가",
        said="벽지가 떴어요",
        confidence=0.75,
        content=b"sound" if is_kept else None,
    )
    claims.finish(connection, turn.message_id)
    return turn


def estimate(connection: Connection, turn: Turn) -> None:
    now = utc_now()
    save(
        connection,
        Saved(
            turn.message_id,
            1,
            turn.chat_id,
            turn.customer_id,
            state="asking",
            form={},
            result=None,
            consented_at=None,
            called_at=None,
            created_at=now,
            updated_at=now,
        ),
    )


def call_human(connection: Connection, turn: Turn, *, ended: datetime | None = None) -> None:
    connection.execute(
        insert(Handoff).values(
            bot_id=1,
            chat_id=turn.chat_id,
            customer_id=turn.customer_id,
            asked_at=utc_now(),
            ended_at=ended,
        )
    )


def set_times(connection: Connection, turn: Turn, started: datetime, last: datetime) -> None:
    connection.execute(
        update(Conversation)
        .where(Conversation.id == turn.conversation_id)
        .values(started_at=started, last_at=last)
    )


async def test_the_list_shows_the_newest_first_and_what_they_are(database: Database) -> None:
    def work(c: Connection) -> None:
        one = say(c, 1, "첫 질문", "첫 답")
        two = say(c, 2, "안녕", "안녕하세요", chat=6)
        say(c, 3, "둘째 질문\n두 줄", "둘째 답")
        say(c, 4, "rate:3:up", kind=Kind.RATING)
        say(c, 5, "go:estimate", "몇 평인가요?", kind=Kind.BUTTON)
        assert found(c, Filter()) == [one.conversation_id, two.conversation_id]
        first, second = conversations.find(c, Filter()).conversations
        assert (first.customer_name, first.chat_id) == ("손님", 5)
        assert first.customer_id == one.customer_id
        assert first.messages == 3
        assert first.snippet
        assert first.snippet.text == "둘째 질문 두 줄"
        assert first.started_at < second.started_at <= second.last_at < first.last_at
        assert first.marks == Mark.UNREVIEWED
        assert not first.is_waiting

    await database.run(work)


async def test_the_snippet_is_what_was_searched(database: Database) -> None:
    def work(c: Connection) -> None:
        say(c, 1, "벽지에 곰팡이가 있어요", "닦아요")
        right = say(c, 2, "네?", "아주 " * 40 + "긴 답에도 곰팡이와 락스가 " + "있어요 " * 40)
        say(c, 3, "곰팡이는 싫어요", "네")
        search.catch_up(c)
        (row,) = conversations.find(c, Filter(text="락스 곰팡")).conversations
        assert row.snippet
        assert row.snippet.message_id == right.message_id
        assert "곰팡이와 락스가" in row.snippet.text
        assert row.snippet.text.startswith("…")
        assert row.snippet.text.endswith("…")
        assert len(row.snippet.text) < 130

    await database.run(work)


_WANTED: dict[str, tuple[Filter, Callable[[Connection, int], Turn]]] = {}


def trait(wanted: Filter) -> Callable[[Callable[[Connection, int], Turn]], object]:
    """Note how a conversation comes to be what a filter wants; others are none of it."""

    def note(make: Callable[[Connection, int], Turn]) -> object:
        _WANTED[make.__name__] = wanted, make
        return make

    return note


@trait(Filter(has="voice"))
def spoken(c: Connection, chat: int) -> Turn:
    return speak(c, chat * 100, chat)


@trait(Filter(has="estimate"))
def estimated(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "견적이요", chat=chat)
    estimate(c, turn)
    search.touch(c, turn.message_id)
    return turn


@trait(Filter(rating=1))
def liked(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "물음", "답", chat=chat, way=Way.FIXED)
    rate(c, turn, 1)
    return turn


@trait(Filter(rating=-1))
def disliked(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "물음", "답", chat=chat, way=Way.FIXED)
    search.catch_up(c)
    rate(c, turn, -1)
    return turn


@trait(Filter(reviewed=True))
def reviewed(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "물음", "답", chat=chat)
    search.catch_up(c)
    review(c, turn)
    return turn


@trait(Filter(reviewed=False))
def in_hands(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "물음", "답", chat=chat)
    review(c, turn, is_done=False)
    return turn


@trait(Filter(label="틀린 \"답'%"))
def labelled(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "물음", "답", chat=chat)
    review(c, turn, "다른", "틀린 \"답'%")
    return turn


@trait(Filter(unsure=True))
def unsure(c: Connection, chat: int) -> Turn:
    return say(c, chat * 100, "물음", "모르겠어요", chat=chat, way=Way.UNSURE)


@trait(Filter(unsure=True))
def hardly_sure(c: Connection, chat: int) -> Turn:
    return say(c, chat * 100, "물음", "답", chat=chat, way=Way.MODEL, confidence=0.59)


@trait(Filter(failed=True))
def failed(c: Connection, chat: int) -> Turn:
    return say(c, chat * 100, "물음", "죄송해요", chat=chat, way=Way.FAILED, error="KeyError")


@trait(Filter(waiting=True))
def waiting(c: Connection, chat: int) -> Turn:
    turn = say(c, chat * 100, "사람이요", chat=chat)
    call_human(c, turn)
    return turn


@trait(Filter(text="구들"))
def searched(c: Connection, chat: int) -> Turn:
    return say(c, chat * 100, "구들장이요", chat=chat)


@pytest.mark.parametrize("name", _WANTED)
async def test_a_filter_finds_what_it_names_and_nothing_else(database: Database, name: str) -> None:
    def work(c: Connection) -> None:
        made = {key: make(c, chat) for chat, (key, (_, make)) in enumerate(_WANTED.items(), 1)}
        call_human(c, made["failed"], ended=utc_now())
        old = say(c, 5_000, "물음", chat=500)
        call_human(c, old)
        say(c, 5_001, "new", chat=500, new=True, kind=Kind.COMMAND)
        new = say(c, 5_002, "물음", chat=500)
        say(c, 5_003, "물음", "다정한 답", chat=501, way=Way.FIXED, confidence=0.0)
        alike = {
            "reviewed": {"labelled"},
            "in_hands": {"unsure", "hardly_sure"},
            "unsure": {"hardly_sure"},
            "hardly_sure": {"unsure"},
        }
        expected = {made[key].conversation_id for key in {name, *alike.get(name, ())}}
        if name == "waiting":  # the one that goes on in that chat
            expected.add(new.conversation_id)
        assert sorted(found(c, _WANTED[name][0])) == sorted(expected)
        shown = {row.id: row for row in pages(c, Filter())}
        assert {id_ for id_, row in shown.items() if row.is_waiting} == {
            made["waiting"].conversation_id,
            new.conversation_id,
        }

    await database.run(work)


async def test_a_label_is_one_as_a_whole(database: Database) -> None:
    def work(c: Connection) -> None:
        turn = say(c, 1, "물음", "답")
        review(c, turn, 'x"a', "뜻이 다름", "b")
        review(c, say(c, 2, "물음", "답"), "a", is_done=False)
        assert found(c, Filter(label="뜻이 다름")) == found(c, Filter(label='x"a'))
        assert found(c, Filter(label="b")) == [turn.conversation_id]
        for label in ("a", "뜻", "다름", "", 'x\\"a', "%", 'b"]', "\0"):
            assert found(c, Filter(label=label)) == []
        assert conversations.find(c, Filter()).conversations[0].labels == ["b", 'x"a', "뜻이 다름"]

    await database.run(work)


async def test_of_a_customer(database: Database) -> None:
    def work(c: Connection) -> None:
        one = say(c, 1, "하나", chat=7)
        two = say(c, 2, "둘", chat=7, new=True)
        say(c, 3, "셋", chat=8)
        expected = [two.conversation_id, one.conversation_id]
        assert found(c, Filter(customer_id=one.customer_id)) == expected
        assert found(c, Filter(customer_id=10**6)) == []

    await database.run(work)


async def test_days_are_koreas(database: Database) -> None:
    def work(c: Connection) -> None:
        turns = [say(c, n, "물음", chat=n) for n in range(1, 5)]
        midnight = datetime(2026, 3, 1, 15, tzinfo=UTC)  # of the second of March, in Korea
        second = timedelta(seconds=1)
        before = midnight - second
        for turn, started, last in zip(
            turns,
            (before, before, midnight, midnight + timedelta(days=1)),
            (before, midnight, midnight + timedelta(days=1) - second, midnight + timedelta(days=9)),
            strict=True,
        ):
            set_times(c, turn, started, last)
        day = date(2026, 3, 2)
        ids = [turn.conversation_id for turn in turns]
        assert found(c, Filter(since=day)) == [ids[3], ids[2], ids[1]]
        assert found(c, Filter(until=day)) == [ids[2], ids[1], ids[0]]
        assert found(c, Filter(since=day, until=day)) == [ids[2], ids[1]]
        assert found(c, Filter(until=day - timedelta(days=1))) == [ids[1], ids[0]]

    await database.run(work)


async def test_filters_combine(database: Database) -> None:
    def work(c: Connection) -> None:
        first = say(c, 1, "벽지가 떠요", "풀이요", way=Way.UNSURE)
        rate(c, first, -1)
        review(c, first, "짧음")
        call_human(c, first)
        estimate(c, first)
        other = say(c, 2, "벽지가 떠요", "풀이요", chat=6)
        rate(c, other, -1)
        today = utc_now().astimezone(queries.KOREA).date()
        whole = Filter(
            text="벽지 풀이",
            since=today - timedelta(days=1),
            until=today,
            customer_id=first.customer_id,
            has="estimate",
            rating=-1,
            reviewed=True,
            label="짧음",
            unsure=True,
            waiting=True,
        )
        assert found(c, whole) == [first.conversation_id]
        assert found(c, Filter(text="벽지", rating=-1, reviewed=False)) == [other.conversation_id]
        assert found(c, Filter(text="벽지", rating=1)) == []

    await database.run(work)


@pytest.mark.parametrize("words", ["", "벽지"])
async def test_paging_has_no_gaps_and_no_repeats_while_messages_come(
    database: Database, words: str
) -> None:
    def work(c: Connection) -> None:
        turns = [say(c, n, "벽지요", chat=n) for n in range(1, 24)]
        same = utc_now()  # as of one moment: the ids tell them apart
        c.execute(update(Conversation).values(last_at=same))
        while search.catch_up(c):
            pass
        wanted = Filter(text=words)
        seen: list[int] = []
        page = conversations.find(c, wanted, limit=5)
        for number in range(10):
            seen += [row.id for row in page.conversations]
            if page.after is None:
                break
            assert len(page.conversations) == 5
            say(c, 100 + number, "벽지 하나 더요", chat=23 - number)  # moves to the front
            say(c, 200 + number, "새 벽지요", chat=1_000 + number)  # new
            search.catch_up(c)
            page = conversations.find(c, wanted, before=page.after, limit=5)
        assert seen == [turn.conversation_id for turn in reversed(turns)]
        assert len(found(c, wanted)) == 27

    await database.run(work)


async def test_a_search_that_reads_for_long_goes_on_on_the_next_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "_MOST_LOOKED_AT", 10)

    def work(c: Connection) -> None:
        right = say(c, 1, "곰팡이", chat=1)
        for n in range(2, 30):
            say(c, n, "곰팡 팡이", chat=n)
        assert found(c, Filter(text="곰팡이"), limit=3) == [right.conversation_id]
        first = conversations.find(c, Filter(text="곰팡이"), limit=3)
        assert first.conversations == []
        assert first.after

    await database.run(work)


async def test_a_transcript_is_what_was_said_with_how_it_came(database: Database) -> None:
    def work(c: Connection) -> None:
        first = say(
            c,
            1,
            "그건 왜요?",
            "결로예요",
            way=Way.MODEL,
            asked="곰팡이는 왜 생기나요?",
            sources=[{"id": "DB_001", "question": "곰팡이", "score": 0.9}],
            confidence=0.5,
            model="m",
            adapter="a",
            prompt_tokens=10,
            completion_tokens=20,
            first_token_s=0.1,
            total_s=0.2,
            error="check_number",
            stopped=True,
            more=[{"text": "더"}, {"to": 9, "text": "손님의 번호"}],
        )
        rate(c, first, -1)
        review(c, first, "짧음")
        say(c, 2, "rate:1:up", kind=Kind.RATING)
        say(c, 3, "stop", "멈췄어요", kind=Kind.STOP)
        voice = speak(c, 4, 5)
        admin = say(c, -1, "사장입니다", "사장입니다", kind=Kind.ADMIN, way=Way.FIXED)
        c.execute(update(Message).where(Message.id == admin.message_id).values(author_id=77))
        waits = begin(c, incoming(6, "아직이요"))
        say(c, 7, "남의 말", chat=6)

        entries = conversations.read(c, first.conversation_id)
        assert [entry.message_id for entry in entries] == [
            turn.message_id for turn in (first, voice, admin, waits)
        ]
        one, spoken, human, unanswered = entries
        assert (one.kind, one.text, one.asked) == (
            Kind.TEXT,
            "그건 왜요?",
            "곰팡이는 왜 생기나요?",
        )
        answer = one.answer
        assert answer
        assert (answer.text, answer.way, answer.more) == ("결로예요", Way.MODEL, [{"text": "더"}])
        assert answer.sources[0]["id"] == "DB_001"
        assert (answer.model, answer.adapter, answer.confidence) == ("m", "a", 0.5)
        assert (answer.prompt_tokens, answer.completion_tokens) == (10, 20)
        assert (answer.first_token_s, answer.total_s) == (0.1, 0.2)
        assert (answer.error, answer.stopped) == ("check_number", True)
        assert answer.sent_at
        assert answer.rating == -1
        assert (answer.verdict, answer.labels, answer.corrected) == ("wrong", ["짧음"], "이렇게요")
        assert answer.reviewed_at
        assert (spoken.kind, spoken.text) == (Kind.VOICE, "벽지가 떴어요")
        assert spoken.voice == conversations.Heard(3, "sure", 0.75, is_kept=True)
        assert (human.kind, human.author_id, human.text) == (Kind.ADMIN, 77, "사장입니다")
        assert unanswered.answer is None
        assert unanswered.at.tzinfo

        parts = [
            conversations.read(c, first.conversation_id, after_id=after, limit=2)
            for after in (0, voice.message_id)
        ]
        assert [*parts[0], *parts[1]] == entries

    await database.run(work)


async def test_what_a_customer_does_is_seen(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(2001)
        (answer,) = await ask(customer, "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?")
        await customer.press_text("👎 아쉬워요")
        await customer.wait_for(
            lambda seen: any("👎 아쉬워요 ✓" in str(m.button_rows) for m in seen)
        )
        await shop.wait_until_idle()
        await shop.database.run(search.catch_up)
        page = await shop.database.run(
            lambda c: conversations.find(c, Filter(text="팡이가 생", rating=-1))
        )
        (row,) = page.conversations
        assert row.messages == 1
        entries = await shop.database.run(lambda c: conversations.read(c, row.id))
        assert [entry.answer and entry.answer.rating for entry in entries] == [-1]
        assert entries[0].answer
        assert entries[0].answer.text == answer.text
