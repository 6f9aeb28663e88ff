"""A chat handed over to a human: asked for, taken, silent meanwhile, given back; nothing is lost.

The admins' side is another process: it has a database object of its own, and no worker.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select

from bot import fixed, texts
from bot.estimate import wording
from bot.hours import DAYS
from bot.playground.client import Customer
from db import claims, handoffs
from db.database import Database, open_database
from db.handoffs import NotTakenError, new_update_id
from db.models import Answer, Conversation, Handoff, Kind, Message, Recording, utc_now
from db.queries import KOREA
from tests.modelserver import ModelServer
from tests.playground import running
from tests.processes import bot_process
from tests.shop import ask, last, open_shop, say, tap
from tests.sounds import encode, tone
from tests.speechserver import SpeechServer
from tests.test_claims import finish, next_turn, register, store
from tests.test_web import two_replicas

BOT = 7
ADMIN, COLLEAGUE = 61, 62
AIRING = "도배 후 환기는 어떻게 하나요?"
MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
ALWAYS = "매일 00:00-24:00"
TAKES, GIVES = texts.HUMAN_TAKES_OVER, texts.HUMAN_GIVES_BACK


class Desk:
    """An admin at their pages."""

    def __init__(self, database: Database, admin: int = ADMIN, bot: int = BOT) -> None:
        self.database = database
        self.admin = admin
        self.bot = bot

    async def conversation(self, chat_id: int) -> Row[int, int]:
        query = select(Conversation.id, Conversation.customer_id).where(
            Conversation.chat_id == chat_id, Conversation.ended_at.is_(None)
        )
        return await self.database.run(lambda c: c.execute(query).one())

    async def take(self, chat_id: int) -> bool:
        customer = (await self.conversation(chat_id)).customer_id
        return await self.database.run(
            lambda c: handoffs.take(
                c, self.bot, chat_id, customer, self.admin, utc_now(), told=TAKES
            )
        )

    async def say(self, chat_id: int, text: str, update_id: int | None = None) -> int:
        conversation, key = await self.conversation(chat_id), update_id or new_update_id()
        return await self.database.run(
            lambda c: handoffs.say(c, conversation.id, self.admin, text, key)
        )

    async def give_back(self, chat_id: int) -> None:
        await self.database.run(
            lambda c: handoffs.give_back(c, self.bot, chat_id, utc_now(), told=GIVES)
        )


@pytest.fixture
async def speech() -> AsyncIterator[SpeechServer]:
    async with SpeechServer(AIRING).serve() as server:
        yield server


@asynccontextmanager
async def admins_desk(database_url: str) -> AsyncIterator[Desk]:
    database = open_database(database_url)
    yield Desk(database)
    await database.close()


async def said(customer: Customer, after: int = 0) -> list[str]:
    return [m.text for m in await customer.messages() if m.from_bot and m.id > after and m.final]


async def wait_until_said(customer: Customer, text: str) -> None:
    await customer.wait_for(lambda seen: any(m.text == text for m in seen if m.from_bot))


# Asking for a human


async def by_button(customer: Customer) -> str:
    await say(customer, "도배에서 정배가 무슨 말이에요?")
    return (await tap(customer, texts.BUTTON_HUMAN)).text


async def by_command(customer: Customer) -> str:
    return (await say(customer, "/human")).text


async def by_sentence(customer: Customer) -> str:
    return (await say(customer, "사장님 바꿔 주세요")).text


@pytest.mark.parametrize("ask_for_human", [by_button, by_command, by_sentence])
async def test_who_asks_is_told_when_and_is_not_left_alone_meanwhile(
    ask_for_human: object, database_url: str, model: ModelServer
) -> None:
    assert callable(ask_for_human)
    changes: dict[str, Any] = {"admins": [ADMIN], "shop_hours": ALWAYS, "answer_policy": "careful"}
    async with open_shop(database_url, model, **changes) as shop:
        admin, customer = shop.customer(ADMIN), shop.customer(71)
        before = await say(admin, "/start")
        answer = await ask_for_human(customer)
        assert texts.HUMAN_TOLD in answer
        assert texts.HUMAN_SOON in answer
        assert "71" in (await last(admin, before.id)).text
        (row,) = await shop.rows(select(Handoff))
        assert (row.bot_id, row.chat_id, row.admin_id, row.taken_at) == (BOT, 71, None, None)
        assert row.asked_at is not None

        assert "창문" in (await say(customer, AIRING)).text
        again = await say(customer, "상담원 연결해 주세요")
        assert again.text == f"{texts.HUMAN_ASKED} {texts.HUMAN_SOON}"
        await shop.wait_until_idle()
        assert len(await said(admin, before.id)) == 1
        assert len(await shop.rows(select(Handoff))) == 1


@pytest.mark.parametrize("days", [0, 1, 3])
async def test_outside_the_hours_the_next_opening_is_named(
    days: int, model: ModelServer, tmp_path: Path
) -> None:
    """The shop answers in the last minute of a day."""
    opens = (utc_now().astimezone(KOREA) + timedelta(days=days)).replace(hour=23, minute=59)
    day = DAYS[opens.weekday()]
    changes: dict[str, Any] = {"admins": [ADMIN], "shop_hours": f"{day} 23:59-24:00"}
    async with open_shop(f"sqlite:///{tmp_path / 'hours.db'}", model, **changes) as shop:
        answer = await say(shop.customer(72), "/human")
    named = {0: "오늘", 1: "내일", 3: f"{opens.month}월 {opens.day}일({day})"}[days]
    assert texts.HUMAN_LATER.format(when=f"{named} 23:59") in answer.text


async def test_a_shop_without_admins_promises_nobody(model: ModelServer, tmp_path: Path) -> None:
    async with open_shop(f"sqlite:///{tmp_path / 'alone.db'}", model) as shop:
        answer = await say(shop.customer(73), "/human")
        assert answer.text == fixed.answers()["human"].answer.format(phone=texts.NO_PHONE)
        assert await shop.rows(select(Handoff)) == []


@pytest.mark.parametrize(
    "text",
    [
        *("상담원 연결해 주세요", "사람이랑 얘기하고 싶어요", "사장님 바꿔 주세요", "상담원 연결"),
        *("사람 불러줘", "사장님께 직접 물어보고 싶어요", "진짜 사람하고 말하고 싶어요!!"),
        *("직원분과 통화할 수 있을까요?", "담당자에게 연결 부탁드립니다", "그냥 사람 바꿔라"),
    ],
)
def test_a_plain_wish_for_a_human(text: str) -> None:
    assert fixed.wants_human(text)


@pytest.mark.parametrize(
    "text",
    [
        *("사장님, 합지랑 실크 뭐가 나아요?", "사장님 벽지 추천해 주세요", "벽지 바꿔 주세요"),
        *(
            "사장님 벽지 바꿔 주세요",
            "사람이 살고 있는 집도 도배할 수 있나요?",
            "사람 불러서 하면 얼마예요",
        ),
        *("사장님이랑 얘기했는데 벽지는 누가 부담해요?", "두 사람이 하루에 몇 평 도배하나요?"),
        *("상담원이 알려준 환기 방법 다시 알려줘", "사장님이 직접 시공하시나요?", "사람", "사장님"),
        *("사람과" + "좀" * 1000, "안녕하세요" * 200, "직원을 바꿔 주시면 계약할게요"),
    ],
)
def test_a_mere_mention_of_people(text: str) -> None:
    assert not fixed.wants_human(text)


async def test_mere_mentions_open_no_handoff(model: ModelServer, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"admins": [ADMIN], "answer_policy": "careful"}
    async with open_shop(f"sqlite:///{tmp_path / 'mentions.db'}", model, **changes) as shop:
        customer = shop.customer(74)
        for text in (
            "사장님 벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?",
            "사람이 살고 있는 집도 도배할 수 있나요?",
            "직원분이 도배하고 가셨는데 벽지가 들떴어요",
            "사장님, 합지랑 실크 뭐가 나아요?",
        ):
            await say(customer, text)
        assert await shop.rows(select(Handoff)) == []


async def test_within_an_estimate_a_wish_for_a_human_is_no_answer_to_it(
    database_url: str, model: ModelServer
) -> None:
    changes: dict[str, Any] = {"admins": [ADMIN], "shop_hours": ALWAYS}
    async with open_shop(database_url, model, **changes) as shop:
        customer = shop.customer(75)
        asked = await say(customer, "/estimate")
        human, again = await ask(customer, "사람 바꿔 주세요", answers=2)
        assert texts.HUMAN_SOON in human.text
        assert again.buttons == asked.buttons
        assert wording.NOT_UNDERSTOOD.partition("{")[0] not in again.text
        assert len(await shop.rows(select(Handoff))) == 1


# Taken over


async def test_a_taken_chat_is_the_admins_until_it_is_given_back(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "네, 그렇습니다."
    changes: dict[str, Any] = {"admins": [ADMIN], "answer_check": False}
    async with open_shop(database_url, model, **changes) as shop, admins_desk(database_url) as desk:
        customer = shop.customer(76)
        await say(customer, AIRING)
        await say(customer, "/human")
        assert await desk.take(76)
        assert await desk.take(76)  # once more changes nothing
        await wait_until_said(customer, TAKES)
        sent = await customer.send(MOULD)
        await customer.send(raw={"location": {"latitude": 37.5, "longitude": 127.0}})
        for n in range(3):
            await desk.say(76, f"{n}번째 말씀이에요.")
        for command in ("/help", "/human"):  # commands go on working
            await customer.send(command)
        await wait_until_said(customer, texts.HUMAN_THERE)
        await desk.give_back(76)
        await desk.give_back(76)
        await wait_until_said(customer, GIVES)
        await say(customer, AIRING)
        await shop.wait_until_idle()
        words = await said(customer, sent.id)
        ours = [f"{n}번째 말씀이에요." for n in range(3)]
        assert [text for text in words if text in ours] == ours
        assert sorted(words) == sorted(
            [*ours, texts.HELP, texts.HUMAN_THERE, GIVES, "네, 그렇습니다."]
        )
        assert words[-2:] == [GIVES, "네, 그렇습니다."]
        assert (await said(customer)).count(TAKES) == 1
        # The model is told neither what was said to the admin nor what they said.
        assert len(model.requests) == 2
        told = str(model.requests[-1]["messages"])
        assert "번째 말씀" not in told
        assert TAKES not in told
        assert MOULD not in told
        rows = await shop.rows(
            select(Message.author_id, Message.update_id, Answer.way, Answer.sent_at)
            .join(Answer)
            .where(Message.kind == Kind.ADMIN)
        )
        assert len(rows) == 5
        assert all(row.author_id == ADMIN and row.update_id < 0 and row.sent_at for row in rows)
        assert {row.way for row in rows} == {"fixed"}


async def test_no_rating_or_other_buttons_stand_under_an_admins_words(
    database_url: str, model: ModelServer
) -> None:
    changes: dict[str, Any] = {"admins": [ADMIN], "messages_a_minute": 1}
    async with open_shop(database_url, model, **changes) as shop, admins_desk(database_url) as desk:
        customer = shop.customer(77)
        await say(customer, "/start")
        await desk.take(77)
        marked = "**굵게** <b>그리고</b> [이것](https://example.com) _저것_ " + "가나다 " * 1400
        for text in (marked, "널\0문자 \ud800", "/start"):
            await desk.say(77, text)
        await wait_until_said(customer, "/start")
        messages = [m for m in await customer.messages() if m.from_bot]
        assert messages[1].text == TAKES
        assert "".join(m.text for m in messages[2:4]).replace(" ", "") == marked.replace(" ", "")
        assert [m.text.strip() for m in messages[4:]] == ["널문자", "/start"]
        assert not [m for m in messages[1:] if m.buttons]
        calls = await shop.playground.calls("sendMessage", 77)
        assert not [call for call in calls if "entities" in str(call)]


async def test_a_voice_message_to_the_admin_is_made_text_and_left_unanswered(
    database_url: str, model: ModelServer, speech: SpeechServer
) -> None:
    changes: dict[str, Any] = {"admins": [ADMIN], **speech.settings()}
    async with open_shop(database_url, model, **changes) as shop, admins_desk(database_url) as desk:
        customer = shop.customer(78)
        await say(customer, "/start")
        await desk.take(78)
        await wait_until_said(customer, TAKES)
        sent = await customer.voice(encode(tone(1.5)))
        heard = select(Recording.message_id).where(Recording.outcome.is_not(None))
        async with asyncio.timeout(10):
            while not await shop.rows(heard):
                await asyncio.sleep(0.02)
        await shop.wait_until_idle()
        assert await said(customer, sent.id) == []
        (row,) = await shop.rows(select(Recording.outcome, Recording.said, Recording.notice_id))
        assert tuple(row) == ("sure", AIRING, None)
        (text,) = await shop.rows(select(Message.text).where(Message.kind == Kind.VOICE))
        assert tuple(text) == (AIRING,)
        await desk.give_back(78)
        await wait_until_said(customer, GIVES)
        sent = await customer.voice(encode(tone(1.5)))
        quote, _ = await customer.wait_for(2, after=sent.id)
        assert quote.text == texts.HEARD.format(text=AIRING)


async def test_what_an_admin_says_comes_within_about_a_second(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop, admins_desk(database_url) as desk:
        customer = shop.customer(79)
        await say(customer, "/start")
        await desk.take(79)
        await wait_until_said(customer, TAKES)
        await shop.wait_until_idle()
        async with asyncio.timeout(2.0):  # a tick, and the sending
            await desk.say(79, "안녕하세요, 사장입니다.")
            await wait_until_said(customer, "안녕하세요, 사장입니다.")


async def test_who_shut_the_bot_out_gets_nothing(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model) as shop, admins_desk(database_url) as desk:
        customer = shop.customer(80)
        await say(customer, "/start")
        await desk.take(80)
        await wait_until_said(customer, TAKES)
        await customer.block()
        for text in ("들리세요?", "여보세요?"):
            await desk.say(80, text)
        await shop.wait_until_idle()
        calls = await shop.playground.calls("sendMessage", 80)
        assert [call["status"] for call in calls] == [200, 200, 403]  # not once more
        unsent = select(Answer.id).where(Answer.sent_at.is_(None))
        assert len(await shop.rows(unsent)) == 1


async def test_killed_between_storing_and_sending_it_comes_once(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    async with running() as telegram, admins_desk(database_url) as desk:
        customer = telegram.playground.customer(81)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await customer.send("/start")
            await customer.wait_for(1)
            await desk.take(81)
            await wait_until_said(customer, TAKES)
            await telegram.playground.fault("sendMessage", drop=True, delay_s=60)
            message_id = await desk.say(81, "내일 오전에 찾아뵐게요.")
            kept = select(Answer.text).where(Answer.message_id == message_id)
            async with asyncio.timeout(10):
                while await desk.database.run(lambda c: c.scalar(kept)) is None:
                    await asyncio.sleep(0.05)
            bot.kill()
            await bot.wait()
        await desk.say(81, "괜찮으세요?")  # while no bot is there at all
        await telegram.playground.clear_faults()
        async with bot_process(telegram, model, database_url, tmp_path):
            await wait_until_said(customer, "괜찮으세요?")
            await asyncio.sleep(0.5)
        assert (await said(customer))[2:] == [TAKES, "내일 오전에 찾아뵐게요.", "괜찮으세요?"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_of_several_processes_one_says_it(database_url: str, model: ModelServer) -> None:
    async with (
        two_replicas(database_url, model) as (telegram, _, _),
        admins_desk(database_url) as desk,
    ):
        customers = [telegram.playground.customer(820 + n) for n in range(6)]
        for customer in customers:
            await say(customer, "/start")
            await desk.take(customer.chat_id)
        for n in range(4):
            for customer in customers:
                await desk.say(customer.chat_id, f"{n}")
        for customer in customers:
            await wait_until_said(customer, "3")
        await asyncio.sleep(1.5)  # another tick of each
        for customer in customers:
            assert (await said(customer))[1:] == [TAKES, "0", "1", "2", "3"]


# The database's side


async def test_a_message_after_an_admins_is_answered_after_it(database: Database) -> None:
    """The admin's was stored without a worker, so whoever comes next may not overtake it."""
    one = await register(database)
    await store(database, 1, one)
    turn = await next_turn(database, one)
    assert turn
    await finish(database, turn)
    assert await next_turn(database, one) is None
    desk = Desk(database, bot=1)
    assert await desk.take(5)
    later = await store(database, 2, one)
    assert not later.is_free
    assert later.turn.taken
    first = await next_turn(database, one)
    assert first
    assert (first.kind, first.text, first.taken) == (Kind.ADMIN, TAKES, True)


async def test_one_worker_takes_a_free_chat_and_none_takes_anothers(database: Database) -> None:
    one, two = [await register(database) for _ in range(2)]
    desk = Desk(database, bot=1)
    for chat in range(10):
        await store(database, chat, one, chat=100 + chat)
        await desk.take(100 + chat)

    async def take_said(worker: str, running: list[int]) -> list[int]:
        return await database.insist(lambda c: claims.take_said(c, 1, worker, running))

    assert await take_said(two, []) == []  # the other has them all
    assert await take_said(one, list(range(101, 110))) == [100]  # and runs all but one
    for chat in range(10):
        while turn := await next_turn(database, one, 100 + chat):
            await finish(database, turn)
        await desk.say(100 + chat, "네")
    took = await asyncio.gather(take_said(one, []), take_said(two, []))
    assert sorted(took[0] + took[1]) == list(range(100, 110))
    assert sorted(await take_said(one, [])) == sorted(took[0])  # until they are run


async def test_one_admin_has_a_chat(database: Database) -> None:
    await store(database, 1, await register(database))
    desk, other = Desk(database, bot=1), Desk(database, COLLEAGUE, bot=1)
    with pytest.raises(NotTakenError):
        await desk.say(5, "아직 아니에요")
    took = await asyncio.gather(desk.take(5), other.take(5))
    assert sorted(took) == [False, True]
    holder, outsider = (desk, other) if took[0] else (other, desk)
    with pytest.raises(NotTakenError):
        await outsider.say(5, "제가요")
    key = new_update_id()
    assert await holder.say(5, "네", key) == await holder.say(5, "네", key)  # a form sent twice
    await outsider.give_back(5)
    with pytest.raises(NotTakenError):
        await holder.say(5, "늦었어요")
    assert await outsider.take(5)  # free again
    kinds = await database.run(
        lambda c: c.execute(
            select(Message.author_id, Message.text).where(Message.kind == Kind.ADMIN)
        ).all()
    )
    assert [row.text for row in kinds] == [TAKES, "네", GIVES, TAKES]
    assert [row.author_id for row in kinds] == [holder.admin] * 3 + [outsider.admin]


async def test_who_only_asked_is_not_told_of_an_end(database: Database) -> None:
    await store(database, 1, await register(database))
    desk = Desk(database, bot=1)
    customer = (await desk.conversation(5)).customer_id
    await database.run(lambda c: handoffs.ask(c, 1, 5, customer, utc_now()))
    await desk.give_back(5)
    assert await database.run(lambda c: handoffs.find_open(c, 1, 5)) is None
    said = select(Message.id).where(Message.kind == Kind.ADMIN)
    assert await database.run(lambda c: c.execute(said).all()) == []
