"""`deepbot evaluate --suite leaderboard`: general ability, by lm-evaluation-harness.

The five benchmarks are those of the Open Ko-LLM leaderboard's first season, with its numbers of
examples before each question (Park et al. 2024, https://arxiv.org/abs/2405.20574). Its Korean
translations of ARC and TruthfulQA were never published and the harness has no others, so those
two are asked in English.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from lm_eval.api.model import CachingLM
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from pydantic import BaseModel, ConfigDict

from training import hub
from training.errors import TrainingError, TrainingInputError
from training.files import write_json
from training.machine import describe_machine
from training.progress import Say, tell
from training.runs import Machine, open_run
from training.trained import TrainedSystem

LEADERBOARD = "leaderboard.json"
_SEED = 1234  # the harness's own, by which examples are drawn
_METRICS = ("acc_norm", "acc")  # of a task that is none of the five; else its first

Loaded = Mapping[str, Any]  # of the harness: tasks and groups by their names


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of the five, and the harness's task that stands for it; or a task by itself."""

    task: str
    title: str | None = None  # None: the task's name
    shots: int | None = None  # None: what the task says
    metric: str | None = None
    language: str | None = None


SUITE = {
    "arc": Benchmark("arc_challenge", "ARC", 25, "acc_norm", "영어"),
    "hellaswag": Benchmark("kobest_hellaswag", "HellaSwag", 10, "acc_norm", "한국어"),
    "mmlu": Benchmark("global_mmlu_full_ko", "MMLU", 5, "acc", "한국어"),
    "truthfulqa": Benchmark("truthfulqa_mc2", "TruthfulQA", 0, "acc", "영어"),
    "commongen": Benchmark("ko_commongen_v2", "KoCommonGEN v2", 2, "acc_norm", "한국어"),
}


class Score(BaseModel):
    """A task's result, from 0 to 1."""

    model_config = ConfigDict(extra="forbid")

    title: str
    task: str
    language: str | None
    shots: int
    metric: str
    value: float
    stderr: float | None
    questions: int


class LeaderboardRecord(BaseModel):
    """`leaderboard.json`."""

    model_config = ConfigDict(extra="forbid")

    system: str
    limit: int | None  # questions of each task; None: all, and only then a leaderboard's figure
    harness: str
    machine: Machine
    scores: list[Score]


def run_leaderboard(
    target: Path,
    *,
    base: Path | None,
    limit: int | None,
    tasks: Sequence[str] | None,
    out: Path | None,
    say: Say,
) -> None:
    """Ask a run the benchmarks and write `leaderboard.json`, into its folder where no `out` is.

    `tasks`: of the five (`SUITE`), others of the harness by name, or a task's YAML file; without
    any, the five. `limit`: questions of each task. A killed command goes on where it was. Raises
    `TrainingInputError`, `TrainingError`.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    run = open_run(target)
    path = out or target / LEADERBOARD
    wanted = [SUITE.get(name) or Benchmark(name) for name in tasks or SUITE]
    hub.leave_unreachable()
    loaded = [_load(benchmark) for benchmark in wanted]  # first of all: data may be missing
    system = TrainedSystem(run, base)
    cache = path.with_name(f"{path.name}.{system.fingerprint[:12]}.cache")
    model = CachingLM(HFLM(system.model, tokenizer=system.tokenizer, batch_size=8), str(cache))
    scores: list[Score] = []
    for benchmark, tasks_of in zip(wanted, loaded, strict=True):
        tell(f"{benchmark.title or '과제'} ({benchmark.task}) …")
        scores += _measure(model, benchmark, tasks_of, limit)
    record = LeaderboardRecord(
        system=system.name,
        limit=limit,
        harness=f"lm_eval {metadata.version('lm_eval')}",
        machine=describe_machine(),
        scores=scores,
    )
    write_json(path, record)
    model.dbdict.close()
    cache.unlink()
    say(describe(record))
    tell(f"적었어요: {path}")


def describe(record: LeaderboardRecord) -> str:
    """Return the scores as lines to read."""
    lines = [_describe(score) for score in record.scores]
    if record.limit is not None:
        lines.append(f"과제마다 {record.limit:,}문항만 물었으니 리더보드의 값이 아니에요.")
    return "\n".join(lines)


def _describe(score: Score) -> str:
    language = f"{score.language}, " if score.language else ""
    error = f" ± {score.stderr:.4f}" if score.stderr is not None else ""
    return (
        f"{score.title}: {score.value:.4f}{error} ({language}{score.task}, 예시 {score.shots}개,"
        f" {score.metric}, {score.questions:,}문항)"
    )


@cache  # it looks through thousands of files
def _known_tasks() -> TaskManager:
    return TaskManager(include_path=str(resources.files("training").joinpath("tasks")))


def _load(benchmark: Benchmark) -> Loaded:
    """Load a task with its data."""
    try:
        loaded: Loaded = _known_tasks().load([benchmark.task])
    except KeyError as error:
        msg = (
            f"그런 과제가 없어요: {benchmark.task} (있는 것: {', '.join(SUITE)},"
            " lm-evaluation-harness의 과제 이름이나 YAML 파일)"
        )
        raise TrainingInputError(msg) from error
    except OSError as error:
        msg = (
            f"{benchmark.title or '과제'}의 문항을 받을 수 없어요 ({benchmark.task}): 모델 허브에"
            " 닿는 곳에서 실행해 주세요."
        )
        raise TrainingError(msg) from error
    return loaded


def _measure(
    model: CachingLM, benchmark: Benchmark, loaded: Loaded, limit: int | None
) -> list[Score]:
    """Ask a task, or all of a group, and return its result; of a tag one for each of its tasks."""
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot") or 0
        task.set_config("num_fewshot", own if benchmark.shots is None else benchmark.shots)
        task.set_fewshot_seed(seed=_SEED)
    found = evaluate(model, loaded, limit=limit, log_samples=False)
    names = list(loaded["groups"])[:1] or list(loaded["tasks"])  # a group, or all by themselves
    return [_score(name, benchmark, loaded, found) for name in names]


def _score(name: str, benchmark: Benchmark, loaded: Loaded, found: Mapping[str, Any]) -> Score:
    values = {
        metric.partition(",")[0]: value
        for metric, value in found["results"][name].items()
        if isinstance(value, float)
    }
    counts = {task: each["effective"] for task, each in found["n-samples"].items()}
    plain = [metric for metric in values if not metric.endswith("_stderr")]
    metric = benchmark.metric or next((each for each in _METRICS if each in values), plain[0])
    return Score(
        title=benchmark.title or name,
        task=name,
        language=benchmark.language,
        shots=next(iter(loaded["tasks"].values())).get_config("num_fewshot"),
        metric=metric,
        value=values[metric],
        stderr=values.get(f"{metric}_stderr"),
        questions=counts.get(name) or sum(counts.values()),
    )
