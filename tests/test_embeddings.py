"""Vectors: kept by text, and had from a server that speaks OpenAI's protocol."""

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from inference import models
from inference.domain import read_off_topic, read_on_topic
from inference.embeddings import EmbedderError, HttpEmbedder, VectorCache, Vectors
from inference.knowledge import Entry
from inference.retrieval import Retriever
from inference.text import normalize
from tests.processes import run
from tests.test_cli import needs_model


class CountingEmbedder:
    """Vectors out of letter counts, and how many texts were embedded."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(set(texts) - OUTSIDE)
        rows = np.zeros((len(texts), 64), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter, count in Counter(text or " ").items():
                row[ord(letter) % 64] += count
        vectors: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return vectors


OUTSIDE = {
    normalize(text) for text in [*read_on_topic(), *read_off_topic()]
}  # embedded once, whatever is known
ENTRIES = [
    Entry("1", ("도배는 며칠 걸리나요?", "도배 기간이 얼마나 돼요?"), "기타", ("하루면 됩니다.",)),
    Entry("2", ("곰팡이는 어떻게 없애나요?",), "기타", ("말리고 닦아 주세요.",)),
]


def test_the_second_start_reads_the_vectors(tmp_path: Path) -> None:
    first, second = CountingEmbedder(), CountingEmbedder()
    hits = Retriever(ENTRIES, first, cache=VectorCache(tmp_path / "cache" / "vectors.db")).search(
        "도배 며칠?"
    )
    assert first.embedded == 3 + 1
    again = Retriever(ENTRIES, second, cache=VectorCache(tmp_path / "cache" / "vectors.db"))
    assert second.embedded == 0
    assert again.search("도배 며칠?") == hits


def test_only_what_changed_is_embedded_anew(tmp_path: Path) -> None:
    Retriever(ENTRIES, CountingEmbedder(), cache=VectorCache(tmp_path / "vectors.db"))
    changed = [replace(ENTRIES[0], questions=("도배는 얼마나 걸리나요?",)), ENTRIES[1]]
    embedder = CountingEmbedder()
    retriever = Retriever(changed, embedder, cache=VectorCache(tmp_path / "vectors.db"))
    assert embedder.embedded == 1
    assert retriever.search("도배는 얼마나 걸리나요?")[0].entry.id == "1"


def test_another_embedder_has_vectors_of_its_own(tmp_path: Path) -> None:
    Retriever(ENTRIES, CountingEmbedder("one"), cache=VectorCache(tmp_path / "vectors.db"))
    embedder = CountingEmbedder("another")
    Retriever(ENTRIES, embedder, cache=VectorCache(tmp_path / "vectors.db"))
    assert embedder.embedded == 3


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + b"?" * 5000, None])
def test_a_damaged_cache_is_replaced(tmp_path: Path, damage: bytes | None) -> None:
    Retriever(ENTRIES, CountingEmbedder(), cache=VectorCache(tmp_path / "vectors.db"))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-10] if damage is None else damage)
    embedder = CountingEmbedder()
    found = Retriever(ENTRIES, embedder, cache=VectorCache(tmp_path / "vectors.db")).search("도배")
    assert found[0].entry.id == "1"
    assert damage is None or embedder.embedded == 3 + 1  # cut short, it may still be whole enough
    repaired = CountingEmbedder()
    Retriever(ENTRIES, repaired, cache=VectorCache(tmp_path / "vectors.db"))
    assert repaired.embedded == 0


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    retriever = Retriever(ENTRIES, CountingEmbedder(), cache=VectorCache(in_the_way / "vectors.db"))
    assert retriever.search("곰팡이")[0].entry.id == "2"


def test_what_a_process_computed_before_it_died_is_kept(tmp_path: Path) -> None:
    class Dying(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            if self.embedded >= 64:
                raise KeyboardInterrupt
            return super().embed(texts)

    texts = [f"질문 {number}" for number in range(200)]
    cache = VectorCache(tmp_path / "vectors.db")
    with pytest.raises(KeyboardInterrupt):
        cache.embed(Dying(), texts)
    second = CountingEmbedder()
    assert cache.embed(second, texts).shape == (200, 64)
    assert second.embedded == 200 - 64


def test_vectors_come_in_the_order_of_their_texts() -> None:
    texts = ["가", "나다", "가", "라마바"]
    vectors = VectorCache(None).embed(CountingEmbedder(), texts)
    assert np.allclose(vectors, CountingEmbedder().embed(texts), atol=1e-3)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    texts = [f"질문 {number}" for number in range(70)]
    VectorCache(None).embed(CountingEmbedder(), texts, lambda done, of: told.append((done, of)))
    assert told == [(32, 70), (64, 70), (70, 70)]


# A server


class Server(BaseHTTPRequestHandler):
    """`/v1/embeddings` as OpenAI has it, strict: letter counts for vectors, in reversed order."""

    asked: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[list[str | None]] = []
    answer: ClassVar[bytes | None] = None
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Server.keys.append(self.headers["Authorization"])
        Server.asked.append(body)
        rows = CountingEmbedder().embed(body["input"]) * 3
        data = [{"index": n, "embedding": row.tolist()} for n, row in enumerate(rows)][::-1]
        known = self.path == "/v1/embeddings" and set(body) == {"model", "input"}
        self.send_response(Server.status if known else 400)
        self.end_headers()
        good = json.dumps({"data": data}).encode()
        self.wfile.write(good if Server.answer is None else Server.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.asked, Server.keys, Server.answer, Server.status = [], [], None, 200
    with serving() as url:
        yield url


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()
        thread.join()


def test_a_servers_vectors_are_unit_and_in_order(server: str) -> None:
    with closing(HttpEmbedder(server, "bge", api_key="secret", prefix="query: ")) as embedder:
        vectors = embedder.embed(["도배", "곰팡이 제거"])
    assert np.allclose(vectors, CountingEmbedder().embed(["query: 도배", "query: 곰팡이 제거"]))
    assert Server.asked == [{"model": "bge", "input": ["query: 도배", "query: 곰팡이 제거"]}]
    assert Server.keys == ["Bearer secret"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no json",
        b"{}",
        b'{"data": []}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": 0, "embedding": "abc"}]}',
        b'{"data": [{"index": 0, "embedding": [NaN]}]}',
        b'{"data": [{"index": 0, "embedding": [[1]]}]}',
    ],
)
def test_a_server_that_talks_nonsense_is_one_sentence(server: str, answer: bytes) -> None:
    Server.answer = answer
    with (
        closing(HttpEmbedder(server, "bge")) as embedder,
        pytest.raises(EmbedderError, match="임베딩 서버"),
    ):
        embedder.embed(["도배"])


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_server_that_refuses_is_one_sentence(server: str, status: int) -> None:
    Server.status = status
    with (
        closing(HttpEmbedder(server, "bge")) as embedder,
        pytest.raises(EmbedderError, match="EMBEDDINGS_URL"),
    ):
        embedder.embed(["도배"])


def test_while_the_server_is_away_words_find(server: str) -> None:
    with closing(HttpEmbedder(server, "bge")) as embedder:
        retriever = Retriever(ENTRIES, embedder)
        Server.status = 503
        (hit,) = retriever.search("곰팡이는 어떻게 없애나요?", 1)
        assert hit.entry.id == "2"
        assert hit.confidence > 0.9
        assert retriever.search("오늘 점심 뭐 먹지", 1)[0].confidence < 0.1
        Server.status = 200
        assert retriever.search("곰팡이는 어떻게 없애나요?", 1)[0].evidence


async def test_a_bot_does_not_start_without_its_embeddings(tmp_path: Path) -> None:
    code, _, errors = await run(
        *("ask", "도배 후 환기는 어떻게 하나요?"),
        cwd=tmp_path,
        EMBEDDINGS_URL="http://127.0.0.1:9/v1",
        EMBEDDINGS_MODEL="bge",
        MODEL_URL="http://127.0.0.1:9/v1",
    )
    assert code == 1
    assert errors.startswith("deepbot: 임베딩 서버에 닿지 못해요")
    assert "Traceback" not in errors


_LLAMA = """
import sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.ui = False
parameters.n_ctx = 512
parameters.cpuparams.n_threads = 2
parameters.embedding = True
parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(parameters)
print("at", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def llama() -> AsyncIterator[str]:
    """A real server of `/v1/embeddings`: llama.cpp, with the demo's model for want of a better."""
    model = models.load_manifest()[models.DEMO_MODEL].path()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LLAMA, str(model)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    async with asyncio.timeout(60):
        while not (line := (await process.stdout.readline()).decode()).startswith("at http"):
            assert process.returncode is None
    yield line.split()[1] + "/v1"
    process.kill()
    await process.communicate()


@pytest.mark.model
@needs_model
async def test_a_real_server_embeds(llama: str) -> None:
    texts = ["도배는 며칠 걸리나요?", "도배 기간이 얼마나 걸려요?", "[{;:}]"]
    with closing(HttpEmbedder(llama, "any")) as embedder:
        vectors = await asyncio.to_thread(embedder.embed, texts)
    assert vectors.shape == (3, 896)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
