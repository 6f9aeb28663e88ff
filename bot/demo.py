"""The demo: playground, embedded model and bot in one command, without token or account."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from bot.app import OperatorError, open_consultant, open_database, running_bot
from bot.playground.server import create_app, serve
from bot.playground.store import Store
from bot.settings import Settings

_TOKEN = "1000:playground-needs-no-secret-token"  # noqa: S105 - opens the playground only


async def run_demo(
    settings: Settings,
    *,
    port: int,
    folder: Path,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> None:
    """Serve the demo on `port` until `stop` is set; `folder`, which exists, keeps what was said."""
    is_ready = asyncio.Event()
    store = Store(folder / "playground.db")
    app = create_app(store, token=_TOKEN, ready=is_ready.is_set)
    try:
        async with serve(app, port) as real_port:
            url = f"http://127.0.0.1:{real_port}"
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
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            msg = f"{port}번 포트를 다른 프로그램이 쓰고 있어요. --port로 다른 번호를 골라 주세요."
            raise OperatorError(msg) from error
        raise
    finally:
        store.close()
