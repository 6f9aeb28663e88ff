"""What customers are told of what is kept, and what is left when it is deleted."""

import asyncio
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, make_url, select, update

from bot import logs, texts
from bot.estimate import wording
from bot.playground.client import Customer as Visitor
from bot.playground.client import Message as Shown
from bot.privacy import Terms
from bot.settings import Settings
from db import claims, privacy, queries
from db import database as db
from db.database import Database
from db.models import (
    Answer,
    Base,
    Chat,
    Conversation,
    Customer,
    Estimate,
    Feedback,
    Handoff,
    Kind,
    Message,
    Recording,
    Review,
    utc_now,
)
from tests.modelserver import ModelServer
from tests.playground import running
from tests.processes import bot_process, run
from tests.shop import Shop, ask, labels, last, open_shop, say, tap
from tests.speechserver import SpeechServer
from tests.test_voice import note

AIRING = "도배 후 환기는 어떻게 하나요?"
NOTICE = Terms.of(Settings()).notice
WHO, GROUP = 730_000_307, -730_000_900
SECRETS = ["박서준", "2345-9876", "안방의 붉은 장롱", "거실의 푸른 병풍", str(WHO), str(GROUP)]


async def final(customer: Visitor) -> list[str]:
    """Return all that the bot has said in a chat."""
    return [m.text for m in await customer.messages() if m.from_bot and m.final]


async def said(shop: Shop, customer: Visitor, text: str) -> list[str]:
    """Send a text and return all that the bot says after it."""
    sent = await customer.send(text)
    await customer.wait_for(1, after=sent.id)
    await shop.wait_until_idle()
    return [m.text for m in await customer.messages() if m.from_bot and m.id > sent.id]


# The notice


async def test_the_first_answer_brings_the_notice_and_no_other_does(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(
        database_url, model, newcomers=True, answer_policy="careful", keep_days=90
    ) as shop:
        customer = shop.customer(WHO)
        answer, notice = await said(shop, customer, AIRING)
        assert "맞바람" in answer
        assert "90일이 지나면 지워요" in notice
        assert "/privacy" in notice
        assert await said(shop, customer, "/help") == [texts.HELP]
        # In a group each is told once, and whoever was told elsewhere is not told again.
        group = [shop.playground.customer(GROUP, user=user) for user in (WHO, 12, 13)]
        assert await said(shop, group[0], "/help") == [texts.HELP]
        for newcomer in group[1:]:
            assert await said(shop, newcomer, "/help") == [texts.HELP, notice]
            assert await said(shop, newcomer, "/help") == [texts.HELP]


async def test_whatever_comes_first_brings_the_notice(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, newcomers=True, speech="off") as shop:
        assert (await said(shop, shop.customer(1), "/start"))[-1] == NOTICE
        assert (await said(shop, shop.customer(2), "34평 실크 얼마예요?"))[-1] == NOTICE
        assert (await said(shop, shop.customer(3), "/stop"))[-1] == NOTICE
        speaker = shop.customer(4)
        await speaker.voice(note())
        assert [m.text for m in await speaker.wait_for(2)] == [texts.VOICE_OFF, NOTICE]
        curious = shop.customer(5)  # what is kept is not said twice
        (policy,) = await said(shop, curious, "/privacy")
        assert policy.startswith("🔒 개인정보 안내")
        assert await said(shop, curious, "/help") == [texts.HELP]


async def test_many_first_messages_bring_one_notice(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, newcomers=True) as shop:
        private, group = shop.customer(WHO), shop.playground.customer(GROUP, user=WHO)
        await asyncio.gather(*(c.send("/help") for c in (private, group) for _ in range(4)))
        await private.wait_for(4)
        await group.wait_for(4)
        await shop.wait_until_idle()
        assert (await final(private) + await final(group)).count(NOTICE) == 1


async def test_a_killed_bot_gives_the_notice_once(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    async with running() as telegram:
        customer = telegram.playground.customer(WHO)
        await telegram.playground.fault("sendMessage", drop=True, delay_s=60)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await customer.send("/help")
            await _until(database_url, select(Answer.id).where(Answer.text.is_not(None)))
            bot.kill()
            await bot.wait()
        await telegram.playground.clear_faults()
        async with bot_process(telegram, model, database_url, tmp_path):
            await customer.wait_for(2)
            await ask(customer, "/help")
        assert await final(customer) == [texts.HELP, NOTICE, texts.HELP]


async def _until(database_url: str, query: Any) -> None:  # noqa: ANN401 - a SELECT
    """Wait until a query finds something in a database that a process works on."""
    database = db.open_database(database_url)
    async with asyncio.timeout(10):
        while not await database.run(lambda c: c.execute(query).first()):
            await asyncio.sleep(0.05)
    await database.close()


def test_the_terms_say_what_is_so() -> None:
    shop = Terms.of(
        Settings(
            shop_name="빛고을도배", shop_phone="062-123-4567", keep_days=30, speech_keep_days=7
        )
    )
    assert "빛고을도배 직원" in shop.policy
    assert "빛고을도배 062-123-4567" in shop.policy
    assert "30일이 지나면" in shop.policy
    assert "7일 뒤에" in shop.policy
    assert texts.SENT_NOWHERE in shop.policy
    assert "/delete_me" in shop.policy
    for_ever = Terms.of(Settings(keep_days=0, speech_keep_days=0, speech="google"))
    assert texts.KEPT_FOR_EVER in for_ever.notice
    assert texts.SOUND_NOT_KEPT in for_ever.policy
    assert texts.SENT_AWAY.format(what=texts.SENT_SOUND) in for_ever.policy
    away = Terms.of(Settings(model_url="https://model.example/v1"))
    assert texts.SENT_AWAY.format(what=texts.SENT_TEXTS) in away.policy


# Deleting what is one's own


async def dump(database: Database) -> str:
    """Return all that the tables hold."""

    def read(connection: Connection) -> str:
        tables = [connection.execute(select(t)).all() for t in Base.metadata.sorted_tables]
        return repr(tables)

    return await database.run(read)


def found(kept: str | bytes) -> list[str]:
    """Return which of the secrets stand in what is kept, as text or in JSON."""
    text = kept if isinstance(kept, str) else kept.decode(errors="replace")
    return [s for s in SECRETS if s in text or json.dumps(s).strip('"') in text]


async def fill(shop: Shop, customer: Visitor, group: Visitor, speech: SpeechServer) -> None:
    """Let a customer leave something wherever something can be left."""
    await say(customer, "안방의 붉은 장롱 뒤에 곰팡이가 생겼는데 어떻게 해야 하나요?")
    await customer.press_text("👍")
    await say(customer, "상담원 연결")
    speech.text = "거실의 푸른 병풍 뒤 벽지가 들떴는데 어떻게 해야 하나요"
    sent = await customer.voice(note(5))
    await customer.wait_for(2, after=sent.id)
    first = await say(customer, "34평 아파트 실크로 천장까지 얼마예요?")
    await customer.press_text(wording.NOW)
    await customer.wait_for(3, after=first.id)
    await tap(customer, wording.CALL)
    await tap(customer, wording.AGREE)
    await say(customer, "박서준입니다")
    await say(customer, "010-2345-9876")
    await say(customer, "/start")
    await say(group, "거실의 푸른 병풍 뒤에 곰팡이가 생겼는데 어떻게 해야 하나요?")
    await shop.wait_until_idle()

    def review(connection: Connection) -> None:
        whose = connection.scalar(select(Customer.id).where(Customer.telegram_id == WHO))
        answer_id = connection.scalar(
            select(func.min(Answer.id))
            .join(Message, Message.id == Answer.message_id)
            .join(Conversation, Conversation.id == Message.conversation_id)
            .where(Conversation.customer_id == whose)
        )
        now = utc_now()
        connection.execute(
            insert(Review).values(
                answer_id=answer_id,
                admin_id=1,
                claimed_until=now,
                reviewed_at=now,
                verdict="bad",
                labels=["vague"],
                corrected="안방의 붉은 장롱은 옮기고 말리세요.",
            )
        )
        assert connection.scalar(select(Handoff.id).where(Handoff.customer_id == whose))

    await shop.database.run(review)


async def test_nothing_is_left_of_who_asks_for_it_and_others_keep_theirs(
    database_url: str, model: ModelServer
) -> None:
    async with (
        SpeechServer().serve() as speech,
        open_shop(
            database_url, model, answer_policy="careful", admins=[1], **speech.settings()
        ) as shop,
    ):
        admin, other = shop.customer(1), shop.customer(2)
        await say(admin, "/start")
        await say(other, AIRING)
        customer, group = shop.customer(WHO), shop.playground.customer(GROUP, user=WHO)
        neighbour = shop.playground.customer(GROUP - 1, user=3)
        await say(neighbour, AIRING)
        await fill(shop, customer, group, speech)
        assert found(await dump(shop.database)) == SECRETS
        estimate = (await shop.rows(select(Estimate.id)))[0].id

        question = await say(customer, "/delete_me")
        assert question.text == texts.DELETE
        assert labels(question) == [texts.BUTTON_DELETE, texts.BUTTON_KEEP]
        told = (await admin.messages())[-1].id
        done = await tap(customer, texts.BUTTON_DELETE)
        assert done.text == texts.DELETED.format(messages=9, recordings=1, estimates=1)
        withdrawn = await last(admin, told)
        assert "취소" in withdrawn.text
        assert withdrawn.text.endswith(f"-{estimate}).")
        assert found(withdrawn.text) == []

        await shop.wait_until_idle()
        kept = await dump(shop.database)
        assert found(kept) == []
        assert texts.DELETED.format(messages=9, recordings=1, estimates=1) in kept
        ((name, number),) = await shop.rows(
            select(Customer.name, Customer.telegram_id).where(Customer.telegram_id < 0)
        )
        assert (name, abs(number) > 2**32) == ("", True)
        assert await shop.rows(select(Estimate.id)) == []
        assert await shop.rows(select(Feedback.id)) == []
        assert await shop.rows(select(Handoff.id)) == []
        assert [tuple(r) for r in await shop.rows(select(Review.verdict, Review.corrected))] == [
            ("bad", None)
        ]
        ((sound, heard),) = await shop.rows(select(Recording.content, Recording.heard))
        assert (sound, heard) == (None, None)
        chats = {row.chat_id for row in await shop.rows(select(Chat.chat_id))}
        assert chats == {1, 2, GROUP - 1}
        assert sum(row.text == AIRING for row in await shop.rows(select(Message.text))) == 2

        if database_url.startswith("sqlite"):
            await shop.database.scrub()
            path = make_url(database_url).database
            for file in (Path(f"{path}"), Path(f"{path}-wal")):
                assert found(file.read_bytes()) == []

        # The chat goes on as anybody's.
        assert "맞바람" in (await say(customer, AIRING)).text
        assert await shop.rows(select(Conversation.id).where(Conversation.chat_id == WHO)) != []


async def test_who_comes_back_is_new(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, newcomers=True) as shop:
        customer = shop.customer(WHO)
        assert await said(shop, customer, "/delete_me") == [texts.DELETE, NOTICE]
        await tap(customer, texts.BUTTON_DELETE)
        await shop.wait_until_idle()
        assert await said(shop, customer, "/help") == [texts.HELP, NOTICE]
        assert await said(shop, customer, "/delete_me") == [texts.DELETE]
        deleted = await tap(customer, texts.BUTTON_DELETE)
        assert deleted.text.startswith("지웠어요: 메시지 2개, 음성 0개, 견적 0개.")


async def test_nothing_is_deleted_without_a_yes(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(WHO)
        await say(customer, AIRING)
        question = await say(customer, "/delete_me")
        assert (await tap(customer, texts.BUTTON_KEEP)).text == texts.NOT_DELETED
        await customer.wait_for(
            lambda seen: not next(m for m in seen if m.id == question.id).buttons
        )
        await shop.wait_until_idle()
        assert AIRING in [row.text for row in await shop.rows(select(Message.text))]
        assert [row.telegram_id for row in await shop.rows(select(Customer))] == [WHO]


async def test_only_who_asked_can_say_yes(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        asking = shop.playground.customer(GROUP, user=WHO)
        other = shop.playground.customer(GROUP, user=12)
        await say(other, AIRING)
        await say(asking, AIRING)
        await say(asking, "/delete_me")
        events = other.events()
        await anext(events)
        await other.press_text(texts.BUTTON_DELETE)
        async for name, event in events:
            if name == "callback_answer":
                assert event["text"] == texts.EXPIRED_BUTTON
                break
        await events.aclose()
        await shop.wait_until_idle()
        assert {row.telegram_id for row in await shop.rows(select(Customer))} == {WHO, 12}
        done = await tap(asking, texts.BUTTON_DELETE)
        assert done.text == texts.DELETED.format(messages=2, recordings=0, estimates=0)
        await shop.wait_until_idle()
        left = [r for r in await shop.rows(select(Customer.telegram_id)) if r.telegram_id > 0]
        assert [row.telegram_id for row in left] == [12]
        assert AIRING in {row.text for row in await shop.rows(select(Message.text))}
        assert "맞바람" in (await say(other, AIRING)).text


async def test_what_waits_is_ended_too(database_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "느린 답 " * 15
    model.token_s = 0.05
    async with open_shop(database_url, model, answer_check=False) as shop:
        private, group = shop.customer(WHO), shop.playground.customer(GROUP, user=WHO)
        await say(private, "/delete_me")
        await group.send(AIRING)
        await model.wait_until_asked(1)
        await group.send("안방의 붉은 장롱")
        await tap(private, texts.BUTTON_DELETE)
        await shop.wait_until_idle()
        await asyncio.sleep(2)  # longer than the answer in the group takes
        await shop.database.run(privacy.sweep)
        assert found(await dump(shop.database)) == []
        assert not [m for m in await group.messages() if m.from_bot and "👍" in str(m.button_rows)]


async def test_a_killed_bot_deletes_once_and_says_so(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    def is_done(seen: list[Shown]) -> bool:
        return any(m.text.startswith("지웠어요") for m in seen)

    async with running() as telegram:
        customer = telegram.playground.customer(WHO)
        async with bot_process(telegram, model, database_url, tmp_path) as bot:
            await ask(customer, "안방의 붉은 장롱", answers=2)
            await ask(customer, "/delete_me")
            await telegram.playground.fault("sendMessage", drop=True, delay_s=60)
            await customer.press_text(texts.BUTTON_DELETE)
            await _until(database_url, select(Customer.id).where(Customer.telegram_id < 0))
            bot.kill()
            await bot.wait()
        await telegram.playground.clear_faults()
        async with bot_process(telegram, model, database_url, tmp_path):
            await customer.wait_for(is_done)
            await _until(database_url, select(Message.id).where(Message.chat_id == 0))
            await asyncio.sleep(0.5)
        done = [text for text in await final(customer) if text.startswith("지웠어요")]
        assert done == [texts.DELETED.format(messages=2, recordings=0, estimates=0)]
        database = db.open_database(database_url)
        assert found(await dump(database)) == []
        await database.close()


async def test_who_shuts_the_bot_out_meanwhile_is_forgotten_all_the_same(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(WHO)
        await say(customer, "/delete_me")
        await shop.playground.fault("sendMessage", status=403, description="bot was blocked")
        await customer.press_text(texts.BUTTON_DELETE)
        async with asyncio.timeout(5):
            while not await shop.rows(select(Customer.id).where(Customer.telegram_id < 0)):
                await asyncio.sleep(0.02)
        await shop.wait_until_idle()
    async with open_shop(database_url, model) as shop, asyncio.timeout(5):
        while found(await dump(shop.database)):
            await asyncio.sleep(0.05)


# What is old


async def age(database: Database, telegram_id: int, days: int) -> None:
    """Let all that a customer did have been so many days ago."""
    then = utc_now() - timedelta(days=days)

    def turn_back(connection: Connection) -> None:
        own = select(Conversation.id).join(Customer).where(Customer.telegram_id == telegram_id)
        for statement in (
            update(Message)
            .where(Message.conversation_id.in_(own))
            .values(received_at=then, done_at=then),
            update(Estimate)
            .where(Estimate.id.in_(select(Message.id).where(Message.conversation_id.in_(own))))
            .values(updated_at=then),
            update(Conversation).where(Conversation.id.in_(own)).values(started_at=then),
        ):
            connection.execute(statement.execution_options(synchronize_session=False))

    await database.run(turn_back)


async def write(database: Database, telegram_id: int, update_id: int, text: str = AIRING) -> None:
    """Store a message with its answer and a thumb."""

    def store(connection: Connection) -> None:
        who = queries.Incoming(1, update_id, telegram_id, telegram_id, "박서준", Kind.TEXT, text)
        stored = queries.store(connection, who, "worker", 0)
        assert stored
        message_id = stored.turn.message_id
        queries.write_answer(connection, message_id, text="답", sent_at=utc_now())
        answer_id = connection.scalar(select(Answer.id).where(Answer.message_id == message_id))
        connection.execute(
            insert(Feedback).values(
                answer_id=answer_id, customer_id=stored.turn.customer_id, value=1
            )
        )
        claims.finish(connection, message_id)
        connection.execute(update(Chat).where(Chat.chat_id == telegram_id).values(worker_id=None))

    await database.insist(store)


async def counts(database: Database) -> dict[str, int]:
    """Return how many rows the tables have."""

    def count(connection: Connection) -> dict[str, int]:
        tables = (Customer, Conversation, Message, Answer, Feedback, Chat)
        return {
            t.__tablename__: connection.scalar(select(func.count()).select_from(t)) or 0
            for t in tables
        }

    return await database.run(count)


async def test_old_conversations_go_with_all_that_hangs_on_them(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    for number in range(230):  # more than two batches
        await write(database, 1000 + number, number)
        await age(database, 1000 + number, 11)
    await write(database, 5, 900)  # has an old conversation and a new one
    await age(database, 5, 11)

    def end(connection: Connection) -> None:
        connection.execute(update(Conversation).values(ended_at=utc_now()))

    await database.run(end)
    await write(database, 5, 901)
    await write(database, 6, 902)
    before = await counts(database)

    dry = await run(
        *("db", "purge", "--older-than", "10", "--dry-run"), cwd=tmp_path, DATABASE_URL=database_url
    )
    assert (dry[0], dry[2]) == (0, "")
    assert "대화 231개(메시지 231개)" in dry[1]
    assert await counts(database) == before
    code, output, errors = await run(
        *("db", "purge"), cwd=tmp_path, DATABASE_URL=database_url, KEEP_DAYS="10"
    )
    assert (code, errors) == (0, "")
    assert [line for line in output.splitlines() if line.startswith("지우는 중")] == [
        f"지우는 중: 대화 {n}/231개" for n in (100, 200, 231)
    ]
    assert output.endswith("지웠어요: 대화 231개, 메시지 231개, 남은 것이 없는 손님 230명.\n")
    rows = ("conversations", "messages", "answers", "feedback", "customers", "chats")
    assert await counts(database) == dict.fromkeys(rows, 2)


async def test_purge_says_what_is_wrong(tmp_path: Path) -> None:
    code, output, _ = await run("db", "purge", cwd=tmp_path, KEEP_DAYS="0")
    assert (code, "KEEP_DAYS=0" in output) == (0, True)
    code, _, _ = await run("db", "purge", "--older-than", "0", cwd=tmp_path)
    assert code == 2
    code, _, errors = await run("db", "purge", cwd=tmp_path, KEEP_DAYS="-1")
    assert (code, "KEEP_DAYS" in errors) == (2, True)


async def test_what_is_in_use_is_not_old(database: Database) -> None:
    for number, who in enumerate((WHO, 12, 13)):
        await write(database, who, number)
        await age(database, who, 40)

    def use(connection: Connection) -> None:
        ids = connection.scalars(select(Message.id).order_by(Message.id)).all()
        connection.execute(update(Message).where(Message.id == ids[0]).values(done_at=None))
        connection.execute(
            insert(Estimate).values(
                id=ids[1], bot_id=1, chat_id=12, customer_id=2, state="done", form={},
                created_at=utc_now(), updated_at=utc_now(),
            )
        )  # fmt: skip

    await database.run(use)
    before = utc_now() - timedelta(days=30)
    gone = await database.run(lambda c: privacy.purge(c, before, 0, 100))
    assert gone
    assert (gone.conversations, gone.customers) == (1, 1)
    left = await database.run(lambda c: c.scalars(select(Customer.telegram_id)).all())
    assert sorted(left) == [12, WHO]


async def test_the_running_bot_deletes_what_is_old(database_url: str, model: ModelServer) -> None:
    database = db.open_database(database_url)
    await db.upgrade(database)
    await write(database, WHO, 1, "안방의 붉은 장롱")
    await age(database, WHO, 400)
    await write(database, 12, 2, "거실의 푸른 병풍")
    await database.close()
    async with open_shop(database_url, model) as shop, asyncio.timeout(5):
        while len(await shop.rows(select(Message.id))) > 1:
            await asyncio.sleep(0.05)
        assert found(await dump(shop.database)) == ["박서준", "거실의 푸른 병풍"]
    async with open_shop(database_url, model, keep_days=0) as shop:
        await age(shop.database, 12, 4000)
        await asyncio.sleep(0.5)
        assert len(await shop.rows(select(Message.id))) == 1


async def test_writing_while_old_things_go_loses_nothing(database: Database) -> None:
    """A customer's first words after a long time, at the moment their past is deleted."""
    before = utc_now() - timedelta(days=30)
    for number in range(60):
        await write(database, 100 + number, number)
        await age(database, 100 + number, 40)
    await asyncio.gather(
        *(write(database, 100 + number, 1000 + number) for number in range(60)),
        *(database.insist(lambda c: privacy.purge(c, before, 0, 20)) for _ in range(6)),
    )
    new = select(func.count()).where(Message.update_id >= 1000)
    assert await database.run(lambda c: c.scalar(new)) == 60


# The log


@pytest.mark.usefixtures("restored_logging")
async def test_the_log_names_nobody(
    database_url: str,
    model: ModelServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", level=logging.DEBUG)
    async with (
        SpeechServer().serve() as speech,
        open_shop(
            database_url,
            model,
            newcomers=True,
            answer_policy="careful",
            admins=[1],
            **speech.settings(),
        ) as shop,
    ):
        customer, group = shop.customer(WHO), shop.playground.customer(GROUP, user=WHO)
        await ask(shop.customer(1), "/start", answers=2)
        await ask(customer, "/privacy")
        await fill(shop, customer, group, speech)
        await shop.playground.fault("sendMessage", status=400, description="chat not found")
        await customer.send("안방의 붉은 장롱")
        await shop.wait_until_idle()
        await say(customer, "/delete_me")
        await tap(customer, texts.BUTTON_DELETE)
        await shop.wait_until_idle()
    log = capsys.readouterr()
    assert "telegram_refused" in log.err
    assert found(log.out + log.err) == []


@pytest.mark.usefixtures("restored_logging")
async def test_an_estimate_that_cannot_be_read_is_logged_without_what_it_holds(
    database_url: str, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json")
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(WHO)
        await say(customer, "/estimate")
        await shop.wait_until_idle()
        broken = update(Estimate).values(
            form={"name": ["박서준"], "slots": {"region": ["안방의 붉은 장롱"]}}
        )
        await shop.database.run(lambda c: c.execute(broken))
        assert (await say(customer, "실크")).text == texts.FAILED
    log = capsys.readouterr().err
    assert "turn_failed" in log
    assert found(log) == []
