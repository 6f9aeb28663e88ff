"""The two sides of a trial as the shop sees them, and what admins do about it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from bot.admin import comparison
from bot.admin.chance import Share, differ
from db import feedback, queries, rollouts
from db.database import Database
from db.models import Kind, Way
from db.queries import Incoming
from tests.pages import ADMIN, VIEWER, open_pages

BOT = 7
STABLE, NEW = "ko-1", "ko-2"
HOSTILE = "<script>alert(1)</script>"

counts = st.integers(0, 5_000)


@st.composite
def shares(draw: st.DrawFn) -> Share:
    of = draw(st.integers(1, 5_000))
    return Share(draw(st.integers(0, of)), of)


# Arithmetic


@given(shares())
def test_an_interval_holds_the_share_and_is_narrower_with_more(share: Share) -> None:
    low, high = share.interval
    assert 0 <= low <= share.value + 1e-9
    assert share.value - 1e-9 <= high <= 1
    many_low, many_high = Share(share.count * 10, share.of * 10).interval
    assert many_high - many_low < high - low


def test_intervals_and_chances_are_those_of_the_books() -> None:
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Share(0, 20).interval == pytest.approx((0, 0.1611), abs=1e-4)
    assert differ(Share(45, 100), Share(60, 100)) == pytest.approx(0.0337, abs=1e-4)
    assert differ(Share(0, 0), Share(3, 5)) is None


@given(shares(), shares())
def test_a_difference_is_the_same_from_both_sides(one: Share, other: Share) -> None:
    chance = differ(one, other)
    assert chance == differ(other, one)
    assert chance is None or 0 <= chance <= 1
    if chance is not None:
        flipped = (Share(share.of - share.count, share.of) for share in (one, other))
        assert differ(*flipped) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("stable", "candidate", "said"),
    [
        (Share(5, 6), Share(1, 6), "아직 알 수 없어요"),
        (Share(0, 0), Share(0, 0), "아직 알 수 없어요"),
        (Share(50, 100), Share(52, 100), "다르다고 할 수 없어요"),
        (Share(50, 100), Share(65, 100), "후보가 더 많아요. 둘이 같다면 이만한 차이는 100번에 3번"),
        (
            Share(80, 100),
            Share(20, 100),
            "후보가 더 적어요. 둘이 같다면 이만한 차이는 100번에 한 번도",
        ),
    ],
)
def test_a_difference_is_said_plainly(stable: Share, candidate: Share, said: str) -> None:
    assert said in comparison.judge("좋아요", stable, candidate)


# The page


def answer(
    connection: Connection,
    chat: int,
    number: int,
    *,
    adapter: str | None,
    way: Way = Way.MODEL,
    error: str | None = None,
    rating: int = 0,
    text: str = "마른 뒤에 바르세요.",
    seconds: float = 1.0,
) -> None:
    incoming = Incoming(BOT, chat * 1_000 + number, chat, chat, "손님", Kind.TEXT, "곰팡이")
    stored = queries.store(connection, incoming, "a worker", 0)
    assert stored
    turn = stored.turn
    model = adapter or "ldcc"  # as the consultant says it of failures, too
    facts = {"way": way, "error": error, "model": model, "adapter": adapter}
    times = {"first_token_s": seconds, "total_s": 2 * seconds}
    queries.write_answer(connection, turn.message_id, text=text, **facts, **times)
    if rating:
        shown = feedback.answer_in_chat(connection, turn.message_id, BOT, chat)
        assert shown
        feedback.rate(connection, shown.id, turn.customer_id, rating)


async def lines(database: Database) -> dict[str, tuple[str, str]]:
    found = await database.run(comparison.read)
    assert found
    return {line.name: line[1:] for line in comparison.compare(found).lines}


@pytest.mark.parametrize("stable", [STABLE, None])
async def test_each_side_counts_its_own(database: Database, stable: str | None) -> None:
    def fill(c: Connection) -> None:
        answer(c, 1, 1, adapter=stable)  # before the trial
        rollouts.begin(c, ADMIN, stable=stable, candidate=NEW, path="/x", share=50)
        # Of one chat the last verdict counts.
        answer(c, 1, 2, adapter=stable, rating=-1)
        answer(c, 1, 3, adapter=stable, rating=1)
        answer(c, 2, 1, adapter=stable, rating=-1, seconds=3.0)
        answer(c, 2, 2, adapter=stable, way=Way.FALLBACK, error="check_number")
        answer(c, 3, 1, adapter=NEW, way=Way.FALLBACK, error="timeout")
        answer(c, 3, 2, adapter=NEW, text="죄송하지만 그건 모르겠습니다.")
        answer(c, 4, 1, adapter=stable, error="adapter_missed", rating=-1)
        answer(c, 4, 2, adapter=stable, way=Way.FALLBACK, error="adapter_missed:timeout")
        answer(c, 5, 1, adapter="another", rating=-1)

    await database.run(fill)
    found = await lines(database)
    assert found["모델에 물은 답"] == ("4", "2")
    assert found["대화"] == ("2", "1")
    assert found["좋아요"][0].startswith("50% (9~91%), 대화 2개")
    assert found["좋아요"][1] == "–"
    assert found["저장된 답으로 대신함"] == ("25.0% (1)", "50.0% (1)")
    assert found["검사에 걸림"] == ("25.0% (1)", "0.0% (0)")
    assert found["모른다고 함"] == ("0.0% (0)", "50.0% (1)")
    assert found["첫 글자까지"] == ("1.0초, 느릴 때 2.7초", "1.0초, 느릴 때 1.0초")
    assert found["답을 마치기까지"][0] == "2.0초, 느릴 때 5.4초"
    read = await database.run(comparison.read)
    assert read
    assert comparison.compare(read).missed == 2


async def test_what_came_after_a_trial_is_not_counted(database: Database) -> None:
    def fill(c: Connection) -> None:
        rollouts.begin(c, ADMIN, stable=STABLE, candidate=NEW, path="/x", share=50)
        answer(c, 1, 1, adapter=NEW)
        answer(c, 1, 2, adapter=STABLE, error="adapter_missed")
        trial = rollouts.state(c).trial
        assert trial
        rollouts.promote(c, ADMIN, trial)
        answer(c, 1, 3, adapter=NEW)
        answer(c, 1, 4, adapter=STABLE, error="adapter_missed")

    await database.run(fill)
    assert (await lines(database))["모델에 물은 답"] == ("0", "1")
    found = await database.run(comparison.read)
    assert found
    assert found.arms.missed == 1


async def test_admins_change_a_trial_from_the_numbers(
    database: Database, database_url: str
) -> None:
    async with (
        open_pages(database, database_url) as pages,
        pages.visit(ADMIN) as admin,
        pages.visit(VIEWER) as viewer,
    ):
        assert "어댑터" not in await admin.read("/numbers")
        await database.run(
            lambda c: rollouts.begin(c, ADMIN, stable=None, candidate=HOSTILE, path="/x", share=10)
        )
        page = await admin.read("/numbers")
        assert "아직 알 수 없어요" in page
        assert HOSTILE not in page
        found = re.search('name="rollout" value="([0-9]+)"', page)
        assert found
        shown = {"rollout": found[1]}
        seen = await viewer.read("/numbers")
        assert "아직 알 수 없어요" in seen
        assert "/adapters/" not in seen
        for wrong in ("101", "-1", "", "1e1"):
            answered = await admin.post("/adapters/share", **shown, share=wrong)
            assert answered.status_code == 400
        assert (await admin.post("/adapters/share", rollout="9", share="5")).status_code == 409
        assert (await admin.post("/adapters/share", **shown, share="30")).status_code == 303
        assert "대화의 30%" in await viewer.read("/numbers")
        trial = (await database.run(rollouts.state)).trial
        assert trial
        await database.run(lambda c: rollouts.halt(c, trial.id))
        assert "아무에게도 쓰지 않아요" in await viewer.read("/numbers")
        assert "/adapters/promote" not in await admin.read("/numbers")
        assert (await admin.post("/adapters/promote", **shown)).status_code == 409
        assert (await admin.post("/adapters/share", **shown, share="30")).status_code == 303
        assert "/adapters/promote" in await admin.read("/numbers")
        assert (await admin.post("/adapters/promote", **shown)).status_code == 303
        assert (await admin.post("/adapters/promote", **shown)).status_code == 409  # pressed twice
        assert (await database.run(rollouts.state)).promoted
        assert (await admin.post("/adapters/back", **shown)).status_code == 303
        assert await database.run(rollouts.state) == (None, None)
        assert (await admin.post("/adapters/back", **shown)).status_code == 409
        assert "되돌림" in await viewer.read("/numbers")
        log = await admin.read("/log")
        for said in ("어댑터 시험 시작", "어댑터 몫 바꿈", "어댑터 올림", "어댑터 되돌림"):
            assert said in log
