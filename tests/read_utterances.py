"""How much of what customers write do the rules read right?

    .venv/bin/python -m tests.read_utterances

A sentence counts where every slot is right, the empty ones too. Sentences are written for the
project (`tests/data/utterances.jsonl`). The rules were fitted on set A; B to E were written
apart from them and read once before the rules were mended on them as well: docs/estimate.md.
"""

import json
from collections import defaultdict
from pathlib import Path

from bot.estimate.reading import read_slots

UTTERANCES = Path(__file__).parent / "data" / "utterances.jsonl"


def read_all() -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Return right and all by set, and the sentences read wrong."""
    results: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for line in UTTERANCES.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        read = read_slots(row["text"]).model_dump(mode="json", exclude_none=True)
        results[row["set"]].append(read == row["slots"])
        if read != row["slots"]:
            wrong.append(f"{row['text']}\n    읽음 {read}\n    정답 {row['slots']}")
    return {name: (sum(right), len(right)) for name, right in results.items()}, wrong


def main() -> None:
    """Print what is read wrong, and the shares."""
    shares, wrong = read_all()
    print("\n".join(wrong))
    for name, (right, asked) in sorted(shares.items()):
        print(f"{name}: {right}/{asked} = {right / asked:.3f}")
    right, asked = (sum(column) for column in zip(*shares.values(), strict=True))
    print(f"모두: {right}/{asked} = {right / asked:.3f}")


if __name__ == "__main__":
    main()
