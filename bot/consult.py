"""A question in, a grounded answer out: retrieval, prompt, model, check, fallback."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot import metrics, texts
from bot.gate import FullError, Gate
from bot.settings import AnswerPolicy
from db.models import Way
from inference import check, prompts
from inference.client import Failure, ModelClient, ModelError, Usage
from inference.retrieval import Hit, Retriever

log = structlog.get_logger()

# A hit below FOUND does not answer the question; from CLEAR on it is the question.
# Chosen on tests/data/questions.csv, which tests/test_retrieval.py holds them to.
FOUND = 0.24
CLEAR = 0.86
# Entries that a model is given: a small one mixes more of them up, and reads them slowly.
_HITS: dict[AnswerPolicy, int] = {"careful": 2, "model": 4}

_SAY_WAITING_EVERY_S = 2.0

_GREETING = re.compile(
    r"(안녕(하세요|하십니까)?|하이|반가워요?|반갑습니다|ㅎㅇ|hello|hi)[\s!.~^ㅎ]*"
)
_THANKS = re.compile(
    r"(네[,\s]*)?(정말|너무|아주)?\s*(감사(합니다|해요|드려요)?|고마워요?|고맙습니다|땡큐|ㄱㅅ)[\s!.~^ㅎ]*"
)


@dataclass(frozen=True, slots=True)
class Consultation:
    """An answer with the facts of how it came; times in seconds since the question."""

    text: str
    way: Way
    sources: list[dict[str, Any]] = field(default_factory=list)
    confidence: float = 0.0
    usage: Usage | None = None
    first_token_s: float | None = None
    total_s: float = 0.0
    error: str | None = None
    stopped: bool = False
    tokens_spent: int = 0  # as the server counted; guessed where the answer was cut off

    @property
    def model(self) -> str | None:
        """The model that was asked, None where none was."""
        return self.usage.model if self.usage else None


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
        adapter: str | None = None,
    ) -> None:
        self.adapter = adapter
        self._limits = limits
        self._gate = gate
        self._retriever = retriever
        self._client = client
        self._policy = policy
        self._check_answers = check_answers

    async def answer(
        self,
        question: str,
        past: Sequence[prompts.PastExchange] = (),
        stop: "Stop | None" = None,
        *,
        tokens_today: int = 0,
    ) -> AsyncGenerator[str | Consultation]:
        """Yield the whole visible text each time it grows, then the `Consultation`.

        Cancelled with `stop` called, it ends with what stands so far instead.
        """
        work = _Work(question)
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
        self, work: "_Work", past: Sequence[prompts.PastExchange]
    ) -> AsyncGenerator[str | Consultation]:
        if small := _smalltalk(work.question):
            yield work.result(small, Way.FIXED)
            return
        await work.find(self._retriever, _HITS[self._policy])
        if self._policy == "careful" and work.confidence >= CLEAR:
            text = work.hits[0].entry.answers[0]
            work.hits = work.hits[:1]
            yield work.show(check.split_sentences(text)[0], Way.STORED)
            yield work.result(text, Way.STORED)
            return
        if self._policy == "careful" and not work.hits:
            # A small model without a passage invents, so it is not asked; but whether it is
            # there decides between "not known" and "not able to answer now".
            if await self._client.ready():
                yield work.result(texts.DECLINED, Way.DECLINED)
            else:
                yield work.result(texts.MODEL_AWAY, Way.FAILED, Failure.UNREACHABLE)
            return
        if not work.may_ask:
            work.error, work.excuse = "tokens_spent", texts.TOKENS_SPENT
        else:
            async with aclosing(self._wait_and_ask(work, past)) as visible:
                async for text in visible:
                    yield text
        yield self._judge(work)

    async def _wait_and_ask(
        self, work: "_Work", past: Sequence[prompts.PastExchange]
    ) -> AsyncGenerator[str]:
        """Stand in line for the model, saying so, then ask it."""
        try:
            place = self._gate.join()
        except FullError as full:
            work.error, work.excuse = "busy", texts.BUSY.format(seconds=full.seconds)
            return
        try:
            while not await place.reached(within_s=_SAY_WAITING_EVERY_S):
                yield texts.WAITING.format(seconds=place.seconds)
            async with aclosing(self._ask_model(work, past)) as visible:
                async for text in visible:
                    yield text
        finally:
            place.leave()

    async def _ask_model(
        self, work: "_Work", past: Sequence[prompts.PastExchange]
    ) -> AsyncGenerator[str]:
        """Yield the visible text while the model writes; what came of it stands in `work`."""
        chat = prompts.consultation(
            work.question,
            [hit.entry for hit in work.hits],
            # A small model takes its own earlier words for facts.
            past if self._policy == "model" else (),
            context_tokens=self._limits.context_tokens,
        )
        work.asked_chars = sum(len(message["content"]) for message in chat)
        checked_first = self._policy == "careful" and self._check_answers
        try:
            stream = self._client.stream(chat, max_tokens=prompts.MAX_ANSWER_TOKENS)
            async with aclosing(stream) as parts:
                async for part in parts:
                    if isinstance(part, Usage):
                        work.usage = part
                        continue
                    work.written += part
                    work.usage = work.usage or Usage(self._client.model, None, None)
                    whole = check.whole_sentences(work.written) if checked_first else work.written
                    if whole.strip() == work.visible:
                        continue
                    if checked_first and (problem := work.find_problem(whole)):
                        work.error = f"check_{problem}"
                        return
                    yield work.show(whole.strip(), Way.MODEL)
        except ModelError as failure:
            log.warning("model_failed", failure=failure.failure)
            metrics.MODEL_ERRORS.labels(failure.failure).inc()
            work.error = failure.failure

    def _judge(self, work: "_Work") -> Consultation:
        """Return the model's answer if it passes, else the best there is without it."""
        if not work.error and self._check_answers and (problem := work.find_problem(work.written)):
            work.error = f"check_{problem}"
        if work.error and work.error.startswith("check_"):
            metrics.CHECKS_FAILED.labels(work.error.removeprefix("check_")).inc()
        if not work.error and work.written.strip():
            return work.result(work.written.strip(), Way.MODEL)
        if work.hits:
            work.hits = work.hits[:1]
            text = texts.FALLBACK.format(answer=work.hits[0].entry.answers[0])
            return work.result(text, Way.FALLBACK, work.error)
        if work.written:
            return work.result(texts.DECLINED, Way.DECLINED, work.error)
        return work.result(work.excuse, Way.FAILED, work.error or "check_empty")

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

    def __init__(self, question: str) -> None:
        self.question = question
        self.hits: list[Hit] = []
        self.confidence = 0.0
        self.asked_chars = 0  # of the whole request
        self.written = ""
        self.visible = ""
        self.way = Way.FIXED
        self.usage: Usage | None = None
        self.error: str | None = None
        self.may_ask = True  # the model
        self.excuse = texts.MODEL_AWAY  # where the model was not to be had and nothing was found
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._first_s: float | None = None

    async def find(self, retriever: Retriever, limit: int) -> None:
        """Look for entries; those that do not answer the question are left out."""
        hits = await asyncio.to_thread(retriever.search, self.question, limit)
        self.confidence = hits[0].confidence
        self.hits = [hit for hit in hits if hit.confidence >= FOUND]

    def find_problem(self, text: str) -> check.Problem | None:
        """Check `text` against what was found."""
        # The entries' questions are context, as the customer's is: an echo of one is no answer.
        entries = [hit.entry for hit in self.hits]
        asked = "\n".join([self.question, *(q for entry in entries for q in entry.questions)])
        return check.find_problem(text, asked, [a for entry in entries for a in entry.answers])

    def show(self, text: str, way: Way) -> str:
        """Note the visible text, and the time of the first, and return it."""
        self.visible, self.way = text, way
        self._first_s = self._first_s or self._seconds()
        return text

    def result(self, text: str, way: Way, error: str | None = None) -> Consultation:
        """Return the consultation with its times; what never grew is first seen now."""
        now = self._seconds()
        return Consultation(
            text=text,
            way=way,
            sources=[
                {"id": hit.entry.id, "question": hit.entry.questions[0], "score": hit.score}
                for hit in self.hits
            ],
            confidence=self.confidence,
            usage=self.usage,
            first_token_s=self._first_s or now,
            total_s=now,
            error=str(error) if error else None,
            tokens_spent=self._tokens_spent(),
        )

    def _tokens_spent(self) -> int:
        if self.usage is None:
            return 0
        counted = (self.usage.prompt_tokens or 0) + (self.usage.completion_tokens or 0)
        return counted or prompts.count_tokens(self.asked_chars + len(self.written))

    def _seconds(self) -> float:
        return round(self._loop.time() - self._started, 4)


def _smalltalk(question: str) -> str | None:
    if _GREETING.fullmatch(question.strip().lower()):
        return texts.WELCOME_BACK
    if _THANKS.fullmatch(question.strip()):
        return texts.YOU_ARE_WELCOME
    return None
