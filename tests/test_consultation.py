"""A consultation that goes on: follow-ups, two questions, suggestions, and a model that loops."""

import pytest
from sqlalchemy import select

from bot import fixed, texts
from bot.estimate import wording
from db.models import Answer, Estimate
from inference.knowledge import Entry, starter_path
from inference.knowledge.files import load
from tests.modelserver import ModelServer
from tests.shop import Shop, labels, last, open_shop, say, tap

AIRING = "도배 후 환기는 어떻게 하나요?"
MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
ENTRIES: dict[str, Entry] = {entry.id: entry for entry in load(starter_path())}


async def newest(shop: Shop) -> tuple[str, list[str], str | None]:
    """Return the way, the sources' ids and the full question of the newest answer."""
    await shop.wait_until_idle()
    query = select(Answer.way, Answer.sources, Answer.asked).order_by(Answer.id.desc()).limit(1)
    (row,) = await shop.rows(query)
    return row.way, [source["id"] for source in row.sources], row.asked


async def test_more_is_told_of_the_same_until_all_is_said(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(501)
        said = [(await say(customer, AIRING)).text]
        for _ in ENTRIES["DB_093"].answers[1:]:
            said.append((await say(customer, "좀 더 자세히 알려줘")).text)
            assert (await newest(shop))[1] == ["DB_093"]
        assert sorted(said) == sorted(ENTRIES["DB_093"].answers)
        assert (await say(customer, "더 알려 주세요")).text == texts.NO_MORE


async def test_a_follow_up_is_asked_in_full_and_new_forgets(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(502)
        await say(customer, "합지 벽지의 단점이 뭐예요?")
        assert (await newest(shop))[1] == ["DB_034"]
        await say(customer, "아니 합지 말고 실크요")
        assert await newest(shop) == ("stored", ["DB_036"], "실크 벽지의 단점이 뭐예요?")
        assert (await say(customer, "그럼 비용은?")).text == texts.PRICE
        await tap(customer, texts.BUTTON_ESTIMATE)
        await say(customer, "/new")
        assert (await say(customer, "좀 더 자세히 알려줘")).text == texts.UNCLEAR


async def test_two_questions_get_two_answers(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        answer = await say(shop.customer(503), f"{AIRING} 그리고 타일 위에도 도배할 수 있나요?")
        assert (await newest(shop))[1] == ["DB_093", "DB_084"]
        first, second = (ENTRIES[id_].answers[0] for id_ in ("DB_093", "DB_084"))
        assert answer.text == f"1) {first}\n\n2) {second}"
        assert model.requests == []


async def test_a_suggested_question_is_asked_by_its_button(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(504)
        answer = await say(customer, AIRING)
        suggested = [b for row in answer.button_rows for b in row if b["data"].startswith("ask:")]
        assert len(suggested) == 3
        assert all(len(button["data"].encode()) <= 64 for button in suggested)
        entry = ENTRIES[suggested[0]["data"].removeprefix("ask:")]
        told = await tap(customer, suggested[0]["text"])
        assert told.text == entry.answers[0]
        assert await newest(shop) == ("stored", [entry.id], entry.questions[0])
        assert f"ask:{entry.id}" not in str(told.button_rows)
        # What follows leans on the question, not on the button's data.
        await say(customer, "그건 왜 그래요?")
        assert (await newest(shop))[2] == f"{entry.questions[0]} 그건 왜 그래요?"


async def test_a_verdict_leaves_the_suggestions(database_url: str, model: ModelServer) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(505)
        before = labels(await say(customer, AIRING))
        await customer.press_text(texts.BUTTON_UP)
        marked = f"{texts.BUTTON_UP} ✓"
        seen = await customer.wait_for(lambda m: marked in str(m[-1].button_rows))
        assert labels(seen[-1])[1:] == before[1:]


@pytest.mark.parametrize(
    ("text", "way"),
    [("도배에서 정배가 무슨 말이에요?", "unsure"), ("오늘 저녁 메뉴 추천해 줘", "declined")],
)
async def test_a_new_matter_does_not_get_the_last_ones_answer(
    text: str, way: str, database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        customer = shop.customer(510)
        await say(customer, MOULD)
        await say(customer, text)
        assert (await newest(shop))[:2] == (way, [])


async def test_what_is_not_surely_known_is_not_guessed(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:  # the model's own policy, too
        answer = await say(shop.customer(506), "도배에서 정배가 무슨 말이에요?")
        assert answer.text == texts.UNSURE.format(phone=texts.NO_PHONE)
        assert texts.BUTTON_ESTIMATE in labels(answer)
        assert texts.BUTTON_HUMAN not in labels(answer)  # nobody would hear of it
        assert len([b for row in answer.button_rows for b in row if "ask:" in b["data"]]) == 3
        assert model.requests == []


async def test_a_wish_for_a_human_leaves_an_open_estimate_open(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[508]) as shop:
        admin, customer = shop.customer(508), shop.customer(507)
        await say(admin, "/start")
        await say(customer, "/estimate")
        before = (await admin.messages())[-1].id
        sent = await customer.send("상담원 연결해 주실 수 있나요?")
        human, again = await customer.wait_for(2, after=sent.id)
        assert human.text.startswith(fixed.answers()["human"].answer.partition("{")[0])
        assert wording.GIVE_UP in labels(again) or again.buttons
        assert "507" in (await last(admin, before)).text
        (form,) = await shop.rows(select(Estimate.state))
        assert form.state == "asking"


@pytest.mark.parametrize("policy", ["model", "careful"])
async def test_a_loop_is_cut_at_a_sentence_and_the_models_work_ended(
    policy: str, database_url: str, model: ModelServer
) -> None:
    question = "이음매에 하얀 게 말라붙었는데 닦이나요"
    first = (
        "풀자국은 깨끗한 스펀지나 부드러운 천에 미지근한 물을 적셔 꼭 짠 뒤 살살 눌러 닦아 냅니다."
    )
    model.reply = lambda _: f"{first} " + "꼭 짠 뒤 이음매를 따라 살살 눌러 닦고 " * 40
    model.token_s = 0.005
    async with open_shop(database_url, model, answer_policy=policy) as shop:
        answer = await say(shop.customer(509), question)
        assert answer.text == first
        await model.wait_until_cancelled(1)
        assert (await newest(shop))[0] == "model"


async def test_a_model_that_says_it_does_not_know_is_believed(
    database_url: str, model: ModelServer
) -> None:
    refusal = "죄송하지만 이음매의 하얀 것이 몸에 해로운지는 자료에 없어서 모릅니다."
    model.reply = lambda _: refusal
    async with open_shop(database_url, model, answer_policy="careful") as shop:
        answer = await say(shop.customer(511), "이음매에 하얀 게 말라붙었는데 해로운가요")
        assert answer.text == texts.NOT_KNOWN.format(answer=refusal, phone=texts.NO_PHONE)
        assert texts.BUTTON_ESTIMATE in labels(answer)
        way, sources, _ = await newest(shop)
        assert (way, sources) == ("unsure", [])
        # What was found may answer it after all: it is the first to choose from.
        first = next(b for row in answer.button_rows for b in row if "ask:" in b["data"])
        entry = ENTRIES[first["data"].removeprefix("ask:")]
        assert (await tap(shop.customer(511), first["text"])).text == entry.answers[0]
