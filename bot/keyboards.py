"""Buttons of the consultation: under answers, under what could not be answered."""

from collections.abc import Iterable

from bot import texts
from bot.outbound import RATING_DATA, Keyboard
from inference.knowledge import Entry

ASK_DATA, SOURCES_DATA = "ask:", "src:"  # ask:<entry's id>, src:<message's id>
RIGHT_DATA, MEND_DATA = "heard:yes:", "heard:mend:"  # each with the voice message's id
SPOKEN_DATA, WRITTEN_DATA = "voice:on", "voice:off"
DELETE_DATA, KEEP_DATA = "forget:yes:", "forget:no:"  # each with the command's message's id
HUMAN_DATA, ESTIMATE_DATA, CONSULT_DATA = "go:human", "go:estimate", "go:consult"

_VERDICTS = {"up": texts.BUTTON_UP, "down": texts.BUTTON_DOWN}
_MARK = " ✓"
_LONGEST_LABEL = 60  # characters; a telephone shows about 40 of them

START: Keyboard = [
    [
        {"text": texts.BUTTON_ESTIMATE, "data": ESTIMATE_DATA},
        {"text": texts.BUTTON_CONSULT, "data": CONSULT_DATA},
    ]
]
_OFFERS = {
    "estimate": {"text": texts.BUTTON_ESTIMATE, "data": ESTIMATE_DATA},
    "human": {"text": texts.BUTTON_HUMAN, "data": HUMAN_DATA},
}


def rating(message_id: int) -> Keyboard:
    """Return the row under an answer: what the customer thinks of it, and where it is from."""
    row = [
        {"text": text, "data": f"{RATING_DATA}{message_id}:{name}"}
        for name, text in _VERDICTS.items()
    ]
    return [[*row, {"text": texts.BUTTON_SOURCES, "data": f"{SOURCES_DATA}{message_id}"}]]


def mark(keyboard: Keyboard, verdict: str) -> Keyboard:
    """Return a keyboard with the pressed verdict marked, and no other."""
    return [
        [
            {**button, "text": _VERDICTS[name] + (_MARK if name == verdict else "")}
            if (name := button["data"].rpartition(":")[2]) in _VERDICTS
            and button["data"].startswith(RATING_DATA)
            else button
            for button in row
        ]
        for row in keyboard
    ]


def suggestions(entries: Iterable[Entry]) -> Keyboard:
    """Return a row for each question that may be asked next."""
    return [
        [{"text": _shorten(entry.questions[0]), "data": f"{ASK_DATA}{entry.id}"}]
        for entry in entries
    ]


def mend(message_id: int) -> Keyboard:
    """Return the button under what was heard."""
    return [[{"text": texts.BUTTON_MEND, "data": f"{MEND_DATA}{message_id}"}]]


def confirm(message_id: int) -> Keyboard:
    """Return the buttons under what may have been heard."""
    right = {"text": texts.BUTTON_RIGHT, "data": f"{RIGHT_DATA}{message_id}"}
    return [[right], *mend(message_id)]


def forget(message_id: int) -> Keyboard:
    """Return the buttons under the question whether to delete everything."""
    return [
        [{"text": texts.BUTTON_DELETE, "data": f"{DELETE_DATA}{message_id}"}],
        [{"text": texts.BUTTON_KEEP, "data": f"{KEEP_DATA}{message_id}"}],
    ]


VOICE: Keyboard = [
    [
        {"text": texts.BUTTON_WRITTEN, "data": WRITTEN_DATA},
        {"text": texts.BUTTON_SPOKEN, "data": SPOKEN_DATA},
    ]
]


def offers(names: Iterable[str]) -> Keyboard:
    """Return one row of what is held out: an estimate, a human."""
    row = [_OFFERS[name] for name in names]
    return [row] if row else []


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
