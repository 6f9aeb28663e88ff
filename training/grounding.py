"""`deepbot data ground`: answers written from found entries, to a folder of examples to learn from.

A line of the file holds a `question`, the ids of the `facts` that were found for it, and the
`answer` that they hold or that refuses. What comes with the project (training/grounded.jsonl) was
written by a language model, from the starter knowledge, and checked by rule.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference import prompts
from inference.check import find_problem, split_sentences
from inference.knowledge import Entry, KnowledgeError, files, starter_path
from training import card
from training.errors import TrainingInputError
from training.examples import CARD, TRAIN, VALIDATION, Example, write_examples
from training.outputs import filling
from training.progress import Say


class Line(BaseModel):
    """A question, the ids of what was found for it, and the answer."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1)
    facts: tuple[str, ...] = Field(min_length=1)
    answer: str = Field(min_length=1)


def ground(
    path: Path | None, out: Path, *, knowledge: Path | None, validation: float, say: Say
) -> None:
    """Write the examples of a file (by default what comes along) to the folder `out`.

    Answers that their facts do not bear out are left out. Raises `TrainingInputError`,
    `TrainingError`.
    """
    source = path or shipped()
    try:
        entries = {entry.id: entry for entry in files.load(knowledge or starter_path())}
    except KnowledgeError as error:
        raise TrainingInputError(str(error)) from error
    kept: dict[bool, list[Example]] = {False: [], True: []}
    problems: Counter[str] = Counter()
    for number, line in enumerate(read_lines(source), 1):
        example = _make(line, entries, source.name, number)
        answers = [answer for entry in example.facts for answer in entry.answers]
        context = "\n".join([line.question, *(e.questions[0] for e in example.facts)])
        if problem := find_problem(line.answer, context, answers):
            problems[problem] += 1
            continue
        kept[_is_held_out(example.group, validation)].append(example)
    train, held = kept[False], kept[True]
    if not train or not held:
        msg = f"학습과 검증으로 나눌 만큼의 예가 없어요: {source}"
        raise TrainingInputError(msg)
    about: dict[str, Any] = {
        "file": source.name,
        "left_out": dict(problems),
        "refusals": {"train": _count_refusals(train), "validation": _count_refusals(held)},
        **card.describe(train, held),
    }
    with filling(out) as part:
        write_examples(part / TRAIN, train)
        write_examples(part / VALIDATION, held)
        text = json.dumps(about, ensure_ascii=False, indent=2)
        (part / CARD).write_text(f"{text}\n", encoding="utf-8")
    say(f"학습 {len(train):,}개 (모른다는 답 {_count_refusals(train):,}개)")
    say(f"검증 {len(held):,}개 (모른다는 답 {_count_refusals(held):,}개)")
    say(f"자료와 어긋나 뺀 답 {problems.total():,}개. 적은 곳: {out}")


def shipped() -> Path:
    """Return the file that comes with the project."""
    return Path(str(resources.files("training").joinpath("grounded.jsonl")))


def read_lines(path: Path) -> list[Line]:
    """Read a file. Raises `TrainingInputError`."""
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"파일을 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(Line.model_validate_json(text))
        except ValidationError as error:
            msg = f"{path.name} {number}행에는 question, facts(번호의 목록), answer가 있어야 해요."
            raise TrainingInputError(msg) from error
    return found


def _make(line: Line, entries: Mapping[str, Entry], source: str, number: int) -> Example:
    if missing := [id_ for id_ in line.facts if id_ not in entries]:
        msg = f"{source} {number}행의 자료가 지식에 없어요: {', '.join(missing)}"
        raise TrainingInputError(msg)
    facts = tuple(
        Entry(id_, entries[id_].questions[:1], entries[id_].category, entries[id_].answers[:1])
        for id_ in line.facts
    )
    return Example(
        (
            {"role": "user", "content": line.question},
            {"role": "assistant", "content": line.answer},
        ),
        group=facts[0].id,
        category=facts[0].category,
        source=source,
        facts=facts,
    )


def _is_held_out(group: str, share: float) -> bool:
    """Decide by the name alone, so that a file that grows moves nothing to the other side."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) < share * 2**32


def _count_refusals(examples: list[Example]) -> int:
    return sum(prompts.is_refusal(split_sentences(each.answer)[0]) for each in examples)
