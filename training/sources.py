"""Files to learn from, as pairs of a question and an answer that know where they come from.

Rows of questions and answers (the competition's columns, its augmentation's, plain pairs; CSV, XLSX
or JSONL as `inference/knowledge/files.py` reads them) give each question with each answer. Records
of `deepbot conversations export` give their last answer, with the turns before it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.client import ChatMessage
from inference.knowledge import OTHER, KnowledgeError
from inference.knowledge.files import as_draft, read_cells
from training.errors import TrainingInputError

# Why a record of a conversation is not learnt from.
BAD, DISLIKED, NO_ANSWER, BROKEN = "bad", "disliked", "no_answer", "broken"
LEFT_OUT = {
    BAD: "나쁘다고 검토됨",
    DISLIKED: "손님이 싫어함",
    NO_ANSWER: "답이 아닌 답",
    BROKEN: "꼴이 다름",
}
_NO_ANSWERS = {"unsure", "declined", "fixed", "form", "failed"}  # ways that answer no question
_GOOD = "good"  # a reviewer's verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """A conversation whose last message is the answer; the places are those in the file."""

    messages: tuple[ChatMessage, ...]
    category: str
    file: str
    row: int
    id: str
    question_number: int
    answer_number: int
    unit: str  # what is never torn apart: a row, or a whole conversation

    @property
    def question(self) -> str:
        """What is asked last."""
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        """What is to be learnt."""
        return self.messages[-1]["content"]


@dataclass(slots=True)
class Source:
    """What a file held."""

    name: str
    sha256: str
    rows: int = 0
    incomplete: int = 0  # rows with only a question, or only an answer
    left_out: Counter[str] = field(default_factory=Counter)
    pairs: list[Pair] = field(default_factory=list)


def read_source(path: Path, number: int = 0) -> Source:
    """Read a file; `number` tells files of one name apart. Raises `TrainingInputError`."""
    if not path.is_file():
        reason = "폴더예요" if path.is_dir() else "없어요"
        msg = f"학습에 쓸 파일이 {reason}: {path}"
        raise TrainingInputError(msg)
    try:
        cells = read_cells(path)
        source = Source(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    except (KnowledgeError, OSError) as error:
        msg = f"학습에 쓸 파일을 읽을 수 없어요: {path} (UTF-8이나 CP949의 CSV, XLSX, JSONL)"
        raise TrainingInputError(msg) from error
    where = f"{path.name}{f'({number})' if number else ''}"
    for row, record in cells:
        if "messages" in record:
            _read_conversation(source, where, row, record)
        else:
            _read_row(source, where, row, record)
    if not source.rows:
        msg = (
            f"학습에 쓸 질문과 답이 파일에 없어요: {path}"
            " (열: 질문_1, 답변_1 …, 질문1, 답변1 …, Question, Answer 또는 상담을 내보낸 JSONL)"
        )
        raise TrainingInputError(msg)
    return source


def _read_row(source: Source, where: str, row: int, record: Mapping[str, Any]) -> None:
    draft = as_draft(record)
    if not draft.questions and not draft.answers:
        return
    source.rows += 1
    source.incomplete += not (draft.questions and draft.answers)
    for asked, question in sorted(draft.questions.items()):
        for told, answer in sorted(draft.answers.items()):
            source.pairs.append(
                Pair(
                    _turns([question, answer]),
                    draft.category or OTHER,
                    *(source.name, row, draft.id, asked, told),
                    unit=f"{where}#{row}",
                )
            )


def _read_conversation(source: Source, where: str, row: int, record: Mapping[str, Any]) -> None:
    source.rows += 1
    if reason := _find_reason(record):
        source.left_out[reason] += 1
        return
    try:
        texts = list(_read_turns(record["messages"]))
    except (KeyError, TypeError, ValueError):
        source.left_out[BROKEN] += 1
        return
    conversation = record.get("conversation")
    source.pairs.append(
        Pair(
            _turns(texts),
            OTHER,
            *(source.name, row, str(record.get("answer") or ""), 1, 1),
            unit=f"{where}#{row}" if conversation is None else f"{where}@{conversation}",
        )
    )


def _find_reason(record: Mapping[str, Any]) -> str:
    """Return why a record is not learnt from, empty where it is."""
    if record.get("chosen"):  # a reviewer wrote what should have been said
        return ""
    if record.get("verdict") == "bad":
        return BAD
    if record.get("way") in _NO_ANSWERS:
        return NO_ANSWER
    if (record.get("rating") or 0) < 0 and record.get("verdict") != _GOOD:
        return DISLIKED
    return ""


def _read_turns(messages: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what was said, question and answer in turn. Raises `ValueError` where they are not."""
    turns = [each for each in messages if each["role"] != "system"]  # training has its own
    if not turns or len(turns) % 2:
        msg = "a question without an answer"
        raise ValueError(msg)
    for number, each in enumerate(turns):
        if each["role"] != ("user", "assistant")[number % 2] or not isinstance(
            each["content"], str
        ):
            msg = "out of turn"
            raise ValueError(msg)
        yield each["content"]


def _turns(texts: list[str]) -> tuple[ChatMessage, ...]:
    return tuple(
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(texts)
    )
