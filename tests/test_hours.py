"""The shop's hours: what is read, what is refused, and when it opens next."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.hours import DAYS, Hours, parse
from bot.settings import Settings
from db.queries import KOREA

USUAL = parse(Settings.model_fields["shop_hours"].default)
MONDAY = datetime(2026, 11, 30, tzinfo=KOREA)


def at(day: str, clock: str) -> datetime:
    hour, minute = (int(number) for number in clock.split(":"))
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("now", "is_open", "opens"),
    [
        (at("월", "08:59"), False, at("월", "09:00")),
        (at("월", "09:00"), True, at("월", "09:00")),
        (at("월", "17:59"), True, at("월", "17:59")),
        (at("월", "18:00"), False, at("화", "09:00")),
        (at("토", "12:59"), True, at("토", "12:59")),
        (at("토", "13:00"), False, at("월", "09:00") + timedelta(days=7)),
        (at("일", "10:00"), False, at("월", "09:00") + timedelta(days=7)),
        (datetime(2026, 11, 30, 0, 0, tzinfo=UTC), True, at("월", "09:00")),  # nine hours behind
        (datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC), False, at("월", "09:00")),
    ],
)
def test_the_usual_week(now: datetime, is_open: bool, opens: datetime) -> None:
    assert USUAL.is_open(now) is is_open
    assert USUAL.next_opening(now) == opens


@pytest.mark.parametrize(
    ("text", "day", "clock", "is_open"),
    [
        ("매일 00:00-24:00", "일", "23:59", True),
        ("", "일", "03:00", True),
        ("토-월 10:00-12:00", "월", "11:00", True),  # over the end of the week
        ("토-월 10:00-12:00", "화", "11:00", False),
        ("수 9:30 ~ 11:00", "수", "10:59", True),
        ("월-금 09:00-12:00, 월-금 13:00-18:00", "화", "12:30", False),
        ("화 22:00-24:00, 수 00:00-02:00", "수", "01:00", True),
    ],
)
def test_what_may_be_written(text: str, day: str, clock: str, is_open: bool) -> None:
    assert parse(text).is_open(at(day, clock)) is is_open


@pytest.mark.parametrize(
    "text",
    [
        *(
            "월-금",
            "09:00-18:00",
            "월-금 9-18",
            "월~금 18:00-09:00",
            "월 09:00-09:00",
            "Mon 09:00-18:00",
        ),
        *(
            "월 09:60-10:00",
            "월 09:00-24:01",
            "월 09:00-10:75",
            "월 25:00-26:00",
            "월 09:00-18:00,",
            ",",
        ),
        *("월-금-일 09:00-18:00", "월 09:00-18:00 토 09:00-13:00"),
    ],
)
def test_what_is_wrong_is_said(text: str) -> None:
    with pytest.raises(ValidationError, match="09:00-13:00’이나"):
        Settings(shop_hours=text)


@st.composite
def texts(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        first, last = draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))
        days = draw(st.sampled_from(["매일", first, f"{first}-{last}"]))
        start = draw(st.integers(0, 1439))
        end = draw(st.integers(start + 1, 1440))
        parts.append(f"{days} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    return ", ".join(parts)


NOW = st.datetimes(
    datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, KOREA])
)


@given(texts(), NOW)
def test_it_opens_within_a_week_and_not_before(text: str, now: datetime) -> None:
    hours = parse(text)
    opens = hours.next_opening(now)
    assert now <= opens <= now + timedelta(days=7)
    assert hours.is_open(opens)
    assert hours.next_opening(opens) == opens
    if opens > now:
        assert not hours.is_open(opens - timedelta(microseconds=1))
        assert not hours.is_open(now)
        # A week has one more opening for each span; none of them lies in between.
        starts = [MONDAY + timedelta(minutes=start) for start, _ in hours.spans]
        for start in starts:
            later = start + timedelta(days=7) * -((start - now) // timedelta(days=7))
            assert later >= opens


@given(NOW)
def test_without_hours_it_is_always_open(now: datetime) -> None:
    assert Hours().is_open(now)
    assert Hours().next_opening(now) == now
