"""The buttons under what the form says; the desk adds which estimate they belong to."""

from bot.estimate import wording
from bot.estimate.questions import Question
from bot.estimate.state import Buttons, Form

MISSES_BEFORE_HELP = 2
WAYS = [("back", wording.BACK), ("edit", wording.EDIT_BUTTON), ("cancel", wording.CANCEL)]


def question_buttons(form: Form, question: Question) -> Buttons:
    """Return the choices of a question and the ways on from it."""
    rows: list[list[tuple[str, str]]] = []
    if question.is_multiple:
        marked = [
            (f"toggle:{question.name}:{c.name}", f"✓ {c.label}" if _has(form, c.name) else c.label)
            for c in question.choices
        ]
        rows = [marked, [(f"enough:{question.name}", wording.DONE)]]
    else:
        choices = [(f"set:{question.name}:{c.name}", c.label) for c in question.choices]
        columns = question.columns
        rows = [choices[at : at + columns] for at in range(0, len(choices), columns)]
        if not question.is_required:
            rows.append([(f"skip:{question.name}", wording.SKIP)])
    if form.misses >= MISSES_BEFORE_HELP:
        rows.append([("call", wording.HUMAN)])
    if form.slots.wallpaper and form.slots.area and not form.once:
        rows.append([("now", wording.NOW)])
    return lay_out([*rows, WAYS if form.trail else WAYS[1:]])


def _has(form: Form, name: str) -> bool:
    return bool(getattr(form.slots, name))


def result_buttons(form: Form) -> Buttons:
    """Return the buttons under an estimate."""
    contact = ("withdraw", wording.WITHDRAW) if form.phone else ("call", wording.CALL)
    if not form.once:
        return lay_out([[("resume", wording.GO_ON), contact]])
    ways = [("edit", wording.EDIT_BUTTON), ("now", wording.AGAIN), ("quote", wording.QUOTE)]
    return lay_out([ways, [contact]])


def lay_out(rows: list[list[tuple[str, str]]]) -> Buttons:
    """Return rows of (data, text) as buttons, without the empty rows."""
    return [[{"text": text, "data": data} for data, text in row] for row in rows if row]
