"""How retrieval grows with the knowledge, beside the original's chain: `make bench`, or

    python -m tests.load.retrieval [--sizes 7430 100000 1000000] [--json FILE]

Ours, the chain of the original demo (LangChain's CSVLoader and FAISS) and plain rank-bm25 are each
built in a process of its own over the same entries. These are SYNTHETIC: halves of the starter
knowledge's phrasings put together, with the phrasing's vector and noise in place of an embedding,
since a million of those would take hours. The embedding of the question is left out as well (the
same for both that use vectors; about 17 ms with the model inside the wheel). Questions: those of
the test sets, with their real vectors.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from inference.embeddings import E5Embedder, VectorCache, Vectors
from inference.knowledge import Entry, starter_path
from inference.knowledge.files import load
from inference.text import bigrams, normalize
from tests.fit_confidence import read_questions

SIZES = (7_430, 100_000, 1_000_000)
SYSTEMS = ("ours", "langchain", "rank-bm25")

_TOP = 5
_NOISE = 0.6  # of the synthetic vectors, relative to the length of the real one
_CHUNK = 50_000
_MOST_S = 60.0  # of asking; who is slow is asked fewer questions
_ANSWER = "먼저 원인을 찾아 고친 다음 바짝 말리고 다시 도배해 주세요."


class Synthetic:
    """Entries and their vectors, made up on the way; the same for the same size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._phrasings = [q for entry in load(starter_path()) for q in entry.questions]
        self._texts = [normalize(text) for text in self._phrasings]
        self._real = VectorCache(None).embed(E5Embedder(), self._texts)
        self._places: dict[str, int] = {}

    def questions(self) -> Iterator[str]:
        """Yield the entries' questions: halves of two phrasings and a number."""
        chance = np.random.default_rng(1)
        count = len(self._phrasings)
        for number, (one, other) in enumerate(chance.integers(0, count, (self.size, 2))):
            head, tail = self._phrasings[one].split(), self._phrasings[other].split()
            yield " ".join([*head[: -(-len(head) // 2)], *tail[len(tail) // 2 :], str(number)])

    def vectors(self) -> Iterator[Vectors]:
        """Yield the vectors of the questions, in chunks."""
        pairs = np.random.default_rng(1).integers(0, len(self._phrasings), (self.size, 2))
        noise = np.random.default_rng(2)
        dimensions = self._real.shape[1]
        for start in range(0, self.size, _CHUNK):
            base = self._real[pairs[start : start + _CHUNK, 0]]
            rough = noise.standard_normal(base.shape, np.float32) * (_NOISE / dimensions**0.5)
            mixed = base + rough
            yield mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


class Remembered:
    """An embedder that only gives out what it was given."""

    name = "synthetic"

    def __init__(self) -> None:
        self._known: dict[str, Vectors] = {}
        self._queue: Iterator[Vectors] | None = None
        self._rest: Vectors | None = None

    def know(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Take the vectors of some texts."""
        self._known.update(zip(texts, vectors, strict=True))

    def give(self, chunks: Iterator[Vectors]) -> None:
        """Give these for all texts that are not known, in their order."""
        self._queue = chunks

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return what is known of the texts, or the next of the queue."""
        if texts[0] in self._known:
            return np.array([self._known[text] for text in texts])
        while self._rest is None or len(self._rest) < len(texts):
            assert self._queue is not None
            chunk = next(self._queue)
            self._rest = chunk if self._rest is None else np.concatenate([self._rest, chunk])
        taken, self._rest = self._rest[: len(texts)], self._rest[len(texts) :]
        return taken


Search = Callable[[str], Any]


def build_ours(data: Synthetic, asked: dict[str, Vectors]) -> Search:
    """Build our retriever as the bot does."""
    from inference.domain import read_off_topic, read_on_topic
    from inference.retrieval import Retriever

    ours = [normalize(text) for text in [*read_on_topic(), *read_off_topic()]]
    embedder = Remembered()
    embedder.know(ours, VectorCache(None).embed(E5Embedder(), ours))
    embedder.know(list(asked), np.array(list(asked.values())))
    embedder.give(data.vectors())
    entries = [
        Entry(f"S_{number}", (question,), "기타", (_ANSWER,))
        for number, question in enumerate(data.questions())
    ]
    retriever = Retriever(entries, embedder)
    return lambda question: retriever.search(question, _TOP)


def build_langchain(data: Synthetic, asked: dict[str, Vectors]) -> Search:
    """Build the original's chain: a CSV file, loaded row by row into a FAISS store."""
    from langchain_community.document_loaders import CSVLoader
    from langchain_community.vectorstores import FAISS

    class Given:  # LangChain calls what is none of its own classes for a question
        def embed_documents(self, texts: list[str]) -> Vectors:
            return np.concatenate(list(data.vectors()))[: len(texts)]

        def __call__(self, text: str) -> Vectors:
            return asked[normalize(text)]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "knowledge.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "answer"])
            writer.writerows([question, _ANSWER] for question in data.questions())
        documents = CSVLoader(str(path), encoding="utf-8").load()
    store = FAISS.from_documents(documents, cast(Any, Given()))
    retriever = store.as_retriever(search_kwargs={"k": _TOP})
    return lambda question: retriever.invoke(question)


def build_rank_bm25(data: Synthetic, _: dict[str, Vectors]) -> Search:
    """Build rank-bm25 over the same bigrams as ours."""
    from rank_bm25 import BM25Okapi

    index = BM25Okapi([bigrams(normalize(question)) for question in data.questions()])

    def search(question: str) -> npt.NDArray[np.intp]:
        scores = index.get_scores(bigrams(normalize(question)))
        return np.argsort(scores)[::-1][:_TOP]

    return search


BUILD = {"ours": build_ours, "langchain": build_langchain, "rank-bm25": build_rank_bm25}


def measure(system: str, size: int) -> dict[str, float]:
    """Build one system and ask it; times in seconds and milliseconds, memory in MiB."""
    questions = [
        question
        for name in ("questions.csv", "paraphrases.csv", "heldout_questions.csv")
        for question, ids in read_questions(name)
        if ids
    ]
    texts = [normalize(question) for question in questions]
    vectors = VectorCache(None).embed(E5Embedder(), texts)
    asked = dict(zip(texts, vectors, strict=True))
    data = Synthetic(size)
    process = psutil.Process()
    before = process.memory_info().rss
    started = time.perf_counter()
    search = BUILD[system](data, asked)
    built_s = time.perf_counter() - started
    taken: list[float] = []
    search(questions[0])  # what is loaded on the first use
    for question in questions[1:]:
        began = time.perf_counter()
        search(question)
        taken.append(time.perf_counter() - began)
        if sum(taken) > _MOST_S:
            break
    milliseconds = np.array(taken) * 1000
    return {
        "build_s": built_s,
        "memory_mib": (process.memory_info().rss - before) / 2**20,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "asked": len(taken),
    }


def main() -> None:
    """Measure every system at every size, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.sizes[0])))
        return
    console = Console()
    table = Table(title="retrieval over synthetic entries, the question's embedding left out")
    for column in ("entries", "system", "build s", "MiB", "p50 ms", "p99 ms", "p50 of langchain's"):
        table.add_column(column, justify="left" if column == "system" else "right")
    results = []
    for size in options.sizes:
        row = {}
        for system in SYSTEMS:
            with console.status(f"{system}, {size:,} entries"):
                command = [sys.executable, "-m", __spec__.name, "--one", system]
                output = subprocess.run(
                    [*command, "--sizes", str(size)], check=True, stdout=subprocess.PIPE
                ).stdout
            row[system] = json.loads(output)
            results.append({"size": size, "system": system, **row[system]})
        for system, figures in row.items():
            ratio = figures["p50_ms"] / row["langchain"]["p50_ms"]
            table.add_row(
                f"{size:,}",
                system,
                f"{figures['build_s']:.1f}",
                f"{figures['memory_mib']:,.0f}",
                f"{figures['p50_ms']:.2f}",
                f"{figures['p99_ms']:.2f}",
                f"{ratio:.2f}",
            )
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
