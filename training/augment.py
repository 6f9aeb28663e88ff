"""`deepbot data augment`: a prepared folder with more to learn from, its validation as it was.

Files of more categories are joined on (as the first team did), pairs of questions become one that
asks both, and a model writes other words for questions. What is like a validation question or
answer stays out, so that the validation still measures what was not learnt.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

from inference.alike import find_alike
from inference.client import ChatMessage
from training import card
from training.errors import TrainingInputError
from training.examples import CARD, TRAIN, VALIDATION, Example, read_examples, write_examples
from training.files import write_table
from training.flags import flag
from training.merging import merge as merge_pairs
from training.outputs import filling
from training.paraphrase import Paraphraser
from training.prepare import (
    FLAGGED,
    FLAGGED_COLUMNS,
    as_example,
    deduplicate,
    describe_source,
    list_flagged,
    read_sources,
    tidy_pair,
    write_card,
)
from training.progress import Say
from training.report import report_augmented
from training.rewording import CHANGED, SAME, UNASKED, choose, find_elsewhere
from training.sources import Pair
from training.split import ALIKE, group

PARAPHRASES = "paraphrases.jsonl"
"""What a model wrote, kept as it came: a run that was stopped goes on from it."""


def augment(
    folder: Path,
    out: Path,
    *,
    extra: Sequence[Path] = (),
    merge: int = 0,
    paraphraser: Paraphraser | None = None,
    seed: int = 0,
    as_json: bool,
    say: Say,
) -> None:
    """Write the examples of the prepared `folder`, and more, to the folder `out`.

    `extra` are files as `prepare` takes them, `merge` is how many examples of two questions are
    made. Raises `TrainingInputError`, `TrainingError`.
    """
    if not extra and not merge and paraphraser is None:
        msg = "더할 것이 없어요: --extra, --merge, --paraphrase 가운데 하나는 주세요."
        raise TrainingInputError(msg)
    if folder.resolve() == out.resolve():
        msg = f"준비한 폴더와 다른 폴더에 적어 주세요: {out}"
        raise TrainingInputError(msg)
    train = read_examples(folder / TRAIN)
    validation = read_examples(folder / VALIDATION)
    about = _read_card(folder)
    counts: dict[str, Any] = {"train_before": len(train), "seed": seed}
    with filling(out) as part:
        if extra:
            more, counts["extra"] = _read_extra(extra, train, validation, part)
            train += more
        reworded: list[Example] = []
        if paraphraser:
            reworded, counts["paraphrases"] = _reword(
                train, validation, paraphraser, out / PARAPHRASES
            )
        merged = merge_pairs(train, merge, seed)
        counts |= {"merge_wanted": merge, "merged": len(merged)}
        train += [*reworded, *merged]
        about |= {**card.describe(train, validation), "tokens": None, "tokenizer": None}
        about["augmented"] = counts
        write_examples(part / TRAIN, train)
        copyfile(folder / VALIDATION, part / VALIDATION)
        write_card(part, about, [*train, *validation])
    say(json.dumps(about, ensure_ascii=False) if as_json else report_augmented(about, out))


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if isinstance(about, dict):
            return about
    except (OSError, ValueError) as error:
        msg = f"자료 카드를 읽을 수 없어요: {folder / CARD}"
        raise TrainingInputError(msg) from error
    msg = f"자료 카드가 아니에요: {folder / CARD}"
    raise TrainingInputError(msg)


def _read_extra(
    paths: Sequence[Path], train: Sequence[Example], validation: Sequence[Example], part: Path
) -> tuple[list[Example], dict[str, Any]]:
    """Return the examples of more files, and what became of their pairs."""
    sources = list(read_sources(paths))
    read = [pair for source in sources for pair in source.pairs]
    known = {_said(each) for each in (*train, *validation)}
    unique = [
        each for each in deduplicate([tidy_pair(p) for p in read]) if _said(each) not in known
    ]
    noise = flag(unique)
    write_table(part / FLAGGED, [FLAGGED_COLUMNS, *list_flagged(unique, noise)])
    fit = [pair for place, pair in enumerate(unique) if place not in noise]
    near = {
        fit[place].unit
        for text in ("question", "answer")
        for place in _find_near(
            [getattr(pair, text) for pair in fit], [getattr(each, text) for each in validation]
        )
    }
    kept = [pair for pair in fit if pair.unit not in near]
    # Rows of another file may have the same name on the other side.
    names = [f"extra {name}" for name in group(kept)]
    examples = [as_example(*each) for each in zip(kept, names, strict=True)]
    return examples, {
        "files": [describe_source(source) for source in sources],
        "pairs": {
            "read": len(read),
            "new": len(unique),
            "flagged": len(noise),
            "near_validation": len(fit) - len(kept),
            "kept": len(kept),
        },
    }


def _reword(
    train: Sequence[Example],
    validation: Sequence[Example],
    paraphraser: Paraphraser,
    path: Path,
) -> tuple[list[Example], dict[str, int]]:
    """Return examples with other words for the questions, an answer each; and what was dropped."""
    answered: dict[str, list[Example]] = {}
    for each in train:
        if len(each.messages) == 2:
            answered.setdefault(each.question, []).append(each)
    written = paraphraser.reword(list(answered), path)
    dropped: Counter[str] = Counter()
    asked = [
        (text, answered[question][number % len(answered[question])])
        for question in answered
        for number, text in enumerate(
            choose(question, written[question], paraphraser.count, dropped)
        )
    ]
    texts = [text for text, _ in asked]
    near = _find_near(texts, [each.question for each in validation])
    known = {each.question: each.group for each in (*train, *validation)}
    groups = [like.group for _, like in asked]
    elsewhere = find_elsewhere(texts, groups, list(known), list(known.values())) - near
    new: dict[str, Example] = {}
    for place, (text, like) in enumerate(asked):
        if place not in near | elsewhere and text not in known:
            asked_so: ChatMessage = {"role": "user", "content": text}
            new.setdefault(text, replace(like, messages=(asked_so, like.messages[-1])))
    return list(new.values()), {
        "questions": len(answered),
        "written": sum(len(texts) for texts in written.values()),
        **{reason: dropped[reason] for reason in (CHANGED, SAME, UNASKED)},
        "near_validation": len(near),
        "elsewhere": len(elsewhere),
        "kept": len(new),
    }


def _find_near(texts: Sequence[str], held_out: Sequence[str]) -> set[int]:
    """Return the places of texts that are the same as what is held out, or nearly so."""
    known = list(dict.fromkeys(held_out))
    every = [*known, *dict.fromkeys(texts)]
    near = {every[other] for one, other in find_alike(every, ALIKE) if one < len(known) <= other}
    return {place for place, text in enumerate(texts) if text in near}


def _said(each: Example | Pair) -> tuple[str, ...]:
    return tuple(message["content"] for message in each.messages)
