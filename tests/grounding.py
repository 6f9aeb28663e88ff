"""Measures answers from found entries: `python -m tests.grounding`, about 40 minutes.

Three ways to answer the same questions, each from the two entries that the bot would give a small
model: the best entry's stored answer as it is, the embedded model, and the embedded model with the
adapter. No question, and no entry that answers one, is in what the adapter learnt from. Whether
an answer is true to its entries is told by rule (`inference.check`), whether it is from the right
one by what it shares with each.
"""

import argparse
import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from inference import check, embedded, models, prompts
from inference.client import ModelClient
from inference.embeddings import E5Embedder
from inference.knowledge import Entry, starter_path
from inference.knowledge.files import load
from inference.retrieval import Retriever
from tests.fit_confidence import read_questions
from training.grounding import read_lines, shipped
from training.measures import declines
from training.progress import counting

ENTRIES = 2  # bot.consult gives a small model so many


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what was found for it; `right` is the entry that answers it, if one does."""

    question: str
    found: tuple[Entry, ...]
    right: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of one way to answer; lengths in characters."""

    answerable: int
    true: float  # that the entries bear out, refusals among them
    good: float  # true, no refusal, from the right entry
    refused: float
    unanswerable: int
    refused_rightly: float
    problems: dict[str, int]
    length_p50: float


def read_asked(retriever: Retriever) -> list[Asked]:
    """Return the held-out questions whose right entry nothing was learnt from."""
    learnt = {id_ for line in read_lines(shipped()) for id_ in line.facts}
    asked = []
    for name in ("heldout_questions.csv", "heldout_unanswered.txt"):
        for question, right in read_questions(name):
            if right & learnt:
                continue
            found = tuple(hit.entry for hit in retriever.search(question, ENTRIES))
            ids = [entry.id for entry in found if entry.id in right]
            if bool(right) == bool(ids):  # what retrieval missed is not this model's to answer
                asked.append(Asked(question, found, ids[0] if ids else None))
    return asked


def measure(asked: Sequence[Asked], answers: Sequence[str]) -> Figures:
    """Return the figures of one way's answers."""
    pairs = list(zip(asked, answers, strict=True))
    within = [(a, answer) for a, answer in pairs if a.right]
    without = [answer for a, answer in pairs if not a.right]
    problems = [find_problem(a, answer) for a, answer in within]
    refused = [declines(answer) for _, answer in within]
    good = [
        not problem and not no and nearest(answer, a.found) == a.right
        for (a, answer), problem, no in zip(within, problems, refused, strict=True)
    ]
    named = [str(problem) for problem in problems if problem]
    return Figures(
        answerable=len(within),
        true=float(np.mean([not problem for problem in problems])),
        good=float(np.mean(good)),
        refused=float(np.mean(refused)),
        unanswerable=len(without),
        refused_rightly=float(np.mean([declines(answer) for answer in without])),
        problems={name: named.count(name) for name in sorted(set(named))},
        length_p50=float(np.median([len(answer) for _, answer in within])),
    )


def find_problem(asked: Asked, answer: str) -> check.Problem | None:
    """Return what the bot's own check finds in an answer."""
    context = "\n".join([asked.question, *(q for e in asked.found for q in e.questions)])
    return check.find_problem(answer, context, [a for e in asked.found for a in e.answers])


def nearest(answer: str, entries: Iterable[Entry]) -> str:
    """Return the id of the entry whose answers hold most of an answer's letter pairs."""
    own = _pairs(answer)

    def share(entry: Entry) -> int:
        return len(own & _pairs(" ".join(entry.answers)))

    return max(entries, key=share).id


def _pairs(text: str) -> set[str]:
    letters = "".join(text.split())
    return {letters[at : at + 2] for at in range(len(letters) - 1)}


async def ask(asked: Sequence[Asked], adapter: Path | None) -> list[str]:
    """Return the embedded model's answers, with an adapter or without."""
    server = embedded.EmbeddedServer(
        models.load_manifest()[models.DEMO_MODEL].path(), adapter=adapter
    )
    await server.start()
    place = asyncio.Semaphore(embedded.PARALLEL)
    try:
        async with ModelClient(server.url, "deepbot", api_key=server.api_key) as client:
            with counting("답", len(asked)) as advance:

                async def one(each: Asked) -> str:
                    chat = prompts.consultation(
                        each.question, each.found, context_tokens=embedded.CONTEXT_TOKENS
                    )
                    async with place:
                        stream = client.stream(chat, max_tokens=prompts.MAX_ANSWER_TOKENS)
                        parts = [part async for part in stream if isinstance(part, str)]
                    advance(1)
                    return prompts.strip_ids("".join(parts), each.found).strip()

                return await asyncio.gather(*map(one, asked))
    finally:
        await server.stop()


def main() -> None:
    """Print the figures of each way; with `--out` write them and every answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, help="default: the one that comes along")
    parser.add_argument("--limit", type=int, help="only so many questions, from all over")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    retriever = Retriever(load(starter_path()), E5Embedder())
    asked = read_asked(retriever)
    if given.limit:
        asked = asked[:: -(-len(asked) // given.limit)]
    ways = {
        "verbatim": [each.found[0].answers[0] for each in asked],
        "model": asyncio.run(ask(asked, None)),
        "adapter": asyncio.run(ask(asked, given.adapter or embedded.TUNED)),
    }
    figures = {way: measure(asked, answers) for way, answers in ways.items()}
    for way, found in figures.items():
        print(way, json.dumps(asdict(found)))
    if given.out:
        answers = [
            {"question": each.question, "right": each.right, "found": [e.id for e in each.found]}
            | {way: said[number] for way, said in ways.items()}
            for number, each in enumerate(asked)
        ]
        about = {"figures": {way: asdict(found) for way, found in figures.items()}}
        given.out.write_text(
            json.dumps(about | {"answers": answers}, ensure_ascii=False, indent=1) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
