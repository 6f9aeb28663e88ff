"""The little formatting that answers carry: **bold**, as models and knowledge write it.

Sent as entities, not as a parse mode, so that no character of a text has to be escaped.
https://core.telegram.org/bots/api#messageentity
"""

import re
from typing import NamedTuple

from telegram import MessageEntity

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
