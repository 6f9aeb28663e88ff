"""Fine-tuning: ours beside the first team's way and beside trl as it comes.

    python -m tests.load.training

The same real model (the demo's, 0.5 B), the same adapter, the same examples (starter knowledge), a
process of its own for each way, in turns. What is useful is a token of an answer: it is what the
model is to learn. Padding, repeated prompts and questions are read for nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from inference.knowledge import starter_path
from inference.knowledge.files import load
from training import bases, recipe
from training.bases import Located
from training.batches import Batch, build_rows
from training.encoding import IGNORED, as_chat, encode
from training.examples import Example, spread
from training.machine import peak_memory_bytes
from training.recipe import Base, Lora, Setting
from training.recorder import Recorder
from training.trainer import Trainer, build_trainer

Way = Literal["original", "trl", "ours"]
WAYS: tuple[Way, ...] = ("original", "trl", "ours")
NAMES = {"original": "처음 팀의 방법", "trl": "trl 기본값", "ours": "딥봇"}
THREADS = 2
EXAMPLES = 96


def main() -> None:
    """Run each way in turns and print them side by side, as ratios to the first team's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--steps", type=int, default=3, help="measured, after one that warms up")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.steps)))
        return
    found: dict[Way, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way in WAYS:
            print(f"{number + 1}/{options.rounds} {NAMES[way]} …", file=sys.stderr, flush=True)
            found[way].append(run_apart(way, options.steps))
    report({way: best(rounds) for way, rounds in found.items()})


def run_apart(way: Way, steps: int) -> dict[str, float]:
    """Measure a way in a process of its own: its memory is its own, too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.training", "--way", way, "--steps", str(steps)],
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    record: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return record


def best(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the round that the machine disturbed least."""
    return max(rounds, key=lambda each: each["useful_per_second"])


def report(found: dict[Way, dict[str, float]]) -> None:
    """Print the table."""
    base = found["original"]
    print("방법 | 답의 토큰/초 | 비율 | 읽는 토큰 중 답 | 한 걸음 | 메모리(최고)")
    for way, each in found.items():
        print(
            f"{NAMES[way]} | {each['useful_per_second']:.1f}"
            f" | {each['useful_per_second'] / base['useful_per_second']:.2f}배"
            f" | {each['useful'] / each['cells']:.0%} | {each['step_seconds']:.1f}초"
            f" | {each['peak_bytes'] / 2**30:.1f} GiB"
        )
    ratio = found["ours"]["useful_per_second"] / found["trl"]["useful_per_second"]
    print(f"trl 기본값의 {ratio:.2f}배")


def measure(way: Way, steps: int) -> dict[str, float]:
    """Return what a step of a way takes and brings."""
    torch.set_num_threads(THREADS)
    found = recipe.load("qwen-small")
    ours = found.default
    lora = ours.lora or sys.exit("qwen-small trains an adapter")
    original = found.original.model_copy(update={"lora": lora})
    located = bases.locate(found.base, None, say=lambda line: print(line, file=sys.stderr))
    tokenizer = bases.load_tokenizer(found.base, located, ours)
    examples = read_examples()
    answers = sum(e.learnt for one in examples if (e := encode(one, tokenizer, ours)))
    an_answer = answers / len(examples)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if way == "trl":
            trainer = build_plain(located.where, examples, ours, lora, tokenizer, out, steps)
        else:
            setting = original if way == "original" else ours
            trainer = build_ours(found.base, located, examples, setting, out, steps)
        taken = time_steps(trainer, None if way == "ours" else an_answer)[1:]
    seconds = statistics.median(each.seconds for each in taken)
    useful = statistics.mean(each.useful for each in taken)
    return {
        "useful": useful,
        "cells": statistics.mean(each.cells for each in taken),
        "step_seconds": seconds,
        "useful_per_second": useful / seconds,
        "peak_bytes": peak_memory_bytes(),
    }


def read_examples() -> list[Example]:
    """Return examples of all lengths from the starter knowledge."""
    made = [
        Example(
            (
                {"role": "user", "content": question},
                {"role": "assistant", "content": entry.answers[0]},
            ),
            *(entry.id, entry.category, "starter.csv"),
        )
        for entry in load(starter_path())
        for question in entry.questions[:2]
    ]
    return spread(made, EXAMPLES)


def build_ours(
    base: Base,
    located: Located,
    examples: list[Example],
    setting: Setting,
    out: Path,
    steps: int,
) -> Trainer:
    """Return our trainer on a setting."""
    tokenizer = bases.load_tokenizer(base, located, setting)
    encoded = [each for one in examples if (each := encode(one, tokenizer, setting))]
    rows = build_rows(encoded, setting, int(tokenizer.pad_token_id))
    trainer = build_trainer(
        bases.load_model(located, setting, torch.device("cpu")),
        tokenizer,
        rows,
        encoded[:1],
        setting.model_copy(update={"patience": None}),
        out=out,
        recorder=Recorder(out, resumed_step=None, main=False),
        max_steps=steps + 1,
    )
    trainer.args.save_strategy = trainer.args.eval_strategy = "no"
    trainer.args.load_best_model_at_end = False
    return trainer


def build_plain(
    where: str,
    examples: list[Example],
    setting: Setting,
    lora: Lora,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    steps: int,
) -> SFTTrainer:
    """Return trl's trainer as its documentation shows it, with the same adapter."""
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16),
        args=SFTConfig(
            output_dir=str(out),
            max_steps=steps + 1,
            bf16=True,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"messages": as_chat(one, setting)} for one in examples]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(lora.targets),
            task_type="CAUSAL_LM",
        ),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What a step took, read, and brought."""

    seconds: float
    cells: int  # tokens that the model reads, padding too
    useful: float  # tokens of answers


def time_steps(trainer: SFTTrainer, an_answer: float | None) -> list[Step]:
    """Return the steps of a run; where every token is learnt, a text brings `an_answer`."""
    taken: list[Step] = []
    step: Callable[..., torch.Tensor] = trainer.training_step

    def timed(model: nn.Module, inputs: Batch, *rest: object) -> torch.Tensor:
        texts, cells = inputs["input_ids"].shape[0], inputs["input_ids"].numel()
        learnt = int((inputs["labels"][:, 1:] != IGNORED).sum())
        began = time.perf_counter()
        loss = step(model, inputs, *rest)
        seconds = time.perf_counter() - began
        taken.append(Step(seconds, cells, learnt if an_answer is None else texts * an_answer))
        return loss

    trainer.training_step = timed
    trainer.train()
    return taken


if __name__ == "__main__":
    main()
