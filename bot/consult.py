"""A question in, a grounded answer out: inquiry, prompt, model, check, fallback."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot import fixed, metrics, texts
from bot.adapters import Adapters, Chat
from bot.gate import FullError, Gate
from bot.inquiry import MOST_SUGGESTED, Inquiry, inquire
from bot.settings import AnswerPolicy
from db.arms import ADAPTER_MISSED
from db.models import Way
from db.queries import Exchange
from inference import check, prompts
from inference.client import ChatMessage, Failure, ModelClient, ModelError, Usage
from inference.followups import Lean
from inference.knowledge import Entry
from inference.retrieval import Retriever

log = structlog.get_logger()

# Entries that a model is given: a small one mixes more of them up, and reads them slowly.
_HITS: dict[AnswerPolicy, int] = {"careful": 2, "model": 4}

_SAY_WAITING_EVERY_S = 2.0

# What may be one adapter's trouble alone: not loaded, broken. Another is asked instead. A server
# that is full or loading turns all of them away.
_OF_AN_ADAPTER = {Failure.REFUSED, Failure.BROKEN}


@dataclass(frozen=True, slots=True)
class Consultation:
    """An answer with the facts of how it came; times in seconds since the question.

    `asked` is the question in full, where it leaned on earlier turns; `offers` are what is held
    out beside the answer, "estimate" and "human". `model` is the last that was to answer, whether
    it did or not, None where none was; `adapter` is None for the base model, too.
    """

    text: str
    way: Way
    sources: list[dict[str, Any]] = field(default_factory=list)
    confidence: float = 0.0
    usage: Usage | None = None
    model: str | None = None
    adapter: str | None = None
    first_token_s: float | None = None
    total_s: float = 0.0
    error: str | None = None
    stopped: bool = False
    tokens_spent: int = 0  # as the server counted; guessed where the answer was cut off
    asked: str | None = None
    suggestions: list[Entry] = field(default_factory=list)
    offers: tuple[str, ...] = ()
    kind: str | None = None  # of a text that has a fixed answer

    @property
    def is_answer(self) -> bool:
        """Whether something was found to say."""
        return self.way not in {Way.UNSURE, Way.DECLINED}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model is given at most: tokens of one request, and of a customer's day (0: any)."""

    context_tokens: int
    tokens_a_day: int = 0


class Consultant:
    """Answers questions from knowledge; the model helps, the knowledge decides."""

    def __init__(
        self,
        retriever: Retriever,
        client: ModelClient,
        *,
        policy: AnswerPolicy,
        check_answers: bool = True,
        limits: Limits,
        gate: Gate,
        adapters: Adapters,
        phone: str = "",
    ) -> None:
        self.retriever = retriever  # another takes its place when the knowledge changes
        self._adapters = adapters
        self._limits = limits
        self._gate = gate
        self._client = client
        self._policy = policy
        self._check_answers = check_answers
        self._contact = texts.PHONE.format(phone=phone) if phone else texts.NO_PHONE

    async def is_model_there(self) -> bool:
        """Return whether the model can be reached."""
        return await self._client.ready()

    async def answer(
        self,
        question: str,
        past: Sequence[Exchange] = (),
        stop: "Stop | None" = None,
        *,
        tokens_today: int = 0,
        chat: Chat | None = None,
    ) -> AsyncGenerator[str | Consultation]:
        """Yield the whole visible text each time it grows, then the `Consultation`.

        Cancelled with `stop` called, it ends with what stands so far instead. A `chat` may be one
        that tries an adapter.
        """
        work = _Work(question, chat)
        work.may_ask = not 0 < self._limits.tokens_a_day <= tokens_today
        try:
            async with aclosing(self._answer(work, past)) as steps:
                async for step in steps:
                    yield step
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if stop is None or not stop.called or task is None:
                raise
            task.uncancel()
            yield self._stopped(work)

    async def _answer(
        self, work: "_Work", past: Sequence[Exchange]
    ) -> AsyncGenerator[str | Consultation]:
        work.inquiry = await asyncio.to_thread(inquire, self.retriever, work.question, past)
        work.take(_HITS[self._policy])
        inquiry = work.inquiry
        if inquiry.kind:
            yield self._say_fixed(work, inquiry.kind)
            return
        if inquiry.lean == Lean.PRICE:
            yield work.result(texts.PRICE, Way.FIXED, offers=("estimate",))
            return
        if not inquiry.parts:
            yield self._say_nothing_found(work, past)
            return
        work.suggestions = inquiry.suggest(past)
        is_clear = all(part.is_clear for part in inquiry.parts)
        if inquiry.lean == Lean.MORE or (self._policy == "careful" and is_clear):
            text = work.stored()
            yield work.show(check.split_sentences(text)[0], Way.STORED)
            yield work.result(text, Way.STORED)
            return
        if not work.may_ask:
            work.error = "tokens_spent"
        else:
            async with aclosing(self._wait_and_ask(work, past)) as visible:
                async for text in visible:
                    yield text
        yield self._judge(work)

    @property
    def human(self) -> str:
        """What is said to who wants a person."""
        return fixed.answers()[fixed.HUMAN].answer.format(phone=self._contact)

    def _say_fixed(self, work: "_Work", kind: str) -> Consultation:
        answer = fixed.answers()[kind]
        offers = (answer.offer,) if answer.offer else ()
        text = answer.answer.format(phone=self._contact)
        return replace(work.result(text, Way.FIXED, offers=offers), kind=kind)

    def _say_nothing_found(self, work: "_Work", past: Sequence[Exchange]) -> Consultation:
        """Say that the knowledge has no answer; what is near is offered, never guessed from."""
        inquiry = work.inquiry
        if inquiry.lean == Lean.MORE and past:
            work.suggestions = inquiry.suggest(past)
            return work.result(texts.NO_MORE, Way.UNSURE, offers=("human",))
        if inquiry.lean in {Lean.MORE, Lean.REFERS} and not past:
            return work.result(texts.UNCLEAR, Way.UNSURE)
        if inquiry.is_ours:
            work.suggestions = inquiry.suggest(past)
            text = texts.UNSURE.format(phone=self._contact)
            return work.result(text, Way.UNSURE, offers=("human", "estimate"))
        return work.result(texts.DECLINED, Way.DECLINED)

    async def _wait_and_ask(self, work: "_Work", past: Sequence[Exchange]) -> AsyncGenerator[str]:
        """Stand in line for the model, saying so, then ask it."""
        try:
            place = self._gate.join()
        except FullError:
            work.error = "busy"
            return
        try:
            while not await place.reached(within_s=_SAY_WAITING_EVERY_S):
                yield texts.WAITING.format(seconds=place.seconds)
            async with aclosing(self._ask_model(work, past)) as visible:
                async for text in visible:
                    yield text
        finally:
            place.leave()

    async def _ask_model(self, work: "_Work", past: Sequence[Exchange]) -> AsyncGenerator[str]:
        """Yield the visible text while the model writes; what came of it stands in `work`."""
        chat = prompts.consultation(
            work.inquiry.full,
            work.facts,
            # A small model takes its own earlier words for facts.
            past if self._policy == "model" else (),
            context_tokens=self._limits.context_tokens,
        )
        work.asked_chars = sum(len(message["content"]) for message in chat)
        choice = await self._adapters.choose(work.chat)
        for place, work.adapter in enumerate(choice.adapters):
            work.adapter_missed = place > 0
            try:
                async with aclosing(self._read_model(work, chat)) as visible:
                    async for text in visible:
                        yield text
            except ModelError as failure:
                log.warning("model_failed", failure=failure.failure, adapter=work.adapter)
                metrics.MODEL_ERRORS.labels(failure.failure).inc()
                work.error = failure.failure
                if work.written or failure.failure not in _OF_AN_ADAPTER:
                    return
            else:
                await self._adapters.note(choice, answered=work.adapter)
                return

    async def _read_model(self, work: "_Work", chat: list[ChatMessage]) -> AsyncGenerator[str]:
        """Yield the visible text while one adapter writes. Raises `ModelError`."""
        model = work.adapter or self._client.model
        work.error, work.model = None, model
        checked_first = self._policy == "careful" and self._check_answers
        stream = self._client.stream(chat, max_tokens=prompts.MAX_ANSWER_TOKENS, model=work.adapter)
        async with aclosing(stream) as parts:
            async for part in parts:
                if isinstance(part, Usage):
                    work.usage, work.model = part, part.model
                    continue
                work.write(part)
                work.usage = work.usage or Usage(model, None, None)
                cut = check.cut_repetition(work.written) if self._check_answers else None
                if cut is not None:  # it would go on so until its tokens end
                    work.written = cut
                    metrics.CHECKS_FAILED.labels(check.Problem.REPETITION).inc()
                    return
                whole = check.whole_sentences(work.written) if checked_first else work.written
                if whole.strip() == work.visible:
                    continue
                if checked_first and (problem := work.find_problem(whole)):
                    work.error = f"check_{problem}"
                    return
                yield work.show(whole.strip(), Way.MODEL)

    def _judge(self, work: "_Work") -> Consultation:
        """Return the model's answer if it passes, else the best there is without it."""
        if not work.error and self._check_answers and (problem := work.find_problem(work.written)):
            work.error = f"check_{problem}"
        if work.error and work.error.startswith("check_"):
            metrics.CHECKS_FAILED.labels(work.error.removeprefix("check_")).inc()
        if not work.error and (text := work.written.strip()):
            sentences = check.split_sentences(text)
            if prompts.is_refusal(sentences[0]):
                return self._say_not_known(work, text, is_bare=len(sentences) == 1)
            return work.result(text, Way.MODEL)
        work.take(1)
        return work.result(texts.FALLBACK.format(answer=work.stored()), Way.FALLBACK, work.error)

    def _say_not_known(self, work: "_Work", text: str, *, is_bare: bool) -> Consultation:
        """Say that the model found no answer in what it was given; that is held out all the same.

        A small model refuses more than it must (docs/runs/qwen-grounded).
        """
        work.suggestions = [*work.inquiry.entries, *work.suggestions][:MOST_SUGGESTED]
        if is_bare:
            work.facts = []
        text = texts.NOT_KNOWN.format(answer=text, phone=self._contact)
        return work.result(text, Way.UNSURE, offers=("human", "estimate"))

    def _stopped(self, work: "_Work") -> Consultation:
        """Return what was shown of a stopped answer, as far as it passes the check."""
        shown = work.visible
        if work.way == Way.MODEL and self._check_answers and work.find_problem(shown):
            shown = ""
        if not shown:
            return replace(work.result(texts.STOPPED, Way.FIXED), stopped=True)
        return replace(work.result(f"{shown}\n\n{texts.STOPPED}", work.way), stopped=True)


class Stop:
    """The customer's wish that an answer end; tells it from the process going down."""

    def __init__(self) -> None:
        self.called = False


class _Work:
    """One consultation under way, with its clock."""

    def __init__(self, question: str, chat: Chat | None) -> None:
        self.question = question
        self.chat = chat
        self.inquiry = Inquiry(Lean.NOT, question)
        self.facts: list[Entry] = []  # what a model is given, and the answer is held to
        self.suggestions: list[Entry] = []
        self.asked_chars = 0  # of the whole request
        self.written = ""
        self.visible = ""
        self.way = Way.FIXED
        self.usage: Usage | None = None
        self.error: str | None = None
        self.model: str | None = None  # that is asked
        self.adapter: str | None = None  # likewise
        self.adapter_missed = False  # it stands in for the one that should have answered
        self.may_ask = True  # the model
        self._raw = ""
        self._scores: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._first_s: float | None = None

    def take(self, limit: int) -> None:
        """Take up to `limit` entries for each question, with the answer that is to be given."""
        facts: dict[str, Entry] = {}
        for part in self.inquiry.parts:
            most = 1 if len(self.inquiry.parts) > 1 else limit
            for place, hit in enumerate(part.hits[:most]):
                self._scores.setdefault(hit.entry.id, hit.score)
                others = [answer for answer in hit.entry.answers if answer != part.answer]
                answers = (part.answer, *others) if place == 0 else hit.entry.answers
                facts.setdefault(hit.entry.id, replace(hit.entry, answers=answers))
        self.facts = list(facts.values())

    def stored(self) -> str:
        """Return the stored answers, numbered where there are several questions."""
        answers = [part.answer for part in self.inquiry.parts]
        self.facts = self.facts[: len(answers)]
        if len(answers) == 1:
            return answers[0]
        return "\n\n".join(f"{number}) {answer}" for number, answer in enumerate(answers, 1))

    def write(self, piece: str) -> None:
        """Add what the model wrote; ids that it copied are no words for a customer."""
        self._raw += piece
        self.written = prompts.strip_ids(self._raw, self.facts)

    def find_problem(self, text: str) -> check.Problem | None:
        """Check `text` against what was found."""
        # The entries' questions are context, as the customer's is: an echo of one is no answer.
        questions = [question for entry in self.facts for question in entry.questions]
        asked = "\n".join([self.question, self.inquiry.full, *questions])
        return check.find_problem(text, asked, [a for entry in self.facts for a in entry.answers])

    def show(self, text: str, way: Way) -> str:
        """Note the visible text, and the time of the first, and return it."""
        self.visible, self.way = text, way
        self._first_s = self._first_s or self._seconds()
        return text

    def result(
        self, text: str, way: Way, error: str | None = None, *, offers: tuple[str, ...] = ()
    ) -> Consultation:
        """Return the consultation with its times; what never grew is first seen now."""
        now = self._seconds()
        if self.adapter_missed:  # what befalls the stand-in is not counted as the stable side's
            error = f"{ADAPTER_MISSED}:{error}" if error else ADAPTER_MISSED
        return Consultation(
            text=text,
            way=way,
            sources=[
                {
                    "id": entry.id,
                    "question": entry.questions[0],
                    "score": self._scores.get(entry.id, 0.0),
                }
                for entry in self.facts
            ],
            confidence=self.inquiry.confidence,
            usage=self.usage,
            model=self.model,
            adapter=self.adapter,
            first_token_s=self._first_s or now,
            total_s=now,
            error=str(error) if error else None,
            tokens_spent=self._tokens_spent(),
            asked=self.inquiry.full if self.inquiry.full != self.question else None,
            suggestions=self.suggestions,
            offers=offers,
        )

    def _tokens_spent(self) -> int:
        if self.usage is None:
            return 0
        counted = (self.usage.prompt_tokens or 0) + (self.usage.completion_tokens or 0)
        return counted or prompts.count_tokens(self.asked_chars + len(self.written))

    def _seconds(self) -> float:
        return round(self._loop.time() - self._started, 4)
