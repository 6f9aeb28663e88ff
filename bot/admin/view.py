"""Pages from templates; everything that goes in is escaped."""

import re
from collections.abc import Callable
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bot.admin import wording
from bot.admin.door import PERSON, Person
from bot.admin.roles import Role
from db.queries import KOREA
from db.reviews import WAYS

_ASIDE = {
    "verdicts": wording.VERDICTS,
    "labels": wording.LABELS,
    "ways": wording.WAYS,
    "outcomes": wording.OUTCOMES,
    "judged_ways": WAYS,
}
_MOST_COMPARED = 300  # words


class Piece(NamedTuple):
    """A piece of a corrected text: `kind` is same, gone or new."""

    kind: str
    text: str


class View:
    """The templates, with what every page shows."""

    def __init__(self, shop_name: str) -> None:
        self._environment = Environment(
            loader=PackageLoader("bot.admin"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            shop=shop_name or "딥봇", Role=Role, name_role=wording.name_role, **_ASIDE
        )
        filters: dict[str, Callable[..., Any]] = {
            "when": write_time,
            "seconds": write_seconds,
            "differ": compare,
        }
        self._environment.filters.update(filters)

    def page(
        self,
        request: web.Request,
        name: str,
        *,
        status: int = 200,
        **values: Any,  # noqa: ANN401 - what templates show
    ) -> web.Response:
        """Return a page for whoever asks."""
        person = request.get(PERSON)
        text = self._environment.get_template(f"{name}.html").render(
            person=person, path=request.path, form_token=_hide_token(person), **values
        )
        return web.Response(text=text, content_type="text/html", status=status)

    def explain(self, status: int) -> web.Response:
        """Return the page that says why something is not shown or done."""
        title, text = wording.PROBLEMS.get(status, wording.PROBLEMS[500])
        html = self._environment.get_template("problem.html").render(
            person=None, path="", form_token="", title=title, text=text
        )
        return web.Response(text=html, content_type="text/html", status=status)


def _hide_token(person: Person | None) -> Markup:
    """Return the field that proves a form is ours."""
    if person is None:
        return Markup("")
    return Markup('<input type="hidden" name="form_token" value="{}">').format(person.form_token)


def read_page(request: web.Request) -> int:
    """Return the number of the page that is asked for, the first where it is none."""
    asked = request.query.get("page", "")
    return max(1, int(asked)) if re.fullmatch("[0-9]{1,6}", asked) else 1


def write_time(at: datetime) -> str:
    """Return a time as the shop's clock shows it."""
    local = at.astimezone(KOREA)
    return f"{local:%Y-%m-%d %H:%M}"


def write_seconds(seconds: float | None) -> str:
    """Return a duration, with a tenth."""
    return "–" if seconds is None else f"{seconds:.1f}초"


def compare(before: str, after: str) -> list[Piece]:
    """Return what a correction keeps, takes away and puts in, word by word."""
    old, new = _split(before), _split(after)
    if max(len(old), len(new)) > _MOST_COMPARED:  # more takes longer than anybody waits
        old, new = [before], [after]
    pieces = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(old[a:b])))
            continue
        if b > a:
            pieces.append(Piece("gone", "".join(old[a:b])))
        if d > c:
            pieces.append(Piece("new", "".join(new[c:d])))
    return pieces


def _split(text: str) -> list[str]:
    """Return words, each with the space after it."""
    words: list[str] = []
    for char in text:
        if words and (char.isspace() or not words[-1][-1].isspace()):
            words[-1] += char
        else:
            words.append(char)
    return words
