"""Review: one answer at a time, in one reviewer's hands."""

from typing import cast

from aiohttp import web
from sqlalchemy import Connection

from bot.admin import wording
from bot.admin.door import PERSON, Door, redirect
from bot.admin.roles import Role
from bot.admin.view import View
from db import access, reviews, search
from db.database import Database
from db.models import utc_now
from db.queries import storable

_ID = r"{id:\d{1,9}}"
_MOST_CHARS = 4_000


class ReviewPages:
    """The pages of review."""

    def __init__(self, database: Database, view: View) -> None:
        self._database = database
        self._view = view

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the pages to an application."""
        app.add_routes(
            [
                web.get("/review", door.let_in(Role.REVIEWER, self._next)),
                web.get(f"/review/{_ID}", door.let_in(Role.REVIEWER, self._show)),
                web.post(f"/review/{_ID}", door.let_in(Role.REVIEWER, self._judge)),
                web.post(f"/review/{_ID}/skip", door.let_in(Role.REVIEWER, self._skip)),
            ]
        )

    async def _next(self, request: web.Request) -> web.Response:
        """Hand out the next answer that nobody else looks at."""
        admin_id = request[PERSON].telegram_id
        answer_id = await self._database.insist(lambda c: reviews.claim(c, admin_id, utc_now()))
        if answer_id is None:
            return self._view.page(request, "review", judged=None)
        return redirect(f"/review/{answer_id}")

    async def _show(self, request: web.Request) -> web.Response:
        answer_id, person = int(request.match_info["id"]), request[PERSON]

        def read(connection: Connection) -> reviews.Judged | None:
            access.note(connection, person.telegram_id, "read", f"answer {answer_id}")
            return reviews.show(connection, answer_id)

        judged = await self._database.insist(read)
        if judged is None:
            raise web.HTTPNotFound
        return self._view.page(request, "review", judged=judged)

    async def _judge(self, request: web.Request) -> web.Response:
        answer_id, person = int(request.match_info["id"]), request[PERSON]
        form = await request.post()
        verdict = str(form.get("verdict", ""))
        labels = [str(label) for label in form.getall("labels", [])]
        corrected = storable(str(form.get("corrected", ""))).replace("\r\n", "\n").strip()
        if (
            verdict not in wording.VERDICTS
            or not wording.LABELS.keys() >= set(labels)
            or len(corrected) > _MOST_CHARS
        ):
            raise web.HTTPBadRequest

        def judge(connection: Connection) -> bool:
            judged = reviews.show(connection, answer_id)
            if judged is None:
                return False
            changed = corrected if corrected != judged.answer.strip() else ""
            reviews.save(
                connection,
                answer_id,
                person.telegram_id,
                verdict=cast("reviews.Verdict", verdict),
                labels=labels,
                corrected=changed or None,
                now=utc_now(),
            )
            search.touch(connection, judged.message_id)
            access.note(connection, person.telegram_id, "review", f"answer {answer_id} {verdict}")
            return True

        if not await self._database.insist(judge):
            raise web.HTTPNotFound
        return redirect(f"/review/{answer_id}")

    async def _skip(self, request: web.Request) -> web.Response:
        answer_id, admin_id = int(request.match_info["id"]), request[PERSON].telegram_id
        await self._database.insist(lambda c: reviews.postpone(c, answer_id, admin_id, utc_now()))
        return redirect("/review")
