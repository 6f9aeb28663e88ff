"""What a run tells while it trains: a bar on the terminal, a line of metrics a step."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.runs import METRICS, Measurement


class Recorder(TrainerCallback):
    """Writes metrics as they come, times the steps, and shows how far a run is.

    After a resume the metrics that came after the checkpoint are dropped and come again.
    """

    def __init__(self, folder: Path, *, resumed_step: int, bar: bool, writes: bool = True) -> None:
        self._path = folder / METRICS
        kept = [each for each in _read(self._path) if each.step <= resumed_step]
        self.before = kept[-1].seconds if kept else 0.0
        self.measurements = kept
        self.step_seconds = 0.0  # of this process's training steps alone
        self.steps = 0
        self._writes = writes  # one of several processes does
        if writes:
            self._path.write_text("".join(f"{_line(each)}\n" for each in kept), encoding="utf-8")
        self._began = time.perf_counter()
        self._step_began = 0.0
        self._bar = Progress(
            TextColumn("학습"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("손실 {task.fields[loss]}  검증 {task.fields[validation]}  남은 시간"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not bar,
        )
        self._task = self._bar.add_task("", total=None, loss="–", validation="–")

    @property
    def seconds(self) -> float:
        """How long the run has taken, before and after a resume."""
        return self.before + time.perf_counter() - self._began

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Show the bar."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Note when a step begins."""
        self._step_began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Count a step and its time."""
        self.step_seconds += time.perf_counter() - self._step_began
        self.steps += 1
        self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Write what was measured."""
        logs = logs or {}
        if "loss" not in logs and "eval_loss" not in logs:
            return
        found = Measurement(
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 4),
            seconds=round(self.seconds, 2),
            loss=logs.get("loss"),
            validation_loss=logs.get("eval_loss"),
            learning_rate=logs.get("learning_rate"),
        )
        self.measurements.append(found)
        if self._writes:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(found)}\n")
        if found.loss is not None:
            self._bar.update(self._task, loss=f"{found.loss:.3f}")
        if found.validation_loss is not None:
            self._bar.update(self._task, validation=f"{found.validation_loss:.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Take the bar away."""
        self._bar.stop()


def _read(path: Path) -> list[Measurement]:
    """Return the lines of a metrics file; what a killed process half wrote is none."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Measurement.model_validate_json(line) for line in lines]


def _line(found: Measurement) -> str:
    return found.model_dump_json(exclude_none=True)
