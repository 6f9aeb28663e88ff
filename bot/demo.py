"""The demo: playground, embedded model and bot in one command, without token or account."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from bot.app import OperatorError, open_consultant, open_database, running_bot
from bot.playground.server import create_app, serve
from bot.playground.store import Store
from bot.settings import Settings

_TOKEN = "1000:playground-needs-no-secret-token"  # noqa: S105 - opens the playground only

Say = Callable[[str], None]


async def run_demo(
    settings: Settings, *, port: int, folder: Path, stop: asyncio.Event, say: Say
) -> None:
    """Serve the demo on `port` until `stop` is set; `folder` keeps what was said."""
    is_ready = asyncio.Event()
    async with _playground(port, folder, is_ready.is_set) as url:
        settings = settings.model_copy(
            update={"telegram_token": SecretStr(_TOKEN), "telegram_api_url": url}
        )
        async with (
            open_database(settings) as engine,
            open_consultant(settings) as consultant,
            running_bot(settings, engine, consultant),
        ):
            is_ready.set()
            say(f"딥봇이 준비됐어요: {url}  (끝내기: Ctrl-C)")
            await stop.wait()
            is_ready.clear()


async def run_playground(*, port: int, folder: Path, stop: asyncio.Event, say: Say) -> None:
    """Serve the playground alone until `stop` is set, for a bot in another process."""
    async with _playground(port, folder, None) as url:
        say(f"놀이터가 열렸어요: {url}  (끝내기: Ctrl-C)")
        say(f"봇은 이렇게: TELEGRAM_API_URL={url} TELEGRAM_TOKEN={_TOKEN} deepbot bot")
        await stop.wait()


@asynccontextmanager
async def _playground(
    port: int, folder: Path, ready: Callable[[], bool] | None
) -> AsyncIterator[str]:
    """Serve the playground and yield its URL. Raises `OperatorError` for a taken port."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    store = Store(folder / "playground.db")
    try:
        async with serve(create_app(store, token=_TOKEN, ready=ready), port) as real_port:
            yield f"http://127.0.0.1:{real_port}"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            msg = f"{port}번 포트를 다른 프로그램이 쓰고 있어요. --port로 다른 번호를 골라 주세요."
            raise OperatorError(msg) from error
        raise
    finally:
        store.close()
