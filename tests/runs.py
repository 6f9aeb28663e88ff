"""Run folders made by hand: as `deepbot train` and `deepbot evaluate` leave them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training import recipe, runs
from training.runs import Answered, EvaluationRecord, Machine, Measurement, RunRecord

GPU = Machine(
    cpu="EPYC", cores=16, memory_bytes=64 * 2**30, gpu="NVIDIA L4", gpu_memory_bytes=24 * 2**30
)
CPU = Machine(cpu="EPYC", cores=2, memory_bytes=24 * 2**30)
EMBEDDER = "distiluse-base-multilingual-cased-v1"
QUESTIONS = tuple(f"{room} 벽지가 들떴는데 어떻게 하나요?" for room in ("거실", "안방", "욕실 앞"))


def make_record(
    recipe_name: str = "qwen-small",
    *,
    totals: Mapping[str, Any] | None = None,
    licence: Mapping[str, Any] | None = None,
    setting: Mapping[str, Any] | None = None,
    **changes: Any,  # noqa: ANN401 - fields of any type
) -> RunRecord:
    """A record of a made run; what is given replaces fields of it."""
    found = recipe.load(recipe_name)
    if licence:
        base = found.base.model_copy(
            update={"licence": found.base.licence.model_copy(update=licence)}
        )
        found = found.model_copy(update={"base": base})
    variant = changes.get("variant", "default")
    record = {
        "recipe": found,
        "variant": variant,
        "setting": found.setting(variant).model_copy(update=dict(setting or {})),
        "base": found.base.repository,
        "stand_in": False,
        "seed": 7,
        "started": "2026-11-26T01:02:03+00:00",
        "versions": {"torch": "2.13.0"},
        "machine": GPU,
        "data": {"digest": "d" * 64, "train_examples": 400, "validation_examples": 60},
        "totals": {
            "steps": 300,
            "epochs": float(found.setting(variant).epochs),
            "seconds": 3671.5,
            "seconds_per_epoch": 1223.8,
            "tokens": 900_000,
            "learnt_tokens": 400_000,
            "tokens_per_second": 245.1,
            "peak_memory_bytes": 3 * 2**30,
            "peak_gpu_bytes": 5 * 2**30,
            "parameters": 494_000_000,
            "trained_parameters": 4_400_000,
            "first_loss": 2.5,
            "last_loss": 0.9,
            "first_validation_loss": 1.9,
            "best_validation_loss": 1.1,
            "best_step": 250,
            "stopped_early": False,
            **(totals or {}),
        },
        **changes,
    }
    return RunRecord.model_validate(record)


def make_evaluation(
    **changes: Any,  # noqa: ANN401 - fields of any type
) -> EvaluationRecord:
    """What was measured of a made system; what is given replaces fields of it."""
    record = {
        "system": "run",
        "data": "validation.jsonl",
        "data_digest": "0" * 64,
        "examples": 60,
        "loss": 1.1,
        "perplexity": math.exp(1.1),
        "similarity": 0.7,
        "embedder": EMBEDDER,
        "chrf": 31.4,
        "refusals": 0.0,
        "repetitions": 0.01,
        "seconds_p50": 1.25,
        "seconds_p95": 2.5,
        "machine": GPU,
        "answers": [
            Answered(question=question, answer=f"{question} 하루 말린 뒤 다시 붙이세요.", seconds=1)
            for question in QUESTIONS
        ],
        **changes,
    }
    return EvaluationRecord.model_validate(record)


def make_metrics(steps: int = 60, *, best: float = 1.1) -> list[Measurement]:
    """Measurements of a run whose losses fall: training at each step, validation at each tenth."""
    found = []
    for step in range(1, steps + 1):
        at = Measurement(step=step, epoch=step / 20, seconds=step)
        noise = 0.1 * math.sin(step * 2.7)
        loss = best - 0.2 + 1.5 * math.exp(-step / 15) + noise
        found.append(at.model_copy(update={"loss": loss}))
        if step % 10 == 0:
            validation = best + 1.2 * math.exp(-(step - 10) / 12)
            found.append(at.model_copy(update={"validation_loss": validation}))
    return found


def write_run(
    folder: Path,
    record: RunRecord,
    evaluation: EvaluationRecord | None = None,
    metrics: Sequence[Measurement] | None = None,
) -> Path:
    """Leave a run in its folder, and return the folder."""
    folder.mkdir(parents=True)
    runs.write_record(folder, record)
    lines = make_metrics() if metrics is None else metrics
    text = "".join(f"{each.model_dump_json(exclude_none=True)}\n" for each in lines)
    (folder / runs.METRICS).write_text(text, encoding="utf-8")
    if evaluation:
        write_evaluation(folder / runs.EVALUATION, evaluation)
    return folder


def write_evaluation(path: Path, evaluation: EvaluationRecord) -> Path:
    """Write an evaluation, and return where it is."""
    path.write_text(evaluation.model_dump_json(), encoding="utf-8")
    return path
