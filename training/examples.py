"""Examples to learn from, and the folder in which `deepbot data prepare` leaves them.

    DIR/train.jsonl, DIR/validation.jsonl    an example a line
    DIR/card.json                            the data card

A line holds `messages` (user and assistant in turn, the last one the answer to learn: the form of
https://huggingface.co/docs/trl/dataset_formats), the `facts` before the last question, if there
are any, and what the split and the card go by.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.client import ChatMessage
from inference.knowledge import Entry
from training.errors import TrainingInputError

TRAIN, VALIDATION, CARD = "train.jsonl", "validation.jsonl", "card.json"


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation whose last message is the answer to learn."""

    messages: tuple[ChatMessage, ...]
    group: str  # examples of one group never stand on both sides of the split
    category: str
    source: str  # the file's name
    facts: tuple[Entry, ...] = ()  # that the answer is to be given from

    @property
    def question(self) -> str:
        """What is asked last."""
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        """What is to be learnt."""
        return self.messages[-1]["content"]


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples, a line of JSON each."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(asdict(each), ensure_ascii=False)}\n" for each in examples)


def read_examples(path: Path) -> list[Example]:
    """Read a file of examples. Raises `TrainingInputError`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        found = [_read(json.loads(line)) for line in lines if line.strip()]
    except FileNotFoundError as error:
        msg = f"학습 자료가 없어요: {path} (deepbot data prepare로 먼저 만들어 주세요)"
        raise TrainingInputError(msg) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"학습 자료를 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error
    if not found:
        msg = f"학습 자료가 비어 있어요: {path}"
        raise TrainingInputError(msg)
    return found


def spread(found: list[Example], limit: int | None) -> list[Example]:
    """Return at most `limit` examples from all over: neighbours are alike."""
    count = min(limit or len(found), len(found))
    return [found[place * len(found) // count] for place in range(count)]


def _read(record: dict[str, Any]) -> Example:
    messages: tuple[ChatMessage, ...] = tuple(
        {"role": str(each["role"]), "content": str(each["content"])} for each in record["messages"]
    )
    roles = [each["role"] for each in messages]
    if len(roles) < 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        msg = "roles"
        raise ValueError(msg)
    facts = tuple(
        Entry(each["id"], tuple(each["questions"]), each["category"], tuple(each["answers"]))
        for each in record["facts"]
    )
    return Example(messages, record["group"], record["category"], record["source"], facts)


def digest(folder: Path) -> str:
    """Return the SHA-256 of a data folder's examples: which data a run has learnt from."""
    found = hashlib.sha256()
    for name in (TRAIN, VALIDATION):
        found.update((folder / name).read_bytes())
    return found.hexdigest()
