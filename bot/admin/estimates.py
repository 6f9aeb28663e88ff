"""Estimates: callbacks that are asked for first; how far the shop is with each; the quote."""

from aiohttp import web
from sqlalchemy import Connection

from bot.admin import wording
from bot.admin.door import PERSON, Door, redirect
from bot.admin.roles import Role
from bot.admin.view import View, read_page
from bot.estimate import wording as words
from bot.estimate.desk import letterhead, read_form
from bot.estimate.drawing import DrawingError, DrawingProcess
from bot.estimate.pricing import Estimate
from db import access, dealings, estimates
from db.database import Database

_SHOWN = 30


class EstimatePages:
    """The pages of estimates."""

    def __init__(self, database: Database, view: View, shop_name: str, shop_phone: str) -> None:
        self._database = database
        self._view = view
        self._shop_name, self._shop_phone = shop_name, shop_phone
        self._drawing = DrawingProcess()

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the pages to an application."""
        app.add_routes(
            [
                web.get("/estimates", door.let_in(Role.VIEWER, self._list)),
                web.get(r"/estimates/{id:\d{1,9}}.pdf", door.let_in(Role.VIEWER, self._quote)),
                web.post(r"/estimates/{id:\d{1,9}}", door.let_in(Role.REVIEWER, self._move)),
            ]
        )
        app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        await self._drawing.close()

    async def _list(self, request: web.Request) -> web.Response:
        progress = request.query.get("progress", "")
        page = read_page(request)
        step = progress if progress in dealings.STEPS else None
        person = request[PERSON]

        def read(connection: Connection) -> list[dealings.Deal]:
            access.note(connection, person.telegram_id, "estimate", f"page {page}")
            return dealings.find_all(connection, step, (page - 1) * _SHOWN, _SHOWN + 1)

        found = await self._database.insist(read)
        return self._view.page(
            request,
            "estimates",
            deals=[_describe(deal) for deal in found[:_SHOWN]],
            steps=wording.PROGRESS,
            progress=step or "",
            page=page,
            more=len(found) > _SHOWN,
        )

    async def _move(self, request: web.Request) -> web.Response:
        form, person = await request.post(), request[PERSON]
        estimate_id, step = int(request.match_info["id"]), str(form.get("progress", ""))
        if step not in dealings.STEPS:
            raise web.HTTPBadRequest

        def write(connection: Connection) -> bool:
            access.note(connection, person.telegram_id, "progress", f"{estimate_id} {step}")
            return dealings.move(connection, estimate_id, step)

        if not await self._database.insist(write):
            raise web.HTTPNotFound
        return redirect("/estimates")

    async def _quote(self, request: web.Request) -> web.Response:
        estimate_id = int(request.match_info["id"])
        person = request[PERSON]

        def read(connection: Connection) -> estimates.Saved | None:
            access.note(connection, person.telegram_id, "estimate", f"quote {estimate_id}")
            return estimates.find(connection, estimate_id)

        saved = await self._database.insist(read)
        if saved is None or saved.result is None:
            raise web.HTTPNotFound
        head = letterhead(saved, self._shop_name, self._shop_phone)
        try:
            pdf = await self._drawing.draw("pdf", Estimate.model_validate(saved.result), head)
        except DrawingError as error:
            raise web.HTTPInternalServerError from error
        return web.Response(
            body=pdf,
            content_type="application/pdf",
            headers={"Content-Disposition": f'attachment; filename="estimate-{estimate_id}.pdf"'},
        )


def _describe(deal: dealings.Deal) -> dict[str, object]:
    """Return what the list shows of an estimate."""
    form = read_form(deal.saved)
    result = deal.saved.result
    return {
        "id": deal.saved.id,
        "title": words.title(form.slots),
        "facts": words.answers(form.slots),
        "total": words.total(Estimate.model_validate(result).total) if result else "",
        "customer_id": deal.saved.customer_id,
        "customer": form.name or deal.name,
        "phone": form.phone or "",
        "called_at": deal.saved.called_at,
        "updated_at": deal.saved.updated_at,
        "progress": deal.progress,
        "is_waiting": deal.saved.called_at is not None and deal.progress == "new",
    }
