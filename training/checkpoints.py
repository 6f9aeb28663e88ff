"""Checkpoints: where a killed run goes on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run as it stood after a validation."""

    folder: Path
    state: TrainerState

    @property
    def is_last(self) -> bool:
        """Whether the run had come to its end: it was killed before all of it was saved."""
        callbacks: Any = self.state.stateful_callbacks
        return bool(callbacks["TrainerControl"]["args"]["should_training_stop"])

    @property
    def best(self) -> Path:
        """The checkpoint of the lowest validation loss, wherever the run's folder lies now."""
        return self.folder.with_name(f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}")


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the last checkpoint that was written to its end, if there is one."""
    found = [each for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if (each := _read(path))]
    return max(found, key=lambda each: each.state.global_step, default=None)


def _read(folder: Path) -> Checkpoint | None:
    try:  # the trainer writes it last
        state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
    except (OSError, ValueError, TypeError):
        return None
    return Checkpoint(folder, state)
