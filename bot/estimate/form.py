"""The conversation of an estimate: a form and what the customer did in, the next form out.

Pure: the form is read from its row before each step and written with the answer after it, so any
process may take the next step. Nothing here knows Telegram, the database or the rates.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bot.estimate import wording
from bot.estimate.intents import is_knowledge_question, is_question
from bot.estimate.questions import (
    BY_NAME,
    AreaError,
    Question,
    Values,
    next_question,
    read_choice,
)
from bot.estimate.reading import read_slots
from bot.estimate.slots import Slots

Buttons = list[list[dict[str, str]]]  # `data` without the estimate it belongs to

_MISSES_BEFORE_HELP = 2
_MAX_NAME = 30
_WAYS = [("back", wording.BACK), ("edit", wording.EDIT_BUTTON), ("cancel", wording.CANCEL)]
_CONTACT_STEPS = ("consent", "name", "phone")


class State(StrEnum):
    """Where a form stands: asking; set aside; told its sum; given up."""

    ASKING = "asking"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What is to be done beside saying the step's text."""

    RESULT = "result"  # the form is complete, or changed after it was: work the sum out
    CONSULT = "consult"  # the text is a question: answer it, then say the step's text
    CONSENT = "consent"  # note when the customer agreed
    CALL = "call"  # tell the shop
    WITHDRAW = "withdraw"  # forget name and phone, tell the shop


class Form(BaseModel):
    """A form so far. `asking` is a question's name or a step of asking for contact.

    `trail` is what was asked before, for going back; `once` says that a sum was told, so that
    each change leads straight back to it.
    """

    model_config = ConfigDict(frozen=True)

    state: State = State.ASKING
    slots: Slots = Slots()
    skipped: list[str] = Field(default_factory=list)
    asking: str | None = None
    trail: list[str] = Field(default_factory=list)
    misses: int = 0
    once: bool = False
    name: str | None = None
    phone: str | None = None

    @property
    def is_private(self) -> bool:
        """Whether what is written now is a name or a phone number."""
        return self.asking in {"name", "phone"}

    def but(self, **changes: Any) -> "Form":  # noqa: ANN401 - fields of any type
        """Return the form with changes."""
        return self.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step leads to. Without `text` only the buttons of the pressed message change."""

    form: Form
    text: str | None
    buttons: Buttons = field(default_factory=list)
    event: Event | None = None


def begin(text: str = "") -> Step:
    """Begin a form with what a sentence already says."""
    slots = read_slots(text)
    form = Form(slots=slots)
    return _go_on(form, f"{wording.INTRO}\n{_taken(Form(), form)}".strip())


def again(form: Form) -> Step:
    """Ask what was being asked; the way back from being set aside or given up."""
    going_on = form.but(state=State.ASKING, misses=0)
    return _say_contact(going_on, "") if form.asking in _CONTACT_STEPS else _ask_next(going_on, "")


def offer(form: Form) -> Step:
    """Offer to go on with a form that was left."""
    text = wording.OFFER.format(summary=wording.summary(form.slots))
    buttons = [[("resume", wording.GO_ON), ("new", wording.START_NEW), ("cancel", wording.GIVE_UP)]]
    return Step(form, text, _buttons(buttons))


# Text


def write(form: Form, text: str) -> Step:
    """Take a text that came while the form asks."""
    command = re.sub(r"[\s.!~]", "", text)
    if re.fullmatch(r"취소(할게요|해주세요|요|해요)?|그만(할게요|둘래요|요)?", command):
        return cancel(form)
    if re.fullmatch(r"이전(으로|질문)?(요)?|뒤로(가기)?", command):
        return back(form)
    if re.fullmatch(r"수정(할게요|해주세요|요|이요)?", command):
        return edit(form)
    if form.asking in _CONTACT_STEPS:
        return _write_contact(form, text)
    question = _asked(form)
    if is_knowledge_question(text):
        return _consult(form)
    try:
        direct = read_choice(question, text)
    except AreaError:
        return _miss(form, wording.NO_SUCH_AREA)
    said = read_slots(text).said()
    if direct is None and is_question(text) and not set(said) & set(question.slots):
        return _consult(form)
    if question.is_multiple and direct:  # "없어요": none of the rest
        direct = {name: False for name in direct if not getattr(form.slots, name)}
    if values := {**said, **_preferred(question, direct, said)}:
        return _take(form, question, values)
    if not question.is_required and re.search(r"모르|몰라|패스|건너|넘어|아무거나", command):
        return skip(form, question.name)
    return _miss(form, wording.NOT_UNDERSTOOD)


def is_answer(form: Form, text: str) -> bool:
    """Return whether a text, come after a long time, can only be the answer that was asked for."""
    if form.asking in _CONTACT_STEPS:
        return form.asking == "phone" and read_phone(text) is not None
    question = _asked(form)
    try:
        direct = read_choice(question, text)
    except AreaError:
        return True
    return direct is not None or not set(read_slots(text).said()).isdisjoint(question.slots)


def change(form: Form, text: str) -> Step:
    """Change a form that has its sum by what a text says."""
    return _finish(form.but(slots=_settled(form.slots.filled(read_slots(text)))))


def _preferred(question: Question, direct: Values | None, said: Values) -> Values:
    """Return the direct answer where the sentence as a whole does not say the slot better.

    A place keeps the customer's own words, which say more than the 시·도 does.
    """
    if direct is None or (question.name != "region" and set(direct) <= set(said)):
        return {}
    return direct


def _write_contact(form: Form, text: str) -> Step:
    if is_question(text):
        return _consult(form)
    words = text.strip()
    match form.asking:
        case "consent":
            if re.fullmatch(r"(네|예|응|넵)?[,\s]*(동의(해요|합니다|할게요|함)?)?[요\s.!]*", words):
                return agree(form)
            if re.search(r"아니|안\s?할|싫|거절|안\s?해", words):
                return refuse(form)
            return _say_contact(form.but(misses=form.misses + 1), wording.CONSENT_UNCLEAR)
        case "name":
            name = re.sub(r"^(제|저는|이름은|성함은)\s*(이름은)?\s*", "", words)
            name = re.sub(r"\s*(이에요|예요|에요|입니다|이라고\s?(해요|합니다))[.!]*$", "", name)
            if not re.fullmatch(rf"[가-힣A-Za-z\s.·]{{2,{_MAX_NAME}}}", name):
                return _say_contact(form, wording.NAME_UNCLEAR)
            return _say_contact(form.but(name=name, asking="phone"), "")
        case _:
            phone = read_phone(words)
            if phone is None:
                return _say_contact(form, wording.PHONE_UNCLEAR)
            done = form.but(phone=phone, asking=None, state=State.DONE, misses=0)
            said = wording.CALL_REQUESTED.format(end=phone[-4:])
            return Step(done, said, result_buttons(done), Event.CALL)


def read_phone(text: str) -> str | None:
    """Return a Korean phone number with its hyphens, None where there is none.

    https://www.law.go.kr/행정규칙/전기통신번호관리세칙
    """
    digits = re.sub(r"\D", "", text.replace("+82", "0"))
    if re.fullmatch(r"01[016789]\d{7,8}|02\d{7,8}|0[3-6]\d\d{7,8}|070\d{8}|1[568]\d{6}", digits):
        if len(digits) == 8:
            return f"{digits[:4]}-{digits[4:]}"
        area = 2 if digits.startswith("02") else 3
        return f"{digits[:area]}-{digits[area:-4]}-{digits[-4:]}"
    return None


# Buttons


def press(form: Form, action: str, rest: list[str]) -> Step | None:
    """Take a pressed button; None where it means nothing (any more)."""
    match action, rest:
        case "set", [name, choice] if name in BY_NAME:
            picked = BY_NAME[name].choice(choice)
            return _take(form, BY_NAME[name], picked.values) if picked else None
        case "toggle", [name, choice] if name in BY_NAME and BY_NAME[name].choice(choice):
            now = not getattr(form.slots, choice)
            changed = form.but(slots=form.slots.model_copy(update={choice: now}))
            return Step(changed, None, _question_buttons(changed, BY_NAME[name]))
        case "enough", [name] if name in BY_NAME:
            question = BY_NAME[name]
            unsaid = {s: False for s in question.slots if not getattr(form.slots, s)}
            return _take(form, question, {**unsaid, **_chosen(question, form.slots)})
        case "skip", [name] if name in BY_NAME:
            return skip(form, name)
        case "change", [name] if name in BY_NAME:
            return _ask(_leave(form).but(asking=name, misses=0, state=State.ASKING), "")
    simple = {
        **{"back": back, "edit": edit, "cancel": cancel, "resume": again, "now": _finish},
        **{"call": call, "agree": agree, "refuse": refuse, "withdraw": withdraw},
    }
    return simple[action](form) if action in simple and not rest else None


def _chosen(question: Question, slots: Slots) -> Values:
    return {name: True for name in question.slots if getattr(slots, name)}


def back(form: Form) -> Step:
    """Ask the question before this one."""
    if form.asking == "consent":
        return refuse(form)
    if form.asking in _CONTACT_STEPS:
        before = _CONTACT_STEPS[_CONTACT_STEPS.index(form.asking) - 1]
        return _say_contact(form.but(asking=before, name=None, misses=0), "")
    if not form.trail:
        return _ask_next(form, "") if form.asking is None else _ask(form, "")
    *trail, before = form.trail
    return _ask(form.but(asking=before, trail=trail, misses=0, state=State.ASKING), "")


def edit(form: Form) -> Step:
    """Show what was answered, each with a button to change it."""
    answered = [q for q in BY_NAME.values() if wording.answer(q, form.slots) and q.when(form.slots)]
    if not answered:
        return _ask_next(form, wording.NOTHING_TO_EDIT)
    rows = [
        [(f"change:{q.name}", f"{q.label}: {wording.answer(q, form.slots)}") for q in pair]
        for pair in _pairs(answered)
    ]
    return Step(form, wording.EDIT, _buttons([*rows, [("resume", wording.GO_ON)]]))


def cancel(form: Form) -> Step:
    """Give the form up; one that has its sum goes back to that, one that asks for contact on."""
    if form.asking in _CONTACT_STEPS:
        return refuse(form)
    if form.once:
        return _finish(form)
    given_up = form.but(state=State.CANCELLED, name=None, phone=None)
    return Step(given_up, wording.CANCELLED, _buttons([[("resume", wording.GO_ON)]]))


def skip(form: Form, name: str) -> Step:
    """Leave a question out: the estimate assumes something, and says what."""
    question = BY_NAME[name]
    if question.is_required:
        return _miss(form, wording.NOT_UNDERSTOOD)
    blank = form.slots.model_copy(update=dict.fromkeys(question.slots))
    skipped = [*form.skipped, name] if name not in form.skipped else form.skipped
    return _go_on(_leave(form).but(slots=blank, skipped=skipped), "")


def call(form: Form) -> Step:
    """Begin to ask for contact: first for consent."""
    if form.phone:
        said = wording.CALL_REQUESTED.format(end=form.phone[-4:])
        return Step(form, said, result_buttons(form))
    return _say_contact(_leave(form).but(asking="consent", state=State.ASKING, misses=0), "")


def agree(form: Form) -> Step:
    """Go on from consent to the name."""
    return _say_contact(
        form.but(asking="name", state=State.ASKING, misses=0), "", event=Event.CONSENT
    )


def refuse(form: Form) -> Step:
    """Leave contact alone, and go back to where the form was."""
    left = form.but(asking=None, name=None, phone=None, misses=0)
    if form.once:
        done = left.but(state=State.DONE)
        return Step(done, wording.CALL_REFUSED, result_buttons(done))
    return _ask_next(left, wording.CALL_REFUSED)


def withdraw(form: Form) -> Step:
    """Forget name and phone."""
    bare = form.but(name=None, phone=None)
    return Step(bare, wording.CALL_WITHDRAWN, result_buttons(bare), Event.WITHDRAW)


# Going on


def _asked(form: Form) -> Question:
    asked = BY_NAME.get(form.asking or "") or next_question(form.slots, form.skipped)
    return asked or BY_NAME["timing"]


def _take(form: Form, question: Question, values: Values) -> Step:
    """Fill slots and go on; what was skipped is asked no more, what was said is said back."""
    if question.name == "timing":  # words and choice stand for each other
        values = {"timing": None, "timing_words": None, **values}
    slots = _settled(form.slots.model_copy(update=values))
    filled = _leave(form).but(slots=slots, state=State.ASKING)
    return _go_on(filled, _taken(form, filled))


def _settled(slots: Slots) -> Slots:
    """Return the slots without what the others make meaningless."""
    if BY_NAME["paper_width"].when(slots):
        return slots
    return slots.model_copy(update={"paper_width": None})


def _leave(form: Form) -> Form:
    """Note the question that is left, so that there is a way back to it."""
    if form.asking not in BY_NAME or form.asking in form.trail[-1:]:
        return form
    return form.but(trail=[*form.trail, form.asking])


def _taken(before: Form, after: Form) -> str:
    """Return what is newly understood, so that a customer sees a mistake at once."""
    old = dict(wording.answers(before.slots))
    new = [f"{k}: {v}" for k, v in wording.answers(after.slots) if old.get(k) != v]
    return wording.TAKEN.format(taken=" · ".join(new)) if new else ""


def _go_on(form: Form, said: str) -> Step:
    """Ask the next question, or end; a form that had its sum goes straight back to it."""
    if form.once:
        return _finish(form)
    return _ask_next(form, said)


def _ask_next(form: Form, said: str) -> Step:
    form = form.but(misses=0)
    question = next_question(form.slots, form.skipped)
    if question is None:
        return _finish(form)
    return _ask(form.but(asking=question.name), said)


def _finish(form: Form) -> Step:
    """End with the sum; what it cannot do without is asked first."""
    if form.slots.wallpaper is None or form.slots.area is None:
        missing = "wallpaper" if form.slots.wallpaper is None else "area"
        return _ask(form.but(asking=missing, misses=0), "")
    name = form.name if form.phone else None  # a name alone was given for a call that is not to be
    done = form.but(state=State.DONE, asking=None, once=True, misses=0, name=name)
    return Step(done, None, result_buttons(done), Event.RESULT)


def _ask(form: Form, said: str) -> Step:
    if form.asking in _CONTACT_STEPS:
        return _say_contact(form, said)
    question = _asked(form)
    number = list(BY_NAME).index(question.name) + 1
    text = f"{said}\n\n({number}/{len(BY_NAME)}) {question.ask}".strip()
    return Step(form.but(asking=question.name), text, _question_buttons(form, question))


def _consult(form: Form) -> Step:
    asked = _ask(form, "")
    return Step(form, asked.text, asked.buttons, Event.CONSULT)


def _miss(form: Form, words: str) -> Step:
    form = form.but(misses=form.misses + 1)
    said = words.format(example=_asked(form).example)
    if form.misses >= _MISSES_BEFORE_HELP:
        said = f"{said}\n{wording.STILL_NOT_UNDERSTOOD}"
    return _ask(form, said)


def _say_contact(form: Form, said: str, event: Event | None = None) -> Step:
    match form.asking:
        case "consent":
            ask, own = wording.CONSENT, [("agree", wording.AGREE), ("refuse", wording.REFUSE)]
        case "name":
            ask, own = wording.ASK_NAME, []
        case _:
            ask, own = wording.ASK_PHONE, []
    return Step(form, f"{said}\n\n{ask}".strip(), _buttons([own, _WAYS]), event)


# Buttons under a message


def _question_buttons(form: Form, question: Question) -> Buttons:
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
    if form.misses >= _MISSES_BEFORE_HELP:
        rows.append([("call", wording.HUMAN)])
    if form.slots.wallpaper and form.slots.area and not form.once:
        rows.append([("now", wording.NOW)])
    return _buttons([*rows, _WAYS if form.trail else _WAYS[1:]])


def _has(form: Form, name: str) -> bool:
    return bool(getattr(form.slots, name))


def result_buttons(form: Form) -> Buttons:
    """Return the buttons under an estimate."""
    contact = ("withdraw", wording.WITHDRAW) if form.phone else ("call", wording.CALL)
    if not form.once:
        return _buttons([[("resume", wording.GO_ON), contact]])
    ways = [("edit", wording.EDIT_BUTTON), ("now", wording.AGAIN), ("quote", wording.QUOTE)]
    return _buttons([ways, [contact]])


def _buttons(rows: list[list[tuple[str, str]]]) -> Buttons:
    return [[{"text": text, "data": data} for data, text in row] for row in rows if row]


def _pairs(items: list[Question]) -> list[list[Question]]:
    return [items[at : at + 2] for at in range(0, len(items), 2)]
