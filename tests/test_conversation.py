"""Conversations end to end: the real bot, over HTTP, through the playground, on both databases."""

from itertools import pairwise

from sqlalchemy import select

from bot import fixed, texts
from bot.estimate import wording
from bot.playground.client import Message as Shown
from db.models import Answer, Conversation, Feedback, Message
from tests.modelserver import MODEL, ModelServer
from tests.shop import ask, open_shop

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
AIRING = "도배 후 환기는 어떻게 하나요?"


async def test_start_greets_with_buttons_that_work(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(11)
        (greeting,) = await ask(customer, "/start")
        assert greeting.text == texts.GREETING
        assert [b["text"] for b in greeting.buttons] == ["견적 확인하기", "상담하기"]
        await customer.press_text("상담하기")
        (consult,) = await customer.wait_for(1, after=greeting.id)
        assert consult.text == texts.CONSULT
        await customer.press_text("견적 확인하기")
        (estimate,) = await customer.wait_for(1, after=consult.id)
        assert estimate.text.startswith(wording.INTRO)
        (help_text,) = await ask(customer, "/help")
        assert help_text.text == texts.HELP
        (unknown,) = await ask(customer, "/nonsense")
        assert unknown.text == texts.UNKNOWN_COMMAND
        assert {c["command"] for c in await shop.playground.commands()} == set(texts.COMMANDS)


async def test_a_clear_question_gets_the_stored_answer_without_the_model(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(12)
        sent = await customer.send(AIRING)
        growing = await customer.wait_for(lambda seen: any(not m.final for m in seen))
        assert growing[-1].text
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text.startswith(growing[-1].text)
        assert "맞바람" in answer.text
        assert model.requests == []
        await shop.wait_until_idle()
        (row,) = await shop.rows(select(Answer))
        assert row.way == "stored"
        assert row.model is None
        assert row.sources[0]["id"] == "DB_093"
        assert row.sent_ids == [answer.id]
        assert 0 < row.first_token_s <= row.total_s

        await customer.press_text("출처")
        (sources,) = await customer.wait_for(1, after=answer.id)
        assert sources.text.startswith(texts.SOURCES)
        assert "DB_093" in sources.text


async def test_thumbs_are_stored_shown_and_changed(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(13)
        await ask(customer, AIRING)
        events = customer.events()
        await anext(events)
        await customer.press_text("👍")
        async for name, data in events:
            if name == "callback_answer":
                assert data["text"] == texts.THANKS_UP
            if name == "edit":
                assert data["buttons"][0]["text"] == "👍 좋아요 ✓"
                break
        await events.aclose()
        await customer.press_text("👎")
        await customer.wait_for(
            lambda seen: any("👎 아쉬워요 ✓" in str(m.button_rows) for m in seen)
        )
        assert [row.value for row in await shop.rows(select(Feedback))] == [-1]


async def test_a_forged_button_changes_nothing(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        victim, forger = shop.customer(13), shop.customer(14)
        (answer,) = await ask(victim, AIRING)
        (greeting,) = await ask(forger, "/start")
        # The playground refuses data that stands on no button, as Telegram's apps would never
        # send it; a modified app can, so the forger's own button is given the victim's data.
        forged = shop.store.message(14, greeting.id)
        assert forged
        for data in [b["data"] for b in answer.buttons if not b["data"].startswith("ask:")] + [
            "ask:DB_none",
            "ask:",
            "rate:1:sideways",
            "rate:" + "9" * 40 + ":up",
        ]:
            forged.body["reply_markup"] = {
                "inline_keyboard": [[{"text": "x", "callback_data": data}]]
            }
            events = forger.events()
            await anext(events)
            await forger.press(greeting.id, data)
            async for name, event in events:
                if name == "callback_answer":
                    assert event["text"] == texts.EXPIRED_BUTTON
                    break
            await events.aclose()
        assert await shop.rows(select(Feedback)) == []
        assert len(await forger.messages()) == 2


async def test_a_draft_grows_and_the_facts_are_kept(database_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "곰팡이는 먼저 닦고 말린 다음 도배하세요. " * 6
    model.token_s = 0.03
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(15)
        sent = await customer.send(MOULD)
        drafts: list[str] = []
        async for name, data in customer.events():
            if name == "draft":
                drafts.append(data["text"])
            if name == "message" and data["from"] == "bot":
                break
        assert len(drafts) >= 3
        assert all(b.startswith(a) for a, b in pairwise(drafts))
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text == model.reply("").strip()
        (row,) = await shop.rows(select(Answer))
        assert (row.way, row.model, row.prompt_tokens) == ("model", MODEL, 7)
        assert row.completion_tokens == len(answer.text.split(" ")) + 1
        assert row.first_token_s < row.total_s
        assert row.sources[0]["id"] == "DB_001"


async def test_typing_is_shown_while_there_is_nothing_to_show(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    model.token_s = 0.6
    async with open_shop(database_url, model, answer_check=False) as shop:
        await ask(shop.customer(19), MOULD)
        assert len(await shop.playground.calls("sendChatAction", 19)) == 1
        await ask(shop.customer(20), "/help")
        assert await shop.playground.calls("sendChatAction", 20) == []


async def test_stop_ends_the_answer_and_the_models_work(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "한 마디씩 이어지는 아주 긴 답변 " * 200
    model.token_s = 0.02
    async with open_shop(database_url, model, answer_check=False) as shop:
        private, group = shop.customer(16), shop.playground.customer(-17, user=18)

        def is_growing(seen: list[Shown]) -> bool:
            return any(len(m.text) > 20 for m in seen if m.from_bot)

        async def by_draft_button() -> None:
            await private.send(MOULD)
            seen = await private.wait_for(is_growing)
            assert seen[-1].can_stop
            await private.stop(-seen[-1].id)

        async def by_command() -> None:
            await private.send(AIRING)
            await private.wait_for(lambda seen: any(len(m.text) > 20 for m in seen if not m.final))
            await private.send("/stop")

        async def by_inline_button() -> None:
            await group.send(MOULD)
            await group.wait_for(is_growing)
            await group.press_text(texts.BUTTON_STOP)

        for number, stop in enumerate((by_draft_button, by_command, by_inline_button), 1):
            await stop()
            await model.wait_until_cancelled(number)
        for customer in (private, group):
            stopped = await customer.wait_for(
                lambda seen: any(m.final and m.text.endswith(texts.STOPPED) for m in seen)
            )
            text = next(m.text for m in stopped if m.text.endswith(texts.STOPPED))
            assert text.startswith("한 마디씩 이어지는")
        await shop.wait_until_idle()
        rows = await shop.rows(select(Answer).where(Answer.stopped))
        assert len(rows) == 3
        (nothing,) = await ask(private, "/stop")
        assert nothing.text == texts.NOTHING_TO_STOP


async def test_two_customers_at_once_neither_waits(database_url: str, model: ModelServer) -> None:
    model.reply = lambda asked: "느린 답 " * 100 if "곰팡이" in asked else "빠른 답"
    model.token_s = 0.02
    async with open_shop(database_url, model, answer_check=False) as shop:
        slow, quick = shop.customer(21), shop.customer(22)
        await slow.send(MOULD)
        await model.wait_until_asked(1)
        (answer,) = await ask(quick, "타일 위에도 도배할 수 있나요?")
        assert answer.text == "빠른 답"
        assert model.finished == 1
        assert not [m for m in await slow.messages() if m.final and m.from_bot]


async def test_one_customers_questions_are_answered_in_order_one_at_a_time(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: "답: " + asked
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(23)
        questions = [f"벽지에 곰팡이가 {n}번 생겼는데 어떻게 해야 하나요?" for n in range(4)]
        sent = [await customer.send(question) for question in questions]
        answers = await customer.wait_for(4, after=sent[0].id)
        assert [a.text for a in answers] == [f"답: {q}" for q in questions]
        rows = await shop.rows(select(Message, Answer).join(Answer))
        ordered = sorted(rows, key=lambda row: row.received_at)
        assert all(a.done_at <= b.created_at for a, b in pairwise(ordered))


async def test_past_turns_are_told_until_new(database_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(24)
        for text in (AIRING, MOULD, "/new", AIRING):
            await ask(customer, text)
        roles = [[m["role"] for m in r["messages"]] for r in model.requests]
        assert roles == [
            ["system", "user"],
            ["system", "user", "assistant", "user"],
            ["system", "user"],
        ]
        assert model.requests[1]["messages"][1]["content"] == AIRING
        assert len(await shop.rows(select(Conversation))) == 2


async def test_groups_get_one_message_that_is_edited(database_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "조금씩 늘어나는 답변입니다 " * 25
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        group = shop.playground.customer(-31, user=32)
        sent = await group.send(MOULD)
        await group.wait_for(
            lambda seen: any(m.final and m.from_bot and "👍" in str(m.button_rows) for m in seen)
        )
        answers = [m for m in await group.messages() if m.id > sent.id]
        assert [a.text for a in answers] == [model.reply("").strip()]
        assert await shop.playground.calls("sendMessageDraft", -31) == []
        shown = await shop.playground.calls("sendMessage", -31)
        edits = await shop.playground.calls("editMessageText", -31)
        assert 3 <= len(edits) <= 6  # a burst, then about twenty calls a minute, then the end
        assert edits[0]["time"] - shown[0]["time"] < 2


async def test_a_long_answer_arrives_whole(database_url: str, model: ModelServer) -> None:
    long = " ".join(f"{n}번째 문장은 서로 다릅니다." for n in range(600))
    model.reply = lambda _: long
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(34)
        sent = await customer.send(MOULD)
        answers = await customer.wait_for(3, after=sent.id)
        assert " ".join(a.text for a in answers) == long
        assert all(len(a.text) <= 4096 for a in answers)
        assert [bool(a.buttons) for a in answers] == [False, False, True]


async def test_flood_control_delays_but_loses_nothing(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "흘러나오는 답변 " * 40
    model.token_s = 0.01
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(35)
        await customer.send("/start")
        await customer.wait_for(1)
        await shop.playground.fault("sendMessage", status=429, retry_after=1, chat_id=35)
        await shop.playground.fault("sendMessageDraft", status=429, retry_after=1, chat_id=35)
        sent = await customer.send(MOULD)
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text == model.reply("").strip()
        assert len(await customer.messages()) == 4
        refused, sent_again = (await shop.playground.calls("sendMessage", 35))[-2:]
        assert (refused["status"], sent_again["status"]) == (429, 200)
        assert sent_again["time"] - refused["time"] >= 1  # nothing during the penalty


async def test_network_faults_are_tried_again(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(36)
        await shop.playground.fault("sendMessage", status=502, times=2)
        await shop.playground.fault("getUpdates", drop=True, times=1)
        (answer,) = await ask(customer, "/help")
        assert answer.text == texts.HELP


async def test_a_model_that_is_away_leaves_the_stored_answer(
    database_url: str, model: ModelServer
) -> None:
    model.status = 500
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(37)
        (answer,) = await ask(customer, MOULD)
        assert answer.text.startswith(texts.FALLBACK.format(answer=""))
        assert "곰팡이 제거제" in answer.text
        (row,) = await shop.rows(select(Answer.way, Answer.error))
        assert row == ("fallback", "broken")


async def test_an_answer_that_fails_the_check_is_not_sent(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "락스와 식초를 섞어 뿌리면 15000원에 해결됩니다."
    async with open_shop(database_url, model) as shop:
        (answer,) = await ask(shop.customer(38), MOULD)
        assert "15000" not in answer.text
        assert "곰팡이 제거제" in answer.text
        (row,) = await shop.rows(select(Answer))
        assert (row.way, row.error) == ("fallback", "check_price")


async def test_the_careful_policy_shows_no_sentence_before_its_check(
    database_url: str, model: ModelServer
) -> None:
    vague = "침실 벽 한쪽만 자꾸 꺼메지는데 뭐가 문제래요"
    model.reply = lambda _: (
        "가구를 빼고 환기하세요. 염산으로 닦으면 금방 하얗게 됩니다. 그 뒤에 다시 놓으세요."
    )
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(39)
        sent = await customer.send(vague)
        shown: list[str] = []
        async for name, data in customer.events():
            if name == "draft" or (name == "message" and data["from"] == "bot"):
                shown.append(data["text"])
            if name == "message" and data["from"] == "bot":
                break
        assert not any("염산" in text for text in shown)
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text.startswith(texts.FALLBACK.format(answer=""))
        assert len(model.requests) == 1


async def test_odd_messages_get_a_sentence_or_silence_by_design(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네."
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(40)
        sticker = {
            "sticker": {
                "file_id": "s",
                "file_unique_id": "s",
                "type": "regular",
                "width": 1,
                "height": 1,
                "is_animated": False,
                "is_video": False,
            }
        }
        location = {"location": {"latitude": 37.5, "longitude": 127.0}}
        for raw in (sticker, location):
            sent = await customer.send(raw=raw)
            (answer,) = await customer.wait_for(1, after=sent.id)
            assert answer.text == texts.TEXT_ONLY
        for text in ("\u202e<script>alert(1)</script>\u200b", "널\0문자", "🧱" * 900):
            (answer,) = await ask(customer, text)
            assert answer.text
            assert model.requests == []
        (long,) = await ask(customer, "가" * 3000)
        assert long.text == texts.TOO_LONG.format(limit=1000)
        silent = {"new_chat_title": "이름"}
        await customer.send(raw=silent)
        greeting = await customer.send("안녕")
        await customer.wait_for(1, after=greeting.id)
        await customer.send("고친 글", edit=greeting.id)
        (hello,) = await ask(customer, "안녕하세요")
        assert hello.text == fixed.answers()["greeting"].answer
        await shop.wait_until_idle()
        stored = await shop.rows(select(Message.text))
        assert ("\u202e<script>alert(1)</script>\u200b",) in stored
        assert ("널문자",) in stored


async def test_a_customer_who_blocked_the_bot_is_not_written_to(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "느린 답입니다 " * 20
    model.token_s = 0.02
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(41)
        await customer.send(MOULD)
        await model.wait_until_asked(1)
        await customer.block()
        await shop.wait_until_idle()
        sends = await shop.playground.calls("sendMessage", 41)
        assert [call["status"] for call in sends] == [403]
