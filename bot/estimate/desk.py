"""The estimate's place in a turn: rows read, forms stepped, sums worked out, answers made up."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from bot.delivery import File
from bot.estimate import form, intents, pricing, wording
from bot.estimate.buttons import result_buttons
from bot.estimate.drawing import DrawingError, DrawingProcess, Letterhead
from bot.estimate.pricing import Estimate
from bot.estimate.rates import Rates
from bot.estimate.reading import read_slots
from bot.estimate.state import Buttons, Event, Form, State, Step
from bot.outbound import Keyboard
from db import estimates, queries
from db.database import Database, Work
from db.estimates import Saved
from db.models import utc_now
from db.queries import KOREA, Turn

DATA = "est:"  # what buttons of estimates carry: est:<id>:<action>[:…]
LINK = "estimate_"  # …/start estimate_<id>

_STAYING = {"toggle", "edit", "call"}  # their buttons are good for more than one press
_GAP = timedelta(hours=1)  # later, a text need not be meant for the form


@dataclass(frozen=True, slots=True)
class Reply:
    """What a step answers, to be kept with `write`. Without `text`, `more` is all that is sent.

    `consult` says that the turn's text is a question, to be answered before all of this.
    """

    text: str = ""
    keyboard: Keyboard = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)
    write: Work[None] | None = None
    consult: bool = False
    is_done: bool = False  # the pressed question is answered: its buttons may go


@dataclass(frozen=True, slots=True)
class Shop:
    """Whose estimates these are: rates, name and phone on the quote, admins to tell."""

    rates: Rates
    admins: Collection[int] = ()
    name: str = ""
    phone: str = ""
    bot_name: str = ""


class Desk:
    """Takes what customers do about their estimates; holds nothing that a restart would lose."""

    def __init__(
        self, database: Database, shop: Shop, drawing: DrawingProcess, bot_id: int
    ) -> None:
        self._database = database
        self._drawing = drawing
        self._shop = shop
        self._bot_id = bot_id

    @property
    def admins(self) -> Collection[int]:
        """Who is told what customers ask of the shop."""
        return self._shop.admins

    # What came

    def hear(self, turn: Turn, saved: Saved | None) -> Reply | None:
        """Take a text; `saved` is the customer's latest estimate. None: a text like any other."""
        if saved is None:
            return self._begin(turn) if intents.wants_estimate(turn.text) else None
        current, is_fresh = read_form(saved), utc_now() - saved.updated_at < _GAP
        match current.state:
            case State.ASKING if is_fresh or form.is_answer(current, turn.text):
                return self._reply(turn, saved, form.write(current, turn.text))
            case State.DONE if is_fresh and current.once and intents.changes_estimate(turn.text):
                return self._reply(turn, saved, form.change(current, turn.text))
        if intents.wants_estimate(turn.text):
            is_new = current.state == State.DONE or read_slots(turn.text).said()
            return self._begin(turn) if is_new else self._offer(saved)
        if current.state == State.ASKING:
            aside = form.offer(current.but(state=State.PAUSED))
            if not current.is_private:  # else it may be a name, and nobody else's business
                aside = replace(aside, event=Event.CONSULT)
            return self._reply(turn, saved, aside)
        return None

    async def start(self, turn: Turn) -> Reply:
        """Begin an estimate, or offer to go on with one that was begun."""
        saved = await self._open(turn)
        return self._offer(saved) if saved else self._begin(turn)

    async def unfinished(self, turn: Turn) -> Reply | None:
        """Offer to go on with what was begun, None where nothing was."""
        saved = await self._open(turn)
        return self._offer(saved) if saved else None

    def withdraw(self, saved: Saved) -> list[dict[str, Any]]:
        """Return what tells the shop that a callback is no longer wanted, and the rest is gone."""
        text = wording.SHOP_WITHDRAWN.format(number=_number(saved))
        return [{"to": admin, "text": text} for admin in self._shop.admins]

    async def set_aside(self, turn: Turn) -> Work[None] | None:
        """Return what stops an open estimate from taking the texts that follow."""
        saved = await self._open(turn)
        if saved is None or saved.state != State.ASKING:
            return None
        paused = _saved(saved, read_form(saved).but(state=State.PAUSED))
        return lambda c: estimates.save(c, paused)

    async def show_all(self, turn: Turn) -> Reply:
        """Show a customer's estimates, a button each."""
        found = await self._database.insist(
            lambda c: estimates.finished(c, self._bot_id, turn.chat_id, turn.customer_id)
        )
        if not found:
            return Reply(wording.NO_ESTIMATES)
        rows = [[{"text": _list_line(saved), "data": f"{DATA}{saved.id}:open"}] for saved in found]
        return Reply(wording.ESTIMATES, rows)

    async def show(self, turn: Turn, estimate_id: int) -> Reply | None:
        """Show an estimate to whom it belongs, or to an admin; None to anybody else."""
        saved = await self._find(turn, estimate_id)
        return self._show(saved, own=_is_own(saved, turn)) if saved else None

    async def press(self, turn: Turn, data: str) -> Reply | None:
        """Take a pressed button; None where it is not for whoever pressed it, or outdated."""
        key, _, action = data.removeprefix(DATA).partition(":")
        saved = await self._find(turn, int(key)) if queries.is_id(key) else None
        if saved is None:
            return None
        own = _is_own(saved, turn)
        match action.split(":"):
            case ["open"]:
                return self._show(saved, own=own)
            case ["quote"] if saved.result:
                return Reply(more=_files(saved.id, []))
            case ["new"] if own:
                dropped = self._reply(turn, saved, form.give_up(read_form(saved)))
                begun = self._begin(turn)
                notices = [item for item in dropped.more if "to" in item]
                return replace(begun, more=notices, write=_both(dropped.write, begun.write))
            case [name, *rest] if own:
                current = read_form(saved)
                step = form.press(current, name, rest)
                if step is None:
                    return None
                stays = name in _STAYING or (name == "now" and current.once)
                return replace(self._reply(turn, saved, step), is_done=not stays)
        return None

    # What is answered

    def _begin(self, turn: Turn) -> Reply:
        now = utc_now()
        step = form.begin(turn.text if turn.is_said else "")
        saved = Saved(
            id=turn.message_id,
            bot_id=self._bot_id,
            chat_id=turn.chat_id,
            customer_id=turn.customer_id,
            state=step.form.state,
            form=step.form.model_dump(mode="json"),
            result=None,
            consented_at=None,
            called_at=None,
            created_at=now,
            updated_at=now,
        )
        return self._reply(turn, saved, step)

    def _offer(self, saved: Saved) -> Reply:
        step = form.offer(read_form(saved))
        return Reply(step.text or "", self._keyboard(saved, step.buttons))

    def _reply(self, turn: Turn, before: Saved, step: Step) -> Reply:
        """Return the answer that a step leads to."""
        saved, now = _saved(before, step.form), utc_now()
        if step.form.phone is None and not step.form.is_private:
            saved = replace(saved, consented_at=None)  # nothing was given in the end
        keyboard = self._keyboard(saved, step.buttons)
        text, more = step.text or "", []
        match step.event:
            case Event.RESULT:
                return self._result(turn, saved)
            case Event.CONSENT:
                saved = replace(saved, consented_at=now)
            case Event.CALL:
                saved = replace(saved, called_at=now)
                more = self._notices(saved.id, {"call": saved.id})
            case Event.WITHDRAW:
                if before.called_at:
                    words = wording.SHOP_WITHDRAWN.format(number=_number(saved))
                    more = self._notices(saved.id, {"text": words})
                saved = replace(saved, called_at=None)
        if step.text is None:
            more = [{"edit": turn.telegram_message_id, "keyboard": keyboard}]
        is_private = read_form(before).is_private and step.event != Event.CONSULT

        def write(connection: Connection) -> None:
            estimates.save(connection, saved)
            if is_private and turn.is_said:
                estimates.redact(connection, turn.spoken_id or turn.message_id)

        if step.event == Event.CONSULT:
            more = [{"text": text, "keyboard": keyboard}]
            return Reply(more=more, write=write, consult=True)
        return Reply(text, keyboard, more, write)

    def _result(self, turn: Turn, saved: Saved) -> Reply:
        """Return the sum; the first time with the quote."""
        estimate = pricing.estimate(read_form(saved).slots, self._shop.rates)
        is_first = saved.result is None
        saved = replace(saved, result=estimate.model_dump(mode="json"))
        keyboard = self._keyboard(saved, result_buttons(read_form(saved)))
        more = _files(saved.id, keyboard) if is_first else []
        return Reply(
            wording.result(estimate),
            [] if is_first else keyboard,
            more,
            lambda c: estimates.save(c, saved),
        )

    def _show(self, saved: Saved, *, own: bool) -> Reply:
        current = read_form(saved)
        if saved.result is None:
            text = f"{wording.summary(current.slots)}\n\n{wording.NO_TOTAL}"
        else:
            text = wording.result(Estimate.model_validate(saved.result))
        if not own:
            buttons = [[{"text": wording.QUOTE, "data": "quote"}]] if saved.result else []
            contact = [{"contact": saved.id}] if current.phone else []
            return Reply(text, self._keyboard(saved, buttons), contact)
        return Reply(text, self._keyboard(saved, result_buttons(current)))

    def _notices(self, estimate_id: int, item: dict[str, Any]) -> list[dict[str, Any]]:
        keyboard = [[{"text": wording.OPEN, "data": f"{DATA}{estimate_id}:open"}]]
        return [{"to": admin, "keyboard": keyboard, **item} for admin in self._shop.admins]

    def _keyboard(self, saved: Saved, buttons: Buttons) -> Keyboard:
        """Return the buttons with the estimate they belong to.

        A callback is offered only where somebody hears of it, and not before a whole group.
        """
        can_call = self._shop.admins and saved.chat_id > 0
        rows = [[b for b in row if can_call or b["data"] != "call"] for row in buttons]
        return [
            [{"text": b["text"], "data": f"{DATA}{saved.id}:{b['data']}"} for b in row]
            for row in rows
            if row
        ]

    # What is drawn when it is sent

    async def draw(self, item: dict[str, Any]) -> File | None:
        """Draw a quote as PDF or PNG."""
        saved = await self._database.insist(lambda c: estimates.find(c, item["estimate"]))
        if saved is None or saved.result is None:
            return None
        estimate = Estimate.model_validate(saved.result)
        head = letterhead(saved, self._shop.name, self._shop.phone)
        try:
            content = await self._drawing.draw(item["file"], estimate, head)
        except DrawingError:
            return None
        caption = wording.CAPTION.format(total=wording.total(estimate.total))
        return File(f"도배견적_{head.number}.{item['file']}", content, caption)

    async def word(self, item: dict[str, Any]) -> str | None:
        """Word a callback request, or its contact, as it stands when it is sent.

        None where it is withdrawn: name and phone are kept nowhere but in the estimate.
        """
        key = item.get("call") or item["contact"]
        saved = await self._database.insist(lambda c: estimates.find(c, key))
        if saved is None or saved.called_at is None:
            return None
        current = read_form(saved)
        if "contact" in item:
            return wording.CONTACT.format(name=current.name, phone=current.phone)
        total = wording.NO_TOTAL
        if saved.result:
            total = f"💰 {wording.total(Estimate.model_validate(saved.result).total)}"
        return wording.SHOP_CALL.format(
            name=current.name,
            phone=current.phone,
            summary=wording.summary(current.slots),
            total=total,
            link=f"https://t.me/{self._shop.bot_name}?start={LINK}{saved.id}",
        )

    # Rows

    async def _open(self, turn: Turn) -> Saved | None:
        return await self._database.insist(
            lambda c: estimates.open_estimate(c, self._bot_id, turn.chat_id, turn.customer_id)
        )

    async def _find(self, turn: Turn, estimate_id: int) -> Saved | None:
        """Return an estimate that whoever wrote `turn` may see: button data may be forged."""
        saved = await self._database.insist(lambda c: estimates.find(c, estimate_id))
        if saved is None or saved.bot_id != self._bot_id:
            return None
        return saved if _is_own(saved, turn) or turn.chat_id in self._shop.admins else None


def _is_own(saved: Saved, turn: Turn) -> bool:
    return (saved.chat_id, saved.customer_id) == (turn.chat_id, turn.customer_id)


def letterhead(saved: Saved, shop: str, phone: str) -> Letterhead:
    """Return what the quote of an estimate says beside it."""
    return Letterhead(
        number=_number(saved),
        day=saved.updated_at.astimezone(KOREA).date().isoformat(),
        shop=shop,
        phone=phone,
    )


def read_form(saved: Saved) -> Form:
    """Return the form as it is stored."""
    return Form.model_validate({**saved.form, "state": saved.state})


def _saved(saved: Saved, changed: Form) -> Saved:
    return replace(saved, state=changed.state, form=changed.model_dump(mode="json"))


def _both(*works: Work[None] | None) -> Work[None]:
    def write(connection: Connection) -> None:
        for work in works:
            if work:
                work(connection)

    return write


def _files(estimate_id: int, keyboard: Keyboard) -> list[dict[str, Any]]:
    """Return the quote as a picture and, with the buttons under it, as a PDF."""
    return [
        {"file": "png", "estimate": estimate_id},
        {"file": "pdf", "estimate": estimate_id, "keyboard": keyboard},
    ]


def _number(saved: Saved) -> str:
    return f"{saved.created_at.astimezone(KOREA):%Y%m%d}-{saved.id}"


def _list_line(saved: Saved) -> str:
    estimate = Estimate.model_validate(saved.result)
    day = saved.updated_at.astimezone(KOREA)
    return (
        f"{day.month}/{day.day} {wording.title(estimate.slots)} · {wording.total(estimate.total)}"
    )
