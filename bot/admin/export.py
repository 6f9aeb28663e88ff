"""Export of the conversations that reviewers and training work on, as a download."""

import structlog
from aiohttp import web

from bot.admin.door import PERSON, Door
from bot.admin.roles import Role
from bot.errors import BadInputError
from bot.export_command import Selection, read_day, read_records, to_json
from db import access
from db.database import Database

log = structlog.get_logger()


class ExportPages:
    """The download of conversations, with personal data masked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the download to an application."""
        app.add_routes([web.get("/conversations.jsonl", door.let_in(Role.ADMIN, self._send))])

    async def _send(self, request: web.Request) -> web.StreamResponse:
        since, until = request.query.get("since", ""), request.query.get("until", "")
        person = request[PERSON]
        try:
            selection = Selection(
                since=read_day(since) if since else None,
                until=read_day(until) if until else None,
                reviewed_only="reviewed" in request.query,
            )
        except BadInputError as error:
            raise web.HTTPBadRequest from error
        await self._database.insist(
            lambda c: access.note(c, person.telegram_id, "export", selection.describe())
        )
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/jsonl; charset=utf-8",
                "Content-Disposition": 'attachment; filename="conversations.jsonl"',
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }
        )
        await response.prepare(request)
        try:
            async for record in read_records(self._database, selection):
                await response.write(f"{to_json(record)}\n".encode())
            await response.write_eof()
        except Exception as error:  # half of it is sent: it must not look like the whole
            log.warning("export_broke_off", error=type(error).__name__)
            if request.transport:
                request.transport.abort()
        return response
