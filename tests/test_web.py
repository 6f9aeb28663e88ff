"""The open port: webhook, health, numbers; several processes on one Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from bot import texts
from bot.app import open_consultant, open_database, running_bot
from bot.web import Door, open_door
from db.database import Database
from db.models import Answer, Chat, Message, Worker
from tests.load.fleet import SECRET, balancing, free_ports
from tests.load.postgres import restartable_postgres
from tests.modelserver import ModelServer
from tests.playground import Running, running
from tests.processes import run
from tests.shop import ask, settings_for, tell_everybody

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
HEADER = "X-Telegram-Bot-Api-Secret-Token"


@asynccontextmanager
async def replica(
    telegram: Running,
    database_url: str,
    model: ModelServer,
    port: int,
    hook: str = "",
    **changes: Any,  # noqa: ANN401 - settings
) -> AsyncIterator[Database]:
    settings = settings_for(
        telegram.url,
        database_url,
        model,
        webhook_url=hook or f"http://127.0.0.1:{port}/telegram",
        webhook_secret=SecretStr(SECRET),
        listen=f"127.0.0.1:{port}",
        answer_check=False,
        **changes,
    )
    settings.require_webhook()
    async with open_door(settings.listen) as door, open_database(settings) as database:
        await tell_everybody(database)
        async with (
            open_consultant(settings) as consultant,
            running_bot(settings, database, consultant, webhook=True, door=door),
        ):
            yield database


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_a_webhook_brings_questions_and_answers_go_out(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: "답: " + asked
    (port,) = free_ports(1)
    async with running() as telegram, replica(telegram, database_url, model, port):
        customer = telegram.playground.customer(901)
        sent = [
            await customer.send(f"벽지에 곰팡이가 {n}번 생겼는데 어떻게 하나요?") for n in range(3)
        ]
        answers = await customer.wait_for(3, after=sent[0].id)
        assert [a.text for a in answers] == [
            f"답: 벽지에 곰팡이가 {n}번 생겼는데 어떻게 하나요?" for n in range(3)
        ]
        assert (await telegram.bot.get_webhook_info()).pending_update_count == 0


async def test_a_webhook_takes_nothing_without_its_secret(
    database_url: str, model: ModelServer
) -> None:
    update = {
        "update_id": 1,
        "message": {
            "message_id": 1,
            "date": 1,
            "text": "/help",
            "chat": {"id": 902, "type": "private"},
            "from": {"id": 902, "is_bot": False, "first_name": "x"},
        },
    }
    (port,) = free_ports(1)
    async with (
        running() as telegram,
        replica(telegram, database_url, model, port) as database,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{port}/telegram"
        for headers in ({}, {HEADER: "wrong"}, {HEADER: "틀림"}):
            async with session.post(url, json=update, headers=headers) as response:
                assert response.status == 403
        for body in (b"", b"no json", b"[]", b"\xff"):
            async with session.post(url, data=body, headers={HEADER: SECRET}) as response:
                assert response.status == 400
        assert await database.run(lambda c: c.execute(select(Message.id)).all()) == []
        async with session.post(url, json=update, headers={HEADER: SECRET}) as response:
            assert response.status == 200


async def test_health_readiness_and_numbers(database_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    (port,) = free_ports(1)
    async with running() as telegram:
        async with open_door(f"127.0.0.1:{port}"):
            assert (await get(port, "/healthz"))[0] == 200
            status, body = await get(port, "/readyz")
            assert (status, "starting" in body) == (503, True)
        async with replica(telegram, database_url, model, port):
            assert (await get(port, "/readyz"))[0] == 200
            before = numbers((await get(port, "/metrics"))[1])
            customer = telegram.playground.customer(903)
            await telegram.playground.fault("sendMessage", status=429, retry_after=1)
            await ask(customer, MOULD)
            await ask(customer, "/help")
            model.status = 500
            await ask(customer, MOULD)
            after = numbers((await get(port, "/metrics"))[1])
            grown = {name: after[name] - before.get(name, 0) for name in after}
            assert grown['deepbot_turns_total{way="model"}'] == 1
            assert grown['deepbot_turns_total{way="fixed"}'] == 1
            assert grown['deepbot_turns_total{way="fallback"}'] == 1
            assert grown['deepbot_model_errors_total{failure="broken"}'] == 1
            assert grown['deepbot_telegram_calls_total{result="flood_control"}'] == 1
            assert grown["deepbot_first_text_seconds_count"] == 2
            assert grown['deepbot_updates_total{outcome="stored"}'] == 3
            assert MOULD not in (await get(port, "/metrics"))[1]


def numbers(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


async def test_a_database_that_goes_away_is_said_and_waited_for(model: ModelServer) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    (port,) = free_ports(1)
    async with (
        restartable_postgres() as postgres,
        running() as telegram,
        replica(telegram, postgres.url, model, port),
    ):
        customer = telegram.playground.customer(904)
        await ask(customer, MOULD)
        await postgres.stop()
        status, body = await get(port, "/readyz")
        assert (status, "database" in body) == (503, True)
        assert (await get(port, "/healthz"))[0] == 200
        sent = await customer.send(MOULD)
        await asyncio.sleep(1)
        await postgres.start()
        (answer,) = await customer.wait_for(1, after=sent.id, timeout=30)
        assert answer.text == "네, 그렇습니다."
        assert (await get(port, "/readyz"))[0] == 200


@asynccontextmanager
async def two_replicas(
    database_url: str, model: ModelServer
) -> AsyncIterator[tuple[Running, Database, list[AsyncExitStack]]]:
    """Two replicas behind one webhook, each to be closed on its own."""
    ports = free_ports(2)
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(running())
        hook = await stack.enter_async_context(balancing(ports))
        each = []
        for port in ports:
            one = await stack.enter_async_context(AsyncExitStack())
            database = await one.enter_async_context(
                replica(telegram, database_url, model, port, hook, shutdown_s=0.2)
            )
            each.append(one)
        yield telegram, database, each


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_replicas_answer_each_question_once_and_in_order(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: "답: " + asked
    model.token_s = 0.01
    async with two_replicas(database_url, model) as (telegram, database, _):
        customers = [telegram.playground.customer(910 + n) for n in range(8)]

        async def talk(number: int) -> None:
            questions = [f"벽지에 곰팡이가 {number}{n}번 생겼는데 어떻게 하나요?" for n in range(4)]
            sent = [await customers[number].send(question) for question in questions]
            answers = await customers[number].wait_for(4, after=sent[0].id, timeout=30)
            assert [a.text for a in answers] == [f"답: {q}" for q in questions]

        await asyncio.gather(*(talk(number) for number in range(8)))
        workers = await database.run(lambda c: c.scalars(select(Worker.id)).all())
        assert len(workers) == 2
        async with asyncio.timeout(5):
            held = select(Chat.worker_id).where(Chat.worker_id.is_not(None))
            while await database.run(lambda c: c.execute(held).all()):
                await asyncio.sleep(0.05)
        assert len(await database.run(lambda c: c.execute(select(Answer.id)).all())) == 32


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_stop_reaches_whichever_replica_writes(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "한 마디씩 이어지는 아주 긴 답변 " * 200
    model.token_s = 0.02
    async with two_replicas(database_url, model) as (telegram, _, _):
        customers = [telegram.playground.customer(930 + n) for n in range(6)]
        for customer in customers:
            await customer.send(MOULD)
        for customer in customers:
            await customer.wait_for(lambda seen: any(len(m.text) > 20 for m in seen if not m.final))
            await customer.send("/stop")
        for customer in customers:
            await customer.wait_for(
                lambda seen: any(m.final and m.text.endswith(texts.STOPPED) for m in seen)
            )
        await model.wait_until_cancelled(6)
        assert model.finished == 0


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_what_a_leaving_replica_parks_the_other_takes_up(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "느린 답 " * 100
    model.token_s = 0.1
    async with two_replicas(database_url, model) as (telegram, _, each):
        customers = [telegram.playground.customer(940 + n) for n in range(6)]
        for customer in customers:
            await customer.send(MOULD)
        await model.wait_until_asked(6)
        model.token_s = 0.0
        await each[0].aclose()
        for customer in customers:
            await customer.wait_for(1, after=1, timeout=30)
        await asyncio.sleep(0.5)
        for customer in customers:
            assert len([m for m in await customer.messages() if m.from_bot and m.final]) == 1


async def test_a_webhook_needs_https_and_a_secret(tmp_path: Path, model: ModelServer) -> None:
    common = {"TELEGRAM_TOKEN": "1:x", "MODEL_URL": model.url}
    for settings in (
        {},
        {"WEBHOOK_URL": "https://shop.example/telegram"},
        {"WEBHOOK_SECRET": SECRET},
        {"WEBHOOK_URL": "http://shop.example/telegram", "WEBHOOK_SECRET": SECRET},
    ):
        code, output, errors = await run("bot", "--webhook", cwd=tmp_path, **common | settings)
        assert (code, output) == (1, "")
        (line,) = errors.strip().splitlines()
        assert "WEBHOOK_URL" in line
        assert SECRET not in line


async def test_a_taken_port_is_one_line(tmp_path: Path, model: ModelServer) -> None:
    (port,) = free_ports(1)
    async with open_door(f"127.0.0.1:{port}") as door:
        assert isinstance(door, Door)
        code, _, errors = await run(
            "bot",
            cwd=tmp_path,
            TELEGRAM_TOKEN="1:x",
            MODEL_URL=model.url,
            LISTEN=f"127.0.0.1:{port}",
        )
    assert code == 1
    (line,) = errors.strip().splitlines()
    assert "LISTEN" in line
