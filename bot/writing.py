"""The answers that this process is writing: shown while they grow, stopped half way."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from bot import texts
from bot.adapters import Chat
from bot.consult import Consultant, Consultation, Stop
from bot.delivery import Delivery, Run
from bot.outbound import AnswerStream, Outbound
from db.models import Way
from db.queries import Exchange, Turn


class Writer:
    """Writes answers, one at a time in a chat."""

    def __init__(
        self, outbound: Outbound, delivery: Delivery, consultant: Consultant, bot_id: int
    ) -> None:
        self._outbound = outbound
        self._delivery = delivery
        self._consultant = consultant
        self._bot_id = bot_id
        self._writing: dict[int, _Writing] = {}  # by chat

    def begin(self, turn: Turn) -> None:
        """Note that a turn is under way, so that it can be stopped from its first moment on."""
        self._writing[turn.chat_id] = _Writing(turn.message_id)

    def end(self, turn: Turn) -> None:
        """Note that a turn's answer is written."""
        del self._writing[turn.chat_id]

    def is_stopped(self, turn: Turn) -> bool:
        """Return whether a turn that is under way was stopped."""
        writing = self._writing.get(turn.chat_id)
        return writing is not None and writing.stop.called

    def abandon(self) -> None:
        """Cut off every answer that is being written; what is being sent goes on."""
        for writing in self._writing.values():
            if writing.task:
                writing.task.cancel()

    def stop(self, turn: Turn, *, anything: bool) -> bool:
        """Stop what is being written in the chat of the stop `turn`; False where nothing is.

        Without `anything` only the answer that the pressed button stands under is stopped.
        """
        writing = self._writing.get(turn.chat_id)
        if writing is None or writing.message_id > turn.message_id:
            return False  # or the stop came late, and was meant for an answer before this one
        is_pressed = turn.text == f"draft:{writing.message_id}" or (
            turn.callback_id is not None and turn.telegram_message_id == writing.shown_id
        )
        if anything or is_pressed:
            writing.cancel()
        return True

    async def write(self, run: Run, text: str, past: list[Exchange]) -> Consultation:
        """Work out the answer to `text` while it is shown growing."""
        turn, answer = run.turn, run.answer
        writing = self._writing[turn.chat_id]
        writing.shown_id = answer.sent_ids[0] if answer.sent_ids else None

        async def note_message(message_id: int) -> None:
            writing.shown_id = message_id
            await self._delivery.note_sent(run, [message_id])

        stream = self._outbound.stream(
            turn.chat_id,
            None if turn.drafts_refused else turn.message_id,
            writing.shown_id,
            note_message,
        )
        try:
            async with stream:
                steps = self._consultant.answer(
                    text,
                    past,
                    writing.stop,
                    tokens_today=turn.tokens_today,
                    chat=Chat(self._bot_id, turn.chat_id),
                )
                writing.task = asyncio.create_task(_follow(steps, stream))
                if writing.stop.called:
                    writing.task.cancel()
                try:
                    return await writing.task
                except asyncio.CancelledError:
                    current = asyncio.current_task()
                    if not writing.stop.called or (current and current.cancelling()):
                        raise  # the process is going down; whoever comes next takes the turn up
                    # Stopped before its first step.
                    return Consultation(texts.STOPPED, Way.FIXED, stopped=True)
        finally:
            run.drafts_refused = stream.drafts_refused


@dataclass(slots=True)
class _Writing:
    """The answer that is being written in a chat."""

    message_id: int
    stop: Stop = field(default_factory=Stop)
    task: asyncio.Task[Consultation] | None = None
    shown_id: int | None = None  # the growing message, where it is one

    def cancel(self) -> None:
        """End the writing; what stands so far becomes the answer."""
        self.stop.called = True
        if self.task:
            self.task.cancel()


async def _follow(steps: AsyncGenerator[str | Consultation], stream: AnswerStream) -> Consultation:
    """Let `stream` grow with the steps and return the consultation they end with."""
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Consultation):
                return step
            stream.grow(step)
    raise AssertionError
