"""One turn: a stored message in, its one answer out; stopping an answer on its way."""

from contextlib import suppress
from dataclasses import replace

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars
from telegram.error import BadRequest, ChatMigrated, Forbidden, TelegramError

from bot import fixed, keyboards, metrics, texts
from bot.admin.invitations import Invitations
from bot.consult import Consultant, Consultation
from bot.delivery import Delivery, Run, Speaker
from bot.estimate import desk
from bot.estimate import wording as estimate_wording
from bot.estimate.desk import Desk, Reply
from bot.formatting import parse
from bot.handoff import Switchboard
from bot.listening import Listener
from bot.outbound import Keyboard, Outbound
from bot.privacy import Privacy, Terms
from bot.writing import Writer
from db import estimates, feedback, queries, recordings
from db.claims import ClaimLostError
from db.database import Database, Work, is_passing
from db.models import Kind, Way, utc_now
from db.queries import Turn
from inference.prompts import MAX_QUESTION_CHARS

log = structlog.get_logger()

_PAST_EXCHANGES = 8
_COMMANDS: dict[str, tuple[str, Keyboard]] = {
    "start": (texts.GREETING, keyboards.START),
    "help": (texts.HELP, []),
    "new": (texts.NEW_CONVERSATION, []),
}
_SAYING_KINDS = {Kind.TEXT, Kind.VOICE, Kind.OTHER, Kind.EXCESS}
_VERDICTS = {"up": 1, "down": -1}


class UnfinishedError(Exception):
    """A turn could not end, and may be run again later."""


class Turns:
    """Runs turns; holds nothing that a restart would lose."""

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        consultant: Consultant,
        desk: Desk,
        listener: Listener,
        speaker: Speaker,
        invitations: Invitations,
        switchboard: Switchboard,
        bot_id: int,
        terms: Terms,
    ) -> None:
        self._database = database
        self._outbound = outbound
        self._consultant = consultant
        self._desk = desk
        self._listener = listener
        self._speaker = speaker
        self._invitations = invitations
        self._switchboard = switchboard
        self._delivery = Delivery(database, outbound, desk, speaker, bot_id, terms.notice)
        self._privacy = Privacy(database, outbound, self._delivery, desk, terms)
        self._bot_id = bot_id
        self._writer = Writer(outbound, self._delivery, consultant, bot_id)

    async def run(self, turn: Turn, worker_id: str) -> Work[None]:
        """Run one turn: an answer, or an apology; silence only where a human answers.

        Returns what is to be noted with the turn's end, in the same transaction: the shorter
        the time between Telegram's acceptance and that, the rarer an answer comes twice.
        Raises `ClaimLostError` where another worker has the turn, `UnfinishedError` where it
        has to be run again.
        """
        if turn.blocked:
            return _note_nothing
        if _is_question(turn):  # before anything is awaited: a stop may follow at once
            self._writer.begin(turn)
        with bound_contextvars(turn=turn.message_id):
            try:
                ending = await self._dispatch(Run(turn, worker_id))
            except ClaimLostError:
                raise
            except Forbidden:
                log.info("customer_unreachable")
                metrics.TURNS.labels("unreachable").inc()
                return lambda c: queries.block_chat(c, self._bot_id, turn.chat_id)
            except (BadRequest, ChatMigrated) as error:
                log.exception("telegram_refused", error=error.message)
                metrics.TURNS.labels("refused").inc()
                return _note_nothing
            except TelegramError as error:
                log.warning("turn_left_unfinished", error=type(error).__name__)
                raise UnfinishedError from error
            except Exception as error:
                log.exception("turn_failed", kind=turn.kind)
                metrics.TURNS.labels(Way.FAILED).inc()
                if turn.kind == Kind.ADMIN or _is_for_human(turn):
                    return _note_nothing
                return await self._apologize(turn, type(error).__name__)
            finally:
                if _is_question(turn):
                    self._writer.end(turn)
        metrics.ANSWER.observe((utc_now() - turn.received_at).total_seconds())
        return ending

    def abandon(self) -> None:
        """Cut off every answer that is being written; what is being sent goes on."""
        self._writer.abandon()

    async def _dispatch(self, run: Run) -> Work[None]:
        if _is_for_human(run.turn):
            return await self._leave_to_human(run)
        match run.turn.kind:
            case Kind.STOP:
                return await self._stop(run)
            case Kind.BUTTON:
                return await self._press(run)
            case Kind.RATING:
                return await self._rate(run)
            case Kind.COMMAND:
                return await self._obey(run)
            case Kind.TEXT if len(run.turn.text) > MAX_QUESTION_CHARS:
                return await self._say(run, texts.TOO_LONG.format(limit=MAX_QUESTION_CHARS))
            case Kind.TEXT:
                return await self._hear(run)
            case Kind.VOICE:
                return await self._listen(run)
            case Kind.EXCESS:
                if run.turn.callback_id:
                    await self._acknowledge(run)
                return await self._say(run, texts.TOO_FAST)
            case Kind.OTHER:
                return await self._say(run, texts.TEXT_ONLY)
            case Kind.ADMIN:
                return await self._reply(run, Reply(run.turn.text), Way.FIXED)

    async def _leave_to_human(self, run: Run) -> Work[None]:
        """Say nothing, but make text of a voice message: the human reads."""
        metrics.TURNS.labels("left_to_human").inc()
        if run.turn.callback_id:
            await self._acknowledge(run)
        if run.turn.kind == Kind.VOICE and self._listener.is_on:
            await self._listener.listen(run.turn, quietly=True)
        return _note_nothing

    async def _obey(self, run: Run) -> Work[None]:
        """Do what a command says."""
        turn = run.turn
        name, _, payload = turn.text.partition(" ")
        if name == "admin" and (ending := await self._invite(run)):
            return ending
        if run.answer.text is not None:
            return await self._delivery.send(run)
        key = payload.removeprefix(desk.LINK)
        match name:
            case "start" if key != payload and queries.is_id(key):
                reply = await self._desk.show(turn, int(key))
                return await self._reply(run, reply or Reply(estimate_wording.HAS_ENDED))
            case "estimate":
                return await self._reply(run, await self._desk.start(turn))
            case "human":
                return await self._call_human(run)
            case "voice":
                return await self._ask_how_to_answer(run)
            case "privacy":
                return await self._privacy.explain(run)
            case "delete_me":
                return await self._privacy.ask(run)
            case "estimates":
                return await self._reply(run, await self._desk.show_all(turn))
        text, keyboard = _COMMANDS.get(name, (texts.UNKNOWN_COMMAND, []))
        offer = await self._desk.unfinished(turn) if name == "start" else None
        aside = await self._desk.set_aside(turn) if name == "new" else None
        more = [{"text": offer.text, "keyboard": offer.keyboard}] if offer else []
        return await self._reply(run, Reply(text, keyboard, more, aside), Way.FIXED)

    async def _invite(self, run: Run) -> Work[None] | None:
        """Send one of the shop's people a login link; None for anybody else, or in a group."""
        turn = run.turn
        person = await self._database.insist(lambda c: queries.customer(c, turn.customer_id))
        invitation = self._invitations.invite(person.telegram_id)
        if invitation is None or turn.chat_id != person.telegram_id:
            return None
        if run.answer.text is None:
            # Whoever reads the conversation must not find the way in.
            await self._delivery.keep(run, text=texts.ADMIN_LINK_SENT, keyboard=[], way=Way.FIXED)
        await self._database.insist(invitation.write)
        run.answer.text = invitation.text
        return await self._delivery.send(run)

    async def _reply(self, run: Run, reply: Reply, way: Way = Way.FORM) -> Work[None]:
        """Keep and send what the desk answers."""
        if run.answer.text is None:
            await self._delivery.keep(
                run,
                text=reply.text,
                keyboard=reply.keyboard,
                more=reply.more,
                also=reply.write,
                way=way,
            )
        return await self._delivery.send(run)

    async def _stop(self, run: Run) -> Work[None]:
        """Stop what is being written."""
        turn = run.turn
        is_command = turn.text == "stop" and turn.callback_id is None
        if not self._writer.stop(turn, anything=is_command) and is_command:
            return await self._say(run, texts.NOTHING_TO_STOP)
        if turn.callback_id:
            await self._acknowledge(run)
        return _note_nothing

    async def _press(self, run: Run) -> Work[None]:
        what, *rest = run.turn.text.split(":")
        match what, rest:
            case "go", ["estimate"]:
                await self._acknowledge(run)
                if run.answer.text is not None:
                    return await self._delivery.send(run)
                return await self._reply(run, await self._desk.start(run.turn))
            case "go", ["consult"]:
                await self._acknowledge(run)
                aside = await self._desk.set_aside(run.turn)
                return await self._reply(run, Reply(texts.CONSULT, write=aside), Way.FIXED)
            case "go", ["human"]:
                await self._acknowledge(run)
                return await self._call_human(run)
            case "est", _:
                return await self._press_estimate(run)
            case "ask", _:
                return await self._ask_suggested(run)
            case "heard", ["yes", message_id] if queries.is_id(message_id):
                return await self._take_as_said(run, int(message_id))
            case "heard", ["mend", _]:
                await self._acknowledge(run)
                return await self._say(run, texts.MEND)
            case "forget", ["yes" | "no" as choice, message_id] if queries.is_id(message_id):
                return await self._privacy.choose(run, choice, int(message_id))
            case "voice", [choice] if choice in {"on", "off"}:
                await self._acknowledge(run)
                return await self._choose_how_to_answer(run, on=choice == "on")
            case "src", [message_id] if queries.is_id(message_id):
                return await self._show_sources(run, int(message_id))
        await self._acknowledge(run, texts.EXPIRED_BUTTON)
        return _note_nothing

    async def _press_estimate(self, run: Run) -> Work[None]:
        turn = run.turn
        if run.answer.text is not None:  # an earlier try got this far
            return await self._delivery.send(run)
        reply = await self._desk.press(turn, turn.text)
        if reply is None:
            await self._acknowledge(run, texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._acknowledge(run)
        ending = await self._reply(run, reply)
        if reply.is_done and turn.telegram_message_id is not None:
            await self._outbound.replace_keyboard(turn.chat_id, turn.telegram_message_id, [])
        return ending

    async def _acknowledge(self, run: Run, text: str = "") -> None:
        await self._outbound.acknowledge(run.turn.callback_id or "", text)

    async def _rate(self, run: Run) -> Work[None]:
        turn = run.turn
        match turn.text.split(":"):
            case [_, message_id, verdict] if queries.is_id(message_id) and verdict in _VERDICTS:
                pass
            case _:
                await self._acknowledge(run, texts.EXPIRED_BUTTON)
                return _note_nothing

        def rate(connection: Connection) -> feedback.ShownAnswer | None:
            answer = feedback.answer_in_chat(
                connection, int(message_id), self._bot_id, turn.chat_id
            )
            if answer:
                feedback.rate(connection, answer.id, turn.customer_id, _VERDICTS[verdict])
            return answer

        shown = await self._database.insist(rate)
        if shown is None or turn.telegram_message_id is None:
            await self._acknowledge(run, texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._acknowledge(run, texts.THANKS_UP if verdict == "up" else texts.THANKS_DOWN)
        await self._outbound.replace_keyboard(
            turn.chat_id, turn.telegram_message_id, keyboards.mark(shown.keyboard, verdict)
        )
        return _note_nothing

    async def _show_sources(self, run: Run, message_id: int) -> Work[None]:
        answer = await self._database.insist(
            lambda c: feedback.answer_in_chat(c, message_id, self._bot_id, run.turn.chat_id)
        )
        if answer is None:
            await self._acknowledge(run, texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._acknowledge(run)
        lines = [f"{n}. {s['question']} ({s['id']})" for n, s in enumerate(answer.sources, 1)]
        text = "\n".join([texts.SOURCES, "", *lines]) if lines else texts.NO_SOURCES
        return await self._say(run, text)

    async def _apologize(self, turn: Turn, error: str) -> Work[None]:
        """Say that something went wrong; nothing here hangs on what has just failed."""
        with suppress(TelegramError):
            await self._outbound.send(turn.chat_id, parse(texts.FAILED), [])

        def note(connection: Connection) -> None:
            try:
                with connection.begin_nested():
                    queries.write_answer(
                        connection, turn.message_id, text=texts.FAILED, way=Way.FAILED, error=error
                    )
            except SQLAlchemyError as failure:
                if is_passing(failure):
                    raise

        return note

    async def _say(self, run: Run, text: str) -> Work[None]:
        """Answer with a fixed text."""
        return await self._reply(run, Reply(text), Way.FIXED)

    async def _hear(self, run: Run) -> Work[None]:
        """Take a text: for the estimate that asks, or as a question."""
        turn = run.turn
        if run.answer.text is not None:  # an earlier try got this far
            return await self._delivery.send(run)

        past, saved = await self._look_back(run)
        reply = self._desk.hear(turn, saved)
        if reply and not reply.consult:
            return await self._reply(run, reply)
        return await self._consult(run, turn.text, past, reply)

    async def _listen(self, run: Run) -> Work[None]:
        """Take a voice message: as said where it was heard well, else ask."""
        if run.answer.text is not None:
            return await self._delivery.send(run)
        if not self._listener.is_on:
            return await self._say(run, texts.VOICE_OFF)
        heard = await self._listener.listen(run.turn)
        is_long = len(heard.said or "") > MAX_QUESTION_CHARS
        if heard.outcome == "sure" and heard.said and not is_long:
            await self._listener.show(run.turn, heard)
            if self._writer.is_stopped(run.turn):
                return await self._say(run, texts.STOPPED)
            run.turn = replace(run.turn, text=heard.said, spoken_id=run.turn.message_id)
            return await self._hear(run)
        if heard.notice_id is not None and not run.answer.sent_ids:
            # What says that it listens becomes the answer.
            await self._delivery.note_sent(run, [heard.notice_id])
        if self._writer.is_stopped(run.turn):
            return await self._say(run, texts.STOPPED)
        if is_long:
            return await self._say(run, texts.TOO_LONG.format(limit=MAX_QUESTION_CHARS))
        if heard.outcome == "unsure" and heard.said:
            question = texts.DID_YOU_SAY.format(text=heard.said)
            reply = Reply(question, keyboards.confirm(run.turn.message_id))
            return await self._reply(run, reply, Way.FIXED)
        return await self._say(run, self._listener.explain(heard))

    async def _take_as_said(self, run: Run, message_id: int) -> Work[None]:
        """Take what was not heard well as said, now that the customer confirms it."""
        turn = run.turn

        def confirm(ending: Work[None]) -> Work[None]:
            def note(connection: Connection) -> None:
                recordings.confirm(connection, message_id)
                ending(connection)

            return note

        if run.answer.text is not None:
            await self._acknowledge(run)
            return confirm(await self._delivery.send(run))
        heard = await self._database.insist(
            lambda c: recordings.find_unsure(c, message_id, turn.customer_id)
        )
        if heard is None or not heard.said:
            await self._acknowledge(run, texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._acknowledge(run)
        if turn.telegram_message_id is not None:
            await self._outbound.replace_keyboard(turn.chat_id, turn.telegram_message_id, [])
        run.turn = replace(turn, text=heard.said, spoken_id=message_id)
        return confirm(await self._hear(run))

    async def _ask_how_to_answer(self, run: Run) -> Work[None]:
        if not self._speaker.is_on:
            return await self._say(run, texts.VOICE_ANSWERS_OFF)
        now = texts.NOW_SPOKEN if run.turn.speaks else texts.NOW_WRITTEN
        reply = Reply(texts.HOW_TO_ANSWER.format(now=now), keyboards.VOICE)
        return await self._reply(run, reply, Way.FIXED)

    async def _choose_how_to_answer(self, run: Run, *, on: bool) -> Work[None]:
        """Remember whether answers are to be spoken, from the answer to this on."""
        if run.answer.text is not None:
            return await self._delivery.send(run)
        if on and not self._speaker.is_on:
            return await self._say(run, texts.VOICE_ANSWERS_OFF)
        turn = run.turn
        run.turn = replace(turn, speaks=on)
        text = texts.ANSWERS_SPOKEN if on else texts.ANSWERS_WRITTEN
        reply = Reply(text, write=lambda c: recordings.speak(c, turn.customer_id, on=on))
        return await self._reply(run, reply, Way.FIXED)

    async def _look_back(self, run: Run) -> tuple[list[queries.Exchange], estimates.Saved | None]:
        """Return what was consulted on before, and the customer's latest estimate."""
        turn = run.turn

        def look(connection: Connection) -> tuple[list[queries.Exchange], estimates.Saved | None]:
            return (
                queries.history(connection, turn.conversation_id, turn.message_id, _PAST_EXCHANGES),
                estimates.latest(connection, self._bot_id, turn.chat_id, turn.customer_id),
            )

        return await self._database.insist(look)

    async def _ask_suggested(self, run: Run) -> Work[None]:
        """Take a pressed question as if it had been written."""
        if run.answer.text is not None:
            await self._acknowledge(run)
            return await self._delivery.send(run)
        entry = self._consultant.retriever.entry(run.turn.text.removeprefix(keyboards.ASK_DATA))
        if entry is None:  # removed since
            await self._acknowledge(run, texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._acknowledge(run)
        past, _ = await self._look_back(run)
        return await self._consult(run, entry.questions[0], past)

    async def _consult(
        self, run: Run, text: str, past: list[queries.Exchange], reply: Reply | None = None
    ) -> Work[None]:
        result = await self._writer.write(run, text, past)
        if result.kind == fixed.HUMAN:
            return await self._call_human(run, reply)
        if result.asked is None and run.turn.kind == Kind.BUTTON:
            result = replace(result, asked=text)
        await self._keep_consultation(run, result, reply)
        return await self._delivery.send(run)

    async def _call_human(self, run: Run, reply: Reply | None = None) -> Work[None]:
        """Call for a human; then comes what an open estimate has to say."""
        turn = run.turn
        if run.answer.text is not None:
            return await self._delivery.send(run)
        past, _ = await self._look_back(run)
        called = await self._switchboard.call(
            turn, self._consultant.human, past[-1].question if past else texts.NO_QUESTION
        )
        after = reply or Reply()

        def write(connection: Connection) -> None:
            for work in (called.write, after.write):
                if work:
                    work(connection)

        answer = Reply(called.text, more=[*called.more, *after.more], write=write)
        return await self._reply(run, answer, Way.FIXED)

    async def _keep_consultation(self, run: Run, result: Consultation, reply: Reply | None) -> None:
        """Keep an answer, with what the estimate says after it."""
        usage = result.usage
        metrics.FIRST_TEXT.observe(result.first_token_s or result.total_s)
        await self._delivery.keep(
            run,
            more=reply.more if reply else [],
            also=reply.write if reply else None,
            text=result.text,
            keyboard=self._answer_keyboard(run, result, in_form=reply is not None),
            way=result.way,
            spent=result.tokens_spent,
            stopped=result.stopped,
            asked=result.asked,
            sources=result.sources,
            confidence=result.confidence,
            model=result.model,
            adapter=result.adapter,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            first_token_s=result.first_token_s,
            total_s=result.total_s,
            error=result.error,
        )

    def _answer_keyboard(self, run: Run, result: Consultation, *, in_form: bool) -> Keyboard:
        """Return the buttons under an answer; within a form the form's own lead on."""
        rated = result.way not in {Way.FIXED, Way.FAILED}
        rows = keyboards.rating(run.turn.message_id) if rated else []
        if in_form:
            return rows
        heard = [name for name in result.offers if name != "human" or self._desk.admins]
        return [*rows, *keyboards.suggestions(result.suggestions), *keyboards.offers(heard)]


def _is_question(turn: Turn) -> bool:
    """Return whether a turn's answer is written while the customer looks on."""
    return (turn.kind in {Kind.TEXT, Kind.VOICE} and not _is_for_human(turn)) or (
        turn.kind == Kind.BUTTON
        and turn.text.startswith((keyboards.ASK_DATA, keyboards.RIGHT_DATA))
    )


def _is_for_human(turn: Turn) -> bool:
    """Return whether a turn says something to the admin who has the chat, not to the bot.

    What the bot began to answer before, it answers to the end.
    """
    is_begun = turn.answer.text is not None or bool(turn.answer.sent_ids)
    return turn.taken and turn.kind in _SAYING_KINDS and not is_begun


def _note_nothing(_: Connection) -> None:
    """Write nothing with a turn's end."""
