"""Whose estimate it is: who may see and change it, and where name and number are kept."""

from pathlib import Path

import pytest
from sqlalchemy import select

from bot import texts
from bot.estimate import wording
from db.models import Answer, Estimate, Message
from tests.modelserver import ModelServer
from tests.shop import ask, last, open_shop, say, tap, the_estimate

SENTENCE = "34평 아파트 실크로 천장까지 얼마예요?"


async def test_a_callback_is_asked_for_with_consent_and_the_shop_is_told_at_once(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[399]) as shop:
        admin, customer = shop.customer(399), shop.customer(307)
        await ask(admin, "/start")
        first = await say(customer, SENTENCE)
        await customer.press_text(wording.NOW)
        await customer.wait_for(3, after=first.id)
        assert (await tap(customer, wording.CALL)).text == wording.CONSENT
        assert (await tap(customer, wording.AGREE)).text == wording.ASK_NAME
        assert (await say(customer, "12345")).text.startswith(wording.NAME_UNCLEAR)
        assert (await say(customer, "박서준입니다")).text == wording.ASK_PHONE
        assert (await say(customer, "내일요")).text.startswith(wording.PHONE_UNCLEAR)
        before = (await admin.messages())[-1].id
        done = await say(customer, "010 2345 9876 이요")
        assert "끝자리 9876" in done.text
        told = await last(admin, before)
        assert "박서준 · 010-2345-9876" in told.text
        assert "34평" in told.text
        assert "245만~333만 원" in told.text
        await shop.wait_until_idle()
        row = await the_estimate(shop)
        assert f"?start=estimate_{row.id}" in told.text
        assert row.consented_at <= row.called_at
        await admin.press_text(wording.OPEN)
        opened, contact = await admin.wait_for(2, after=told.id)
        assert "도배 견적 245만" in opened.text
        assert contact.text == "📞 박서준 · 010-2345-9876"
        linked, _ = await ask(admin, f"/start estimate_{row.id}", answers=2)
        assert linked.text == opened.text
        # Name and number stand in one place only.
        await shop.wait_until_idle()
        kept = [m.text for m in await shop.rows(select(Message))]
        kept += [f"{a.text} {a.more}" for a in await shop.rows(select(Answer))]
        assert not any(
            "박서준" in text or "9876" in text.replace("끝자리 9876", "") for text in kept
        )

        before = (await admin.messages())[-1].id
        assert (await tap(customer, wording.WITHDRAW)).text == wording.CALL_WITHDRAWN
        assert "취소" in (await last(admin, before)).text
        await shop.wait_until_idle()
        row = await the_estimate(shop)
        assert "9876" not in str(row.form)
        assert (row.called_at, row.consented_at) == (None, None)


async def test_an_admin_out_of_reach_keeps_no_customer_waiting(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[398, 397]) as shop:
        admin, customer = shop.customer(397), shop.customer(308)
        await ask(admin, "/start")  # 398 never wrote to the bot
        await say(customer, SENTENCE)
        first = (await customer.messages())[-1].id
        await customer.press_text(wording.NOW)
        await customer.wait_for(3, after=first)
        await tap(customer, wording.CALL)
        await tap(customer, wording.AGREE)
        await say(customer, "김도배")
        before = (await admin.messages())[-1].id
        assert "연락 요청을 받았어요" in (await say(customer, "02-123-4567")).text
        assert "02-123-4567" in (await last(admin, before)).text


async def test_another_customers_estimate_is_out_of_reach(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[396]) as shop:
        victim, forger, admin = shop.customer(311), shop.customer(312), shop.customer(396)
        await say(victim, "/estimate")
        await say(victim, "실크")
        await shop.wait_until_idle()
        row = await the_estimate(shop)
        own, seen = await say(forger, "/start"), await say(admin, "/start")
        for who, message, actions in (
            (forger, own, ("open", "cancel", "set:wallpaper:paper", "quote", "new", "withdraw")),
            (admin, seen, ("cancel", "set:wallpaper:paper", "new", "withdraw", "call")),
        ):
            forged = shop.store.message(who.chat_id, message.id)
            assert forged
            for action in actions:
                data = f"est:{row.id}:{action}"
                forged.body["reply_markup"] = {
                    "inline_keyboard": [[{"text": "x", "callback_data": data}]]
                }
                await who.press(message.id, data)
            # The chat's order: an answer to one of them would stand before this one.
            await say(who, "/help")
            later = [m for m in await who.messages() if m.from_bot and m.id > message.id]
            assert [m.text for m in later] == [texts.HELP]
        assert (await the_estimate(shop)).form == row.form
        assert (await say(forger, f"/start estimate_{row.id}")).text == wording.HAS_ENDED


async def test_in_a_group_each_has_an_estimate_of_their_own(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        first = shop.playground.customer(-315, user=41)
        second = shop.playground.customer(-315, user=42)
        question = await say(first, "/estimate")
        assert "맞바람" in (await say(second, "도배 후 환기는 어떻게 하나요?")).text
        await second.press_text("실크")  # not theirs to answer
        assert "어느 등급" in (await say(first, "합지 말고 실크요")).text
        assert "어떤 벽지" in (await say(second, "/estimate")).text
        await shop.wait_until_idle()
        rows = await shop.rows(select(Estimate).order_by(Estimate.id))
        assert [row.form["slots"]["wallpaper"] for row in rows] == ["silk", None]
        assert question.buttons


@pytest.mark.parametrize(
    "data",
    [
        "est:",
        "est:1",
        "est:1:",
        "est:999999:open",
        "est:3000000000:open",
        "est:x:open",
        f"est:{'9' * 30}:open",
    ]
    + [f"est:{{id}}:{a}" for a in ("set:wallpaper:gold", "set:x:y", "change:x", "skip:wallpaper:")],
)
async def test_broken_buttons_change_nothing(tmp_path: Path, model: ModelServer, data: str) -> None:
    async with open_shop(f"sqlite:///{tmp_path / 'x.db'}", model) as shop:
        customer = shop.customer(313)
        question = await say(customer, "/estimate")
        await shop.wait_until_idle()
        row = await the_estimate(shop)
        data = data.replace("{id}", str(row.id))
        forged = shop.store.message(313, question.id)
        assert forged
        forged.body["reply_markup"] = {"inline_keyboard": [[{"text": "x", "callback_data": data}]]}
        events = customer.events()
        await anext(events)
        await customer.press(question.id, data)
        async for name, event in events:
            if name == "callback_answer":
                assert event["text"] == texts.EXPIRED_BUTTON
                break
        await events.aclose()
        assert (await the_estimate(shop)).form == row.form
