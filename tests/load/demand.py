"""What a customer's message asks of the model: whether at all, and how many tokens.

    python -m tests.load.demand

The bot's own consultation runs on the starter knowledge; in the model's place stands one that
answers with the best entry's stored answer, so that prompts and what is remembered of earlier
turns are as long as they would be. Tokens are Qwen2.5's: the five systems' tokenizers are not at
hand. Nothing of this depends on how fast the machine is.
"""

import asyncio
import re
import statistics
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import cast

from transformers import AutoTokenizer

from bot.adapters import Adapters
from bot.consult import Consultant, Consultation, Limits
from bot.gate import Gate
from bot.settings import AnswerPolicy
from db.models import Way
from db.queries import Exchange
from inference import prompts
from inference.client import ChatMessage, ModelClient, Usage
from inference.embeddings import E5Embedder, VectorCache
from inference.kinds import Kinds
from inference.knowledge import starter_path
from inference.knowledge.files import load
from inference.retrieval import Retriever
from tests.dialogues import read as read_dialogues
from tests.fit_confidence import read_questions
from training import bases, recipe

_CONTEXT_TOKENS = 4096  # as the bot's default for a server of one's own
_REMEMBERED = 8  # exchanges, as the bot looks back
_ANSWER = re.compile(r"답변: (.*?)\n\n", re.DOTALL)
_CONSULTED = {Way.STORED, Way.MODEL, Way.FALLBACK}
SETS = ("heldout_questions.csv", "heldout_unanswered.txt", "heldout_offtopic.txt")


@dataclass
class Echo:
    """In a model's place: it says what stands in its prompt, and keeps the prompt."""

    model: str = "echo"
    asked: list[list[ChatMessage]] = field(default_factory=list)

    async def stream(
        self, messages: list[ChatMessage], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncGenerator[str | Usage]:
        """Answer with the first entry's answer."""
        del max_tokens, temperature
        self.asked.append(messages)
        found = _ANSWER.search(messages[-1]["content"])
        yield found[1] if found else "모르겠습니다."
        yield Usage(self.model, None, None)


@dataclass(frozen=True, slots=True)
class Said:
    """One message: the prompt that it became, None where the model was not asked."""

    prompt: list[ChatMessage] | None
    answer: str


class Asker:
    """The bot's consultation under a policy, without a customer's Telegram and database."""

    def __init__(self, retriever: Retriever, policy: AnswerPolicy) -> None:
        self._echo = Echo()
        self._consultant = Consultant(
            retriever,
            cast(ModelClient, self._echo),
            policy=policy,
            limits=Limits(context_tokens=_CONTEXT_TOKENS),
            gate=Gate(at_once=1, most_waiting=1),
            adapters=Adapters(None, None),
        )

    async def ask(self, question: str, past: list[Exchange]) -> Said:
        """Ask one question, and add to `past` what is remembered of it."""
        before = len(self._echo.asked)
        result: Consultation | None = None
        async for step in self._consultant.answer(question, past[-_REMEMBERED:]):
            if isinstance(step, Consultation):
                result = step
        assert result
        if result.way in _CONSULTED:
            sources = tuple(source["id"] for source in result.sources)
            past.append(Exchange(result.asked or question, result.text, sources))
        asked = self._echo.asked[before:]
        return Said(asked[0] if asked else None, result.text)


async def ask_dialogues(asker: Asker) -> list[Said]:
    """Hold every dialogue of tests/data."""
    said: list[Said] = []
    for dialogue in read_dialogues():
        past: list[Exchange] = []
        said += [await asker.ask(turn["say"], past) for turn in dialogue["turns"]]
    return said


async def ask_alone(asker: Asker, name: str) -> list[Said]:
    """Ask every question of a file, each as a conversation of its own."""
    return [await asker.ask(question, []) for question, _ in read_questions(name)]


class Counter:
    """Counts tokens with the demo model's tokenizer, in the template that LDCC is served with."""

    def __init__(self) -> None:
        found = recipe.load("qwen-small")
        located = bases.locate(found.base, None, say=lambda _: None)
        self._tokenizer = AutoTokenizer.from_pretrained(located.where)
        self._tokenizer.chat_template = prompts.TEMPLATES["sections"]

    def count_prompt(self, messages: Sequence[ChatMessage]) -> int:
        """Return the tokens that a server reads before it answers."""
        chat = [{"role": each["role"], "content": each["content"]} for each in messages]
        text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return self.count(str(text))

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def spread(values: Sequence[float]) -> str:
    """Return mean, median and 95th percentile."""
    ranks = statistics.quantiles(values, n=20, method="inclusive")
    return f"{statistics.mean(values):.0f} / {ranks[9]:.0f} / {ranks[18]:.0f}"


def tenths(values: Sequence[float]) -> list[int]:
    """Return the middles of the ten tenths, as the simulation draws from."""
    ranks = statistics.quantiles(values, n=20, method="inclusive")
    return [round(rank) for rank in ranks[::2]]


def main() -> None:
    """Print the shares and the tokens."""
    counter = Counter()
    entries = load(starter_path())
    embedder, cache = E5Embedder(), VectorCache(None)
    retriever = Retriever(entries, embedder, cache, kinds=Kinds.learn(embedder, cache))
    system: ChatMessage = {"role": "system", "content": prompts.SYSTEM}
    print(f"시스템 프롬프트: {len(prompts.SYSTEM)}자, {counter.count_prompt([system])}토큰")
    answers = [entry.answers[0] for entry in entries]
    print(f"저장된 답 {len(answers)}개의 토큰: {spread([counter.count(a) for a in answers])}")
    print(f"  글자: {spread([len(answer) for answer in answers])}")
    policies: tuple[AnswerPolicy, ...] = ("model", "careful")
    for policy in policies:
        asker = Asker(retriever, policy)
        groups = {"dialogues.jsonl": asyncio.run(ask_dialogues(asker))}
        groups |= {name: asyncio.run(ask_alone(asker, name)) for name in SETS}
        for name, said in groups.items():
            prompted = [each for each in said if each.prompt]
            print(f"{policy}, {name}: {len(prompted)}/{len(said)}에서 모델을 부름", end="")
            print(f" ({len(prompted) / len(said):.3f})")
            if len(prompted) < 2:
                continue
            tokens = [counter.count_prompt(each.prompt) for each in prompted if each.prompt]
            written = [counter.count(each.answer) for each in prompted]
            chars = [sum(len(m["content"]) for m in each.prompt or ()) for each in prompted]
            print(
                f"  프롬프트 토큰 {spread(tokens)}, 글자 {spread(chars)}, 답 토큰 {spread(written)}"
            )
            print(f"  십분위: 프롬프트 {tenths(tokens)}, 답 {tenths(written)}")


if __name__ == "__main__":
    main()
