"""When the shop answers: `월-금 09:00-18:00, 토 09:00-13:00`, in Korean time."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.queries import KOREA

DAYS = "월화수목금토일"

_DAY = 24 * 60  # minutes
_WEEK = 7 * _DAY
_SPAN = re.compile(
    rf"(?:(매일)|([{DAYS}])(?:\s*[-~]\s*([{DAYS}]))?)\s*"
    r"([0-9]{1,2}):([0-9]{2})\s*[-~]\s*([0-9]{1,2}):([0-9]{2})"
)
_WRONG = "‘월-금 09:00-18:00, 토 09:00-13:00’이나 ‘매일 00:00-24:00’처럼 적어 주세요"


@dataclass(frozen=True, slots=True)
class Hours:
    """The spans of a week in which the shop answers, in minutes since Monday; none: always."""

    spans: tuple[tuple[int, int], ...] = ()

    def is_open(self, now: datetime) -> bool:
        """Return whether somebody answers at `now`."""
        minute = _minute_of_week(now)
        return not self.spans or any(start <= minute < end for start, end in self.spans)

    def next_opening(self, now: datetime) -> datetime:
        """Return the first time from `now` on, which it may be itself, that somebody answers."""
        now = now.astimezone(KOREA)
        if self.is_open(now):
            return now
        minute = _minute_of_week(now)
        wait = min((start - minute) % _WEEK for start, _ in self.spans)
        return now.replace(second=0, microsecond=0) + timedelta(minutes=wait)


def parse(text: str) -> Hours:
    """Read opening hours; an empty text is always. Raises `ValueError`."""
    spans = [span for part in text.split(",") if text.strip() for span in _read(part.strip())]
    return Hours(tuple(sorted(spans)))


def _read(part: str) -> list[tuple[int, int]]:
    """Return the spans of `월-금 09:00-18:00`, one a day."""
    found = _SPAN.fullmatch(part)
    if found is None:
        raise ValueError(_WRONG)
    every_day, first, last, *clock = found.groups()
    from_hour, from_minute, to_hour, to_minute = (int(number) for number in clock)
    start, end = 60 * from_hour + from_minute, 60 * to_hour + to_minute
    if from_minute > 59 or to_minute > 59 or not start < end <= _DAY:
        raise ValueError(_WRONG)
    begin = 0 if every_day else DAYS.index(first)
    count = 7 if every_day else (DAYS.index(last or first) - begin) % 7 + 1
    days = [(begin + number) % 7 for number in range(count)]
    return [(day * _DAY + start, day * _DAY + end) for day in days]


def _minute_of_week(now: datetime) -> int:
    korean = now.astimezone(KOREA)
    return korean.weekday() * _DAY + korean.hour * 60 + korean.minute
