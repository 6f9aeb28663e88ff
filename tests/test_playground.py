"""The playground's Bot API, called by python-telegram-bot over HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from telegram import (
    Bot,
    Update,
)
from telegram.error import (
    BadRequest,
    Conflict,
)
from telegram.ext import Application, CommandHandler, ContextTypes

from bot.playground.client import Customer
from bot.playground.server import serve
from tests.playground import TOKEN, Running, bot_at, one_button, running, texts

# Updates


async def test_polling_repeats_until_the_offset_acknowledges(server: Running) -> None:
    customer = server.playground.customer(1001)
    for text in ("하나", "둘", "셋"):
        await customer.send(text)
    first = await server.bot.get_updates()
    again = await server.bot.get_updates(offset=first[1].update_id)
    assert [u.message.text for u in first if u.message] == ["하나", "둘", "셋"]
    assert [u.update_id for u in again] == [u.update_id for u in first[1:]]
    assert await server.bot.get_updates(offset=first[-1].update_id + 1) == ()
    assert await server.bot.get_updates() == ()


async def test_negative_offset_keeps_only_the_last(server: Running) -> None:
    customer = server.playground.customer(1001)
    for text in ("하나", "둘", "셋"):
        await customer.send(text)
    (last,) = await server.bot.get_updates(offset=-1)
    assert last.message
    assert last.message.text == "셋"
    assert len(await server.bot.get_updates()) == 1


async def test_long_poll_answers_when_something_happens(server: Running) -> None:
    poll = asyncio.create_task(server.bot.get_updates(timeout=20))
    await asyncio.sleep(0.1)
    assert not poll.done()
    await server.playground.customer(1001).send("왔어요")
    async with asyncio.timeout(2):
        (update,) = await poll
    assert update.message
    assert update.message.text == "왔어요"


async def test_second_poll_ends_the_first(server: Running) -> None:
    async with bot_at(server.url) as other:
        first = asyncio.create_task(server.bot.get_updates(timeout=20))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(other.get_updates(timeout=20))
        with pytest.raises(Conflict, match="terminated by other getUpdates request"):
            await first
        await server.playground.customer(1001).send("누구에게?")
        assert len(await second) == 1


async def test_only_allowed_updates_are_queued(server: Running, customer: Customer) -> None:
    await server.bot.get_updates(allowed_updates=["message"])
    question = await customer.send("하나")
    await customer.send("하나 고침", edit=question.id)
    await customer.block()
    updates = await server.bot.get_updates()
    assert [u.message.text for u in updates if u.message] == ["안녕하세요", "하나"]
    assert len(updates) == 2


async def test_customer_edits_and_blocks_reach_the_bot(server: Running) -> None:
    customer = server.playground.customer(1001)
    question = await customer.send("벽지 얼마")
    await customer.send("벽지 얼마예요?", edit=question.id)
    await customer.block()
    _, edited, blocked = await server.bot.get_updates()
    assert edited.edited_message
    assert (edited.edited_message.message_id, edited.edited_message.text) == (
        question.id,
        "벽지 얼마예요?",
    )
    assert blocked.my_chat_member
    assert blocked.my_chat_member.new_chat_member.status == "kicked"


async def test_application_polls_and_answers_a_command(server: Running) -> None:
    async def start(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
        assert update.message
        await update.message.reply_text(f"반갑습니다 {context.args}", do_quote=True)

    builder = Application.builder().token(TOKEN).base_url(f"{server.url}/bot")
    application = builder.build()
    application.add_handler(CommandHandler("start", start))
    assert application.updater
    async with application:
        await application.start()
        await application.updater.start_polling()
        customer = server.playground.customer(1001)
        sent = await customer.send("/start 도배")
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert (answer.text, answer.reply_to) == ("반갑습니다 ['도배']", sent.id)
        await application.updater.stop()
        await application.stop()


# Webhook


class Receiver:
    """A bot's webhook that fails the first requests."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.seen: list[tuple[str | None, dict[str, Any]]] = []
        self.arrived = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token")
        self.seen.append((secret, json.loads(await request.read())))
        self.arrived.set()
        if len(self.seen) <= self.failures:
            return web.Response(status=500)
        return web.Response()


async def delivered(bot: Bot) -> None:
    async with asyncio.timeout(5):
        while (await bot.get_webhook_info()).pending_update_count:
            await asyncio.sleep(0.02)


async def test_webhook_delivers_in_order_with_the_secret(
    server: Running, customer: Customer
) -> None:
    receiver = Receiver(failures=2)
    async with serve(receiver.app(), 0) as port:
        hook = f"http://127.0.0.1:{port}/hook"
        await server.bot.set_webhook(hook, secret_token="s3cret", drop_pending_updates=True)
        for text in ("하나", "둘"):
            await customer.send(text)
        await delivered(server.bot)
        seen = [body["message"]["text"] for _, body in receiver.seen]
        assert seen == ["하나", "하나", "하나", "둘"]
        assert {secret for secret, _ in receiver.seen} == {"s3cret"}
        assert "500" in ((await server.bot.get_webhook_info()).last_error_message or "")


async def test_webhook_lets_one_chat_wait_for_no_other(server: Running) -> None:
    slow, quick = server.playground.customer(1001), server.playground.customer(1002)
    seen: list[str] = []
    free = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        text = (await request.json())["message"]["text"]
        if text == "느린 글":
            await free.wait()
        seen.append(text)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with serve(app, 0) as port:
        await server.bot.set_webhook(f"http://127.0.0.1:{port}/hook")
        await slow.send("느린 글")
        await slow.send("그다음 글")
        await quick.send("다른 손님의 글")
        async with asyncio.timeout(5):
            while not seen:
                await asyncio.sleep(0.02)
        assert seen == ["다른 손님의 글"]
        free.set()
        await delivered(server.bot)
        assert seen[1:] == ["느린 글", "그다음 글"]


async def test_polling_is_refused_while_a_webhook_is_set(
    server: Running, customer: Customer
) -> None:
    await server.bot.set_webhook("http://127.0.0.1:9/hook")
    with pytest.raises(Conflict, match="while webhook is active"):
        await server.bot.get_updates()
    await server.bot.delete_webhook()
    assert len(await server.bot.get_updates()) == 1


@pytest.mark.parametrize("url", ["http://example.com/hook", "ftp://127.0.0.1/", "https://", "x"])
async def test_webhook_needs_https(server: Running, url: str) -> None:
    with pytest.raises(BadRequest, match="an https url must be provided"):
        await server.bot.set_webhook(url)


async def test_webhook_survives_a_restart(tmp_path: Path) -> None:
    receiver = Receiver()
    async with serve(receiver.app(), 0) as port:
        async with running(tmp_path / "playground.db") as server:
            await server.bot.set_webhook(f"http://127.0.0.1:{port}/hook", secret_token="s")
        async with running(tmp_path / "playground.db") as server:
            await server.playground.customer(1001).send("다시")
            await delivered(server.bot)
    assert [secret for secret, _ in receiver.seen] == ["s"]


# Drafts


async def test_draft_grows_and_gives_way_to_the_message(
    server: Running, customer: Customer
) -> None:
    for text in ("", "벽", "벽지"):
        await server.bot.send_message_draft(1001, 5, text)
    *_, draft = await customer.messages()
    assert (draft.id, draft.text, draft.final) == (-5, "벽지", False)
    await server.bot.send_message(1001, "벽지입니다")
    assert await texts(customer) == ["안녕하세요", "벽지입니다"]


async def test_draft_vanishes_by_itself(
    server: Running, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.playground.store.DRAFT_LIFETIME_S", 0.2)
    await server.bot.send_message_draft(1001, 5, "사라질 글")
    await asyncio.sleep(0.15)
    await server.bot.send_message_draft(1001, 5, "사라질 글입니다")  # a change counts anew
    await asyncio.sleep(0.15)
    assert (await texts(customer))[-1] == "사라질 글입니다"
    await asyncio.sleep(0.15)
    assert await texts(customer) == ["안녕하세요"]


async def test_groups_refuse_drafts(server: Running) -> None:
    await server.playground.customer(-5, user=42).send("여러분")
    with pytest.raises(BadRequest, match="Textdraft_peer_invalid"):
        await server.bot.send_message_draft(-5, 1, "글")


async def test_customer_stops_a_draft(server: Running, customer: Customer) -> None:
    await server.bot.get_updates(-1, allowed_updates=["message", "stopped_message_generation"])
    await server.bot.send_message_draft(1001, 5, "길고 긴", api_kwargs={"can_stop": True})
    assert (await customer.messages())[-1].can_stop
    await customer.stop(5)
    assert await texts(customer) == ["안녕하세요"]
    _, update = await server.bot.get_updates()
    stopped = update.api_kwargs["stopped_message_generation"]
    assert (stopped["draft_id"], stopped["chat"]["id"]) == (5, 1001)
    # What the bot sends before it notices stays unseen.
    await server.bot.send_message_draft(1001, 5, "길고 긴 글")
    assert await texts(customer) == ["안녕하세요"]


async def test_stopped_draft_stays_when_the_bot_asked_for_that(
    server: Running, customer: Customer
) -> None:
    options = {"can_stop": True, "keep_on_stop": True}
    await server.bot.send_message_draft(1001, 5, "반쯤", api_kwargs=options)
    await customer.stop(5)
    draft = (await customer.messages())[-1]
    assert (draft.text, draft.can_stop) == ("반쯤", False)
    assert len(await server.bot.get_updates()) == 1  # stops have to be asked for by name


# Buttons


async def test_pressed_button_is_answered_once(server: Running, customer: Customer) -> None:
    await server.bot.send_message(1001, "답", reply_markup=one_button())
    events = customer.events()
    await anext(events)
    await customer.press_text("출처")
    _, update = await server.bot.get_updates()
    query = update.callback_query
    assert query
    assert query.message
    assert (query.data, query.from_user.id, query.message.message_id) == ("source", 1001, 2)
    await query.answer("보여 드릴게요", show_alert=True)
    assert await anext(events) == (
        "callback_answer",
        {"callback_query_id": query.id, "text": "보여 드릴게요", "alert": True},
    )
    await events.aclose()
    with pytest.raises(BadRequest, match="Query is too old and response timeout expired"):
        await query.answer()


async def test_late_answers_to_buttons_are_refused(
    server: Running, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.bot.send_message(1001, "답", reply_markup=one_button())
    pressed = await customer.press(2, "source")
    monkeypatch.setattr("bot.playground.store.CALLBACK_LIFETIME_S", 0.01)
    await asyncio.sleep(0.05)
    with pytest.raises(BadRequest, match="Query is too old"):
        await server.bot.answer_callback_query(pressed)


# Persistence


async def test_a_restart_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "playground.db"
    async with running(path) as server:
        customer = server.playground.customer(1001)
        await customer.send("하나")
        await customer.document(b"data", "a.bin")
        sent = await server.bot.send_message(1001, "둘", reply_markup=one_button())
        await server.bot.set_my_commands([("start", "시작")])
        fetched = await server.bot.get_updates()
        await server.bot.get_updates(offset=fetched[1].update_id)
        gone = await server.bot.send_message(1001, "지움")
        await server.bot.delete_message(1001, gone.message_id)
    async with running(path) as server:
        customer = server.playground.customer(1001)
        assert await texts(customer) == ["하나", "", "둘"]
        (kept,) = await server.bot.get_updates()
        assert kept.update_id == fetched[1].update_id
        assert kept.message
        assert kept.message.document
        data = await (await kept.message.document.get_file()).download_as_bytearray()
        assert bytes(data) == b"data"
        assert await server.bot.get_updates(offset=kept.update_id + 1) == ()
        await customer.press(sent.message_id, "source")
        (pressed,) = await server.bot.get_updates()
        assert pressed.update_id == kept.update_id + 1
        assert (await customer.send("셋")).id == gone.message_id + 1
        assert [c.command for c in await server.bot.get_my_commands()] == ["start"]
    async with running(path) as server:
        assert [u.update_id for u in await server.bot.get_updates()] == [
            pressed.update_id,
            pressed.update_id + 1,
        ]
