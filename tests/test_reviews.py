"""Answers come to reviewers one each, the worst first, and nothing is reviewed twice by chance."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select

from db import feedback, queries, reviews
from db.database import Database
from db.models import Answer, Customer, Kind, Way, utc_now
from tests.test_database import incoming, stored

ONE, TWO = 11, 12
NOW = utc_now()


async def answer(
    database: Database,
    update_id: int,
    way: Way = Way.STORED,
    *,
    kind: Kind = Kind.TEXT,
    **what: object,
) -> int:
    """Store a question with its answer and return the answer's id."""

    def work(c: Connection) -> int:
        turn = stored(c, incoming(update_id, kind=kind))
        values = {"text": "답", "way": way, "confidence": 0.9, "sent_at": NOW, **what}
        queries.write_answer(c, turn.message_id, **values)
        return c.scalars(select(Answer.id).where(Answer.message_id == turn.message_id)).one()

    return await database.run(work)


async def dislike(database: Database, answer_id: int) -> None:
    def work(c: Connection) -> None:
        feedback.rate(c, answer_id, c.scalars(select(Customer.id)).one(), -1)

    await database.run(work)


async def claim(database: Database, admin: int, minutes_later: int = 0) -> int | None:
    now = NOW + timedelta(minutes=minutes_later)
    return await database.run(lambda c: reviews.claim(c, admin, now))


async def save(database: Database, answer_id: int, admin: int = ONE) -> None:
    await database.run(lambda c: reviews.save(c, answer_id, admin, "good", [], None, NOW))


async def all_in_turn(database: Database) -> list[int]:
    order = []
    while (found := await claim(database, ONE)) is not None:
        order.append(found)
        await save(database, found)
    return order


async def test_the_worst_comes_first_and_only_what_was_consulted_on(database: Database) -> None:
    liked = await answer(database, 1)
    disliked = await answer(database, 2)
    unsure = await answer(database, 3, Way.UNSURE)
    await answer(database, 4, Way.FIXED, confidence=0.0)
    await answer(database, 5, Way.FORM)
    vague = await answer(database, 6, Way.MODEL, confidence=0.4)
    declined = await answer(database, 7, Way.DECLINED, confidence=0.1)
    failed = await answer(database, 8, Way.FAILED, confidence=None)
    pressed = await answer(database, 9, kind=Kind.BUTTON, asked="곰팡이?")
    await answer(database, 10, Way.FAILED, kind=Kind.BUTTON)  # some button that went wrong
    await answer(database, 11, stopped=True)
    await answer(database, 12, text=None)
    await dislike(database, disliked)
    order = await all_in_turn(database)
    assert order == [disliked, failed, vague, unsure, pressed, declined, liked]


async def test_an_answer_is_one_reviewers_until_the_time_is_up(database: Database) -> None:
    older, newer = await answer(database, 1), await answer(database, 2)
    assert await claim(database, ONE) == newer
    assert await claim(database, ONE, 10) == newer  # still in hand, and longer so
    assert await claim(database, TWO, 20) == older
    assert await claim(database, 13, 20) is None
    assert await claim(database, 13, 26) == newer
    await save(database, newer, 13)
    assert await claim(database, ONE, 30) is None  # the second has the other
    later = NOW + timedelta(minutes=30)
    await database.run(lambda c: reviews.postpone(c, older, ONE, later))
    assert await claim(database, TWO, 30) == older  # who does not hold it cannot put it aside
    await database.run(lambda c: reviews.postpone(c, older, TWO, later))
    assert await claim(database, TWO, 89) is None
    assert await claim(database, ONE, 90) == older


async def test_many_reviewers_at_once_get_one_answer_each(database: Database) -> None:
    answers = {await answer(database, n) for n in range(1, 9)}
    found = await asyncio.gather(*(claim(database, admin) for admin in range(100, 110)))
    assert sorted(found, key=str) == sorted([*answers, None, None], key=str)


async def test_a_later_review_replaces_an_earlier_one(database: Database) -> None:
    one = await answer(database, 1)
    shown = await database.run(lambda c: reviews.show(c, one))
    assert shown
    assert (shown.verdict, shown.labels, shown.corrected) == (None, [], None)
    labels = ["wrong_fact", "outdated"]
    await database.run(lambda c: reviews.save(c, one, ONE, "bad", labels, "바른 답", NOW))
    await database.run(lambda c: reviews.note_entry(c, one, "MINE_1"))
    shown = await database.run(lambda c: reviews.show(c, one))
    assert shown
    assert (shown.verdict, shown.labels, shown.corrected) == ("bad", labels, "바른 답")
    assert shown.entry_id == "MINE_1"
    await save(database, one, TWO)
    shown = await database.run(lambda c: reviews.show(c, one))
    assert shown
    assert (shown.verdict, shown.labels, shown.corrected) == ("good", [], None)


async def test_labels_are_those_there_are(database: Database) -> None:
    one = await answer(database, 1)
    with pytest.raises(ValueError, match="no labels"):
        await database.run(lambda c: reviews.save(c, one, ONE, "bad", ["nonsense"], None, NOW))
