"""Plays whole dialogues with the bot and says what was not as expected.

`python -m tests.dialogues` runs those of tests/data/dialogues.jsonl through the playground and the
real bot with the embedded model, and prints the share that passes.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot import fixed, logs, texts
from bot.settings import Settings
from db.models import Answer, Message, Way
from tests.shop import Shop, open_shop_with

DIALOGUES = Path(__file__).parent / "data" / "dialogues.jsonl"

_ANSWERED = {Way.STORED, Way.MODEL, Way.FALLBACK}
_COMMANDS = {texts.HELP, texts.NEW_CONVERSATION}


@dataclass
class Played:
    """A dialogue as it went; `misses` is empty where all was as expected."""

    name: str
    turns: int = 0
    misses: list[str] = field(default_factory=list)


def read() -> list[dict[str, Any]]:
    """Return the dialogues: a name, and turns of what is said and what is expected."""
    return [json.loads(line) for line in DIALOGUES.read_text(encoding="utf-8").splitlines()]


async def play(shop: Shop, chat_id: int, dialogue: dict[str, Any]) -> Played:
    """Say every turn of a dialogue in a chat of its own."""
    customer = shop.customer(chat_id)
    played = Played(dialogue["name"])
    said: set[str] = set()
    for turn in dialogue["turns"]:
        sent = await customer.send(turn["say"])
        answers = await customer.wait_for(1, after=sent.id, timeout=60)
        await shop.wait_until_idle()
        (row,) = await shop.rows(
            select(Answer.way, Answer.text, Answer.sources)
            .join(Message, Answer.message_id == Message.id)
            .where(Message.chat_id == chat_id)
            .order_by(Message.id.desc())
            .limit(1)
        )
        text = row.text or answers[0].text
        sources = {source["id"] for source in row.sources}
        played.turns += 1
        for miss in _find_misses(turn["expect"], Way(row.way), text, sources, said):
            played.misses.append(f"“{turn['say']}”: {miss} – [{row.way}] {text[:80]!r}")
        said.add(text)
    return played


def _find_misses(
    expected: dict[str, Any], way: Way, text: str, sources: set[str], said: set[str]
) -> Iterator[str]:
    kinds = expected.get("kind", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_kind(kind, way, text) for kind in kinds):
        yield f"not {'/'.join(kinds)}"
    if (wanted := expected.get("sources")) and not sources & set(wanted):
        yield f"from {sorted(sources)}, not {wanted}"
    for part in expected.get("parts", []):
        if not sources & set(part):
            yield f"no part of {part} in {sorted(sources)}"
    if (words := expected.get("says")) and not any(word in text for word in words):
        yield f"says none of {words}"
    for word in expected.get("never", []):
        if word in text:
            yield f"says {word}"
    if expected.get("fresh") and text in said:
        yield "said before"


def _is_kind(kind: str, way: Way, text: str) -> bool:
    match kind:
        case "answer":
            return way in _ANSWERED
        case "estimate":
            return way == Way.FORM or text == texts.PRICE
        case "offtopic":
            return way == Way.DECLINED
        case "unclear":
            return way == Way.UNSURE
        case "command":
            return text in _COMMANDS
    return way == Way.FIXED and text.startswith(fixed.answers()[kind].answer.partition("{")[0])


async def play_all(shop: Shop) -> list[Played]:
    """Play every dialogue, one after another."""
    return [await play(shop, 7000 + number, dialogue) for number, dialogue in enumerate(read())]


def report(played: list[Played]) -> str:
    """Return what missed, and the shares that passed."""
    lines = [f"{p.name}\n    {miss}" for p in played for miss in p.misses]
    passed = sum(not p.misses for p in played)
    turns = sum(p.turns for p in played)
    missed = len({miss.partition("”")[0] + p.name for p in played for miss in p.misses})
    return "\n".join(
        [
            *lines,
            f"dialogues passed: {passed} of {len(played)} ({passed / len(played):.3f})",
            f"turns passed: {turns - missed} of {turns} ({(turns - missed) / turns:.3f})",
        ]
    )


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(messages_a_minute=0)
        async with open_shop_with(settings, f"sqlite:///{folder}/dialogues.db") as shop:
            print(report(await play_all(shop)))


if __name__ == "__main__":
    logs.configure("console", level=logs.QUIET)
    sys.exit(asyncio.run(_main()))
