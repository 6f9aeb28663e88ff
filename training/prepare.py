"""`deepbot data prepare`: files of questions and answers to a folder of examples to learn from.

    DIR/train.jsonl, DIR/validation.jsonl    the examples
    DIR/card.json                            the data card: what came in, each step, what came out
    DIR/flagged.csv                          pairs that look wrong, with the reason
    DIR/lengths.png, DIR/categories.png      the card as pictures

The same files and the same seed give the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.client import ChatMessage
from training import card
from training.errors import TrainingInputError
from training.examples import CARD, TRAIN, VALIDATION, Example, write_examples
from training.files import write_table
from training.flags import flag
from training.noise import MEANING, Noise
from training.outputs import filling
from training.pictures import CATEGORIES, LENGTHS, draw_categories, draw_lengths
from training.progress import Say, counting
from training.report import report
from training.sources import Pair, Source, read_source
from training.split import choose_validation, group
from training.tidy import tidy

FLAGGED = "flagged.csv"
FLAGGED_COLUMNS = (
    "이유",
    "설명",
    "파일",
    "행",
    "id",
    "질문 번호",
    "답변 번호",
    "분류",
    "질문",
    "답변",
)


def prepare(
    paths: Sequence[Path],
    out: Path,
    *,
    validation: float = 0.1,
    seed: int = 0,
    keep_flagged: bool = False,
    tokenizer: Path | None = None,
    as_json: bool,
    say: Say,
) -> None:
    """Write the examples of `paths` to the folder `out`, and say what was found.

    `validation` is the share of examples that is held out; with `tokenizer`, a folder, lengths are
    counted in tokens too. Raises `TrainingInputError`, `TrainingError`.
    """
    if not 0 < validation < 1:
        msg = f"검증에 둘 몫은 0과 1 사이여야 해요: {validation:g}"
        raise TrainingInputError(msg)
    count = card.open_tokenizer(tokenizer) if tokenizer else None
    with counting("자료", len(paths) + 3) as advance:
        sources = []
        for source in read_sources(paths):
            sources.append(source)
            advance(1)
        read = [pair for source in sources for pair in source.pairs]
        tidied = [tidy_pair(pair) for pair in read]
        unique = deduplicate(tidied)
        noise = flag(unique)
        advance(1)
        groups = group(unique)
        advance(1)
        kept = [
            (pair, name)
            for place, (pair, name) in enumerate(zip(unique, groups, strict=True))
            if keep_flagged or place not in noise
        ]
        held = choose_validation(
            [pair for pair, _ in kept], [name for _, name in kept], validation, seed
        )
        examples = [as_example(pair, name) for pair, name in kept]
        train = [each for each in examples if each.group not in held]
        held_out = [each for each in examples if each.group in held]
        reasons = Counter(noise.values())
        about: dict[str, Any] = {
            "files": [describe_source(source) for source in sources],
            "rows": sum(source.rows for source in sources),
            "pairs": {
                "read": len(read),
                "normalised": sum(one != other for one, other in zip(read, tidied, strict=True)),
                "deduplicated": len(unique),
                "flagged": len(noise),
                "kept": len(kept),
            },
            "flagged": {str(each): reasons[each] for each in Noise},
            "flagged_kept": keep_flagged,
            "seed": seed,
            "validation_share": validation,
            **card.describe(train, held_out),
            "tokens": card.measure(examples, count) if count else None,
            "tokenizer": tokenizer.resolve().name if tokenizer else None,
            "versions": card.versions("scikit-learn", *["transformers"] * bool(count)),
        }
        with filling(out) as folder:
            write_examples(folder / TRAIN, train)
            write_examples(folder / VALIDATION, held_out)
            write_card(folder, about, examples)
            write_table(folder / FLAGGED, [FLAGGED_COLUMNS, *list_flagged(unique, noise)])
        advance(1)
    say(json.dumps(about, ensure_ascii=False) if as_json else report(about, out))


def read_sources(paths: Sequence[Path]) -> Iterator[Source]:
    """Yield what the files hold. Raises `TrainingInputError`."""
    names = [path.name for path in paths]
    for number, path in enumerate(paths):
        yield read_source(path, names[:number].count(path.name))


def tidy_pair(pair: Pair) -> Pair:
    """Return a pair with all its texts in one form."""
    turns: list[ChatMessage] = [
        {"role": each["role"], "content": tidy(each["content"])} for each in pair.messages
    ]
    return replace(pair, messages=tuple(turns), category=tidy(pair.category))


def deduplicate(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which none said the same before."""
    first: dict[tuple[str, ...], Pair] = {}
    for pair in pairs:
        first.setdefault(tuple(each["content"] for each in pair.messages), pair)
    return list(first.values())


def as_example(pair: Pair, group: str) -> Example:
    """Return a pair as an example to learn."""
    return Example(pair.messages, group, pair.category, pair.file)


def describe_source(source: Source) -> dict[str, Any]:
    """Return what the card says of a file."""
    return {
        "name": source.name,
        "sha256": source.sha256,
        "rows": source.rows,
        "pairs": len(source.pairs),
        "incomplete_rows": source.incomplete,
        "left_out": dict(sorted(source.left_out.items())),
    }


def write_card(folder: Path, about: dict[str, Any], examples: Sequence[Example]) -> None:
    """Write the data card, as JSON and as pictures."""
    text = json.dumps(about, ensure_ascii=False, indent=2)
    (folder / CARD).write_text(f"{text}\n", encoding="utf-8")
    draw_lengths(examples, folder / LENGTHS)
    draw_categories(about["categories"], folder / CATEGORIES)


def list_flagged(pairs: Sequence[Pair], noise: dict[int, Noise]) -> Iterator[list[object]]:
    """Yield the flagged pairs as rows of a table."""
    for place, reason in noise.items():
        pair = pairs[place]
        yield [
            *(str(reason), MEANING[reason], pair.file, pair.row, pair.id),
            *(pair.question_number, pair.answer_number, pair.category),
            *(pair.question, pair.answer),
        ]
