"""What the shop knows now: the knowledge file, with what was imported laid over it; its index."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import platformdirs
import structlog

from bot.settings import Settings
from db import knowledge as rows
from db.database import Database
from db.knowledge import Saved
from inference.embeddings import (
    E5Embedder,
    Embedder,
    EmbedderError,
    HttpEmbedder,
    Progress,
    VectorCache,
)
from inference.kinds import Kinds
from inference.knowledge import Entry, KnowledgeError, starter_path
from inference.knowledge.files import load
from inference.retrieval import Retriever

log = structlog.get_logger()

_LOOK_EVERY_S = 3.0


class State(NamedTuple):
    """Which knowledge it is: it changes with the file and with every import."""

    modified_ns: int
    size: int
    revision: int


class Library:
    """The entries of a file (without one, those that come with us) and of a database."""

    def __init__(self, path: Path | None, database: Database | None) -> None:
        self._path = path or starter_path()
        self._database = database

    async def state(self) -> State:
        """Return what names the present knowledge; a file that is gone is one more state."""
        revision = await self._database.insist(rows.revision) if self._database else 0
        try:
            status = await asyncio.to_thread(self._path.stat)
        except OSError:
            return State(0, 0, revision)
        return State(status.st_mtime_ns, status.st_size, revision)

    async def read(self) -> list[Entry]:
        """Return all entries. Raises `KnowledgeError`."""
        entries = await asyncio.to_thread(load, self._path)
        imported = await self._database.insist(rows.read) if self._database else []
        merged = merge(entries, imported)
        if not merged:
            msg = "지식이 하나도 없어요. `deepbot knowledge import 파일`로 넣어 주세요."
            raise KnowledgeError(msg)
        return merged


class Index:
    """Builds retrievers, which share an embedder, its cache and what was learnt of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = VectorCache(platformdirs.user_cache_path("deepbot") / "vectors.db")
        self._embedder: Embedder | None = None
        self._kinds: Kinds | None = None

    async def build(self, entries: list[Entry], progress: Progress | None = None) -> Retriever:
        """Return a retriever over `entries`. Raises `EmbedderError`."""
        return await asyncio.to_thread(self._build, entries, progress)

    def _build(self, entries: list[Entry], progress: Progress | None) -> Retriever:
        self._embedder = self._embedder or _open_embedder(self._settings)
        self._kinds = self._kinds or Kinds.learn(self._embedder, self._cache)
        return Retriever(entries, self._embedder, self._cache, progress, self._kinds)


def _open_embedder(settings: Settings) -> Embedder:
    if not settings.embeddings_url:
        return E5Embedder()
    return HttpEmbedder(
        settings.embeddings_url,
        settings.embeddings_model,
        api_key=settings.embeddings_api_key.get_secret_value(),
        prefix=settings.embeddings_prefix,
    )


def merge(entries: Iterable[Entry], imported: Iterable[Saved]) -> list[Entry]:
    """Return `entries` with rows in place of those of the same ids; removed ones are left out."""
    merged = {entry.id: entry for entry in entries}
    for row in imported:
        if row.removed:
            merged.pop(row.id, None)
        else:
            merged[row.id] = Entry(row.id, row.questions, row.category, row.answers)
    return list(merged.values())


async def follow(library: Library, state: State, use: Callable[[], Awaitable[None]]) -> None:
    """Call `use` whenever the knowledge is another than at `state`, until cancelled.

    Where it fails the old knowledge stays in use; it is tried again when it has changed, or the
    embedder is back.
    """
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = await library.state()
        if now == state:
            continue
        try:
            await use()
        except EmbedderError as error:
            log.warning("embedder_away", reason=str(error))
            continue
        except KnowledgeError as error:
            log.error("knowledge_not_taken", reason=str(error))
        state = now
