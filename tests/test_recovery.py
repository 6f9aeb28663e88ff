"""The bot is killed at bad moments; started again, every question has exactly one answer."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.playground.client import Message as Shown
from db.database import open_database
from db.models import Answer
from tests.modelserver import ModelServer
from tests.playground import TOKEN, running
from tests.processes import bot_process

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"


def answers(seen: list[Shown]) -> list[Shown]:
    return [m for m in seen if m.from_bot and m.final and "👍" in str(m.button_rows)]


async def rows(database_url: str) -> list[Any]:
    database = open_database(database_url)
    found = await database.run(lambda c: c.execute(select(Answer.text, Answer.sent_ids)).all())
    await database.close()
    return list(found)


async def test_killed_while_the_model_writes(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    model.reply = lambda _: "조금씩 길어지는 답입니다 " * 20
    model.token_s = 0.05
    async with running() as telegram:
        customer = telegram.playground.customer(51)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await customer.send(MOULD)
            await customer.wait_for(lambda seen: any(not m.final and m.text for m in seen))
            await customer.send("타일 위에 도배해도 되나요?")
            await asyncio.sleep(0.3)
            bot.kill()
            await bot.wait()
        model.token_s = 0.0
        async with bot_process(telegram, model, database_url, tmp_path):
            await customer.wait_for(lambda seen: len(answers(seen)) >= 2)
            await asyncio.sleep(0.5)
            assert len(answers(await customer.messages())) == 2
        assert len(await rows(database_url)) == 2


async def test_killed_between_the_answer_and_its_sending(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    model.reply = lambda _: "다 쓴 답입니다."
    async with running() as telegram:
        customer = telegram.playground.customer(52)
        await telegram.playground.fault("sendMessage", drop=True, delay_s=60)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await customer.send(MOULD)
            async with asyncio.timeout(10):
                while not [row for row in await _texts(database_url) if row]:
                    await asyncio.sleep(0.05)
            bot.kill()
            await bot.wait()
        await telegram.playground.clear_faults()
        async with bot_process(telegram, model, database_url, tmp_path):
            await customer.wait_for(lambda seen: len(answers(seen)) == 1)
        assert [m.text for m in answers(await customer.messages())] == ["다 쓴 답입니다."]
        assert len(model.requests) == 1  # the stored answer was sent, not written anew


async def _texts(database_url: str) -> list[str | None]:
    return [row.text for row in await rows(database_url)]


async def test_an_answer_begun_in_a_group_is_edited_not_sent_anew(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    model.reply = lambda _: "조금씩 길어지는 답입니다 " * 20
    model.token_s = 0.05
    async with running() as telegram:
        group = telegram.playground.customer(-53, user=54)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            sent = await group.send(MOULD)
            begun = await group.wait_for(1, after=sent.id)
            async with asyncio.timeout(5):
                while [row.sent_ids for row in await rows(database_url)] != [[begun[0].id]]:
                    await asyncio.sleep(0.02)
            bot.kill()
            await bot.wait()
        model.token_s = 0.0
        async with bot_process(telegram, model, database_url, tmp_path):
            await group.wait_for(lambda seen: len(answers(seen)) == 1)
        messages = [m for m in await group.messages() if m.from_bot and not m.text.startswith("🔒")]
        assert [(m.id, m.text) for m in messages] == [(begun[0].id, model.reply("").strip())]


async def test_asked_to_end_the_bot_ends_soon_and_goes_on_later(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    model.reply = lambda _: "아주 느린 답 " * 100
    model.token_s = 0.2
    async with running() as telegram:
        customer = telegram.playground.customer(55)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await customer.send(MOULD)
            await customer.send(MOULD)
            await model.wait_until_asked(1)
            await asyncio.sleep(0.5)
            bot.terminate()
            async with asyncio.timeout(8):
                _, errors = await bot.communicate()
            assert bot.returncode == 0
            await model.wait_until_cancelled(1)
        # The log names neither what was asked nor the token.
        assert b"bot_stopped" in errors
        assert b"Warning" not in errors
        assert MOULD.encode() not in errors
        assert TOKEN.encode() not in errors
        model.token_s = 0.0
        async with bot_process(telegram, model, database_url, tmp_path):
            await customer.wait_for(lambda seen: len(answers(seen)) == 2)
