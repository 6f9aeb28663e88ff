"""Splitting and pacing: nothing lost, nothing over Telegram's limits."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.formatting import parse, split, split_formatted
from bot.pacing import Pacing
from tests.modelserver import ModelServer
from tests.shop import ask, open_shop

texts = st.text(alphabet="가나다 .\n!?😀a", max_size=400) | st.text(max_size=400)


@given(text=texts, limit=st.integers(2, 50))
def test_parts_make_up_the_text_and_fit(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(len(part.encode("utf-16-le")) // 2 <= limit for part in parts)


def test_cuts_are_where_a_reader_would_make_them() -> None:
    assert split("첫 문단.\n\n둘째 문단은 더 길어요.", 15) == [
        "첫 문단.\n\n",
        "둘째 문단은 더 길어요.",
    ]
    assert split("첫 문장. 둘째 문장이에요.", 12) == ["첫 문장. ", "둘째 문장이에요."]
    assert split("낱말 하나 둘 셋", 8) == ["낱말 하나 둘 ", "셋"]
    assert split("가" * 10, 4) == ["가가가가", "가가가가", "가가"]


@given(text=texts)
def test_formatting_takes_its_marks_and_nothing_else(text: str) -> None:
    assert parse(text).text.replace("**", "") == text.replace("**", "")
    parts = split_formatted(text)
    assert "".join("".join(p.text.split()) for p in parts) == "".join(parse(text).text.split())


def test_bold_is_what_stands_between_two_marks() -> None:
    assert parse("먼저 **환기**하고 **말리세요**.") == (
        "먼저 환기하고 말리세요.",
        [(3, 5), (8, 12)],
    )
    for plain in ("2 ** 3 ** 4", "**닫히지 않은", "**두\n줄**", "****", "* 목록"):
        assert parse(plain) == (plain, [])


def test_a_span_that_is_cut_goes_on_in_the_next_part() -> None:
    first, second = split_formatted("가" * 4094 + " **나다라**")
    assert first.entities() == []
    assert [(e.offset, e.length) for e in second.entities()] == [(0, 3)]
    first, second = split_formatted("**" + "🧱" * 3000 + "**")
    assert [(e.offset, e.length) for e in first.entities()] == [(0, 4096)]
    assert [(e.offset, e.length) for e in second.entities()] == [(0, 6000 - 4096)]


async def test_formatting_that_telegram_refuses_is_left_out(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "먼저 **환기**하세요."
    async with open_shop(database_url, model, answer_check=False) as shop:
        customer = shop.customer(120)
        (bold,) = await ask(customer, "곰팡이가 생겼어요")
        assert (bold.text, len(bold.entities)) == ("먼저 환기하세요.", 1)
        refusal = "Bad Request: can't parse entities: unsupported start tag"
        await shop.playground.fault("sendMessage", status=400, description=refusal)
        (plain,) = await ask(customer, "곰팡이가 또 생겼어요")
        assert (plain.text, plain.entities) == ("먼저 환기하세요.", [])


calls = st.lists(st.tuples(st.sampled_from([1, 2, -3]), st.floats(0, 2), st.booleans()))


@given(calls)
def test_budgets_hold_whoever_calls(calls: list[tuple[int, float, bool]]) -> None:
    pacing, now = Pacing(), 0.0
    made: list[tuple[float, int]] = []
    for chat, pause, final in calls:
        now += pause
        if final:
            now += pacing.wait(chat, now) + 1e-9
        elif not pacing.admits(chat, now):
            continue
        pacing.take(chat, now)
        made.append((now, chat))
    for start, _ in made:
        for chat, a_minute in ((1, 60 + 20), (2, 60 + 20), (-3, 20 + 5)):
            assert sum(c == chat and start <= at < start + 60 for at, c in made) <= a_minute


def test_nothing_is_admitted_in_a_penalty_and_finals_wait_it_out() -> None:
    pacing = Pacing()
    pacing.penalize(1, 5.0, now=10.0)
    assert not pacing.admits(1, 14.0)
    assert pacing.admits(2, 14.0)
    assert pacing.wait(1, 14.0) == 1.0
    assert pacing.wait(1, 15.0) == 0.0


@pytest.mark.parametrize("rate", [30.0, 1.0])
def test_processes_share_the_overall_budget(rate: float) -> None:
    pacing = Pacing(rate)
    pacing.share(3)
    for chat in range(1, 100):  # whatever was saved up
        pacing.take(chat, 1000.0)
    waited = pacing.wait(500, 1000.0)
    pacing.take(500, 1000.0)
    assert pacing.wait(501, 1000.0) - waited == pytest.approx(3 / rate)
    assert pacing.wait(501, 10_000.0) == 0.0


def test_a_refusal_ends_the_burst() -> None:
    pacing = Pacing()
    assert sum(_call(pacing, 10.0) for _ in range(30)) == 19  # one is kept for a final message
    pacing = Pacing()
    pacing.penalize(1, 1.0, now=10.0)
    assert sum(_call(pacing, 12.5) for _ in range(30)) == 1


def _call(pacing: Pacing, now: float) -> bool:
    if not pacing.admits(1, now):
        return False
    pacing.take(1, now)
    return True


async def test_under_telegrams_limits_every_answer_is_complete(
    database_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: f"{asked} 에 대한 답이 조금씩 길어집니다. " * 12
    model.token_s = 0.01
    async with open_shop(database_url, model, answer_check=False) as shop:
        await shop.playground.limit(per_chat_s=1, overall_s=30)
        questions = {
            n: f"벽지에 곰팡이가 {n}번 생겼는데 어떻게 해야 하나요?" for n in range(101, 121)
        }
        answers = await asyncio.gather(
            *(ask(shop.customer(n), question) for n, question in questions.items())
        )
        for (answer,), question in zip(answers, questions.values(), strict=True):
            assert answer.text == model.reply(question).strip()
