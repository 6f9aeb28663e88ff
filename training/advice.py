"""Whom to serve, by rules that stand on the page; nobody where the evidence is too thin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.contenders import Contender
from training.figures import LATENCY, SIMILARITY, find_differences


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rules go by; shares from 0 to 1."""

    examples: int = 50  # fewer say little
    gpu_gib: int = 24  # a card that a shop can rent or buy
    refusals: float = 0.1
    repetitions: float = 0.02
    margin: float = 0.005  # of the similarity: less is no lead


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a rule, counted from 1, rules a contender out."""

    contender: Contender
    rule: int
    why: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What the rules come to."""

    rules: tuple[str, ...]
    objections: tuple[Objection, ...]
    chosen: Contender | None
    why: str


def advise(contenders: Sequence[Contender], bounds: Bounds) -> Advice:
    """Return the contender that the rules leave and rank first, if there is one."""
    rules = _rules(contenders, bounds)
    objections = tuple(
        Objection(contender, number, why)
        for contender in contenders
        for number, (_, objects) in enumerate(rules, start=1)
        if (why := objects(contender))
    )
    ruled_out = {objection.contender.number for objection in objections}
    left = [contender for contender in contenders if contender.number not in ruled_out]
    chosen, why = _choose(left, bounds)
    texts = (*(text for text, _ in rules), _RANKING.format(bounds.margin))
    return Advice(texts, objections, chosen, why)


_RANKING = (
    "남은 것 가운데 유사도가 가장 높은 것을 골라요. 임베더, 평가 파일, 학습 자료가 다르면"
    " 아무도 고르지 않아요. 유사도의 차이가 {}보다 작으면 같은 기계에서 잰 답의 시간(p50)이"
    " 짧은 쪽을 고르고, 그것도 견줄 수 없으면 아무도 고르지 않아요."
)

_Rule = tuple[str, Callable[[Contender], str | None]]


def _rules(contenders: Sequence[Contender], bounds: Bounds) -> tuple[_Rule, ...]:
    return (
        (
            "대역 모델은 추천하지 않아요. 그 값은 레시피의 시스템에서 잰 것이 아니에요.",
            lambda s: f"다른 모델({s.title})로 돌렸어요." if s.stand_in else None,
        ),
        (
            "가게에서 쓸 것이라, 바탕 모델의 라이선스가 상업적 이용을 허락한다고 밝혀야 해요.",
            _object_to_licence,
        ),
        (
            f"예 {bounds.examples}개 이상으로 유사도를 쟀어야 해요.",
            lambda s: _object_to_evidence(s, bounds),
        ),
        (
            "검증 손실이 처음 쟀을 때보다 내려갔어야 해요.",
            _object_to_learning,
        ),
        (
            f"학습에 쓴 GPU 메모리가 {bounds.gpu_gib} GiB 이하여야 해요 (GPU 없이 했으면 통과).",
            lambda s: _object_to_memory(s, bounds),
        ),
        (
            f"답하기를 거절한 것이 {bounds.refusals:.0%} 이하여야 해요.",
            lambda s: _object_to_share(s, "거절", bounds.refusals),
        ),
        (
            f"같은 말을 되풀이한 답이 {bounds.repetitions:.0%} 이하여야 해요.",
            lambda s: _object_to_share(s, "반복", bounds.repetitions),
        ),
        (
            "학습 없이 검색만 한 것보다 유사도가 높아야 해요 (같은 조건에서 쟀을 때).",
            lambda s: _object_to_gain(s, contenders),
        ),
    )


def _object_to_licence(contender: Contender) -> str | None:
    if contender.stand_in:
        return None  # is out already, and nobody says of what its licence is
    if contender.licence is None:
        return "어떤 모델이 답했는지 기록에 없어 라이선스를 알 수 없어요."
    if contender.licence.commercial is None:
        return f"상업적 이용을 허락하는지 밝혀지지 않았어요 (라이선스: {contender.licence.name})."
    if not contender.licence.commercial:
        return f"상업적 이용을 허락하지 않아요 ({contender.licence.name})."
    return None


def _object_to_evidence(contender: Contender, bounds: Bounds) -> str | None:
    if contender.evaluation is None:
        return "평가하지 않았어요 (deepbot evaluate)."
    if SIMILARITY.value(contender) is None:
        return "유사도를 재지 않았어요."
    if contender.evaluation.examples < bounds.examples:
        return f"예 {contender.evaluation.examples}개로만 평가했어요."
    return None


def _object_to_learning(contender: Contender) -> str | None:
    if contender.run is None:
        return None
    first, best = (
        contender.run.totals.first_validation_loss,
        contender.run.totals.best_validation_loss,
    )
    if first is None or best is None:
        return "검증 손실을 재지 않았어요."
    if best < first:  # false, too, where one is no number
        return None
    return f"내려가지 않았어요 (처음 {first:.3f}, 가장 낮을 때 {best:.3f})."


def _object_to_memory(contender: Contender, bounds: Bounds) -> str | None:
    used = contender.run and contender.run.totals.peak_gpu_bytes
    if not used or used <= bounds.gpu_gib * 2**30:
        return None
    return f"{used / 2**30:.1f} GiB를 썼어요."


def _object_to_share(contender: Contender, name: str, bound: float) -> str | None:
    if contender.evaluation is None:
        return None
    share = {"거절": contender.evaluation.refusals, "반복": contender.evaluation.repetitions}[name]
    return None if share <= bound else f"{name} {share:.1%}예요."


def _object_to_gain(contender: Contender, contenders: Sequence[Contender]) -> str | None:
    mine = SIMILARITY.value(contender)
    for other in contenders:
        bar = SIMILARITY.value(other)
        if contender.run is None or other.run or mine is None or bar is None:
            continue
        if mine <= bar and not find_differences(SIMILARITY, [contender, other]):
            return f"검색만 한 것이 {bar:.3f}, 이것이 {mine:.3f}예요."
    return None


def _choose(left: Sequence[Contender], bounds: Bounds) -> tuple[Contender | None, str]:
    if not left:
        return None, "규칙을 모두 지킨 시스템이 없어요."
    if broken := find_differences(SIMILARITY, left):
        return None, f"남은 시스템들을 견줄 수 없어요. {'. '.join(broken)}."
    ranked = sorted(left, key=_similarity, reverse=True)
    lead = _similarity(ranked[0])
    close = [contender for contender in ranked if lead - _similarity(contender) < bounds.margin]
    if len(left) == 1:
        return ranked[0], f"규칙을 모두 지킨 것은 이것뿐이에요 (유사도 {lead:.3f})."
    if len(close) == 1:
        return ranked[0], f"규칙을 지킨 {len(left)}개 가운데 유사도가 가장 높아요 ({lead:.3f})."
    if broken := find_differences(LATENCY, close):
        return None, f"유사도가 비슷하고 답의 시간은 견줄 수 없어요. {'. '.join(broken)}."
    fastest = sorted(close, key=_seconds)
    if _seconds(fastest[0]) == _seconds(fastest[1]):
        return None, "유사도도 답의 시간도 비슷해요."
    return fastest[0], f"유사도가 비슷한 {len(close)}개 가운데 가장 빨리 답해요."


def _similarity(contender: Contender) -> float:
    return SIMILARITY.value(contender) or 0.0


def _seconds(contender: Contender) -> float:
    return LATENCY.value(contender) or 0.0
