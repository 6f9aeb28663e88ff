"""Systems side by side: finished runs, and retrieval without training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from training import runs
from training.errors import TrainingInputError
from training.recipe import Licence
from training.runs import EvaluationRecord, Machine, Measurement, Run, RunRecord


@dataclass(frozen=True, slots=True)
class Contender:
    """What is known of one contender; `run` is None for retrieval without training."""

    number: int  # by which the page names it, from 1
    name: str  # the run's folder, or the address that was asked
    run: RunRecord | None
    metrics: tuple[Measurement, ...]
    evaluation: EvaluationRecord | None

    @property
    def stand_in(self) -> bool:
        """Whether its base is another model than the recipe's."""
        return self.run is not None and self.run.stand_in

    @property
    def title(self) -> str:
        """What it is; a stand-in is called by its base, never by the recipe it borrows."""
        if self.run is None:
            return "검색만 (학습 없음)"
        return self.run.base if self.run.stand_in else self.run.recipe.title

    @property
    def licence(self) -> Licence | None:
        """What its base may be used for; None where the records do not say of which base."""
        return None if self.run is None or self.run.stand_in else self.run.recipe.base.licence

    @property
    def cut_short(self) -> bool:
        """Whether the run was told to end before its epochs did."""
        if self.run is None or self.run.totals.stopped_early:
            return False
        return self.run.totals.epochs < self.run.setting.epochs - 0.01


def open_contenders(folders: Sequence[Path], rag: Path | None) -> list[Contender]:
    """Open runs, and what was measured of retrieval. Raises `TrainingInputError`."""
    found: list[Contender] = []
    for folder in {each.resolve(): each for each in folders}.values():
        run = runs.open_run(folder)
        metrics = _read_metrics(run)
        path = folder / runs.EVALUATION
        evaluation = _read_evaluation(path) if path.exists() else None
        found.append(Contender(len(found) + 1, run.name, run.record, metrics, evaluation))
    if rag:
        evaluation = _read_evaluation(rag)
        found.append(Contender(len(found) + 1, evaluation.system, None, (), evaluation))
    if not found:
        msg = "견줄 것이 없어요. 끝난 학습의 폴더를 하나 이상 알려 주세요."
        raise TrainingInputError(msg)
    return found


def describe_machine(machine: Machine) -> str:
    """Return a machine in words; what reads the same counts as the same hardware."""
    cpu = f"{machine.cpu}, {machine.cores}코어, RAM {machine.memory_bytes / 2**30:.0f} GiB"
    if machine.gpu is None:
        return f"GPU 없음, {cpu}"
    return f"{machine.gpu} {(machine.gpu_memory_bytes or 0) / 2**30:.0f} GiB, {cpu}"


def _read_metrics(run: Run) -> tuple[Measurement, ...]:
    try:
        return tuple(run.metrics())
    except (OSError, ValueError) as error:
        msg = f"학습하며 잰 값을 읽을 수 없어요: {run.folder / runs.METRICS}"
        raise TrainingInputError(msg) from error


def _read_evaluation(path: Path) -> EvaluationRecord:
    try:
        return EvaluationRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"평가 기록이 없어요: {path} (deepbot evaluate로 먼저 만들어 주세요)"
        raise TrainingInputError(msg) from error
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        msg = f"평가 기록을 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error
