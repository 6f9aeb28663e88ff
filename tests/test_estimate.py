"""Estimates end to end: the real bot through the playground, on both databases."""

import io

import pypdfium2
from sqlalchemy import update

from bot import texts
from bot.estimate import wording
from bot.playground.client import Message as Shown
from db.models import Estimate, utc_now
from tests.modelserver import ModelServer
from tests.shop import Shop, ask, labels, last, open_shop, say, tap, the_estimate

SENTENCE = "34평 아파트 실크로 천장까지 얼마예요?"


async def pdf_of(shop: Shop, message: Shown) -> pypdfium2.PdfDocument:
    assert message.file
    assert message.file["kind"] == "document"
    assert message.file["mime"] == "application/pdf"
    assert message.file["name"].startswith("도배견적_")
    return pypdfium2.PdfDocument(await shop.playground.download(message.file["url"]))


async def test_the_shortest_way_ends_in_a_sum_a_picture_and_a_pdf(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, shop_name="행복 도배") as shop:
        customer = shop.customer(301)
        first = await say(customer, SENTENCE)
        assert first.text.startswith(wording.INTRO)
        assert "✔ 벽지: 실크 · 건물: 아파트 · 평수: 34평 · 천장: 포함" in first.text
        assert "브랜드" in first.text  # the first thing it does not know
        await customer.press_text(wording.NOW)
        total, picture, document = await customer.wait_for(3, after=first.id)
        assert "도배 견적 245만~333만 원" in total.text
        assert "합계 2,451,350~3,327,500원" in total.text
        assert "단가 기준일 2026-09-01" in total.text
        assert wording.VISIT in total.text
        for package in ("합지 일반", "실크 일반", "실크 프리미엄"):
            assert package in total.text
        assert picture.file
        assert picture.file["kind"] == "photo"
        assert (await shop.playground.download(picture.file["url"])).startswith(b"\x89PNG")
        # Without an admin nobody would hear of a call.
        assert labels(document) == ["✏️ 수정", "🔄 다시 계산", "📄 견적서"]
        pdf = await pdf_of(shop, document)
        written = pdf[0].get_textpage().get_text_range()
        assert "2,451,350" in written
        assert "3,327,500" in written
        assert "행복 도배" in written
        assert model.requests == []


LONGEST = [
    ("합지+실크", "합지 폭"),
    ("장폭이요", "브랜드"),
    ("일반", "건물"),
    ("빌라요", "면적"),
    ("스물네 평", "공급(분양)면적"),
    ("전용(실평수)", "천장"),
    ("거실 천장만요", "어디까지"),
    ("전체", "기존 벽지"),
    ("뜯어 주세요", "빈집"),
    ("거주 중", "추가"),
    ("곰팡이 있어요", "추가"),
    ("다 골랐어요", "지역"),
    ("서울 마포구 망원동이요", "언제"),
    ("다음 달 15일쯤이요", "도배 견적"),
]
BUTTONS = {"합지+실크", "일반", "전용(실평수)", "전체", "거주 중", "다 골랐어요"}


async def test_the_longest_way_takes_buttons_and_words_at_every_step(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(302)
        message = await say(customer, "/estimate")
        assert "어떤 벽지" in message.text
        for answer, _ in LONGEST:
            before = (await customer.messages())[-1].id
            if answer in BUTTONS:
                await customer.press_text(answer)
            else:
                before = (await customer.send(answer)).id
            message = (await customer.wait_for(1, after=before))[0]
        assert "도배 견적" in message.text
        await shop.wait_until_idle()
        row = await the_estimate(shop)
        assert row.state == "done"
        assert {k: v for k, v in row.form["slots"].items() if v is not None} == {
            "wallpaper": "mixed",
            "paper_width": "wide",
            "brand": "standard",
            "building": "house",
            "area": 24.0,
            "unit": "pyeong",
            "area_basis": "exclusive",
            "ceiling": "partial",
            "rooms": 0,
            "remove_old": True,
            "occupied": True,
            "extended": False,
            "mould": True,
            "putty": False,
            "region": "서울 마포구 망원동",
            "timing": "month",
            "timing_words": "다음 달 15일쯤이요",
        }
        for item in ("철거", "짐 옮기기", "곰팡이 처리"):
            assert item in message.text
        lines = row.result["lines"]
        for end in ("low", "high"):
            assert sum(line[end] for line in lines) == row.result["total"][end]


async def test_back_edit_and_cancel(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(303)
        await say(customer, "/estimate")
        await tap(customer, "실크")
        building = await tap(customer, "일반")
        assert "어떤 건물" in building.text
        brand = await tap(customer, wording.BACK)
        assert "어느 등급" in brand.text
        assert "어떤 건물" in (await tap(customer, "프리미엄")).text

        menu = await tap(customer, wording.EDIT_BUTTON)
        assert labels(menu)[:2] == ["벽지: 실크", "브랜드: 프리미엄"]
        assert "어떤 벽지" in (await tap(customer, "벽지: 실크")).text
        width = await tap(customer, "합지")
        assert "소폭과 장폭" in width.text  # now it matters

        gone = await tap(customer, wording.CANCEL)
        assert gone.text == wording.CANCELLED
        await shop.wait_until_idle()
        assert (await the_estimate(shop)).state == "cancelled"
        assert "소폭과 장폭" in (await tap(customer, wording.GO_ON)).text
        assert (await say(customer, "취소할게요")).text == wording.CANCELLED


async def test_a_finished_estimate_is_changed_and_worked_out_again(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(304)
        first = await say(customer, SENTENCE)
        await customer.press_text(wording.NOW)
        await customer.wait_for(3, after=first.id)
        await tap(customer, wording.EDIT_BUTTON)
        await tap(customer, "벽지: 실크")
        assert "도배 견적 163만~227만 원" in (await tap(customer, "합지")).text
        assert "도배 견적 177만~227만 원" in (await say(customer, "24평 실크면 얼마예요?")).text
        changed = await say(customer, "다시 34평 합지로요")
        assert "도배 견적 163만~227만 원" in changed.text
        assert labels(changed)[0] == wording.EDIT_BUTTON

        listed = await say(customer, "/estimates")
        (button,) = labels(listed)
        assert "아파트 34평 합지 · 163만~227만 원" in button
        opened = await tap(customer, button)
        assert "도배 견적 163만~227만 원" in opened.text
        before = opened.id
        await customer.press_text(wording.QUOTE)
        _, document = await customer.wait_for(2, after=before)
        pdf = await pdf_of(shop, document)
        assert "1,625,910" in pdf[0].get_textpage().get_text_range()


async def test_a_question_in_the_middle_is_answered_and_the_form_goes_on(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(305)
        await say(customer, "/estimate")
        answer, question = await ask(customer, "실크랑 합지 차이가 뭐예요?", answers=2)
        assert "합지" in answer.text
        assert "👍 좋아요" in labels(answer)
        assert "어떤 벽지로" in question.text
        assert "실크" in labels(question)
        assert "어느 등급" in (await say(customer, "그럼 실크로 할게요")).text
        await shop.wait_until_idle()
        assert (await the_estimate(shop)).form["slots"]["wallpaper"] == "silk"


async def test_nonsense_is_asked_again_and_then_a_human_is_offered(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[395]) as shop:
        customer = shop.customer(306)
        for text in ("/estimate", "실크", "일반", "아파트"):
            await say(customer, text)
        nothing = await say(customer, "0평")
        assert "1평에서 1,000평" in nothing.text
        assert "24평" in nothing.text  # the example
        assert wording.HUMAN not in labels(nothing)
        huge = await say(customer, "10000평")
        assert wording.HUMAN in labels(huge)
        assert "34평" in labels(huge)
        vague = await say(customer, "글쎄요")
        assert wording.STILL_NOT_UNDERSTOOD in vague.text
        consent = await tap(customer, wording.HUMAN)
        assert consent.text == wording.CONSENT


async def test_what_was_begun_is_offered_again(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(309)
        for text in ("/estimate", "실크"):
            await say(customer, text)
        greeting, offer = await ask(customer, "/start", answers=2)
        assert greeting.text.startswith("안녕하세요")
        assert "벽지: 실크" in offer.text
        assert "어느 등급" in (await tap(customer, wording.GO_ON)).text

        # A week later a text is no answer, unless it can be nothing else.
        await shop.wait_until_idle()
        week = utc_now().replace(year=2026, month=1, day=1)
        await shop.database.run(lambda c: c.execute(update(Estimate).values(updated_at=week)))
        answer, again = await ask(customer, "도배 후 환기는 어떻게 하나요?", answers=2)
        assert "맞바람" in answer.text
        assert labels(again) == [wording.GO_ON, wording.START_NEW, wording.GIVE_UP]
        # Set aside, it takes no texts and offers itself no more until it is asked for.
        (plain,) = await ask(customer, "도배 후 환기는 어떻게 하나요?")
        assert "맞바람" in plain.text
        offer = await say(customer, "/estimate")
        assert labels(offer) == [wording.GO_ON, wording.START_NEW, wording.GIVE_UP]
        fresh = await tap(customer, wording.START_NEW)
        assert "어떤 벽지" in fresh.text


async def test_new_and_consult_put_the_form_aside(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(310)
        for text in ("/estimate", "실크", "/new"):
            await say(customer, text)
        (answer,) = await ask(customer, "도배 후 환기는 어떻게 하나요?")
        assert "맞바람" in answer.text
        await shop.wait_until_idle()
        assert (await customer.messages())[-1].id == answer.id  # the form asks no more
        assert (await the_estimate(shop)).state == "paused"
        greeting, _ = await ask(customer, "/start", answers=2)
        await tap(customer, wording.GO_ON)
        await customer.press(greeting.id, "go:consult")
        await customer.wait_for(lambda seen: seen[-1].text == texts.CONSULT)
        (answer,) = await ask(customer, "도배 후 환기는 어떻게 하나요?")
        assert "맞바람" in answer.text


async def test_the_form_that_asks_is_the_one_that_listens(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(316)
        first = await say(customer, SENTENCE)
        await customer.press_text(wording.NOW)
        done = (await customer.wait_for(3, after=first.id))[-1]
        await say(customer, "/estimate")
        asked = await tap(customer, "합지")
        assert "소폭과 장폭" in asked.text
        await customer.press(done.id, done.buttons[0]["data"])  # ✏️ of the first
        await last(customer, asked.id)
        assert "어느 등급" in (await say(customer, "장폭이요")).text


async def test_a_link_of_another_kind_greets(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(317)
        assert (await say(customer, "/start ad1")).text == texts.GREETING
        assert (await say(customer, "/start estimate_999999999999")).text == texts.GREETING


async def test_hostile_words_stay_words(database_url: str, model: ModelServer) -> None:
    evil = "<b>마포구</b> {0} %s 'OR 1=1"
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(314)
        await say(customer, SENTENCE)
        for text in ("일반", "공급", "전체", "덧방", "빈집", "없어요", evil):
            await say(customer, text)
        _, _, document = await ask(customer, "미정", answers=3)
        pdf = await pdf_of(shop, document)
        assert evil in pdf[0].get_textpage().get_text_range()
        image = io.BytesIO()
        pdf[0].render(scale=1).to_pil().save(image, "PNG")
        assert len(image.getvalue()) > 10_000
