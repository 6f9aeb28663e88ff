"""What a text looks like on Telegram: **bold**, as models and knowledge write it, and its length.

Sent as entities, not as a parse mode, so that no character of a text has to be escaped.
https://core.telegram.org/bots/api#messageentity
"""

import re
from typing import NamedTuple

from telegram import MessageEntity
from telegram.constants import MessageLimit

_BREAKS = tuple(re.compile(p) for p in (r"\n\n", r"\n", r"[.!?…]\s", r"\s"))
_BOLD = re.compile(r"\*\*(?=[^\s*])([^\n]*?[^\s*])\*\*")


class Formatted(NamedTuple):
    """A text without its marks, and the spans (start, end) of it that are bold, in characters."""

    text: str
    bold: list[tuple[int, int]]

    def part(self, start: int, end: int) -> "Formatted":
        """Return a part of the text with what of the spans lies in it."""
        spans = [(max(a, start) - start, min(b, end) - start) for a, b in self.bold]
        return Formatted(self.text[start:end], [(a, b) for a, b in spans if a < b])

    def entities(self) -> list[MessageEntity]:
        """Return the spans as Telegram counts them, in UTF-16 units."""
        spans = [MessageEntity(MessageEntity.BOLD, a, b - a) for a, b in self.bold]
        return list(MessageEntity.adjust_message_entities_to_utf_16(self.text, spans))


def parse(text: str) -> Formatted:
    """Take the marks out of a text; one without a partner stays as it is."""
    plain, bold, at, length = [], [], 0, 0
    for match in _BOLD.finditer(text):
        before = text[at : match.start()]
        start = length + len(before)
        length = start + len(match[1])
        plain += [before, match[1]]
        bold.append((start, length))
        at = match.end()
    return Formatted("".join([*plain, text[at:]]), bold)


def split(text: str, limit: int = MessageLimit.MAX_TEXT_LENGTH) -> list[str]:
    """Cut `text` into parts of at most `limit` UTF-16 units; joined they equal it.

    Cuts after a paragraph, else a line, a sentence, a word; inside a word only where there is
    no other way. https://core.telegram.org/bots/api#sendmessage
    """
    parts = []
    while _units(text) > limit:
        window = text[:limit]
        while _units(window) > limit:
            window = window[: -max(1, (_units(window) - limit) // 2)]
        ends = (list(pattern.finditer(window)) for pattern in _BREAKS)
        cut = next((found[-1].end() for found in ends if found), len(window))
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text] if text or not parts else parts


def split_formatted(text: str) -> list[Formatted]:
    """Return the messages that make up `text`, with its formatting; blank ones are left out."""
    return _parts(parse(text))


def split_plain(text: str) -> list[Formatted]:
    """Return the messages that make up `text`, in which nothing is a mark."""
    return _parts(Formatted(text, []))


def _parts(whole: Formatted) -> list[Formatted]:
    parts, at = [], 0
    for part in split(whole.text):
        parts.append(whole.part(at, at + len(part)))
        at += len(part)
    return [part for part in parts if part.text.strip()]


def clip(text: str) -> str:
    """Return what a growing message can show: the end, since that is what is new."""
    text, limit = parse(text).text, MessageLimit.MAX_TEXT_LENGTH
    return text if _units(text) <= limit else "…" + split(text, limit - 1)[-1]


def _units(text: str) -> int:
    """Return a text's length as Telegram counts it: UTF-16 units."""
    return len(text) + sum(char > "\uffff" for char in text)
