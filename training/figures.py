"""The figures of the comparison: what is shown of a contender, and when two may be compared."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from training.contenders import Contender, describe_machine
from training.runs import EvaluationRecord, Totals

Value = float | None


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be the same of all contenders for a figure to compare them."""

    broken: str  # what the page says where it is not
    of: Callable[[Contender], Hashable]  # None where it does not apply to the contender


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of the comparison."""

    group: str
    name: str
    unit: str
    digits: int  # to which it is shown, and compared
    read: Callable[[Contender], Value]
    better: Literal["more", "less"] | None = None  # None: never compared
    conditions: tuple[Condition, ...] = ()

    def value(self, contender: Contender) -> Value:
        """Return what was measured; None where nothing was, or the run came to no number."""
        found = self.read(contender)
        if found is None or not math.isfinite(found):
            return None
        return round(found, self.digits)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Which contenders are best by a figure, by their numbers; or why it compares none."""

    best: frozenset[int] = frozenset()
    broken: tuple[str, ...] = ()


def judge(figure: Figure, contenders: Sequence[Contender]) -> Judgement:
    """Return the best by a figure; nobody where all are alike or nothing may be compared.

    Stand-ins take no part: their figures are not those of the recipe's contender.
    """
    values = {
        contender.number: value
        for contender in contenders
        if not contender.stand_in and (value := figure.value(contender)) is not None
    }
    if figure.better is None or len(values) < 2:
        return Judgement()
    compared = [contender for contender in contenders if contender.number in values]
    if broken := find_differences(figure, compared):
        return Judgement(broken=broken)
    if len(set(values.values())) == 1:
        return Judgement()
    best = (max if figure.better == "more" else min)(values.values())
    return Judgement(frozenset(number for number, value in values.items() if value == best))


def find_differences(figure: Figure, contenders: Sequence[Contender]) -> tuple[str, ...]:
    """Return why a figure does not compare these contenders; nothing where it does."""
    return tuple(
        condition.broken
        for condition in figure.conditions
        if len({condition.of(contender) for contender in contenders} - {None}) > 1
    )


def _trained(read: Callable[[Totals], Value]) -> Callable[[Contender], Value]:
    return lambda contender: None if contender.run is None else read(contender.run.totals)


def _evaluated(read: Callable[[EvaluationRecord], Value]) -> Callable[[Contender], Value]:
    return lambda contender: None if contender.evaluation is None else read(contender.evaluation)


def _gpu_gib(totals: Totals) -> Value:
    return None if totals.peak_gpu_bytes is None else totals.peak_gpu_bytes / 2**30


def _data(contender: Contender) -> Hashable:
    return None if contender.run is None else contender.run.data.digest


def _base(contender: Contender) -> Hashable:
    return None if contender.run is None else contender.run.base


def _hardware(contender: Contender) -> Hashable:
    return None if contender.run is None else describe_machine(contender.run.machine)


def _completeness(contender: Contender) -> Hashable:
    return contender.number if contender.cut_short else 0


def _counting(contender: Contender) -> Hashable:
    if contender.run is None:
        return None
    setting = contender.run.setting
    return contender.run.base, setting.loss, setting.template, setting.max_length


def _questions(contender: Contender) -> Hashable:
    evaluation = contender.evaluation
    return None if evaluation is None else (evaluation.data_digest, evaluation.examples)


def _embedder(contender: Contender) -> Hashable:
    return None if contender.evaluation is None else contender.evaluation.embedder


def _answering_hardware(contender: Contender) -> Hashable:
    return None if contender.evaluation is None else describe_machine(contender.evaluation.machine)


_SAME_DATA = Condition("학습 자료가 달라요", _data)
_SAME_HARDWARE = Condition("학습한 기계가 달라요", _hardware)
_SAME_TOKENS = Condition("바탕 모델이 달라 토큰을 나누는 법이 달라요", _base)
_COMPLETE = Condition("정한 에포크를 채우지 않은 학습이 있어요", _completeness)
_SAME_COUNTING = Condition("바탕 모델이나 손실을 세는 법이 달라요", _counting)
_SAME_QUESTIONS = Condition("평가 파일이나 예의 수가 달라요", _questions)
_SAME_EMBEDDER = Condition("임베더가 달라요", _embedder)
_SAME_ANSWERING_HARDWARE = Condition("답한 기계가 달라요", _answering_hardware)

_OF_TRAINING = (_SAME_DATA, _SAME_HARDWARE)
_OF_ANSWERS = (_SAME_DATA, _SAME_QUESTIONS)
_OF_LATENCY = (_SAME_QUESTIONS, _SAME_ANSWERING_HARDWARE)
_RESOURCES, _TIME, _LOSS, _ANSWERS, _LATENCY = (
    *("최고 메모리", "학습 시간", "손실", "답의 품질", "한 답의 시간"),
)

SIMILARITY = Figure(
    *(_ANSWERS, "유사도", "0~1", 3, _evaluated(lambda e: e.similarity), "more"),
    (*_OF_ANSWERS, _SAME_EMBEDDER),
)
LATENCY = Figure(_LATENCY, "p50", "초", 2, _evaluated(lambda e: e.seconds_p50), "less", _OF_LATENCY)

FIGURES = (
    Figure(
        *(_RESOURCES, "RAM", "GiB", 2, _trained(lambda t: t.peak_memory_bytes / 2**30), "less"),
        _OF_TRAINING,
    ),
    Figure(_RESOURCES, "GPU", "GiB", 2, _trained(_gpu_gib), "less", _OF_TRAINING),
    Figure(
        *(_TIME, "에포크당", "초", 1, _trained(lambda t: t.seconds_per_epoch), "less"),
        _OF_TRAINING,
    ),
    Figure(
        *(_TIME, "전체", "초", 1, _trained(lambda t: t.seconds), "less"),
        (*_OF_TRAINING, _COMPLETE),
    ),
    Figure(
        *(_TIME, "빠르기", "토큰/초", 1, _trained(lambda t: t.tokens_per_second), "more"),
        (*_OF_TRAINING, _SAME_TOKENS),
    ),
    Figure(_LOSS, "학습 처음", "nat/토큰", 3, _trained(lambda t: t.first_loss)),
    Figure(_LOSS, "학습 끝", "nat/토큰", 3, _trained(lambda t: t.last_loss)),
    Figure(
        *(_LOSS, "가장 낮은 검증", "nat/토큰", 3),
        *(_trained(lambda t: t.best_validation_loss), "less", (_SAME_DATA, _SAME_COUNTING)),
    ),
    SIMILARITY,
    Figure(_ANSWERS, "chrF", "0~100", 1, _evaluated(lambda e: e.chrf), "more", _OF_ANSWERS),
    Figure(
        *(_ANSWERS, "거절", "%", 1, _evaluated(lambda e: 100 * e.refusals), "less"), _OF_ANSWERS
    ),
    Figure(
        *(_ANSWERS, "반복", "%", 1, _evaluated(lambda e: 100 * e.repetitions), "less"),
        _OF_ANSWERS,
    ),
    LATENCY,
    Figure(_LATENCY, "p95", "초", 2, _evaluated(lambda e: e.seconds_p95), "less", _OF_LATENCY),
)
