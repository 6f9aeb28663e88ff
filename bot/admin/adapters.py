"""What admins do with the trial of an adapter, which the page of numbers shows."""

import re
from collections.abc import Callable

from aiohttp import web
from sqlalchemy import Connection

from bot.admin.door import PERSON, Door, redirect
from bot.admin.roles import Role
from db import rollouts
from db.database import Database
from db.rollouts import Tried


class AdapterPages:
    """The forms under the comparison."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add what the forms do to an application."""
        app.add_routes(
            [
                web.post("/adapters/share", door.let_in(Role.ADMIN, self._set_share)),
                web.post("/adapters/promote", door.let_in(Role.ADMIN, self._promote)),
                web.post("/adapters/back", door.let_in(Role.ADMIN, self._take_back)),
            ]
        )

    async def _set_share(self, request: web.Request) -> web.Response:
        share = str((await request.post()).get("share", ""))
        if not re.fullmatch("[0-9]{1,3}", share) or int(share) > 100:
            raise web.HTTPBadRequest

        def write(connection: Connection, who: int, tried: Tried) -> bool:
            return rollouts.set_share(connection, who, tried, int(share))

        return await self._change(request, write)

    async def _promote(self, request: web.Request) -> web.Response:
        return await self._change(request, rollouts.promote)

    async def _take_back(self, request: web.Request) -> web.Response:
        return await self._change(request, rollouts.take_back)

    async def _change(
        self, request: web.Request, write: Callable[[Connection, int, Tried], bool]
    ) -> web.Response:
        """Change the trial that the form was shown for, unless it has come further since."""
        shown, person = str((await request.post()).get("rollout", "")), request[PERSON]
        if not re.fullmatch("[0-9]{1,9}", shown):
            raise web.HTTPBadRequest

        def change(connection: Connection) -> bool:
            for tried in rollouts.state(connection):
                if tried and tried.id == int(shown):
                    return write(connection, person.telegram_id, tried)
            return False

        if not await self._database.insist(change):
            raise web.HTTPConflict
        return redirect("/numbers#adapters")
