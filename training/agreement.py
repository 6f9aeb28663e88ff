"""How far two ways through the same weights agree: log-probabilities and greedy answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from training.errors import TrainingError

Precision = Literal["bf16", "quantised"]


class Tolerance(BaseModel):
    """How much may differ; log-probabilities in nats, answers as a share from 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float  # of all differences
    worst: float  # of any
    margin: float  # a lead smaller than this decides no token
    answers: float  # at least so many are the same


# By what was measured on a real model of 0.5B (docs/gate.md), with room; `mean` is the most.
TOLERANCES: dict[Precision, Tolerance] = {
    "bf16": Tolerance(mean=0.15, worst=1.5, margin=0.25, answers=0.9),
    "quantised": Tolerance(mean=0.4, worst=4.0, margin=1.0, answers=0.7),
}
_CHANCE = 0.05  # means below it are the chance of rounding
# bf16 has eight bits: logits near 20 lie an eighth of a nat apart, and other kernels round them
# elsewhere, in one model more than in another. Attention by its plain formula rounds the most:
# measured, twice what vLLM differs by.
_KERNELS = 1.5
# What a base differs by is the server's arithmetic; its adapter adds little to that.
_ADAPTER = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """A token that was generated greedily, and the log-probabilities of the likeliest there.

    `top` is empty where a server says none.
    """

    token: int
    top: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Followed:
    """What the reference says at a step: its own likeliest token, and those of the step."""

    best: int
    best_logprob: float
    logprobs: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a reference agrees with answers it has followed."""

    values: int  # log-probabilities compared
    mean: float
    worst: float
    worst_probe: int  # where that is
    answers: float  # share of the same ones
    other_probe: int | None  # the first of another answer

    def fits(self, tolerance: Tolerance) -> bool:
        """Return whether all stays within a tolerance."""
        return (
            self.mean <= tolerance.mean
            and self.worst <= tolerance.worst
            and self.answers >= tolerance.answers
        )


def fit_to_noise(tolerance: Tolerance, noise: float) -> Tolerance:
    """Return what a model may differ by whose own kernels differ by `noise`, in the mean."""
    return _tighten(tolerance, _KERNELS * noise)


def fit_to_base(tolerance: Tolerance, base: float) -> Tolerance:
    """Return what an adapter may differ by over a base that differs by so much, in the mean."""
    return _tighten(tolerance, _ADAPTER * base)


def _tighten(tolerance: Tolerance, mean: float) -> Tolerance:
    mean = min(tolerance.mean, max(_CHANCE, mean))
    return tolerance.model_copy(update={"mean": mean})


def measure_noise(one: Sequence[Sequence[Followed]], other: Sequence[Sequence[Followed]]) -> float:
    """Return the mean difference between two readings of the same answers."""
    differences = [
        abs(value - again.logprobs[token])
        for rows, rows_again in zip(one, other, strict=True)
        for row, again in zip(rows, rows_again, strict=True)
        for token, value in row.logprobs.items()
    ]
    return sum(differences) / max(len(differences), 1)


def compare(
    answers: Sequence[Sequence[Step]], followed: Sequence[Sequence[Followed]], tolerance: Tolerance
) -> Agreement:
    """Compare answers with what the reference says at each of their steps.

    An answer is another one where the reference would have said another token, by more than the
    margin. Raises `TrainingError` where there is nothing to compare.
    """
    differences: list[tuple[float, int]] = []
    others: list[int] = []
    for probe, (steps, rows) in enumerate(zip(answers, followed, strict=True)):
        for step, row in zip(steps, rows, strict=True):
            differences += [(abs(row.logprobs[t] - value), probe) for t, value in step.top.items()]
        if any(
            row.best_logprob - row.logprobs[step.token] > tolerance.margin
            for step, row in zip(steps, rows, strict=True)
        ):
            others.append(probe)
    if not differences:
        msg = "서버가 답에 로그 확률을 주지 않아 견줄 수 없어요."
        raise TrainingError(msg)
    worst, where = max(differences)
    return Agreement(
        values=len(differences),
        mean=sum(each for each, _ in differences) / len(differences),
        worst=worst,
        worst_probe=where,
        answers=1 - len(others) / len(answers),
        other_probe=others[0] if others else None,
    )
