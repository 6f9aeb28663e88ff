"""Figures of the last days for the shop: how much was asked, how fast and how well answered."""

import statistics
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import InstrumentedAttribute

from db.models import Answer, Conversation, Feedback, Message, Recording, Way
from db.reviews import IS_CONSULTATION

_ASKED = ("text", "voice")
_UNANSWERED = (Way.UNSURE, Way.FAILED)
_UNDERSTOOD = ("sure", "unsure", "confirmed")
_MOST_UNANSWERED, _MOST_TIMES = 400, 10_000


@dataclass(frozen=True, slots=True)
class Day:
    """One Korean day."""

    day: str
    count: int


class Figures(NamedTuple):
    """What the shop looks at. Times in seconds, shares in 0–1; None where there is nothing."""

    conversations: list[Day]
    questions: list[Day]
    median_s: float | None
    slow_s: float | None  # of twenty answers, one took longer
    ratings: int
    liked: float | None
    ways: list[tuple[Way, int]]
    recordings: int
    not_heard: int
    unanswered: list[str]


def read(connection: Connection, since: datetime) -> Figures:
    """Return the figures from a time on."""
    median_s, slow_s = _times(connection, since)
    ratings = connection.execute(
        select(func.count(), func.count().filter(Feedback.value > 0)).where(
            Feedback.created_at >= since
        )
    ).one()
    heard = connection.execute(
        select(func.count(), func.count().filter(Recording.outcome.not_in(_UNDERSTOOD))).where(
            Recording.heard_at >= since
        )
    ).one()
    return Figures(
        _days(connection, Conversation.started_at, since),
        _days(connection, Message.received_at, since, Message.kind.in_(_ASKED)),
        median_s,
        slow_s,
        ratings[0],
        ratings[1] / ratings[0] if ratings[0] else None,
        [
            (Way(way), count)
            for way, count in connection.execute(
                select(Answer.way, func.count())
                .where(Answer.created_at >= since, Answer.way.is_not(None))
                .group_by(Answer.way)
                .order_by(func.count().desc())
            )
            if way
        ],
        heard[0],
        heard[1],
        list(
            connection.scalars(
                select(func.coalesce(Answer.asked, Message.text))
                .join(Message, Message.id == Answer.message_id)
                .where(Answer.created_at >= since, Answer.way.in_(_UNANSWERED), IS_CONSULTATION)
                .order_by(Answer.id.desc())
                .limit(_MOST_UNANSWERED)
            )
        ),
    )


def _days(
    connection: Connection,
    at: InstrumentedAttribute[datetime],
    since: datetime,
    *only: ColumnElement[bool],
) -> list[Day]:
    if connection.dialect.name == "postgresql":
        day = func.to_char(func.timezone("Asia/Seoul", at), "YYYY-MM-DD")
    else:
        day = func.date(at, "+9 hours")
    query = select(day, func.count()).where(at >= since, *only).group_by(day).order_by(day)
    return [Day(*row) for row in connection.execute(query)]


def _times(connection: Connection, since: datetime) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile of the newest answers' times."""
    times = connection.scalars(
        select(Answer.total_s)
        .where(Answer.created_at >= since, Answer.total_s.is_not(None))
        .order_by(Answer.id.desc())
        .limit(_MOST_TIMES)
    ).all()
    if len(times) < 2:
        return (times[0], times[0]) if times else (None, None)
    seconds = [time for time in times if time is not None]
    return statistics.median(seconds), statistics.quantiles(seconds, n=20, method="inclusive")[-1]
