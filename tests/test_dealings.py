"""How far the shop is with an estimate, and who still waits for a call."""

from dataclasses import replace
from datetime import timedelta

from db import dealings, estimates
from db.database import Database
from db.estimates import Saved
from db.models import utc_now
from tests.test_claims import register, store

NOW = utc_now()


async def begin(database: Database, number: int, worker: str) -> Saved:
    turn = (await store(database, number, worker, chat=number)).turn
    saved = Saved(
        id=turn.message_id,
        bot_id=1,
        chat_id=turn.chat_id,
        customer_id=turn.customer_id,
        state="done",
        form={},
        result=None,
        consented_at=None,
        called_at=None,
        created_at=NOW,
        updated_at=NOW,
    )
    await database.run(lambda c: estimates.save(c, saved))
    return saved


async def listed(database: Database, progress: str | None = None) -> list[tuple[int, str]]:
    deals = await database.run(lambda c: dealings.find_all(c, progress, 0, 10))
    return [(deal.saved.id, deal.progress) for deal in deals]


async def test_who_waits_for_a_call_comes_first_and_who_asks_again_waits_again(
    database: Database,
) -> None:
    worker = await register(database)
    older, newer = await begin(database, 1, worker), await begin(database, 2, worker)
    assert await listed(database) == [(newer.id, "new"), (older.id, "new")]
    called = replace(older, called_at=NOW)
    await database.run(lambda c: estimates.save(c, called))
    await database.run(lambda c: estimates.save(c, newer))
    assert (await listed(database))[0] == (older.id, "new")
    assert await database.run(lambda c: dealings.move(c, older.id, "called"))
    await database.run(lambda c: estimates.save(c, called))  # changed, and not asked again
    assert await listed(database, "called") == [(older.id, "called")]
    again = replace(older, called_at=NOW + timedelta(hours=1))
    await database.run(lambda c: estimates.save(c, again))
    assert await listed(database, "called") == []
    assert (await listed(database))[0] == (older.id, "new")


async def test_an_estimate_that_is_none_is_not_moved(database: Database) -> None:
    assert not await database.run(lambda c: dealings.move(c, 999, "won"))
