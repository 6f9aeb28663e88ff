"""Train a recipe's shape with random weights on this machine's GPU: memory and speed.

    python -m tests.load.memory ldcc-solar
    python -m tests.load.memory ldcc-solar --variant original --batch-size 4 --json

The weights are random and the texts are random tokens of the lengths that the starter knowledge
has: memory and speed depend on the shape alone, what is learnt means nothing.
"""

import argparse
import gc
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests import tinymodels
from training import memory, recipe
from training.batches import build_rows
from training.encoding import IGNORED, Encoded
from training.recipe import Base, Setting
from training.recorder import Recorder
from training.trainer import build_trainer

GIB = 2**30


def main() -> None:
    """Measure the settings that the command line names, and print them beside the estimate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--variant", choices=("default", "original"), default="default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--batch-size", type=int, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = recipe.load(options.recipe)
    changes: dict[str, Any] = {
        name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)
    }
    setting = Setting.model_validate(found.setting(options.variant).model_dump() | changes)
    for size in options.batch_size or [setting.batch_size]:
        one = setting.model_copy(update={"batch_size": size, "accumulation": 1})
        measured = measure(found.base, one, options.steps)
        line = {"recipe": found.name, "variant": options.variant, **changes, "batch": size}
        if options.json:
            print(json.dumps(line | measured), flush=True)
        else:
            print(line)
            for name, value in measured.items():
                print(f"  {name:24} {value:,.2f}")


def measure(base: Base, setting: Setting, steps: int) -> dict[str, float]:
    """Return what a few steps took, and what was foretold."""
    gc.collect()
    torch.cuda.empty_cache()
    model = build_random(base, setting)
    torch.cuda.empty_cache()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    texts = random_texts(base.config["vocab_size"], setting, 40 * setting.batch_size)
    tokenizer = tinymodels.make_tokenizer()
    rows = build_rows(texts, setting, tokenizer.pad_token_id)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), resumed_step=None, main=False)
        trainer = build_trainer(
            model,
            tokenizer,
            rows,
            texts[:2],
            setting.model_copy(update={"patience": None, "validations_per_epoch": 1}),
            out=Path(folder),
            recorder=recorder,
            max_steps=steps,
        )
        trainer.args.save_strategy = trainer.args.eval_strategy = "no"
        trainer.args.load_best_model_at_end = False
        trainer.train()
    seconds = [each.step_seconds for each in recorder.measurements if each.step_seconds]
    a_step = statistics.median(seconds[2:])  # the first two warm up
    cells = rows.cells / len(rows.dataset) * setting.batch_size
    learnt = rows.learnt / len(rows.dataset) * setting.batch_size
    estimate = memory.estimate(base, setting)
    return {
        "weights_gib": weights / GIB,
        "weights_foretold_gib": estimate.weights / GIB,
        "peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "peak_foretold_gib": estimate.peak / GIB,
        "card_foretold_gib": estimate.total / GIB,
        "step_seconds": a_step,
        "cells_per_second": cells / a_step,
        "learnt_tokens_per_second": learnt / a_step,
        "parameters": memory.measure_shape(base).parameters,
        "trained": memory.count_trained(base, setting),
    }


def build_random(base: Base, setting: Setting) -> PreTrainedModel:
    """Return a random model of a base's shape on the GPU, in the setting's precision."""
    torch.manual_seed(0)
    dtype = torch.float32 if setting.method == "full" else torch.bfloat16
    config = AutoConfig.for_model(**base.config, dtype=dtype)
    with torch.device("cuda"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if setting.method == "qlora":
        _quantize(model)
        setattr(model, "is_loaded_in_4bit", True)  # noqa: B010 - no attribute of the type
    return model


def _quantize(model: PreTrainedModel) -> None:
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module is not head:
            quantized = Linear4bit(
                module.in_features,
                module.out_features,
                bias=module.bias is not None,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
                device="meta",
            )
            quantized.weight = Params4bit(
                module.weight.data.cpu(),
                requires_grad=False,
                quant_type="nf4",
                compress_statistics=True,
            )
            if module.bias is not None:
                quantized.bias = module.bias
            model.set_submodule(name, quantized.to("cuda"))


def random_texts(vocabulary: int, setting: Setting, count: int) -> list[Encoded]:
    """Return texts of random tokens; the lengths are those of a question and its answer."""
    chance = random.Random(0)
    system = [chance.randrange(10, vocabulary) for _ in range(0 if setting.loss == "all" else 130)]
    texts = []
    for _ in range(count):
        asked, answered = chance.randint(12, 40), max(20, round(chance.gauss(95, 30)))
        ids = [*system, *(chance.randrange(10, vocabulary) for _ in range(asked + answered))]
        asked = 0 if setting.loss == "all" else len(system) + asked
        texts.append(Encoded(ids, [IGNORED] * asked + ids[asked:], truncated=False))
    return texts


if __name__ == "__main__":
    main()
