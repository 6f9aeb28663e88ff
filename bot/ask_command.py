"""`deepbot ask`: questions from the command line, answered as the bot would."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bot.app import open_consultant, open_database
from bot.consult import Consultant, Consultation
from bot.errors import BadInputError
from bot.library import Index, Library
from bot.settings import Settings
from db.database import Database
from inference.embeddings import Progress
from inference.prompts import MAX_QUESTION_CHARS
from inference.retrieval import Found
from inference.text import normalize

_TOP = 10  # entries that a search shows


@dataclass(frozen=True, slots=True)
class Output:
    """Where the lines go, and whether they are JSON."""

    say: Callable[[str], None]
    as_json: bool

    def write(self, facts: dict[str, Any], text: str) -> None:
        """Print one outcome in either form."""
        self.say(json.dumps(facts, ensure_ascii=False) if self.as_json else text)


async def ask(settings: Settings, question: str, output: Output, *, alone: bool = False) -> bool:
    """Answer a question, or with `-` each line of standard input.

    Returns False where nothing was found for one, and the model is out of reach besides.
    `alone` leaves out what the database knows. Raises `BadInputError` for what is no question,
    of several lines at the end.
    """
    questions = _questions(question)
    async with (
        _known(settings, alone=alone) as (database, progress),
        open_consultant(
            settings, database, model_required=False, live=False, progress=progress
        ) as consultant,
    ):
        empty = [
            not (await _ask(consultant, text, output)).is_answer
            for text in _checked(questions, output)
        ]
        return not any(empty) or await consultant.is_model_there()


async def retrieve(
    settings: Settings, question: str, output: Output, *, alone: bool = False
) -> None:
    """Show the best entries for a question, or for each line of standard input; no model."""
    questions = _questions(question)
    async with _known(settings, alone=alone) as (database, progress):
        entries = await Library(settings.knowledge, database).read()
        retriever = await Index(settings).build(entries, progress)
    for text in _checked(questions, output):
        _show(text, retriever.find(text, _TOP), output)


@asynccontextmanager
async def open_known(settings: Settings) -> AsyncIterator[Database | None]:
    """Open the database where there is one; a SQLite file that is missing is not made."""
    path = settings.sqlite_path
    if path is not None and not await asyncio.to_thread(Path(path).exists):
        yield None
        return
    async with open_database(settings, beside=True) as database:
        yield database


@asynccontextmanager
async def _known(
    settings: Settings, *, alone: bool
) -> AsyncIterator[tuple[Database | None, Progress]]:
    """Open the database and show on a terminal that something is going on."""
    with Console(stderr=True).status("답을 찾는 중…") as status:

        def show(done: int, total: int) -> None:
            status.update(f"지식의 벡터를 만드는 중… {done:,}/{total:,}")

        if alone:
            yield None, show
            return
        async with open_known(settings) as database:
            yield database, show


def _questions(question: str) -> Iterator[str]:
    """Return the questions; a single one is looked at before anything is loaded."""
    if question == "-":
        return (line.decode(errors="surrogateescape").rstrip("\r\n") for line in sys.stdin.buffer)
    if problem := _find_problem(question):
        raise BadInputError(problem)
    return iter([question])


def _checked(questions: Iterator[str], output: Output) -> Iterator[str]:
    """Yield what can be asked; what cannot is said. Raises `BadInputError` at the end for it."""
    bad = 0
    for question in questions:
        if problem := _find_problem(question):
            bad += 1
            shown = question.encode(errors="replace").decode()
            output.write({"question": shown, "error": problem}, problem)
        else:
            yield question
    if bad:
        msg = f"{bad}줄은 질문으로 쓸 수 없었어요."
        raise BadInputError(msg)


def _find_problem(question: str) -> str | None:
    """Return what is wrong with a question, None where it can be asked."""
    if question.encode(errors="ignore").decode() != question:
        return "질문의 글자를 읽을 수 없어요. UTF-8로 보내 주세요."
    if not normalize(question):
        return "질문이 비어 있어요."
    if len(question) > MAX_QUESTION_CHARS:
        return f"질문이 너무 길어요. {MAX_QUESTION_CHARS:,}자 안으로 줄여 주세요."
    return None


async def _ask(consultant: Consultant, question: str, output: Output) -> Consultation:
    async for step in consultant.answer(question):
        if isinstance(step, Consultation):
            lines = [
                f"  출처: {source['question']} ({source['id']}, {source['score']:.2f})"
                for source in step.sources
            ]
            output.write(_as_dict(question, step), "\n".join([step.text, *lines]))
            return step
    raise AssertionError


def _as_dict(question: str, consultation: Consultation) -> dict[str, Any]:
    return {
        "question": question,
        "answer": consultation.text,
        "sources": consultation.sources,
        "confidence": consultation.confidence,
        "model": consultation.model,
        "way": consultation.way,
        "kind": consultation.kind,
        "suggestions": [
            {"id": entry.id, "question": entry.questions[0]} for entry in consultation.suggestions
        ],
        "first_token_s": consultation.first_token_s,
        "total_s": consultation.total_s,
    }


def _show(question: str, found: Found, output: Output) -> None:
    """Print what was found for a question, the best first."""
    facts = {
        "question": question,
        "business": found.business,
        "entries": [
            {
                "id": hit.entry.id,
                "question": hit.entry.questions[0],
                "category": hit.entry.category,
                "score": hit.score,
                "confidence": hit.confidence,
            }
            for hit in found.hits
        ],
    }
    lines = [
        f"{hit.confidence:.2f}  {hit.entry.id}  [{hit.entry.category}] {hit.entry.questions[0]}"
        for hit in found.hits
    ]
    output.write(facts, "\n".join(lines))
