"""The demo: playground, embedded model and bot in one command, without token or account."""

import asyncio
import errno
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from bot.admin.command import open_pages
from bot.app import open_consultant, open_database, running_bot
from bot.errors import OperatorError
from bot.playground.server import create_app, serve
from bot.playground.store import Store
from bot.settings import Settings
from db import access
from db.database import Database

FIRST_CUSTOMER = 1001  # of the playground; plays the shop's admin too, unless ADMINS says who
_BOT_ID = 1000  # always the same: by it the bot knows its own messages again

Say = Callable[[str], None]


async def run_demo(
    settings: Settings, *, port: int, admin_port: int, folder: Path, say: Say
) -> None:
    """Serve the demo on its ports (0: any) until cancelled; `folder` keeps what was said."""
    is_ready = asyncio.Event()
    async with _playground(port, folder, is_ready.is_set) as (url, token):
        settings = settings.model_copy(
            update={
                "telegram_token": SecretStr(token),
                "telegram_api_url": url,
                "admins": settings.admins or [FIRST_CUSTOMER],
                "admin_listen": f"127.0.0.1:{admin_port}",
                "admin_url": "",
            }
        )
        async with (
            open_database(settings) as database,
            open_consultant(settings, database) as consultant,
            open_pages(settings, database) as pages_port,
        ):
            settings = settings.model_copy(update={"admin_listen": f"127.0.0.1:{pages_port}"})
            async with running_bot(settings, database, consultant):
                is_ready.set()
                say(f"딥봇이 준비됐어요: {url}  (끝내기: Ctrl-C)")
                say(f"관리 화면: {await _invite(settings, database)}  (10분 안에 한 번만)")
                await asyncio.Event().wait()


async def _invite(settings: Settings, database: Database) -> str:
    """Return a link that signs the first admin in to the pages."""
    token = access.make_token()
    await database.insist(lambda c: access.offer_link(c, settings.admins[0], token))
    return f"{settings.pages_url}/login/{token}"


async def run_playground(*, port: int, folder: Path, say: Say) -> None:
    """Serve the playground alone until cancelled, for a bot in another process."""
    async with _playground(port, folder, None) as (url, token):
        say(f"놀이터가 열렸어요: {url}  (끝내기: Ctrl-C)")
        say(f"봇은 이렇게: TELEGRAM_API_URL={url} TELEGRAM_TOKEN={token} deepbot bot")
        await asyncio.Event().wait()


@asynccontextmanager
async def _playground(
    port: int, folder: Path, ready: Callable[[], bool] | None
) -> AsyncIterator[tuple[str, str]]:
    """Serve the playground and yield its URL and the bot's token.

    The token is new each time: other programs of this machine, and the pages in its browsers,
    cannot act as the bot. Raises `OperatorError` where the port cannot be had.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    token = f"{_BOT_ID}:{secrets.token_urlsafe(24)}"
    async with AsyncExitStack() as stack:
        store = Store(folder / "playground.db")
        stack.callback(store.close)
        try:
            server = serve(create_app(store, token=token, ready=ready), port)
            real_port = await stack.enter_async_context(server)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "다른 프로그램이 쓰고 있어요" if taken else f"열 수 없어요 ({error.strerror})"
            msg = f"{port}번 포트를 {reason}. --port로 다른 번호를 골라 주세요."
            raise OperatorError(msg) from error
        yield f"http://127.0.0.1:{real_port}", token
