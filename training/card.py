"""The data card: what a folder of examples holds, in numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from training.errors import TrainingInputError
from training.examples import Example

Numbers = dict[str, float]
Count = Callable[[str], int]

_PERCENTILES = (50, 95, 99)


def describe(train: Sequence[Example], validation: Sequence[Example]) -> dict[str, Any]:
    """Return the counts of both sides and the lengths of all examples in characters."""
    both = [*train, *validation]
    return {
        "split": {
            "train": _count(train),
            "validation": _count(validation),
        },
        "categories": _categories(train, validation),
        "characters": measure(both, len),
    }


def measure(examples: Sequence[Example], count: Count) -> dict[str, Numbers]:
    """Return how long questions, answers and whole conversations are, as `count` counts."""
    known: dict[str, int] = {}  # a question stands beside each of its answers

    def size(text: str) -> int:
        if text not in known:
            known[text] = count(text)
        return known[text]

    return {
        "question": _summarize([size(each.question) for each in examples]),
        "answer": _summarize([size(each.answer) for each in examples]),
        "conversation": _summarize(
            [sum(size(message["content"]) for message in each.messages) for each in examples]
        ),
    }


def open_tokenizer(folder: Path) -> Count:
    """Return what counts the tokens of a text as a model's tokenizer cuts it.

    Raises `TrainingInputError`.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        msg = f"토크나이저가 아니에요 (tokenizer.json 등이 있는 폴더를 주세요): {folder}"
        raise TrainingInputError(msg) from error
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of what has had a part in the data."""
    return {"python": python_version(), **{name: metadata.version(name) for name in packages}}


def _count(examples: Sequence[Example]) -> dict[str, int]:
    return {"examples": len(examples), "groups": len({each.group for each in examples})}


def _categories(
    train: Sequence[Example], validation: Sequence[Example]
) -> dict[str, dict[str, int]]:
    """Return how many examples of each category there are, the most frequent first."""
    sides = (Counter(e.category for e in train), Counter(e.category for e in validation))
    both = sides[0] + sides[1]
    order = sorted(both, key=lambda name: (-both[name], name))
    return {name: {"train": sides[0][name], "validation": sides[1][name]} for name in order}


def _summarize(sizes: Sequence[int]) -> Numbers:
    if not sizes:
        return {}
    p50, p95, p99 = np.percentile(sizes, _PERCENTILES, method="higher")
    return {
        "mean": round(float(np.mean(sizes)), 1),
        "p50": int(p50),
        "p95": int(p95),
        "p99": int(p99),
        "max": max(sizes),
    }
