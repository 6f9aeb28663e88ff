"""The log of who saw, changed and exported what."""

from collections.abc import Mapping

from aiohttp import web

from bot.admin import wording
from bot.admin.door import Door
from bot.admin.roles import Role
from bot.admin.view import View
from db import access
from db.database import Database

_SHOWN = 100


class LogPages:
    """The page of the log."""

    def __init__(self, database: Database, view: View, roles: Mapping[int, Role]) -> None:
        self._database = database
        self._view = view
        self._roles = roles

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the page to an application."""
        app.add_routes([web.get("/log", door.let_in(Role.ADMIN, self._list))])

    async def _list(self, request: web.Request) -> web.Response:
        before = request.query.get("before", "")
        before_id = int(before) if before.isdecimal() and len(before) < 10 else None
        lines = await self._database.insist(lambda c: access.audit(c, before_id, _SHOWN))
        return self._view.page(
            request,
            "log",
            lines=[line for _, line in lines],
            last_id=lines[-1][0] if len(lines) == _SHOWN else None,
            roles=self._roles,
            actions=wording.ACTIONS,
        )
