"""What a run tells while it trains: a bar on the terminal, a line of metrics a step."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.errors import TrainingInputError
from training.files import write_text
from training.runs import METRICS, Measurement


class Recorder(TrainerCallback):
    """Writes metrics as they come, times the steps, and shows how far a run is.

    After a resume the metrics that came after the checkpoint are dropped and come again. Of
    several processes only the `main` one writes and shows.
    """

    def __init__(self, folder: Path, *, resumed_step: int | None, main: bool) -> None:
        self._path = folder / METRICS
        self._main = main
        known = [] if resumed_step is None else _read(self._path)
        self.measurements = [each for each in known if each.step <= (resumed_step or 0)]
        self._before = self.measurements[-1].seconds if self.measurements else 0.0
        if main:
            write_text(self._path, "".join(f"{_line(each)}\n" for each in self.measurements))
        self._began = time.perf_counter()
        self._step_began = 0.0
        self._bar = Progress(
            TextColumn("학습"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("손실 {task.fields[loss]}  검증 {task.fields[validation]}  남은 시간"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not main,
        )
        self._task = self._bar.add_task("", total=None, loss="–", validation="–")

    @property
    def seconds(self) -> float:
        """How long the run has taken, before and after a resume."""
        return self._before + time.perf_counter() - self._began

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
        """Show how far it is."""
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
        # Until here: a GPU has done a step when its loss is read.
        taken = round(time.perf_counter() - self._step_began, 4)
        found = Measurement(
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 4),
            seconds=round(self.seconds, 2),
            step_seconds=taken if "loss" in logs else None,
            loss=logs.get("loss"),
            validation_loss=logs.get("eval_loss"),
            learning_rate=logs.get("learning_rate"),
        )
        self.measurements.append(found)
        if self._main:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(found)}\n")
        if found.loss is not None:
            self._bar.update(self._task, loss=f"{found.loss:.3f}")
        if found.validation_loss is not None:
            self._bar.update(self._task, validation=f"{found.validation_loss:.3f}")

    def close(self) -> None:
        """Take the bar away; a terminal would miss its cursor otherwise."""
        if self._bar.live.is_started:
            self._bar.stop()


def _read(path: Path) -> list[Measurement]:
    """Return the lines of a metrics file; what a killed process half wrote is none."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return [Measurement.model_validate_json(line) for line in lines]
    except ValueError as error:
        msg = f"학습하며 잰 값을 읽을 수 없어 이어 갈 수 없어요: {path}"
        raise TrainingInputError(msg) from error


def _line(found: Measurement) -> str:
    return found.model_dump_json(exclude_none=True)
