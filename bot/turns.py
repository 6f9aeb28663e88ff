"""The turn loop: a stored message in, its one answer out; order within a chat, stop, recovery."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars
from telegram.error import BadRequest, Forbidden, TelegramError
from telegram.ext import BaseUpdateProcessor

from bot import texts
from bot.consult import Consultant, Consultation, Stop
from bot.outbound import AnswerStream, Keyboard, Outbound, split
from db import queries
from db.models import Answer, Kind, Way, utc_now
from db.queries import Turn
from db.sessions import Sessions
from inference.prompts import MAX_QUESTION_CHARS

log = structlog.get_logger()

_PAST_EXCHANGES = 4
_START_KEYBOARD: Keyboard = [
    [
        {"text": texts.BUTTON_ESTIMATE, "data": "go:estimate"},
        {"text": texts.BUTTON_CONSULT, "data": "go:consult"},
    ]
]
_COMMANDS = {
    "start": (texts.GREETING, _START_KEYBOARD),
    "help": (texts.HELP, []),
    "new": (texts.NEW_CONVERSATION, []),
}
_VERDICTS = {"up": 1, "down": -1}
_ID = re.compile(r"[0-9]{1,15}")


class ChatOrder(BaseUpdateProcessor):
    """Runs the turns of one chat in order and chats side by side; stops pass the queue."""

    def __init__(self) -> None:
        # The base class's bound would let one chat's waiting turns keep every other chat out.
        super().__init__(max_concurrent_updates=1_000_000)
        self._chats: dict[int, _Queue] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._held: set[int] = set()  # ids of the messages whose turns wait or run

    def holds(self, turn: Turn) -> bool:
        """Return whether a turn waits or runs here."""
        return turn.message_id in self._held

    async def do_process_update(self, update: object, coroutine: Awaitable[Any]) -> None:
        """Run `coroutine` when the turns before it in its chat have ended."""
        task = asyncio.current_task()
        if not isinstance(update, Turn) or task is None:
            await coroutine
            return
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._held.add(update.message_id)
        try:
            await self._run_in_order(update, coroutine)
        finally:
            self._held.discard(update.message_id)
            if isinstance(coroutine, Coroutine):
                coroutine.close()  # parked before its turn came, it was never begun

    async def _run_in_order(self, update: Turn, coroutine: Awaitable[Any]) -> None:
        if passes_queue(update):
            await coroutine
            return
        queue = self._chats.setdefault(update.chat_id, _Queue(asyncio.Lock()))
        queue.length += 1
        try:
            async with queue.lock:
                await coroutine
        finally:
            queue.length -= 1
            if not queue.length:
                del self._chats[update.chat_id]

    async def initialize(self) -> None:
        """Do nothing: there is nothing to open."""

    async def shutdown(self) -> None:
        """Do nothing: `park` has ended what ran."""

    async def park(self, grace_s: float) -> None:
        """Let running turns end for `grace_s`, then leave the rest to the next start."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        for task in list(self._running):
            task.cancel()


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock
    length: int = 0


def passes_queue(turn: Turn) -> bool:
    """Return whether a turn is run at once: stops, and 👍/👎, which depend on no other turn."""
    return turn.kind == Kind.STOP or (turn.kind == Kind.BUTTON and turn.text.startswith("rate:"))


class Turns:
    """Runs turns; holds nothing that a restart would lose."""

    def __init__(self, sessions: Sessions, outbound: Outbound, consultant: Consultant) -> None:
        self._sessions = sessions
        self._outbound = outbound
        self._consultant = consultant
        self._writing: dict[int, _Writing] = {}  # by chat

    async def run(self, turn: Turn) -> None:
        """Run one turn to its end: an answer, or an apology, never silence.

        What the database or Telegram's login keeps from ending is taken up again later.
        """
        if turn.kind == Kind.TEXT:  # before anything is awaited: a stop may follow at once
            self._writing[turn.chat_id] = _Writing(turn.message_id)
        with bound_contextvars(turn=turn.message_id):
            try:
                await self._dispatch(turn)
            except Forbidden:
                log.info("customer_unreachable")
            except BadRequest as error:
                log.exception("telegram_refused", error=error.message)
            except TelegramError as error:
                log.warning("turn_left_unfinished", error=type(error).__name__)
                return
            except Exception as error:
                log.exception("turn_failed", kind=turn.kind)
                with suppress(TelegramError):
                    await self._apologize(turn, type(error).__name__)
            finally:
                if turn.kind == Kind.TEXT:
                    del self._writing[turn.chat_id]
            async with self._sessions.begin() as session:
                await queries.finish(session, turn.message_id)

    async def _dispatch(self, turn: Turn) -> None:
        match turn.kind:
            case Kind.STOP:
                await self._stop(turn)
            case Kind.BUTTON:
                await self._press(turn)
            case Kind.COMMAND:
                text, keyboard = _COMMANDS.get(turn.text, (texts.UNKNOWN_COMMAND, []))
                await self._say(turn, text, keyboard)
            case Kind.TEXT if len(turn.text) > MAX_QUESTION_CHARS:
                await self._say(turn, texts.TOO_LONG.format(limit=MAX_QUESTION_CHARS))
            case Kind.TEXT:
                await self._consult(turn)
            case Kind.OTHER:
                await self._say(turn, texts.TEXT_ONLY)

    async def _stop(self, turn: Turn) -> None:
        """Stop what is being written; a button only stops the answer it stands under."""
        if turn.callback_id:
            await self._outbound.acknowledge(turn.callback_id)
        writing = self._writing.get(turn.chat_id)
        if turn.text == "stop" and turn.callback_id is None:
            if writing:
                writing.cancel()
            else:
                await self._say(turn, texts.NOTHING_TO_STOP)
        elif writing and (
            turn.text == f"draft:{writing.message_id}"
            or (turn.callback_id and turn.telegram_message_id == writing.shown_id)
        ):
            writing.cancel()

    async def _press(self, turn: Turn) -> None:
        what, *rest = turn.text.split(":")
        match what, rest:
            case "go", ["estimate"]:
                await self._acknowledge(turn)
                await self._say(turn, texts.ESTIMATE_NOT_YET)
            case "go", ["consult"]:
                await self._acknowledge(turn)
                await self._say(turn, texts.CONSULT)
            case "rate", [answer_id, verdict] if _ID.fullmatch(answer_id) and verdict in _VERDICTS:
                await self._rate(turn, int(answer_id), verdict)
            case "src", [answer_id] if _ID.fullmatch(answer_id):
                await self._show_sources(turn, int(answer_id))
            case _:
                await self._acknowledge(turn, texts.EXPIRED_BUTTON)

    async def _acknowledge(self, turn: Turn, text: str = "") -> None:
        await self._outbound.acknowledge(turn.callback_id or "", text)

    async def _rate(self, turn: Turn, answer_id: int, verdict: str) -> None:
        async with self._sessions.begin() as session:
            answer = await queries.answer_in_chat(session, answer_id, turn.chat_id)
            if answer:
                await queries.rate(session, answer.id, turn.customer_id, _VERDICTS[verdict])
        if answer is None or turn.telegram_message_id is None:
            await self._acknowledge(turn, texts.EXPIRED_BUTTON)
            return
        await self._acknowledge(turn, texts.THANKS_UP if verdict == "up" else texts.THANKS_DOWN)
        await self._outbound.replace_keyboard(
            turn.chat_id, turn.telegram_message_id, _answer_keyboard(answer.id, verdict)
        )

    async def _show_sources(self, turn: Turn, answer_id: int) -> None:
        async with self._sessions.begin() as session:
            answer = await queries.answer_in_chat(session, answer_id, turn.chat_id)
        if answer is None:
            await self._acknowledge(turn, texts.EXPIRED_BUTTON)
            return
        await self._acknowledge(turn)
        lines = [f"{n}. {s['question']} ({s['id']})" for n, s in enumerate(answer.sources, 1)]
        await self._say(turn, "\n".join([texts.SOURCES, "", *lines]) if lines else texts.NO_SOURCES)

    async def _apologize(self, turn: Turn, error: str) -> None:
        try:
            await self._say(turn, texts.FAILED, error=error)
        except SQLAlchemyError:  # the apology must not hang on what has just failed
            await self._outbound.send(turn.chat_id, texts.FAILED, [])

    async def _say(
        self, turn: Turn, text: str, keyboard: Keyboard | None = None, error: str | None = None
    ) -> None:
        """Answer with a fixed text."""
        async with self._sessions.begin() as session:
            answer = await queries.open_answer(session, turn.message_id)
            if answer.text is None:
                answer.text, answer.keyboard = text, keyboard or []
                answer.way, answer.error = (Way.FAILED if error else Way.FIXED), error
        await self._deliver(turn, answer)

    async def _consult(self, turn: Turn) -> None:
        async with self._sessions.begin() as session:
            answer = await queries.open_answer(session, turn.message_id)
            past = await queries.history(
                session, turn.conversation_id, turn.message_id, _PAST_EXCHANGES
            )
        if answer.text is None:  # else an earlier try got this far
            result = await self._write(turn, answer, past)
            await self._keep(answer, result)
        await self._deliver(turn, answer)

    async def _write(
        self, turn: Turn, answer: Answer, past: list[queries.Exchange]
    ) -> Consultation:
        """Work out the answer while it is shown growing."""
        writing = self._writing[turn.chat_id]
        writing.shown_id = answer.sent_ids[0] if answer.sent_ids else None

        async def note_message(message_id: int) -> None:
            writing.shown_id = message_id
            await self._set(answer, sent_ids=[message_id])

        stream = self._outbound.stream(
            turn.chat_id, turn.message_id, writing.shown_id, note_message
        )
        async with stream:
            steps = self._consultant.answer(turn.text, past, writing.stop)
            writing.task = asyncio.create_task(_follow(steps, stream))
            if writing.stop.called:
                writing.task.cancel()
            try:
                return await writing.task
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if not writing.stop.called or (current and current.cancelling()):
                    raise  # the process is going down; the next start takes the turn up
                return Consultation(texts.STOPPED, Way.FIXED, stopped=True)  # before its first step

    async def _keep(self, answer: Answer, result: Consultation) -> None:
        """Store the finished answer before it is sent."""
        usage = result.usage
        rated = result.way not in {Way.FIXED, Way.FAILED}
        await self._set(
            answer,
            text=result.text,
            keyboard=_answer_keyboard(answer.id) if rated else [],
            way=result.way,
            stopped=result.stopped,
            sources=result.sources,
            confidence=result.confidence,
            model=result.model,
            adapter=self._consultant.adapter if usage else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            first_token_s=result.first_token_s,
            total_s=result.total_s,
            error=result.error,
        )

    async def _deliver(self, turn: Turn, answer: Answer) -> None:
        """Send the stored answer, or the parts of it that an earlier try did not send."""
        parts = [part for part in split(answer.text or "") if part.strip()]
        for number, part in enumerate(parts):
            rows = answer.keyboard if number == len(parts) - 1 else []
            begun, ids = answer.sent_ids[number : number + 1], answer.sent_ids[:number]
            if begun:
                try:
                    await self._outbound.edit(turn.chat_id, begun[0], part, rows)
                    continue
                except BadRequest:  # somebody deleted it
                    log.info("growing_message_gone")
            sent = await self._outbound.send(turn.chat_id, part, rows)
            await self._set(answer, sent_ids=[*ids, sent])
        await self._set(answer, sent_at=utc_now())

    async def _set(self, answer: Answer, **values: Any) -> None:  # noqa: ANN401 - column values
        """Write columns of an answer, in the database and in the object at hand."""
        async with self._sessions.begin() as session:
            session.add(answer)
            for name, value in values.items():
                setattr(answer, name, value)


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


def _answer_keyboard(answer_id: int, verdict: str | None = None) -> Keyboard:
    """Return the buttons under an answer, the pressed verdict marked."""
    up, down = (
        {"text": text + (" ✓" if verdict == name else ""), "data": f"rate:{answer_id}:{name}"}
        for name, text in (("up", texts.BUTTON_UP), ("down", texts.BUTTON_DOWN))
    )
    return [[up, down, {"text": texts.BUTTON_SOURCES, "data": f"src:{answer_id}"}]]
