"""What the admin pages show and do, over the real bot and both databases."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from bot.admin import wording
from bot.admin.numbers import group
from bot.admin.view import compare
from db import dealings, reviews, search
from db.models import Answer, AuditEntry, Message, Review, Way
from tests.modelserver import ModelServer
from tests.pages import ADMIN, REVIEWER, VIEWER, Pages, open_pages
from tests.shop import Shop, ask, open_shop, say
from tests.sounds import encode, tone
from tests.speechserver import SpeechServer

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> 벽지가 들떠요"


@asynccontextmanager
async def open_both(
    database_url: str, model: ModelServer, **changes: object
) -> AsyncIterator[tuple[Shop, Pages]]:
    settings: dict[str, Any] = {"admins": [ADMIN], "answer_policy": "careful", **changes}
    async with (
        open_shop(database_url, model, **settings) as shop,
        open_pages(shop.database, database_url) as pages,
    ):
        yield shop, pages


async def conversation_of(shop: Shop, text: str) -> int:
    """Return the conversation in which something was said."""
    query = select(Message.conversation_id).where(Message.text == text)
    ((found,),) = await shop.rows(query)
    return int(found)


async def answer_to(shop: Shop, text: str) -> int:
    query = select(Answer.id).join(Message, Message.id == Answer.message_id)
    ((found,),) = await shop.rows(query.where(Message.text == text))
    return int(found)


async def logged(shop: Shop, action: str) -> list[str]:
    rows = await shop.rows(select(AuditEntry.subject).where(AuditEntry.action == action))
    return [subject for (subject,) in rows]


async def test_a_conversation_is_found_by_a_part_of_a_word_and_read(
    database_url: str, model: ModelServer
) -> None:
    async with open_both(database_url, model) as (shop, pages), pages.visit(VIEWER) as viewer:
        await say(shop.customer(1), MOULD)
        await say(shop.customer(2), "합지와 실크 벽지는 뭐가 다른가요?")
        await shop.wait_until_idle()
        found = await viewer.read("/conversations?q=곰팡")
        assert MOULD in found
        assert "뭐가 다른가요" not in found
        page = await viewer.read(f"/conversations/{await conversation_of(shop, MOULD)}")
        assert MOULD in page
        assert "저장된 답" in page  # how the answer came, and from what
        assert "/knowledge/entry/DB_001" in page
        assert await logged(shop, "search") == [""]
        assert await logged(shop, "read")


async def test_what_a_customer_writes_is_shown_and_never_run(
    database_url: str, model: ModelServer
) -> None:
    async with open_both(database_url, model) as (shop, pages), pages.visit(ADMIN) as admin:
        await say(shop.customer(1), HOSTILE)
        await shop.wait_until_idle()
        id_, answer = await conversation_of(shop, HOSTILE), await answer_to(shop, HOSTILE)
        for path in (
            "/conversations",
            "/conversations?q=%3Cscript%3E",
            f"/conversations/{id_}",
            f"/conversations/{id_}/entries",
            f"/review/{answer}",
            f"/knowledge/new?answer={answer}",
            "/numbers",
        ):
            page = await admin.read(path)
            assert "alert(1)" in page, path
            assert "<script>alert" not in page, path
            assert "<img src=x" not in page, path


async def test_an_open_conversation_goes_on(database_url: str, model: ModelServer) -> None:
    async with open_both(database_url, model) as (shop, pages), pages.visit(VIEWER) as viewer:
        await say(shop.customer(1), MOULD)
        await shop.wait_until_idle()
        id_ = await conversation_of(shop, MOULD)
        (last,) = re.findall(r'data-id="(\d+)"', await viewer.read(f"/conversations/{id_}"))
        await say(shop.customer(1), "합지와 실크 벽지는 뭐가 다른가요?")
        await shop.wait_until_idle()
        more = await viewer.read(f"/conversations/{id_}/entries?from={last}")
        assert re.findall(r'data-id="(\d+)"', more)[0] == last  # it may have changed
        assert "뭐가 다른가요" in more


async def test_a_voice_message_is_played_to_the_shop_alone(
    database_url: str, model: ModelServer
) -> None:
    sound = encode(tone(2.0), "ogg")
    async with SpeechServer().serve() as speech:
        speech.text = MOULD
        async with (
            open_both(database_url, model, **speech.settings()) as (shop, pages),
            pages.visit(VIEWER) as viewer,
            pages.visit() as stranger,
        ):
            await shop.customer(1).voice(sound)
            await shop.customer(1).wait_for(2)
            await shop.wait_until_idle()
            ((message_id,),) = await shop.rows(select(Message.id).where(Message.kind == "voice"))
            played = await viewer.get(f"/recordings/{message_id}")
            assert played.content == sound
            assert played.headers["content-type"] == "audio/ogg"
            assert (await stranger.get(f"/recordings/{message_id}")).status_code == 401
            assert (await viewer.get("/recordings/999999")).status_code == 404
            assert f"/recordings/{message_id}" in await viewer.read("/conversations/1")
            assert await logged(shop, "listen")


async def test_an_answer_is_reviewed_by_one_at_a_time_and_the_correction_shown(
    database_url: str, model: ModelServer
) -> None:
    async with (
        open_both(database_url, model) as (shop, pages),
        pages.visit(REVIEWER) as reviewer,
        pages.visit(ADMIN) as other,
    ):
        await say(shop.customer(1), MOULD)
        await shop.wait_until_idle()
        answer = await answer_to(shop, MOULD)
        assert (await reviewer.get("/review")).headers["location"] == f"/review/{answer}"
        assert "검토할 답이 없어요" in await other.read("/review")
        verdict = {"verdict": "bad", "labels": ["wrong_fact", "outdated"]}
        corrected = "먼저 누수를 고치고 다시 물어봐 주세요."
        saved = await reviewer.post(f"/review/{answer}", **verdict, corrected=corrected)
        assert saved.status_code == 303
        page = await reviewer.read(f"/review/{answer}")
        assert re.search(r"<ins>[^<]*누수를", page)
        assert "<del>" in page
        ((review,),) = await shop.rows(select(Review.corrected))
        assert review == corrected
        await pages.database.run(lambda c: search.catch_up(c, 100))
        assert MOULD in await other.read("/conversations?label=outdated&reviewed=yes")
        assert MOULD not in await other.read("/conversations?label=rude")
        for wrong in ({"verdict": "fine"}, {"verdict": "bad", "labels": ["nice"]}):
            assert (await reviewer.post(f"/review/{answer}", **wrong)).status_code == 400


async def test_a_correction_becomes_knowledge_that_the_bot_uses(
    database_url: str, model: ModelServer
) -> None:
    question = "우리 동네 벽지 창고 세일은 언제 하나요?"
    async with open_both(database_url, model) as (shop, pages), pages.visit(REVIEWER) as reviewer:
        first = await say(shop.customer(1), question)
        await shop.wait_until_idle()
        answer = await answer_to(shop, question)
        corrected = "창고 세일은 매달 마지막 토요일에 해요."
        await reviewer.post(f"/review/{answer}", verdict="bad", corrected=corrected)
        form = await reviewer.read(f"/knowledge/new?answer={answer}")
        assert question in form
        assert corrected in form
        made = await reviewer.post(
            "/knowledge/new",
            **{"id": "shop-1", "questions": question, "answers": corrected, "category": "기타"},
            answer_id=str(answer),
        )
        assert made.status_code == 303
        assert corrected not in first.text
        async with asyncio.timeout(60):
            while corrected not in (await say(shop.customer(1), question)).text:
                await asyncio.sleep(1)
        assert "shop-1" in await reviewer.read(f"/review/{answer}")
        assert question in await reviewer.read("/knowledge?q=창고 세일")


async def test_knowledge_is_changed_taken_out_and_carried_in_and_out(
    database_url: str, model: ModelServer
) -> None:
    async with open_both(database_url, model) as (_, pages), pages.visit(ADMIN) as admin:
        changed = {
            "questions": "첫 질문\n둘째 질문",
            "answers": "한 답\n\n다른 답",
            "category": "시공",
        }
        assert (await admin.post("/knowledge/entry/DB_001", **changed)).status_code == 303
        page = await admin.read("/knowledge/entry/DB_001")
        assert "둘째 질문" in page
        assert "다른 답" in page
        empty = await admin.post("/knowledge/entry/DB_001", questions=" ", answers="")
        assert empty.status_code == 400
        assert "질문이 없음" in empty.text
        assert (await admin.post("/knowledge/entry/DB_002/remove")).status_code == 303
        assert (await admin.get("/knowledge/entry/DB_002")).status_code == 404
        out = (await admin.get("/knowledge.csv")).content
        assert out.startswith("\ufeff".encode())
        assert "둘째 질문" in out.decode()
        upload = {
            "file": ("more.csv", "id,질문_1,답변_1\nshop-9,새 질문이요?,새 답이요.\n".encode())
        }
        token = {"form_token": await admin.form_token()}
        sent = await admin.client.post("/knowledge/import", data=token, files=upload)
        assert sent.status_code == 303
        assert "새 질문이요?" in await admin.read("/knowledge/entry/shop-9")
        broken = {"file": ("more.xlsx", b"no spreadsheet")}
        assert (
            await admin.client.post("/knowledge/import", data=token, files=broken)
        ).status_code == 400


async def test_the_shop_steps_in_and_gives_back(database_url: str, model: ModelServer) -> None:
    async with (
        open_both(database_url, model) as (shop, pages),
        pages.visit(REVIEWER) as reviewer,
        pages.visit(ADMIN) as other,
    ):
        customer = shop.customer(1)
        await say(customer, MOULD)
        await shop.wait_until_idle()
        id_ = await conversation_of(shop, MOULD)
        before = (await customer.messages())[-1].id
        assert (await reviewer.post(f"/conversations/{id_}/take")).status_code == 303
        assert (await other.post(f"/conversations/{id_}/take")).status_code == 409
        mine = {"text": "저예요", "update_id": "-5"}
        assert (await other.post(f"/conversations/{id_}/say", **mine)).status_code == 409
        await customer.wait_for(1, after=before)
        said = "내일 **오전**에 찾아뵐게요. <b>네</b>"
        form = await reviewer.read(f"/conversations/{id_}")
        (number,) = re.findall('name="update_id" value="(-[0-9]+)"', form)
        for _ in range(2):  # pressed twice, it is said once
            words = {"text": said, "update_id": number}
            assert (await reviewer.post(f"/conversations/{id_}/say", **words)).status_code == 303
        told = await customer.wait_for(2, after=before)
        assert told[-1].text == said
        silent = await customer.send("고맙습니다")
        await asyncio.sleep(1.5)
        assert [m for m in await customer.messages() if m.id > silent.id] == []
        assert "고맙습니다" in await reviewer.read(f"/conversations/{id_}")
        for wrong in ({"text": " ", "update_id": "-6"}, {"text": "네", "update_id": "6"}):
            assert (await reviewer.post(f"/conversations/{id_}/say", **wrong)).status_code == 400
        assert (await reviewer.post(f"/conversations/{id_}/back")).status_code == 303
        await customer.wait_for(1, after=silent.id)
        assert "곰팡이" in (await say(customer, MOULD)).text
        assert len(await logged(shop, "say")) == 3


async def test_a_quote_and_a_spoken_answer_are_shown(database_url: str, model: ModelServer) -> None:
    async with open_both(database_url, model) as (shop, pages), pages.visit(VIEWER) as viewer:
        customer = shop.customer(1)
        await say(customer, "/voice")
        await customer.press_text("🔊 음성으로도")
        await shop.wait_until_idle()
        await ask(customer, "아파트 34평 전체 실크로 견적 내 주세요")
        await shop.wait_until_idle()
        before = (await customer.messages())[-1].id
        await customer.press_text("지금 견적 보기")
        await customer.wait_for(3, after=before, timeout=60)
        await shop.wait_until_idle()
        page = await viewer.read("/conversations/1")
        assert "[견적서 PDF]" in page
        assert "[음성 답변]" in page
        listed = await viewer.read("/estimates")
        assert "만 원" in listed
        (quote,) = set(re.findall(r"/estimates/\d+\.pdf", listed))
        assert (await viewer.get(quote)).content.startswith(b"%PDF")


async def test_estimates_are_followed_up(database_url: str, model: ModelServer) -> None:
    async with (
        open_both(database_url, model) as (shop, pages),
        pages.visit(REVIEWER) as reviewer,
        pages.visit(VIEWER) as viewer,
    ):
        customer = shop.customer(1)
        await ask(customer, "아파트 32평 전체 실크로 도배 견적 내 주세요")
        await shop.wait_until_idle()
        listed = await viewer.read("/estimates")
        assert "32평" in listed
        (estimate_id,) = re.findall(r"/estimates/(\d+)", await reviewer.read("/estimates"))[:1]
        moved = await reviewer.post(f"/estimates/{estimate_id}", progress="called")
        assert moved.status_code == 303
        assert "32평" in await viewer.read("/estimates?progress=called")
        assert "32평" not in await viewer.read("/estimates?progress=new")
        wrong = await reviewer.post(f"/estimates/{estimate_id}", progress="gone")
        assert wrong.status_code == 400
        assert (await viewer.get("/estimates/999999.pdf")).status_code == 404


async def test_numbers_count_what_was_asked(database_url: str, model: ModelServer) -> None:
    async with open_both(database_url, model) as (shop, pages), pages.visit(VIEWER) as viewer:
        await say(shop.customer(1), MOULD)
        for text in ("우주 정거장 벽지는 어디서 사나요?", "우주 정거장 벽지는 어디서 사요?"):
            await say(shop.customer(2), text)
        await shop.wait_until_idle()
        page = await viewer.read("/numbers?days=7")
        assert re.search(r"<b>3</b>\s*질문", page)
        assert re.search(r"<b>2</b>\s*대화", page)


async def test_conversations_are_exported_masked(database_url: str, model: ModelServer) -> None:
    async with (
        open_both(database_url, model) as (shop, pages),
        pages.visit(ADMIN) as admin,
        pages.visit(REVIEWER) as reviewer,
    ):
        await say(shop.customer(1), f"{MOULD} 제 번호는 010-1234-5678이에요")
        await shop.wait_until_idle()
        sent = await admin.get("/conversations.jsonl")
        assert (await admin.get("/conversations.jsonl?until=9999-12-31")).status_code == 400
        assert (await admin.get(f"/knowledge/new?answer={'9' * 30}")).status_code == 200
        (line,) = sent.text.splitlines()
        assert "010-1234-5678" not in line
        assert [m["role"] for m in json.loads(line)["messages"]] == ["user", "assistant"]
        assert (await reviewer.get("/conversations.jsonl")).status_code == 403
        assert (await admin.get("/conversations.jsonl?since=soon")).status_code == 400
        assert (await admin.get("/conversations.jsonl?reviewed=on")).text == ""
        assert len(await logged(shop, "export")) == 2


async def test_the_log_says_who_did_what(database_url: str, model: ModelServer) -> None:
    async with open_both(database_url, model) as (_, pages), pages.visit(ADMIN) as admin:
        async with pages.visit(VIEWER) as viewer:
            await viewer.get("/log")
        page = await admin.read("/log")
        assert "거절됨" in page
        assert f"{VIEWER} (보기)" in page


@pytest.mark.parametrize(
    "path",
    [
        "/conversations?since=soon&until=2026-99-99&customer=x&rating=5&label=none&state=odd&has=9",
        "/conversations?before=2026-11-26_x",
        "/conversations?before=2026-11-26T00:00:00_1",
        "/conversations?q=%00%22%25_%5C",
        "/knowledge?page=-1",
        "/numbers?days=1000000",
        "/log?before=x",
        "/estimates?page=x&progress=odd",
        f"/estimates?page={'9' * 30}",
        f"/knowledge?page={'9' * 5000}",
        "/conversations?since=0001-01-01&until=9999-12-31",
    ],
)
async def test_an_odd_address_is_no_failure(
    database_url: str, model: ModelServer, path: str
) -> None:
    async with open_both(database_url, model) as (_, pages), pages.visit(ADMIN) as admin:
        await admin.read(path)


def test_questions_are_grouped_by_likeness() -> None:
    asked = [
        "우주 정거장 벽지는 어디서 사나요?",
        "강아지가 짖어요",
        "우주 정거장 벽지는 어디서 사요?",
    ]
    assert [(each.question, each.count) for each in group(asked)] == [(asked[0], 2), (asked[1], 1)]


def test_whatever_can_be_stored_has_a_name() -> None:
    assert set(wording.LABELS) == set(reviews.LABELS)
    assert set(wording.PROGRESS) == set(dealings.STEPS)
    assert set(wording.WAYS) == set(Way)


def test_a_correction_is_compared_word_by_word() -> None:
    pieces = compare("벽지를 먼저 말려 주세요.", "벽지를 잘 말려 주세요.")
    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("same", "벽지를 "),
        ("gone", "먼저 "),
        ("new", "잘 "),
        ("same", "말려 주세요."),
    ]
    assert "".join(p.text for p in pieces if p.kind != "new") == "벽지를 먼저 말려 주세요."
    assert [piece.kind for piece in compare("가 " * 2000, "나 " * 2000)] == ["gone", "new"]
