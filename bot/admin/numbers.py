"""Figures of the last days, as charts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from aiohttp import web
from rapidfuzz.fuzz import token_set_ratio

from bot.admin import comparison, wording
from bot.admin.door import Door
from bot.admin.roles import Role
from bot.admin.view import View
from db import numbers
from db.database import Database
from db.models import utc_now
from db.numbers import Day
from db.queries import KOREA

_SPANS = (7, 30, 90)
_ALIKE = 60  # of 100, from which two questions count as one
_GROUPS = 20
_COMPARED = 100  # letters of a question


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of a chart; `height` in 0–100."""

    label: str
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that resemble the first one."""

    question: str
    count: int


class NumberPages:
    """The page of figures."""

    def __init__(self, database: Database, view: View) -> None:
        self._database = database
        self._view = view

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the page to an application."""
        app.add_routes([web.get("/numbers", door.let_in(Role.VIEWER, self._show))])

    async def _show(self, request: web.Request) -> web.Response:
        asked = request.query.get("days", "")
        span = int(asked) if asked in map(str, _SPANS) else _SPANS[1]
        first = utc_now().astimezone(KOREA).date() - timedelta(days=span - 1)
        since = datetime.combine(first, time.min, KOREA).astimezone(UTC)
        figures = await self._database.insist(lambda c: numbers.read(c, since))
        found = await self._database.insist(comparison.read)
        return self._view.page(
            request,
            "numbers",
            figures=figures,
            conversations=draw(figures.conversations, first, span),
            questions=draw(figures.questions, first, span),
            ways=[(wording.WAYS[way], count) for way, count in figures.ways],
            groups=await asyncio.to_thread(group, figures.unanswered),
            trial=await asyncio.to_thread(comparison.compare, found) if found else None,
            stages=wording.STAGES,
            span=span,
            spans=_SPANS,
        )


def draw(days: Sequence[Day], first: date, span: int) -> list[Bar]:
    """Return a bar for each day, also for those on which nothing was."""
    counts = {day.day: day.count for day in days}
    most = max(counts.values(), default=0) or 1
    names = [(first + timedelta(days=n)).isoformat() for n in range(span)]
    return [Bar(name, counts.get(name, 0), 100 * counts.get(name, 0) / most) for name in names]


def group(questions: Sequence[str]) -> list[Group]:
    """Return questions by likeness, the most asked first."""
    groups: list[list[str]] = []
    for question in (question[:_COMPARED] for question in questions):
        for known in groups:
            if token_set_ratio(question, known[0]) >= _ALIKE:
                known.append(question)
                break
        else:
            groups.append([question])
    groups.sort(key=len, reverse=True)
    return [Group(known[0], len(known)) for known in groups[:_GROUPS]]
