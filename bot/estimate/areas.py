"""Finds the area in a sentence: 24평, 스물네 평, 79㎡, 전용 59, 84타입, 24~25평쯤."""

import re
from dataclasses import dataclass
from decimal import Decimal

from bot.estimate.numerals import DIGIT_NAMES, NUMBER, parse_number
from bot.estimate.slots import MAX_AREA, MAX_PYEONG, MIN_PYEONG, AreaBasis, Unit, to_pyeong

_PYEONG = r"(?:평|py\b)(?!택|촌|창|소|일|균|당|범|생|안|가)"
_SQM = r"(?:㎡|m2|m²|m\^2|제곱\s*미터|제곱|평방\s*미터|평방|헤베)"
_TYPE = r"(?:[a-e]?\s*(?:타입|type)|[a-e](?![a-z]))"
_RANGE = r"\s*(?:평|㎡|m2)?\s*(?:~|-|–|에서|부터|내지)\s*"
_SUPPLY = r"(?:공급|분양)\s*(?:면적|평수|평형)?"
_EXCLUSIVE = r"(?:전용|실평수?|실면적|실사용)\s*(?:면적|평수)?"
_BETWEEN = r"\s*(?:기준|이랑|으로는|으로|은|는|이|가|도|만|:|\()?\s*(?:약|한|대략)?\s*"

_AREA = re.compile(
    rf"(?:(?:(?P<supply>{_SUPPLY})|(?P<exclusive>{_EXCLUSIVE})){_BETWEEN})?"
    rf"(?:(?P<from>{NUMBER}){_RANGE})?"
    rf"(?:(?P<number>{NUMBER})\s*(?:여\s*)?(?:(?P<pyeong>{_PYEONG})(?P<form>\s*형)?|(?P<sqm>{_SQM}))"
    rf"|(?P<flat>{NUMBER}|{DIGIT_NAMES})\s*(?P<type>{_TYPE}))"
    rf"(?P<band>\s*대)?(?P<half>\s*반(?![가-힣])|\s*반(?=쯤|정도|짜리|이|되|인|요))?"
    rf"(?P<after>\s*\(?\s*(?:{_SUPPLY}|{_EXCLUSIVE})(?!{_BETWEEN}\d))?"
)
_BARE_EXCLUSIVE = re.compile(rf"{_EXCLUSIVE}{_BETWEEN}(?P<number>{NUMBER})(?!\d|\s*[평년층개만])")
_NOT_MEANT = re.compile(
    r"\s*(?:은|는|이)?\s*(?:아니고|아니라|말고|아니에|아니예|이?라\s?(?:그랬|했|햇)"
    r"|(?:이?요)?[ ,.]*(?:아 )?아니[다 ]|(?:지난\s?\S+에?\s?|이미\s|벌써\s|다\s?)끝)"
)
_OURS = re.compile(r"(?:우리|저희|남은|제)\s?\S{0,4}\s?$")
_NATIONAL = re.compile(r"국민\s*평형|국평")  # the law's "국민주택규모": 전용 84㎡
_SAME = Decimal("1.15")  # figures nearer than that are one area in two units
_SMALLEST_BARE_SQM = 36.0  # "전용 59" is ㎡, "전용 25" 평


@dataclass(frozen=True, slots=True)
class Area:
    """An area as somebody named it."""

    value: float
    unit: Unit
    basis: AreaBasis | None

    @property
    def is_sane(self) -> bool:
        """Whether somebody may have that much to paper."""
        is_near = 0 < self.value <= MAX_AREA
        return is_near and MIN_PYEONG <= to_pyeong(self.value, self.unit) <= MAX_PYEONG


def find_area(text: str) -> Area | None:
    """Return the area that `text` (spelled right) names.

    Of a supply and an exclusive figure the supply one; what stands beside an exclusive one
    without a word is the supply one. Bands (20평대) are no areas.
    """
    areas: list[Area] = []
    spans = []
    for found in _AREA.finditer(text):
        spans.append(found.span())
        if found["band"] or _NOT_MEANT.match(text, found.end()):
            continue
        if area := _area(found):
            # Of several, our own comes first.
            areas.insert(0 if _OURS.search(text, 0, found.start()) else len(areas), area)
    for found in _BARE_EXCLUSIVE.finditer(text):
        if not any(start <= found.start("number") < end for start, end in spans):
            value = parse_number(found["number"]) or 0.0
            unit = Unit.SQM if value >= _SMALLEST_BARE_SQM else Unit.PYEONG
            areas.append(Area(value, unit, AreaBasis.EXCLUSIVE))
    if not areas and _NATIONAL.search(text):
        areas.append(Area(84.0, Unit.SQM, AreaBasis.EXCLUSIVE))
    return _choose(areas, text)


def _choose(areas: list[Area], text: str) -> Area | None:
    if not areas:
        return None
    by_basis = {area.basis: area for area in reversed(areas)}
    if AreaBasis.SUPPLY in by_basis:
        return by_basis[AreaBasis.SUPPLY]
    bare = by_basis.get(None)
    if len({area.unit for area in areas if area.basis is None}) == 2:
        bare = _larger(areas)
    if bare and AreaBasis.EXCLUSIVE in by_basis:
        return Area(bare.value, bare.unit, AreaBasis.SUPPLY)
    if bare is None:
        return by_basis[AreaBasis.EXCLUSIVE]
    # A word elsewhere in the sentence: "34평이고 공급면적이에요".
    if re.search(r"공급|분양(?:면적|평수)", text):
        return Area(bare.value, bare.unit, AreaBasis.SUPPLY)
    if re.search(r"전용면적|실평수", text):
        return Area(bare.value, bare.unit, AreaBasis.EXCLUSIVE)
    return bare


def _larger(areas: list[Area]) -> Area:
    """Return, of 84㎡ and 34평 named as one, the larger, which is the supply figure."""
    bare = [area for area in areas if area.basis is None and area.is_sane]
    if not bare:
        return areas[0]
    sizes = [to_pyeong(area.value, area.unit) for area in bare]
    if max(sizes) < min(sizes) * _SAME:
        return bare[0]
    largest = bare[sizes.index(max(sizes))]
    return Area(largest.value, largest.unit, AreaBasis.SUPPLY)


def _area(found: re.Match[str]) -> Area | None:
    value = parse_number(found["number"] or found["flat"])
    if value is None:
        return None
    if found["from"] and (start := parse_number(found["from"])) is not None and start < value:
        value = (start + value) / 2
    if found["half"]:
        value += 0.5
    after = found["after"] or ""
    if found["supply"] or found["form"] or re.search(_SUPPLY, after):
        basis = AreaBasis.SUPPLY
    elif found["exclusive"] or found["type"] or re.search(_EXCLUSIVE, after):
        basis = AreaBasis.EXCLUSIVE
    else:
        basis = None
    return Area(value, Unit.PYEONG if found["pyeong"] else Unit.SQM, basis)
