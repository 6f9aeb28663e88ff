"""The gate's later stages: what a subject says of its answers, followed by the reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.agreement import (
    TOLERANCES,
    Agreement,
    Followed,
    Step,
    Tolerance,
    compare,
    fit_to_adapter,
    fit_to_noise,
    measure_noise,
)
from training.gate import Stage, StageRecord
from training.progress import counting, tell
from training.reference import Reference, memory_explained
from training.runs import Run
from training.subjects import Subject

Prompts = Mapping[str, list[int]]  # tokens by the probe's name


def check_weights(
    run: Run, subject: Subject, base: Path | None, prompts: Prompts, asked: Sequence[Stage]
) -> list[StageRecord]:
    """Have the subject answer for each stage, then follow its answers with the reference.

    The subject is closed in between: a merged model and the reference need not be in memory
    together. Raises `TrainingError`, `TrainingInputError`.
    """
    answers: dict[Stage, list[list[Step]]] = {stage: [] for stage in asked}
    with counting("답", len(prompts) * len(asked)) as advance:
        for stage in asked:
            for prompt in prompts.values():
                answers[stage].append(subject.answer(prompt, adapter=stage != "base"))
                advance(1)
    subject.close()
    with memory_explained():
        reader = _Reader(Reference(run, base, say=tell), prompts)
        tolerance = TOLERANCES[subject.precision]
        if subject.precision == "bf16":
            tolerance = fit_to_noise(tolerance, reader.measure_noise(answers[asked[0]], asked[0]))
        found: list[StageRecord] = []
        for stage in asked:
            if found and not found[-1].passed:
                found.append(skip(stage))
                continue
            base_mean = found[-1].mean if found else None
            found.append(reader.judge(answers[stage], stage, tolerance, base_mean))
        return found


def skip(stage: Stage) -> StageRecord:
    """Return the record of a stage that makes no sense after one that differs."""
    return StageRecord(stage=stage, passed=None, why="앞 단계가 달라 재지 않음")


class _Reader:
    """Reads answers to the prompts with the reference."""

    def __init__(self, reference: Reference, prompts: Prompts) -> None:
        self._reference = reference
        self._names = list(prompts)
        self._prompts = list(prompts.values())

    def measure_noise(self, answers: Sequence[Sequence[Step]], stage: Stage) -> float:
        """Return by how much the reference differs from itself on other kernels, in the mean."""
        usual = self._follow(answers, adapter=stage != "base")
        with self._reference.other_kernels():
            again = self._follow(answers, adapter=stage != "base")
        return measure_noise(usual, again)

    def judge(
        self,
        answers: Sequence[Sequence[Step]],
        stage: Stage,
        tolerance: Tolerance,
        base_mean: float | None,
    ) -> StageRecord:
        """Compare the answers of a stage; `base_mean` is what the base differed by."""
        agreement = self._compare(answers, tolerance, adapter=stage != "base")
        whys = []
        if stage in {"adapter", "merge"}:
            bare = self._compare(answers, tolerance, adapter=False)
            if base_mean is not None:
                tolerance = fit_to_adapter(tolerance, base_mean, bare.mean)
            if bare.mean < agreement.mean:
                whys.append("어댑터 없는 바탕 모델에 더 가까움")
        if not agreement.fits(tolerance):
            whys.insert(0, self._describe(agreement, tolerance))
        return StageRecord(
            stage=stage,
            passed=not whys,
            why="; ".join(whys),
            tolerance=tolerance,
            values=agreement.values,
            mean=agreement.mean,
            worst=agreement.worst,
            answers=agreement.answers,
        )

    def _compare(
        self, answers: Sequence[Sequence[Step]], tolerance: Tolerance, *, adapter: bool
    ) -> Agreement:
        return compare(answers, self._follow(answers, adapter=adapter), tolerance)

    def _follow(self, answers: Sequence[Sequence[Step]], *, adapter: bool) -> list[list[Followed]]:
        return [
            self._reference.follow(prompt, steps, adapter=adapter)
            for prompt, steps in zip(self._prompts, answers, strict=True)
        ]

    def _describe(self, found: Agreement, allowed: Tolerance) -> str:
        return (
            f"평균 {found.mean:.3f} (허용 {allowed.mean:.3f}), 최대 {found.worst:.2f}"
            f" (허용 {allowed.worst}; “{self._names[found.worst_probe]}”), 같은 답"
            f" {found.answers:.0%} (적어도 {allowed.answers:.0%})"
        )
