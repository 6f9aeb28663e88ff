"""Who runs which chat: one worker at a time, in order, and nothing is left behind."""

import asyncio

import pytest
from sqlalchemy import Connection, select, update

from db import claims, queries
from db.claims import ClaimLostError
from db.database import Database
from db.models import Chat, Kind, Message, Worker, utc_now
from db.queries import Stored, Turn
from tests.test_database import incoming

BOT = 1


async def register(database: Database, *, alone: bool = False) -> str:
    return await database.run(lambda c: claims.register(c, BOT, alone=alone))


async def store(database: Database, update_id: int, worker: str, **what: object) -> Stored:
    new = await database.insist(
        lambda c: queries.store(c, incoming(update_id, **what), worker, 0)  # type: ignore[arg-type]
    )
    assert new
    return new


async def next_turn(database: Database, worker: str, chat: int = 5) -> Turn | None:
    return await database.insist(lambda c: claims.next_turn(c, BOT, chat, worker))


async def finish(database: Database, turn: Turn) -> None:
    await database.insist(lambda c: claims.finish(c, turn.message_id))


async def expire(database: Database, worker: str) -> None:
    past = (
        update(Worker).where(Worker.id == worker).values(alive_until=utc_now().replace(year=2000))
    )
    await database.run(lambda c: c.execute(past))


async def make_old(database: Database) -> None:
    old = update(Message).values(received_at=utc_now().replace(year=2000))
    await database.run(lambda c: c.execute(old))


async def holder(database: Database) -> str | None:
    return await database.run(lambda c: c.scalar(select(Chat.worker_id)))


async def test_a_free_chat_falls_to_who_stores_and_is_let_go_of_when_empty(
    database: Database,
) -> None:
    one, two = await register(database), await register(database)
    first = await store(database, 1, one)
    assert (first.worker_id, first.is_free) == (one, True)
    second = await store(database, 2, two)
    assert (second.worker_id, second.is_free) == (one, False)
    assert await next_turn(database, two) is None  # it is the other's
    for update_id in (1, 2):
        turn = await next_turn(database, one)
        assert turn
        assert turn.message_id == (first, second)[update_id - 1].turn.message_id
        await finish(database, turn)
    assert await holder(database) == one
    assert await next_turn(database, one) is None
    assert await holder(database) is None
    third = await store(database, 3, two)
    assert (third.worker_id, third.is_free) == (two, True)


async def test_a_turn_comes_back_with_what_is_known_of_it(database: Database) -> None:
    one = await register(database)
    new = await store(database, 1, one, text="곰팡이")

    def begin(c: Connection) -> None:
        queries.write_answer(c, new.turn.message_id, text="답", sent_ids=[9])
        queries.spend_tokens(c, new.turn.customer_id, 12)
        queries.refuse_drafts(c, BOT, 5)
        queries.block_chat(c, BOT, 5)

    await database.run(begin)
    turn = await next_turn(database, one)
    assert turn
    assert (turn.answer.text, turn.answer.sent_ids) == ("답", [9])
    assert (turn.tokens_today, turn.drafts_refused, turn.blocked) == (12, True, True)
    later = await store(database, 2, one)  # who writes again lets the bot in again
    assert not later.turn.blocked
    again = await next_turn(database, one)
    assert again
    assert not again.blocked


@pytest.mark.parametrize("kind", [Kind.STOP, Kind.RATING])
async def test_what_runs_beside_the_queue_is_run_in_it_only_when_forgotten(
    database: Database, kind: Kind
) -> None:
    one = await register(database)
    passing = await store(database, 1, one, kind=kind)
    assert await next_turn(database, one) is None
    assert await holder(database) is None
    await make_old(database)
    assert await database.run(lambda c: claims.take_over(c, BOT, one)) == [5]
    turn = await next_turn(database, one)
    assert turn
    assert turn.message_id == passing.turn.message_id


async def test_stops_that_others_stored_are_found_by_who_writes(database: Database) -> None:
    one, two = await register(database), await register(database)
    await store(database, 1, one)
    stop = await store(database, 2, two, kind=Kind.STOP)
    assert stop.worker_id == one
    await make_old(database)
    found = await database.run(lambda c: claims.stops(c, BOT, one, []))
    assert [turn.message_id for turn in found] == [stop.turn.message_id]
    assert await database.run(lambda c: claims.stops(c, BOT, two, [])) == []
    running = [stop.turn.message_id]
    assert await database.run(lambda c: claims.stops(c, BOT, one, running)) == []


async def test_a_dead_workers_chats_go_to_one_of_the_others(database: Database) -> None:
    dead, one, two = [await register(database) for _ in range(3)]
    for chat in range(20):
        await store(database, chat, dead, chat=100 + chat)
    take = claims.take_over
    assert await database.run(lambda c: take(c, BOT, one)) == []
    await expire(database, dead)
    took = await asyncio.gather(
        *(database.insist(lambda c, w=w: take(c, BOT, w)) for w in (one, two))  # type: ignore[misc]
    )
    assert sorted(took[0] + took[1]) == list(range(100, 120))
    turn = await next_turn(database, one if 100 in took[0] else two, chat=100)
    assert turn
    assert await database.run(lambda c: claims.renew(c, BOT, dead)) is None
    assert await database.run(lambda c: claims.renew(c, BOT, one)) == 2


async def test_a_worker_that_leaves_needs_no_lease_to_end(database: Database) -> None:
    one, two = await register(database), await register(database)
    await store(database, 1, one)
    await database.run(lambda c: claims.leave(c, one))
    assert await database.run(lambda c: claims.take_over(c, BOT, two)) == [5]


async def test_a_worker_alone_inherits_everything(database: Database) -> None:
    before = await register(database)
    await store(database, 1, before)
    alone = await register(database, alone=True)
    assert await database.run(lambda c: claims.take_over(c, BOT, alone)) == [5]


async def test_a_forgotten_message_of_a_free_chat_is_found(database: Database) -> None:
    one = await register(database)
    new = await store(database, 1, one)
    await database.run(lambda c: c.execute(update(Chat).values(worker_id=None)))
    assert await database.run(lambda c: claims.take_over(c, BOT, one)) == []  # it is too young
    await make_old(database)
    assert await database.run(lambda c: claims.take_over(c, BOT, one)) == [5]
    await finish(database, new.turn)
    assert await next_turn(database, one) is None
    assert await database.run(lambda c: claims.take_over(c, BOT, one)) == []


async def test_a_message_that_its_own_worker_does_not_know_of_is_found(
    database: Database,
) -> None:
    """As when storing was done twice because the first answer of the database was lost."""
    one, two = await register(database), await register(database)
    await store(database, 1, one)
    assert await database.run(lambda c: queries.store(c, incoming(1), one, 0)) is None
    await make_old(database)
    assert await database.run(lambda c: claims.take_over(c, BOT, two)) == []
    assert await database.run(lambda c: claims.take_over(c, BOT, one)) == [5]


async def test_a_worker_that_counts_as_dead_takes_nothing(database: Database) -> None:
    dead, late = await register(database), await register(database)
    await store(database, 1, dead)
    await expire(database, dead)
    await expire(database, late)
    assert await database.run(lambda c: claims.take_over(c, BOT, late)) == []
    assert len(await database.run(lambda c: c.execute(select(Worker.id)).all())) == 2


async def test_a_lost_claim_is_refused(database: Database) -> None:
    one, two = await register(database), await register(database)
    turn = (await store(database, 1, one)).turn

    def check(worker: str) -> object:
        return database.run(lambda c: claims.check_claim(c, turn, BOT, worker))

    await check(one)  # type: ignore[misc]
    with pytest.raises(ClaimLostError):
        await check(two)  # type: ignore[misc]
    await finish(database, turn)
    with pytest.raises(ClaimLostError):
        await check(one)  # type: ignore[misc]


async def test_no_message_is_stored_unseen_while_its_chat_is_let_go_of(
    database: Database,
) -> None:
    """Storing and letting go race; whoever holds the chat in the end finds every message."""
    one, two = await register(database), await register(database)
    done: list[int] = []

    async def serve(worker: str) -> None:
        while turn := await next_turn(database, worker):
            done.append(turn.message_id)
            await finish(database, turn)

    async def write(update_id: int) -> int:
        worker = (one, two)[update_id % 2]
        new = await store(database, update_id, worker)
        if new.is_free:
            await serve(worker)
        return new.turn.message_id

    ids = await asyncio.gather(*(write(n) for n in range(60)))
    assert sorted(done) == sorted(ids)
    assert await holder(database) is None
