"""Texts as Telegram counts and formats them: https://core.telegram.org/bots/api#formatting-options."""

import html
import re
from typing import Any

from bot.playground.errors import bad_request

# Telegram counts code points (4,096 emoji, 8,192 UTF-16 units, were accepted by the real server),
# while the offsets of entities are in UTF-16 units.
MAX_TEXT = 4096
MAX_CAPTION = 1024

Entity = dict[str, Any]

_COMMAND = re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/<>])")
_TOKEN = re.compile(
    r"<(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*>|<|&(?:lt|gt|amp|quot|#\d{1,7}|#x[0-9a-fA-F]{1,6});"
)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z-]*)\s*([^>]*)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))")
_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
}


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 code units, the unit of entity offsets."""
    return len(text) + sum(character > "\uffff" for character in text)


def commands_in(text: str) -> list[Entity]:
    """Return the `bot_command` entities that Telegram finds in a customer's text."""
    return [
        {
            "type": "bot_command",
            "offset": utf16_length(text[: match.start()]),
            "length": utf16_length(match[0]),
        }
        for match in _COMMAND.finditer(text)
    ]


def split_text(text: str) -> list[str]:
    """Cut a long text as Telegram's apps do before sending: at a line or a word where possible."""
    parts = []
    while len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        cut = max(text.rfind("\n", half, MAX_TEXT), text.rfind(" ", half, MAX_TEXT))
        end = cut if cut > 0 else MAX_TEXT
        parts.append(text[:end].strip())
        text = text[end:].strip()
    return [part for part in (*parts, text) if part]


def trim(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Strip white space from both ends, as Telegram does, and move the entities along."""
    kept = text.strip()
    if kept == text or not entities:
        return kept, entities
    lead = utf16_length(text) - utf16_length(text.lstrip())
    end = lead + utf16_length(kept)
    moved = []
    for entity in entities:
        start = max(entity["offset"], lead)
        stop = min(entity["offset"] + entity["length"], end)
        if start < stop:
            moved.append({**entity, "offset": start - lead, "length": stop - start})
    return kept, moved


def parse_html(source: str) -> tuple[str, list[Entity]]:
    """Parse the Bot API's HTML style into a text and its entities."""
    parts: list[str] = []
    entities: list[Entity] = []
    open_tags: list[tuple[str, Entity]] = []
    length = position = 0
    for match in _TOKEN.finditer(source):
        between = source[position : match.start()]
        parts.append(between)
        length += utf16_length(between)
        position = match.end()
        token = match[0]
        if token.startswith("&"):
            parts.append(html.unescape(token))
            length += utf16_length(parts[-1])
            continue
        tag = _TAG.fullmatch(token)
        if tag is None or tag[2].lower() not in _TYPES:
            raise _unparsable(
                f'Unsupported start tag "{tag[2].lower() if tag else ""}"', source, match.start()
            )
        name = tag[2].lower()
        if not tag[1]:
            open_tags.append((name, _start(name, tag[3], length, open_tags)))
            continue
        if not open_tags:
            raise _unparsable("Unexpected end tag", source, match.start())
        expected, entity = open_tags.pop()
        if name != expected:
            raise _unparsable("Unmatched end tag", source, match.start(), expected, name)
        entity["length"] = length - entity["offset"]
        if entity["length"] and entity["type"] and entity.get("url") != "":
            entities.append(entity)
    if open_tags:
        raise bad_request(
            "can't parse entities: Can't find end tag corresponding to start tag "
            f'"{open_tags[-1][0]}"'
        )
    parts.append(source[position:])
    entities.sort(key=lambda entity: (entity["offset"], -entity["length"]))
    return "".join(parts), entities


def _start(name: str, attributes: str, offset: int, around: list[tuple[str, Entity]]) -> Entity:
    entity: Entity = {"type": _TYPES[name], "offset": offset, "length": 0}
    values = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(attributes)}
    language = values.get("class", "").removeprefix("language-")
    if name == "a":
        entity["url"] = html.unescape(values.get("href", ""))
    elif name == "blockquote" and "expandable" in attributes:
        entity["type"] = "expandable_blockquote"
    elif name == "code" and language and around and around[-1][0] == "pre":
        around[-1][1]["language"] = language
        entity["type"] = ""  # the language belongs to the block around, which is the entity
    return entity


def _unparsable(
    problem: str, source: str, at: int, expected: str = "", found: str = ""
) -> Exception:
    offset = len(source[:at].encode())
    tail = f', expected "</{expected}>", found "</{found}>"' if expected else ""
    return bad_request(f"can't parse entities: {problem} at byte offset {offset}{tail}")
