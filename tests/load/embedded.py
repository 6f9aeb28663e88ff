"""The embedded server beside the same weights in plain transformers: first token, tokens a second.

    python -m tests.load.embedded [--rounds 2]

Both answer the bot's own consultations of the starter knowledge, greedily, a process to each way,
in turns. The server (llama.cpp, 4 bits, as the demo runs it) goes first in each round, and
transformers (the same file's weights, unpacked to bf16) then writes as many tokens to each prompt
as it did. What begins alike is asked about twice: the server keeps what it has read.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from inference import models, prompts
from inference.client import ChatMessage, ModelClient, Usage
from inference.embedded import CONTEXT_TOKENS, EmbeddedServer
from inference.knowledge import Entry, starter_path
from inference.knowledge.files import load

Way = Literal["server", "transformers"]
NAMES: dict[Way, str] = {"server": "내장 서버", "transformers": "transformers"}
THREADS = 2
PAIRS = 3
MOST_TOKENS = 48
ENTRIES = 2  # to a question, as the bot gives a small model


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: seconds to its first token and from there to its last, and its tokens."""

    first_s: float
    rest_s: float
    tokens: int

    @property
    def tokens_a_second(self) -> float:
        """Tokens a second once the first has come."""
        return (self.tokens - 1) / self.rest_s


@dataclass(frozen=True, slots=True)
class Round:
    """Answers of one way: to the first questions, to others after them, and to the same again."""

    first: list[Answered]
    other: list[Answered]
    same: list[Answered]

    @property
    def answers(self) -> list[Answered]:
        """All of them."""
        return [*self.first, *self.other, *self.same]


def chats() -> list[list[ChatMessage]]:
    """Return consultations in pairs, spread over the knowledge: all begin with the same system."""
    entries = load(starter_path())
    step = len(entries) // (2 * PAIRS)
    return [_chat(entries[place * step :][:ENTRIES]) for place in range(2 * PAIRS)]


def _chat(entries: Sequence[Entry]) -> list[ChatMessage]:
    return prompts.consultation(entries[0].questions[1], entries, context_tokens=CONTEXT_TOKENS)


async def ask_server() -> Round:
    """Ask the server: each pair of a server that has just started, and the second one again."""
    model = models.load_manifest()[models.DEMO_MODEL].path()
    found = Round([], [], [])
    asked = chats()
    for one, other in zip(asked[::2], asked[1::2], strict=True):
        server = EmbeddedServer(model, threads=THREADS)
        await server.start()
        try:
            async with ModelClient(server.url, model.stem, api_key=server.api_key) as client:
                for chat, into in ((one, found.first), (other, found.other), (other, found.same)):
                    into.append(await _time_stream(client, chat))
        finally:
            await server.stop()
    return found


async def _time_stream(client: ModelClient, chat: list[ChatMessage]) -> Answered:
    began = time.perf_counter()
    first = last = 0.0
    tokens = 0
    async for part in client.stream(chat, max_tokens=MOST_TOKENS):
        if isinstance(part, Usage):
            tokens = part.completion_tokens or 0
            continue
        last = time.perf_counter()
        first = first or last
    return Answered(first - began, last - first, tokens)


def ask_transformers(tokens: Sequence[int]) -> Round:
    """Ask transformers for so many tokens, in the order of the server's answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.generation.streamers import BaseStreamer

    from training import bases, recipe

    class Clock(BaseStreamer):
        """Notes when tokens come; the prompt comes first, and is none."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: torch.Tensor) -> None:
            del value
            self.times.append(time.perf_counter())

        def end(self) -> None:
            """Do nothing."""

    torch.set_num_threads(THREADS)
    located = bases.locate(recipe.load("qwen-small").base, None, say=lambda _: None)
    tokenizer = AutoTokenizer.from_pretrained(located.where)
    model = AutoModelForCausalLM.from_pretrained(located.where, dtype=torch.bfloat16).eval()

    def answer(chat: list[ChatMessage], count: int) -> Answered:
        plain = [{"role": each["role"], "content": each["content"]} for each in chat]
        text = tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False)
        inputs = tokenizer(str(text), add_special_tokens=False, return_tensors="pt")
        clock = Clock()
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                **inputs,
                do_sample=False,
                min_new_tokens=count,
                max_new_tokens=count,
                streamer=clock,
            )
        _, first, *rest = clock.times
        return Answered(first - began, (rest or [first])[-1] - first, count)

    answer(chats()[0], 2)  # what is loaded late is loaded now
    found, left = Round([], [], []), iter(tokens)
    asked = chats()
    for one, other in zip(asked[::2], asked[1::2], strict=True):
        for chat, into in ((one, found.first), (other, found.other), (other, found.same)):
            into.append(answer(chat, next(left)))
    return found


def run_apart(way: Way, tokens: Sequence[int] = ()) -> Round:
    """Measure a way in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.embedded", "--way", way, *map(str, tokens)],
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    return Round(*([Answered(**each) for each in found[part]] for part in _PARTS))


_PARTS = ("first", "other", "same")


def report(found: dict[Way, list[Round]]) -> None:
    """Print the medians side by side, and as ratios."""
    base = found["transformers"]
    print("방법 | 첫 질문의 첫 토큰 | 둘째 질문 | 같은 질문 | 토큰/초 (첫 토큰 뒤) | 답 하나")
    for way, rounds in found.items():
        cells = [
            *(f"{_median_first_s(rounds, part):.2f}초" for part in _PARTS),
            f"{_median_rate(rounds):.1f}",
            f"{_median_whole_s(rounds):.2f}초",
        ]
        print(" | ".join([NAMES[way], *cells]))
    ours = found["server"]
    ratios = [
        *(_median_first_s(base, part) / _median_first_s(ours, part) for part in _PARTS),
        _median_rate(ours) / _median_rate(base),
        _median_whole_s(base) / _median_whole_s(ours),
    ]
    print(" | ".join(["transformers보다 몇 배 빠른지", *(f"{each:.2f}배" for each in ratios)]))
    answers = [each for rounds in ours for each in rounds.answers]
    print(f"답 {len(answers)}개, 토큰 {sum(a.tokens for a in answers)}개, 스레드 {THREADS}개")


def _median_first_s(rounds: Sequence[Round], part: str) -> float:
    answers: list[Answered] = [each for one in rounds for each in getattr(one, part)]
    return statistics.median(each.first_s for each in answers)


def _median_rate(rounds: Sequence[Round]) -> float:
    return statistics.median(each.tokens_a_second for one in rounds for each in one.answers)


def _median_whole_s(rounds: Sequence[Round]) -> float:
    return statistics.median(
        each.first_s + each.rest_s for one in rounds for each in (*one.first, *one.other)
    )


def main() -> None:
    """Run each way in turns, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--way", choices=tuple(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("tokens", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        is_server = options.way == "server"
        one = asyncio.run(ask_server()) if is_server else ask_transformers(options.tokens)
        print(json.dumps(asdict(one)))
        return
    found: dict[Way, list[Round]] = {"server": [], "transformers": []}
    for number in range(options.rounds):
        print(f"{number + 1}/{options.rounds} …", file=sys.stderr, flush=True)
        served = run_apart("server")
        order = zip(served.first, served.other, served.same, strict=True)
        tokens = [each.tokens for three in order for each in three]
        found["server"].append(served)
        found["transformers"].append(run_apart("transformers", tokens))
    report(found)


if __name__ == "__main__":
    main()
