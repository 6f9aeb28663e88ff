"""A question in, a grounded answer out: retrieval, prompt, model, check, fallback."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from bot import texts
from bot.settings import AnswerPolicy
from db.models import Way
from inference import check, prompts
from inference.client import ModelClient, ModelError, Usage
from inference.retrieval import Hit, Retriever

log = structlog.get_logger()

# A hit below FOUND does not answer the question; from CLEAR on it is the question.
# Chosen on tests/data/questions.csv, which tests/test_retrieval.py holds them to.
FOUND = 0.35
CLEAR = 0.85
# Entries that a model is given: a small one mixes more of them up, and reads them slowly.
_HITS: dict[AnswerPolicy, int] = {"careful": 2, "model": 4}

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

    @property
    def model(self) -> str | None:
        """The model that was asked, None where none was."""
        return self.usage.model if self.usage else None


class Consultant:
    """Answers questions from knowledge; the model helps, the knowledge decides."""

    def __init__(
        self,
        retriever: Retriever,
        client: ModelClient,
        *,
        policy: AnswerPolicy,
        check_answers: bool = True,
        context_tokens: int,
        adapter: str | None = None,
    ) -> None:
        self.adapter = adapter
        self._retriever = retriever
        self._client = client
        self._policy = policy
        self._check_answers = check_answers
        self._context_tokens = context_tokens

    async def answer(
        self, question: str, past: Sequence[prompts.PastExchange] = ()
    ) -> AsyncGenerator[str | Consultation]:
        """Yield the whole visible text each time it grows, then the `Consultation`."""
        clock = _Clock()
        if small := _smalltalk(question):
            yield Consultation(small, Way.FIXED, total_s=clock.seconds())
            return
        hits = await asyncio.to_thread(self._retriever.search, question)
        confidence = hits[0].confidence
        hits = [hit for hit in hits if hit.confidence >= FOUND][: _HITS[self._policy]]
        if self._policy == "careful" and confidence >= CLEAR:
            text = hits[0].entry.answers[0]
            first = check.split_sentences(text)[0]
            clock.mark_first()
            yield first
            yield clock.stamp(Consultation(text, Way.STORED, _sources(hits[:1]), confidence))
            return
        if self._policy == "careful" and not hits:
            # A small model without a passage invents, so it is not asked; but whether it is
            # there decides between "not known" and "not able to answer now".
            away = not await self._client.ready()
            text, way = (texts.MODEL_AWAY, Way.FAILED) if away else (texts.DECLINED, Way.DECLINED)
            error = "unreachable" if away else None
            yield clock.stamp(Consultation(text, way, [], confidence, error=error))
            return
        async with aclosing(self._ask_model(question, past, hits, confidence, clock)) as steps:
            async for step in steps:
                yield step

    async def _ask_model(
        self,
        question: str,
        past: Sequence[prompts.PastExchange],
        hits: list[Hit],
        confidence: float,
        clock: "_Clock",
    ) -> AsyncGenerator[str | Consultation]:
        entries = [hit.entry for hit in hits]
        chat = prompts.consultation(
            question,
            entries,
            # A small model takes its own earlier words for facts.
            past if self._policy == "model" else (),
            context_tokens=self._context_tokens,
        )
        # The entries' questions are context, as the customer's is: an echo of one is no answer.
        asked = "\n".join([question, *(q for entry in entries for q in entry.questions)])
        known = [text for entry in entries for text in entry.answers]
        written, usage, problem = "", None, None
        try:
            stream = self._client.stream(chat, max_tokens=prompts.MAX_ANSWER_TOKENS)
            async with aclosing(stream) as parts:
                async for part in parts:
                    if isinstance(part, Usage):
                        usage = part
                        continue
                    written += part
                    visible, problem = self._review(written, asked, known)
                    if problem:
                        break
                    if visible:
                        clock.mark_first()
                        yield visible
            if not problem and self._check_answers:
                problem = check.find_problem(written, asked, known)
            error = f"check_{problem}" if problem else None
        except ModelError as failure:
            log.warning("model_failed", failure=failure.failure)
            error = failure.failure
        usage = usage or (Usage(self._client.model, None, None) if written else None)
        if error is None and written.strip():
            yield clock.stamp(
                Consultation(written.strip(), Way.MODEL, _sources(hits), confidence, usage)
            )
            return
        yield clock.stamp(_fall_back(hits, confidence, usage, error or check.Problem.EMPTY))

    def _review(
        self, written: str, asked: str, known: list[str]
    ) -> tuple[str, check.Problem | None]:
        """Return what of an unfinished answer may be shown, and what is wrong with it.

        The careful policy shows a sentence only once it is whole and has passed the check.
        """
        if self._policy == "model" or not self._check_answers:
            return written.lstrip(), None
        whole = check.whole_sentences(written)
        if not whole:
            return "", None
        return whole, check.find_problem(whole, asked, known)


class _Clock:
    """Times one consultation."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._first: float | None = None

    def seconds(self) -> float:
        return round(self._loop.time() - self._started, 4)

    def mark_first(self) -> None:
        """Note the first visible text; later calls change nothing."""
        self._first = self._first or self.seconds()

    def stamp(self, consultation: Consultation) -> Consultation:
        """Return `consultation` with its times; what was never shown growing is first seen now."""
        now = self.seconds()
        return replace(consultation, first_token_s=self._first or now, total_s=now)


def _fall_back(hits: list[Hit], confidence: float, usage: Usage | None, error: str) -> Consultation:
    if hits:
        text = texts.FALLBACK.format(answer=hits[0].entry.answers[0])
        return Consultation(
            text, Way.FALLBACK, _sources(hits[:1]), confidence, usage, error=str(error)
        )
    if error.startswith("check_") or error == check.Problem.EMPTY:
        return Consultation(texts.DECLINED, Way.DECLINED, [], confidence, usage, error=str(error))
    return Consultation(texts.MODEL_AWAY, Way.FAILED, [], confidence, usage, error=str(error))


def _sources(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [
        {"id": hit.entry.id, "question": hit.entry.questions[0], "score": hit.score} for hit in hits
    ]


def _smalltalk(question: str) -> str | None:
    if _GREETING.fullmatch(question.strip().lower()):
        return texts.WELCOME_BACK
    if _THANKS.fullmatch(question.strip()):
        return texts.YOU_ARE_WELCOME
    return None
