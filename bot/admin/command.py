"""`deepbot admin`: the shop's pages, beside a bot or alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from bot.admin.roles import roles_of
from bot.admin.server import create_app, serve
from bot.app import open_database
from bot.errors import OperatorError
from bot.library import Library
from bot.settings import Settings
from db import search
from db.database import Database

log = structlog.get_logger()

Say = Callable[[str], None]

_CATCH_UP_EVERY_S = 1.0
_AT_ONCE = 30  # conversations that are made findable in one transaction


async def run_admin(settings: Settings, *, say: Say) -> None:
    """Serve the pages until cancelled. Raises `OperatorError`."""
    if not roles_of(settings):
        msg = "관리 화면을 볼 사람이 없어요. ADMINS에 텔레그램 번호를 적어 주세요."
        raise OperatorError(msg)
    async with open_database(settings, beside=True) as database, open_pages(settings, database):
        say(f"관리 화면이 열렸어요: {settings.pages_url}  (끝내기: Ctrl-C)")
        say("들어가려면 텔레그램에서 봇에게 /admin 을 보내 주세요.")
        await asyncio.Event().wait()


@asynccontextmanager
async def open_pages(settings: Settings, database: Database) -> AsyncIterator[int]:
    """Serve the pages and yield their port; their search is kept up to date meanwhile."""
    app = create_app(
        database,
        Library(settings.knowledge, database),
        roles_of(settings),
        url=settings.pages_url,
        shop_name=settings.shop_name,
        shop_phone=settings.shop_phone,
    )
    async with serve(app, settings.admin_listen) as port:
        indexing = asyncio.create_task(_index_for_ever(database))
        try:
            yield port
        finally:
            indexing.cancel()
            with suppress(asyncio.CancelledError):
                await indexing


async def _index_for_ever(database: Database) -> None:
    while True:
        try:
            is_behind = await database.run(lambda c: search.catch_up(c, _AT_ONCE)) == _AT_ONCE
        except Exception as error:  # the next round tries again
            log.warning("search_behind", error=type(error).__name__)
            is_behind = False
        await asyncio.sleep(0 if is_behind else _CATCH_UP_EVERY_S)
