"""The admin pages, served for a test, and browsers of the shop's people without a screen."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from bot.admin import command
from bot.settings import Settings
from db import access
from db.database import Database

ADMIN, REVIEWER, VIEWER, NOBODY = 9001, 9002, 9003, 9004


@dataclass
class Pages:
    """The pages and what they show."""

    url: str
    database: Database

    async def link(self, telegram_id: int) -> str:
        """Return the path of a new login link."""
        token = access.make_token()
        await self.database.run(lambda c: access.offer_link(c, telegram_id, token))
        return f"/login/{token}"

    @asynccontextmanager
    async def visit(self, telegram_id: int | None = None) -> AsyncIterator["Visitor"]:
        """Open a browser, signed in as somebody or as nobody."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            visitor = Visitor(client)
            if telegram_id is not None:
                answer = await client.post(await self.link(telegram_id))
                assert answer.status_code == 303, answer.text
            yield visitor


@dataclass
class Visitor:
    """Somebody before the pages."""

    client: httpx.AsyncClient

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def read(self, path: str) -> str:
        """Return a page that must be there."""
        answer = await self.client.get(path, follow_redirects=True)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    async def form_token(self) -> str:
        page = await self.read("/conversations")
        found = re.search('name="form_token" value="([0-9a-f]+)"', page)
        assert found
        return found[1]

    async def post(self, path: str, **fields: Any) -> httpx.Response:  # noqa: ANN401 - form fields
        """Send a form as the pages do."""
        return await self.client.post(path, data={"form_token": await self.form_token(), **fields})


@asynccontextmanager
async def open_pages(database: Database, database_url: str, **changes: Any) -> AsyncIterator[Pages]:  # noqa: ANN401 - settings
    """Serve the pages for three people, each with a role of their own."""
    people = {"admins": [ADMIN], "reviewers": [REVIEWER], "viewers": [VIEWER]}
    values: dict[str, Any] = {"admin_listen": "127.0.0.1:0", **people, **changes}
    settings = Settings(database_url=SecretStr(database_url), **values)
    async with command.open_pages(settings, database) as port:
        yield Pages(f"http://127.0.0.1:{port}", database)
