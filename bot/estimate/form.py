"""The conversation of an estimate: a form and what the customer did in, the next form out.

Pure: the form is read from its row before each step and written with the answer after it, so any
process may take the next step. Nothing here knows Telegram, the database or the rates.
"""

import re
import unicodedata

from bot.estimate import wording
from bot.estimate.buttons import MISSES_BEFORE_HELP, WAYS, lay_out, question_buttons, result_buttons
from bot.estimate.contact import read_name, read_phone
from bot.estimate.intents import asks_plainly, asks_price, is_knowledge_question, is_question
from bot.estimate.questions import BY_NAME, AreaError, Question, Values, next_question, read_choice
from bot.estimate.reading import read_slots
from bot.estimate.slots import Slots
from bot.estimate.state import Event, Form, State, Step
from bot.fixed import wants_human

_CONTACT_STEPS = ("consent", "name", "phone")


def begin(text: str = "") -> Step:
    """Begin a form with what a sentence already says."""
    slots = read_slots(text)
    form = Form(slots=slots)
    return _go_on(form, f"{wording.INTRO}\n{_taken(Form(), form)}".strip())


def again(form: Form) -> Step:
    """Ask what was being asked; the way back from being set aside or given up."""
    if form.once and form.asking is None:
        return _finish(form)
    going_on = form.but(state=State.ASKING, misses=0)
    return _ask(going_on, "") if form.asking else _ask_next(going_on, "")


def offer(form: Form) -> Step:
    """Offer to go on with a form that was left."""
    text = wording.OFFER.format(summary=wording.summary(form.slots))
    buttons = [[("resume", wording.GO_ON), ("new", wording.START_NEW), ("drop", wording.GIVE_UP)]]
    return Step(form, text, lay_out(buttons))


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
    if re.fullmatch(r"(그냥)?(지금|바로)?견적(을)?(보여|볼게|보기|볼래).*", command):
        return _finish(form)
    if wants_human(text):
        return _consult(form)
    if form.asking in _CONTACT_STEPS:
        return _write_contact(form, text)
    question = _asked(form)
    can_skip = not question.is_required
    said = read_slots(text).said()
    if can_skip and not said and re.search(r"모르겠|몰라|패스|건너[뛸뛰]|넘어갈|넘어가", command):
        return skip(form, question.name)
    try:
        direct = read_choice(question, text)
    except AreaError:
        return _miss(form, wording.NO_SUCH_AREA)
    answers = direct is not None or not set(said).isdisjoint(question.slots)
    is_statement = answers and not asks_plainly(text)
    if is_knowledge_question(text) and not is_statement:
        return _consult(form)
    if is_question(text) and not answers and not (said and asks_price(text)):
        return _consult(form)
    if question.is_multiple and direct and not any(direct.values()):  # "없어요": none of the rest
        direct = {name: False for name in direct if not getattr(form.slots, name)}
    if values := {**said, **_preferred(question, direct, said)}:
        return _take(form, question, values)
    if can_skip and "아무거나" in command:
        return skip(form, question.name)
    return _miss(form, wording.NOT_UNDERSTOOD)


def is_answer(form: Form, text: str) -> bool:
    """Return whether a text, come after a long time, can only be the answer that was asked for."""
    if form.asking in _CONTACT_STEPS:
        return form.asking == "phone" and read_phone(text) is not None
    question = _asked(form)
    if not set(read_slots(text).said()).isdisjoint(question.slots):
        return True
    try:
        # Nearly anything may be the name of a place.
        return question.name != "region" and read_choice(question, text) is not None
    except AreaError:
        return True


def change(form: Form, text: str) -> Step:
    """Change a form that has its sum by what a text says."""
    return _finish(form.but(slots=_filled(form.slots, read_slots(text).said())))


def _preferred(question: Question, direct: Values | None, said: Values) -> Values:
    """Return the direct answer where the sentence as a whole does not say the slot better.

    A place keeps the customer's own words, which say more than the 시·도 does.
    """
    if direct is None or (question.name != "region" and set(direct) <= set(said)):
        return {}
    return direct


def _write_contact(form: Form, text: str) -> Step:
    words = " ".join(unicodedata.normalize("NFKC", text).split())
    match form.asking:
        case "consent":
            if re.fullmatch(
                r"(네|예|응|넵|넹|좋아요|그래요|동의\S*)[ ,.!]*(동의\S*)?[ .!]*", words
            ):
                return agree(form)
            if re.search(r"아니|안\s?할|싫|거절|안\s?해", words):
                return refuse(form)
        case "name":
            if name := read_name(words):
                return _say_contact(form.but(name=name, asking="phone"), "")
        case _:
            if phone := read_phone(words):
                done = form.but(phone=phone, asking=None, state=State.DONE, misses=0)
                return Step(done, _called(done), result_buttons(done), Event.CALL)
    if asks_plainly(words) and not re.search(r"\d{4}", words):
        return _consult(form)
    unclear = {
        **{"consent": wording.CONSENT_UNCLEAR, "name": wording.NAME_UNCLEAR},
        "phone": wording.PHONE_UNCLEAR,
    }
    return _say_contact(form, unclear[form.asking or ""])


def _called(form: Form) -> str:
    return wording.CALL_REQUESTED.format(end=(form.phone or "")[-4:])


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
            return Step(changed, None, question_buttons(changed, BY_NAME[name]))
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
        "drop": give_up,
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
    buttons = [
        (f"change:{q.name}", f"{q.label}: {wording.answer(q, form.slots)}") for q in answered
    ]
    rows = [buttons[at : at + 2] for at in range(0, len(buttons), 2)]
    return Step(form, wording.EDIT, lay_out([*rows, [("resume", wording.GO_ON)]]))


def cancel(form: Form) -> Step:
    """Give the form up; one that has its sum goes back to that, one that asks for contact on."""
    if form.asking in _CONTACT_STEPS:
        return refuse(form)
    return give_up(form)


def give_up(form: Form) -> Step:
    """End a form, whatever it asks; one that has its sum goes back to that."""
    if form.once:
        return _finish(form)
    given_up = form.but(state=State.CANCELLED, asking=_question(form), name=None, phone=None)
    said = f"{wording.CANCELLED}\n\n{wording.CALL_WITHDRAWN}" if form.phone else wording.CANCELLED
    event = Event.WITHDRAW if form.phone else None
    return Step(given_up, said, lay_out([[("resume", wording.GO_ON)]]), event)


def _question(form: Form) -> str | None:
    return form.asking if form.asking in BY_NAME else None


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
        return Step(form, _called(form), result_buttons(form))
    return _say_contact(_leave(form).but(asking="consent", state=State.ASKING, misses=0), "")


def agree(form: Form) -> Step:
    """Go on from consent to the name."""
    if form.phone:
        return call(form)
    return _say_contact(
        form.but(asking="name", state=State.ASKING, misses=0), "", event=Event.CONSENT
    )


def refuse(form: Form) -> Step:
    """Leave contact alone, and go back to where the form was."""
    if form.phone:  # an old button: what was asked for is taken back by another
        return call(form)
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
    slots = _filled(form.slots, values)
    filled = _leave(form).but(slots=slots, state=State.ASKING)
    return _go_on(filled, _taken(form, filled))


def _filled(slots: Slots, values: Values) -> Slots:
    """Return the slots with new values, and without what those make meaningless."""
    is_new_area = "area" in values and (values["area"], values["unit"]) != (slots.area, slots.unit)
    if is_new_area and slots.area is not None:  # of which no basis is known
        values = {"area_basis": None, **values}
    filled = slots.model_copy(update=values)
    if BY_NAME["paper_width"].when(filled):
        return filled
    return filled.model_copy(update={"paper_width": None})


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
    asking = form.but(asking=question.name, state=State.ASKING)
    return Step(asking, text, question_buttons(form, question))


def _consult(form: Form) -> Step:
    asked = _ask(form, "")
    return Step(form, asked.text, asked.buttons, Event.CONSULT)


def _miss(form: Form, words: str) -> Step:
    form = form.but(misses=form.misses + 1)
    said = words.format(example=_asked(form).example)
    if form.misses >= MISSES_BEFORE_HELP:
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
    asking = form.but(state=State.ASKING)
    return Step(asking, f"{said}\n\n{ask}".strip(), lay_out([own, WAYS]), event)
