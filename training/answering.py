"""Asking a system many questions: each different one once, and none again after a break."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from training.examples import Example
from training.files import write_text
from training.progress import counting, tell
from training.systems import System


def answer_all(system: System, examples: Sequence[Example], journal: Path) -> list[str]:
    """Return a system's answer to each example.

    What was answered is kept in `journal` as it comes, and taken from there when a killed command
    runs again; whoever has all answers in safety removes it. Raises `TrainingError`.
    """
    keys = [_key(system, example) for example in examples]
    wanted = dict(zip(keys, examples, strict=True))
    known = {key: text for key, text in _read(journal).items() if key in wanted}
    write_text(journal, "".join(_line(key, text) for key, text in known.items()))
    if known:
        tell(f"앞서 물은 {len(known):,}개의 답을 이어서 써요.")
    # Those of like length together: a batch is padded to its longest.
    missing = sorted(wanted.keys() - known.keys(), key=lambda key: (_length(wanted[key]), key))
    with counting("질문", len(missing)) as advance, journal.open("a", encoding="utf-8") as file:
        for start in range(0, len(missing), system.batch_size):
            batch = missing[start : start + system.batch_size]
            answers = system.answer([wanted[key] for key in batch])
            known |= dict(zip(batch, answers, strict=True))
            file.writelines(_line(key, known[key]) for key in batch)
            file.flush()
            advance(len(batch))
    return [known[key] for key in keys]


def _key(system: System, example: Example) -> str:
    asked = json.dumps([system.fingerprint, example.messages[:-1]])
    return hashlib.sha256(asked.encode()).hexdigest()


def _length(example: Example) -> int:
    return sum(len(message["content"]) for message in example.messages[:-1])


def _line(key: str, answer: str) -> str:
    return f"{json.dumps([key, answer], ensure_ascii=False)}\n"


def _read(journal: Path) -> dict[str, str]:
    """Return what a journal holds; its last line may be cut off."""
    if not journal.exists():
        return {}
    *lines, _ = journal.read_bytes().split(b"\n")
    return dict(json.loads(line) for line in lines)
