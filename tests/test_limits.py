"""Too much at once, from one customer or from all: a friendly answer, and nothing breaks."""

import asyncio

import pytest
from sqlalchemy import select

from bot import metrics, texts
from bot.gate import FullError, Gate
from db.models import Answer, Kind, Message
from inference import breaker
from inference.breaker import Attempt, Breaker
from tests.modelserver import ModelServer
from tests.shop import ask, open_shop

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
OFF_TOPIC = "오늘 저녁 메뉴 추천해 줘"


async def test_who_writes_too_fast_is_told_once_and_nobody_else_is(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네."
    async with open_shop(database_url, model, answer_check=False, messages_a_minute=3) as shop:
        hasty, calm = shop.customer(201), shop.customer(202)
        sent = [await hasty.send(MOULD) for n in range(8)]
        await ask(calm, MOULD)
        await shop.wait_until_idle()
        answers = [m.text for m in await hasty.messages() if m.from_bot and m.id > sent[0].id]
        assert answers == ["네."] * 3 + [texts.TOO_FAST]
        rows = await shop.rows(select(Message.kind, Message.text).order_by(Message.id))
        assert len([row for row in rows if row.kind == Kind.EXCESS]) == 5  # kept all the same


async def test_who_has_used_up_the_day_is_answered_from_what_is_stored(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네."
    async with open_shop(database_url, model, answer_check=False, tokens_a_day=8) as shop:
        customer = shop.customer(203)
        await ask(customer, MOULD)
        (answer,) = await ask(customer, MOULD)
        assert answer.text.startswith(texts.FALLBACK.format(answer=""))
        (declined,) = await ask(customer, OFF_TOPIC)
        assert declined.text == texts.DECLINED
        assert len(model.requests) == 1
        (other,) = await ask(shop.customer(204), MOULD)
        assert other.text == "네."


async def test_who_waits_for_the_model_is_told_how_long(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "느린 답 " * 15
    model.token_s = 0.1
    async with open_shop(database_url, model, answer_check=False, model_at_once=1) as shop:
        first, second = shop.customer(205), shop.customer(206)
        await first.send(MOULD)
        await model.wait_until_asked(1)
        sent = await second.send(MOULD)
        start = texts.WAITING.partition("{")[0]
        waiting = await second.wait_for(
            lambda seen: any(not m.final and m.text.startswith(start) for m in seen)
        )
        assert "초 뒤에" in waiting[-1].text
        assert len(model.requests) == 1
        (answer,) = await second.wait_for(1, after=sent.id, timeout=30)
        assert answer.text == model.reply("").strip()
        await shop.wait_until_idle()
        assert metrics.WAITING._value.get() == 0


async def test_a_full_line_is_said_and_what_is_stored_is_sent(
    database_url: str, model: ModelServer
) -> None:
    model.hang = True
    async with open_shop(
        database_url, model, answer_check=False, model_at_once=1, model_queue=0
    ) as shop:
        await shop.customer(207).send(MOULD)
        await model.wait_until_asked(1)
        (stored,) = await ask(shop.customer(208), MOULD)
        assert stored.text.startswith(texts.FALLBACK.format(answer=""))
        assert len(model.requests) == 1
        await shop.customer(207).send("/stop")  # a waiting or hanging answer can be stopped
        await model.wait_until_cancelled(1)


async def test_a_model_that_keeps_failing_is_left_alone_for_a_while(
    database_url: str, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_S", 1.0)
    model.reply = lambda _: "네."
    model.status = 500
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(210)
        for _ in range(6):
            (answer,) = await ask(customer, MOULD)
            assert answer.text.startswith(texts.FALLBACK.format(answer=""))
        assert len(model.requests) == 5
        errors = await shop.rows(select(Answer.error).order_by(Answer.id))
        assert [e for (e,) in errors] == ["broken"] * 5 + ["open"]
        model.status = 200
        await asyncio.sleep(1.1)
        (answer,) = await ask(customer, MOULD)
        assert answer.text == "네."


async def test_the_line_keeps_its_order_and_its_bounds() -> None:
    gate = Gate(at_once=2, most_waiting=2)
    places = [gate.join() for _ in range(4)]
    assert [await p.reached(0.01) for p in places] == [True, True, False, False]
    with pytest.raises(FullError) as full:
        gate.join()
    assert full.value.seconds >= places[3].seconds >= places[2].seconds >= 1
    places[2].leave()  # who goes away lets nobody in before their turn
    assert not await places[3].reached(0.01)
    places[0].leave()
    assert await places[3].reached(0.01)
    places[1].leave()
    places[3].leave()
    again = [gate.join() for _ in range(2)]
    assert all([await p.reached(0.01) for p in again])


async def test_the_line_learns_how_long_answers_take() -> None:
    gate = Gate(at_once=1, most_waiting=10)
    assert gate.seconds_behind(3) == 20
    for _ in range(30):
        gate.join().leave()
    assert gate.seconds_behind(3) == 1


async def test_a_circuit_opens_tries_once_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(breaker, "_now", lambda: now)
    circuit = Breaker()

    def admitted() -> Attempt:
        attempt = circuit.admit()
        assert attempt
        return attempt

    early = admitted()
    for _ in range(4):
        circuit.fail(admitted())
    circuit.succeed(admitted())
    for _ in range(5):
        circuit.fail(admitted())
    assert circuit.admit() is None
    now = 5.0
    trial = admitted()
    assert circuit.admit() is None  # one at a time
    circuit.fail(early)  # begun before: it says nothing of the trial
    assert circuit.admit() is None
    circuit.forget(trial)
    circuit.fail(admitted())
    now = 14.9
    assert circuit.admit() is None  # the pause has doubled
    now = 15.0
    circuit.succeed(admitted())
    assert not admitted().is_trial
    assert not circuit.is_open
