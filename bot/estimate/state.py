"""A form and what a step makes of it: values without behaviour, stored as JSON."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bot.estimate.slots import Slots

Buttons = list[list[dict[str, str]]]  # `data` without the estimate it belongs to


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

    # Errors end up in the log.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

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
