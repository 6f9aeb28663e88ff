"""Systems that answer: a finished run, or a server behind a URL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from inference.client import ChatMessage
from training.examples import Example
from training.progress import Advance


class System(Protocol):
    """Answers as its customers would be answered, without anything looked up."""

    name: str
    fingerprint: str  # changes with whatever may change its answers
    batch_size: int  # how many examples it takes best at once

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """Return what it says in place of each example's answer. Raises `TrainingError`."""

    def measure_loss(self, examples: Sequence[Example], advance: Advance) -> float | None:
        """Return the mean negative log-likelihood of the answers' tokens, in nats.

        Each token counts alike, a prompt's never. None where it cannot be known.
        """


def as_example(question: str) -> Example:
    """Return a question by itself as an example that waits for its answer."""
    asked: ChatMessage = {"role": "user", "content": question}
    waiting: ChatMessage = {"role": "assistant", "content": ""}
    return Example((asked, waiting), group="", category="", source="")


def is_url(target: str) -> bool:
    """Return whether a target is a server's address rather than a run's folder."""
    return target.startswith(("http://", "https://"))


def open_system(
    target: str,
    *,
    base: Path | None,
    model: str | None,
    key: str | None,
    untrained: bool = False,
) -> System:
    """Open a run's folder (`untrained`: its base alone) or a server.

    Raises `TrainingInputError`, `TrainingError`.
    """
    if is_url(target):
        from training.served import ServedSystem

        return ServedSystem(target, model=model, key=key)
    from training.runs import open_run
    from training.trained import TrainedSystem

    return TrainedSystem(open_run(Path(target)), base, untrained=untrained)
