"""Odd updates, faults of Telegram and of the database: nobody is forgotten, nothing doubled."""

import asyncio

import pytest
from sqlalchemy import select, text

from bot import outbound, texts, worker
from bot.playground.client import Message as Shown
from db.models import Answer, Customer
from tests.modelserver import ModelServer
from tests.playground import running
from tests.shop import ask, open_bot, open_shop

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
AIRING = "도배 후 환기는 어떻게 하나요?"


def is_growing(seen: list[Shown]) -> bool:
    return any(len(m.text) > 20 for m in seen if m.from_bot and not m.final)


async def test_an_update_that_cannot_be_read_holds_up_nobody_and_is_not_logged(
    database_url: str,
    model: ModelServer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_shop(database_url, model) as shop:
        await shop.customer(61).send("비밀 이야기", raw={"photo": 5})
        (answer,) = await ask(shop.customer(62), "/help")
        assert answer.text == texts.HELP
    assert "update_unreadable" in capsys.readouterr().out
    assert "비밀" not in caplog.text


async def test_names_that_no_database_takes_are_cut_to_fit(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        sender = {"id": 63, "is_bot": False, "first_name": "김\0" + "가" * 300}
        customer = shop.customer(63)
        sent = await customer.send("/help", raw={"from": sender})
        await customer.wait_for(1, after=sent.id)
        (row,) = await shop.rows(select(Customer.name))
        assert row.name == "김" + "가" * 255


async def test_an_outage_of_any_length_loses_no_answer(
    database_url: str, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(outbound, "_FIRST_PAUSE_S", 0.01)
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(64)
        await shop.playground.fault("sendMessage", status=502, times=50)
        (answer,) = await ask(customer, "/help")
        assert answer.text == texts.HELP
        assert len(await customer.messages()) == 2


async def test_a_turn_that_could_not_end_is_taken_up_without_a_restart(
    database_url: str, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_TRY_AGAIN_S", 0.3)
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(79)
        await shop.playground.fault("sendMessage", status=401, times=1)
        (answer,) = await ask(customer, "/help")
        assert answer.text == texts.HELP
        await asyncio.sleep(1)  # some more rounds of resuming
        assert len(await customer.messages()) == 2


async def test_what_an_earlier_process_left_is_taken_up_at_the_start(
    database_url: str, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_SWEEP_EVERY_S", 1e9)  # nothing but the start may find it
    model.hang = True
    async with running() as telegram:
        customer = telegram.playground.customer(80)
        async with open_bot(telegram, database_url, model, shutdown_s=0.1):
            sent = await customer.send(MOULD)
            await model.wait_until_asked(1)
        model.hang = False
        model.reply = lambda _: "이어서 쓴 답입니다."
        async with open_bot(telegram, database_url, model, answer_check=False):
            (answer,) = await customer.wait_for(1, after=sent.id)
            assert answer.text == "이어서 쓴 답입니다."


async def test_who_shut_the_bot_out_is_not_worked_for_until_they_write_again(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "느린 답입니다 " * 10
    model.token_s = 0.03
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(82)
        await customer.send(MOULD)
        await customer.send(AIRING)
        await model.wait_until_asked(1)
        await customer.block()
        await shop.wait_until_idle()
        assert len(model.requests) == 1
        assert [c["status"] for c in await shop.playground.calls("sendMessage", 82)] == [403]
        await customer.block(False)
        (answer,) = await ask(customer, MOULD)
        assert answer.text == model.reply("").strip()


async def test_a_slow_telegram_doubles_nothing(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(65)
        await shop.playground.fault("sendMessage", delay_s=6, times=1)
        await ask(customer, "/help")
        await asyncio.sleep(4)  # a call given up on would go through by then
        assert len(await customer.messages()) == 2


async def test_a_429_at_the_start_does_not_end_the_bot(
    database_url: str, model: ModelServer
) -> None:
    async with running() as telegram:
        await telegram.playground.fault("setMyCommands", status=429, retry_after=5)
        async with open_bot(telegram, database_url, model):
            (answer,) = await ask(telegram.playground.customer(66), "/help")
            assert answer.text == texts.HELP


async def test_a_webhook_left_behind_does_not_keep_the_bot_from_polling(
    database_url: str, model: ModelServer
) -> None:
    async with running() as telegram:
        await telegram.bot.set_webhook("https://shop.example/hook")
        async with open_bot(telegram, database_url, model):
            (answer,) = await ask(telegram.playground.customer(78), "/help")
            assert answer.text == texts.HELP


async def test_a_growing_message_that_was_deleted_is_sent_anew(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "조금씩 늘어나는 답변입니다 " * 10
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        group = shop.playground.customer(-67, user=68)
        sent = await group.send(MOULD)
        (growing,) = await group.wait_for(1, after=sent.id)
        deleted = shop.store.message(-67, growing.id)
        assert deleted
        shop.store.delete_message(deleted)
        (answer,) = await group.wait_for(1, after=growing.id)
        assert answer.text == model.reply("").strip()


async def test_a_first_show_whose_reply_is_lost_is_not_repeated(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "조금씩 늘어나는 답변입니다 " * 60
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        group = shop.playground.customer(-69, user=70)
        await shop.playground.fault("sendMessage", drop=True, after=True, times=1)
        await group.send(MOULD)
        whole = model.reply("").strip()
        await group.wait_for(lambda seen: any(m.text == whole for m in seen), timeout=20)
        assert len([m for m in await group.messages() if m.from_bot]) == 2
        assert await shop.playground.calls("editMessageText", -69) == []


async def test_a_private_chat_that_refuses_drafts_gets_edits_from_then_on(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "조금씩 늘어나는 답변입니다 " * 10
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(77)
        refusal = "Bad Request: TEXTDRAFT_PEER_INVALID"
        await shop.playground.fault("sendMessageDraft", status=400, description=refusal, times=99)
        for question in (MOULD, AIRING):
            sent = await customer.send(question)
            answers = await customer.wait_for(
                lambda seen: any("👍" in str(m.button_rows) for m in seen), after=sent.id
            )
            assert [m.text for m in answers] == [model.reply("").strip()]
        assert len(await shop.playground.calls("sendMessageDraft")) == 1
        assert len(await shop.playground.calls("editMessageText")) >= 3


async def test_a_stop_button_of_an_earlier_answer_stops_no_later_one(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: "첫 답" if asked == MOULD else "둘째 답이 이어집니다 " * 20
    model.token_s = 0.03
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(71)
        (first,) = await ask(customer, MOULD)
        left_over = shop.store.message(71, first.id)
        assert left_over
        button = {"text": texts.BUTTON_STOP, "callback_data": outbound.STOP_DATA}
        left_over.body["reply_markup"] = {"inline_keyboard": [[button]]}
        await customer.send(AIRING)
        await customer.wait_for(is_growing)
        await customer.press(first.id, outbound.STOP_DATA)
        (second,) = await customer.wait_for(1, after=first.id)
        assert second.text == model.reply("").strip()


@pytest.mark.parametrize("command", ["/stop", "/Stop"])
async def test_a_stop_right_behind_the_question_stops_it(
    database_url: str, model: ModelServer, command: str
) -> None:
    model.reply = lambda _: "긴 답이 이어집니다 " * 100
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(72)
        sent = await customer.send(MOULD)
        await customer.send(command)
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text.endswith(texts.STOPPED)
        await shop.wait_until_idle()
        assert model.finished == 0
        (row,) = await shop.rows(select(Answer))
        assert row.stopped


async def test_what_fails_the_check_is_not_kept_by_stopping(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "도배 전체를 77원에 해 드립니다 " * 100
    model.token_s = 0.03
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(73)
        sent = await customer.send(MOULD)
        await customer.wait_for(is_growing)
        await customer.send("/stop")
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text == texts.STOPPED


async def test_apologies_are_not_told_to_the_model_as_its_words(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(74)
        await ask(customer, MOULD)
        await ask(customer, "가" * 1500)
        await ask(customer, "오늘 저녁 메뉴 추천해 줘")
        await ask(customer, AIRING)
        told = [m["content"] for m in model.requests[-1]["messages"]]
        assert told[1:3] == [MOULD, "네, 그렇습니다."]
        assert len(told) == 4


async def test_a_failing_database_still_leaves_an_apology(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        statement = text("ALTER TABLE answers RENAME TO gone")
        await shop.database.run(lambda c: c.execute(statement))
        (apology,) = await ask(shop.customer(75), MOULD)
        assert apology.text == texts.FAILED
