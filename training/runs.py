"""A run: what `deepbot train` leaves in its folder.

RUN/run.json        settings, versions, machine, data, totals
RUN/metrics.jsonl   a measurement a line, in the order in which they came
RUN/loss.png        training and validation loss
RUN/README.md       the model card
RUN/adapter/        the adapter (LoRA, QLoRA) with its tokenizer, or
RUN/model/          the whole model (full fine-tuning)
RUN/evaluation.json what `deepbot evaluate` found
RUN/checkpoints/    where a killed run goes on
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import TrainingInputError
from training.files import write_json
from training.recipe import Recipe, Setting, Variant

RUN, METRICS, LOSS, CARD = "run.json", "metrics.jsonl", "loss.png", "README.md"
EVALUATION, UNTRAINED = "evaluation.json", "evaluation-untrained.json"
ADAPTER, MODEL, CHECKPOINTS = "adapter", "model", "checkpoints"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Measurement(_Record):
    """A line of the metrics: the loss of the last training steps, or one validation."""

    step: int
    epoch: float
    seconds: float  # since the run began, times before a resume counted in
    step_seconds: float | None = None  # that the last training step took
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None


class Machine(_Record):
    """Where a run ran."""

    cpu: str
    cores: int
    memory_bytes: int
    gpu: str | None = None
    gpu_memory_bytes: int | None = None


class Data(_Record):
    """What a run learnt from."""

    digest: str
    train_examples: int
    validation_examples: int


class Totals(_Record):
    """A run in numbers; tokens are real ones, without padding."""

    steps: int
    epochs: float
    seconds: float
    seconds_per_epoch: float
    tokens: int
    learnt_tokens: int  # those that the loss counts
    tokens_per_second: float
    peak_memory_bytes: int
    peak_gpu_bytes: int | None
    parameters: int
    trained_parameters: int
    first_loss: float | None
    last_loss: float | None
    first_validation_loss: float | None
    best_validation_loss: float | None
    best_step: int | None
    stopped_early: bool


class RunRecord(_Record):
    """`run.json`."""

    recipe: Recipe
    variant: Variant
    setting: Setting  # the variant's
    base: str  # the repository, or the name of the file or folder given as --base
    stand_in: bool  # the base is another model than the recipe's: figures are not the recipe's
    seed: int
    started: str  # ISO 8601, UTC
    versions: dict[str, str]
    machine: Machine
    data: Data
    totals: Totals


class Answered(_Record):
    """One of the questions that every system is asked."""

    question: str
    answer: str
    seconds: float


class EvaluationRecord(_Record):
    """`evaluation.json`; shares from 0 to 1, times in seconds."""

    system: str  # a run's name or a server's address
    data: str  # the file's name
    data_digest: str  # and its SHA-256
    examples: int
    loss: float | None  # of the answers alone; None where a server says no probabilities
    perplexity: float | None
    similarity: float | None  # the competition's metric
    embedder: str | None  # by which it was measured: figures of two embedders do not compare
    chrf: float  # character n-gram F-score, 0 to 100
    refusals: float
    repetitions: float
    seconds_p50: float
    seconds_p95: float
    peak_memory_bytes: int | None = None  # of the run's process; a server's is not ours to see
    peak_gpu_bytes: int | None = None
    machine: Machine
    answers: list[Answered]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run in its folder."""

    folder: Path
    record: RunRecord

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def metrics(self) -> Iterator[Measurement]:
        """Return the measurements in their order."""
        for line in (self.folder / METRICS).read_text(encoding="utf-8").splitlines():
            yield Measurement.model_validate_json(line)

    def evaluation(self, *, untrained: bool = False) -> EvaluationRecord | None:
        """Return what `deepbot evaluate` found, if it was asked."""
        path = self.folder / (UNTRAINED if untrained else EVALUATION)
        if not path.exists():
            return None
        return EvaluationRecord.model_validate_json(path.read_text(encoding="utf-8"))


def open_run(folder: Path) -> Run:
    """Open a finished run. Raises `TrainingInputError`."""
    path = folder / RUN
    try:
        return Run(folder, RunRecord.model_validate_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        msg = f"끝난 학습이 아니에요 ({RUN}이 없음): {folder}"
        raise TrainingInputError(msg) from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        msg = f"학습 기록을 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json`."""
    write_json(folder / RUN, record)
