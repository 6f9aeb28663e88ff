"""The questions of an estimate, as data: what is asked, its choices, when, and how it is read.

Order is the order of asking. The Korean here is what customers read; the English names are what
`deepbot estimate` takes and prints.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.estimate.areas import Area, find_area
from bot.estimate.numerals import NUMBER, parse_number
from bot.estimate.reading import REJECTED
from bot.estimate.slots import (
    MAX_ROOMS,
    MAX_WORDS,
    AreaBasis,
    Brand,
    Building,
    Ceiling,
    PaperWidth,
    Slots,
    Timing,
    Unit,
    Wallpaper,
)
from bot.estimate.spelling import correct

Values = dict[str, Any]  # slots by name


@dataclass(frozen=True, slots=True)
class Choice:
    """A button: its name in the button's data, its words, the slots it fills.

    `also` matches how people write it when asked, on a text without spaces.
    """

    name: str
    label: str
    values: Values
    also: str = r"(?!)"


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `read` reads what only an answer to it can mean; None where nothing does."""

    name: str
    label: str
    ask: str
    example: str
    choices: tuple[Choice, ...]
    slots: tuple[str, ...]
    columns: int = 3
    is_required: bool = False
    is_multiple: bool = False
    when: Callable[[Slots], bool] = lambda _: True
    read: Callable[[str], Values | None] = lambda _: None

    def is_answered(self, slots: Slots) -> bool:
        """Return whether the slots say what this asks for."""
        values = [getattr(slots, name) is not None for name in self.slots]
        return all(values) if self.is_multiple else any(values)

    def choice(self, name: str) -> Choice | None:
        """Return the choice of that name."""
        return next((choice for choice in self.choices if choice.name == name), None)


def _is_paper(slots: Slots) -> bool:
    return slots.wallpaper in {Wallpaper.PAPER, Wallpaper.MIXED}


class AreaError(ValueError):
    """An area that nobody has."""


def _read_area(text: str) -> Values | None:
    """Read an area, a bare number too: up to 60 it is 평, as nobody names ㎡ that small."""
    text = correct(text)
    area = find_area(text)
    if area is None:
        bare = _BARE_AREA.fullmatch(text)
        value = parse_number(bare["number"]) if bare else None
        if bare is None or value is None or (value < 10 and not bare["number"][0].isdecimal()):
            return None  # "네" is no 4평
        area = Area(value, Unit.PYEONG if value <= 60 else Unit.SQM, None)
    if not area.is_sane:
        raise AreaError
    values: Values = {"area": area.value, "unit": area.unit}
    return values | ({"area_basis": area.basis} if area.basis else {})


_BARE_AREA = re.compile(
    rf"(?:음 |저희는? |우리는? )?(?:약|한|대략)? ?(?P<number>{NUMBER}) ?(?:정도|쯤)?"
    r" ?(?:요|이요|이에요|예요|입니다|인데요|될 거예요|돼요)?[.!~]*"
)


def _read_rooms(text: str) -> Values | None:
    text = correct(text)
    if re.search(r"전체|전부|모두|통째|다 ?(?:요|해)", text):
        return {"rooms": 0}
    counter = r"(?:개|칸|군데|곳)"
    found = re.search(
        rf"(?:방|룸) ?(?P<after>{NUMBER})|(?P<before>{NUMBER}) ?{counter}|^(?P<bare>\d{{1,2}})$",
        text,
    )
    count = parse_number(found["after"] or found["before"] or found["bare"]) if found else None
    return {"rooms": int(count)} if count and 1 <= count <= MAX_ROOMS else None


_NOT_A_PLACE = re.compile(
    r"글쎄|모르|몰라|음+$|아무|상관|네$|응$|아니|[?？]|ㅋ|ㅎ|안녕|감사|할게|할께|싶|다시|취소|통화|전화|사람"
    r"|얼마|견적|해주|주세요|처음|하세"
)
_ENDING = re.compile(
    r" ?(?:쪽|근처)? ?(?:이에요|예요|에요|입니다|이요|인데요|이고요|에 ?있어요|요)?[.!~]*$"
)


def _read_region(text: str) -> Values | None:
    """Keep a place as it was named: the shop wants to know more than the rates do."""
    text = " ".join(text.split())
    if len(text) > MAX_WORDS or not re.search("[가-힣]{2}", text):
        return None
    place = _ENDING.sub("", text)
    return None if len(place) < 2 or _NOT_A_PLACE.search(place) else {"region": place}


_WHEN = re.compile(
    r"\d+ ?[월일주]|초순|중순|하순|주말|평일|이사|휴가|방학|설|추석|[월화수목금토일]요일"
)


def _read_timing(text: str) -> Values | None:
    """Keep a day or a season in the customer's words."""
    words = " ".join(text.split())[:MAX_WORDS]
    return {"timing_words": words} if _WHEN.search(words) else None


_YES, _NO = (
    r"^(?:네|예|넵|응|어|맞아요?|그래요?|있어요?)(?:네|예|요|이요|포함|해줘|해주세요|할게요|부탁[가-힣]{0,4})*$",
    r"^(?:(?:아니요?|아뇨|아니에요|노|없어요?|괜찮아요?|필요없어요?)+|(?:아니요?|아뇨)?안할[래게거]요?|하지마세요)$",
)

_AREAS = (18, 24, 30, 34, 40, 50)

QUESTIONS = (
    Question(
        "wallpaper",
        "벽지",
        "어떤 벽지로 하시겠어요?\n합지는 종이라 싸고, 실크는 코팅되어 오래가고 닦기 쉬워요.",
        "예: 실크, 합지, 방은 합지 거실은 실크",
        (
            Choice("paper", "합지", {"wallpaper": Wallpaper.PAPER}, "종이|싼거"),
            Choice("silk", "실크", {"wallpaper": Wallpaper.SILK}, "비닐"),
            Choice("mixed", "합지+실크", {"wallpaper": Wallpaper.MIXED}, "둘다|섞|반반"),
        ),
        ("wallpaper",),
        is_required=True,
    ),
    Question(
        "paper_width",
        "합지 폭",
        "합지는 소폭과 장폭 중 어느 것으로 할까요? 장폭은 이음매가 적어요.",
        "예: 장폭, 소폭",
        (
            Choice("narrow", "소폭", {"paper_width": PaperWidth.NARROW}, "좁|작은"),
            Choice("wide", "장폭", {"paper_width": PaperWidth.WIDE}, "넓|큰"),
        ),
        ("paper_width",),
        columns=2,
        when=_is_paper,
    ),
    Question(
        "brand",
        "브랜드",
        "벽지 브랜드는 어느 등급으로 볼까요?",
        "예: 프리미엄, 일반, 상관없어요",
        (
            Choice("premium", "프리미엄", {"brand": Brand.PREMIUM}, "좋은|비싼"),
            Choice("standard", "일반", {"brand": Brand.STANDARD}, "보통|기본|무난|싼|저렴"),
            Choice("any", "무관", {"brand": Brand.ANY}, "상관없|아무"),
        ),
        ("brand",),
    ),
    Question(
        "building",
        "건물",
        "어떤 건물인가요?",
        "예: 아파트, 빌라, 상가",
        (
            Choice("apartment", "아파트", {"building": Building.APARTMENT}, "오피스텔|원룸"),
            Choice("house", "빌라·주택", {"building": Building.HOUSE}),
            Choice("commercial", "상가·사무실", {"building": Building.COMMERCIAL}),
        ),
        ("building",),
    ),
    Question(
        "area",
        "평수",
        "몇 평인가요? ㎡로 알려 주셔도 돼요.",
        "예: 24평, 스물네 평, 79㎡, 전용 59",
        tuple(Choice(str(n), f"{n}평", {"area": float(n), "unit": Unit.PYEONG}) for n in _AREAS),
        ("area",),
        is_required=True,
        read=_read_area,
    ),
    Question(
        "area_basis",
        "면적 기준",
        "말씀하신 면적은 공급(분양)면적인가요, 전용(실)면적인가요?",
        "예: 공급, 전용",
        (
            Choice("supply", "공급(분양)", {"area_basis": AreaBasis.SUPPLY}, "공급|분양|평형"),
            Choice("exclusive", "전용(실평수)", {"area_basis": AreaBasis.EXCLUSIVE}, "전용|실"),
        ),
        ("area_basis",),
        columns=2,
    ),
    Question(
        "ceiling",
        "천장",
        "천장도 도배할까요?",
        "예: 포함, 거실 천장만, 벽만",
        (
            Choice("full", "포함", {"ceiling": Ceiling.FULL}, f"^포함|{_YES}|전부|다해|다요|모두"),
            Choice("partial", "부분", {"ceiling": Ceiling.PARTIAL}, "부분|일부|만$"),
            Choice("none", "미포함", {"ceiling": Ceiling.NONE}, f"미포함|안해|빼|{_NO}|제외"),
        ),
        ("ceiling",),
    ),
    Question(
        "rooms",
        "범위",
        "어디까지 도배할까요? 방 몇 개만이면 개수를 알려 주세요.",
        "예: 전체, 방 2개",
        (
            Choice("0", "전체", {"rooms": 0}, "전부|다요|다해|모두|집다|통째"),
            Choice("1", "방 1개", {"rooms": 1}),
            Choice("2", "방 2개", {"rooms": 2}),
            Choice("3", "방 3개", {"rooms": 3}),
        ),
        ("rooms",),
        columns=4,
        read=_read_rooms,
    ),
    Question(
        "remove_old",
        "기존 벽지",
        "기존 벽지는 뜯어낼까요?",
        "예: 뜯어 주세요, 덧방, 이미 뜯었어요",
        (
            Choice("yes", "철거", {"remove_old": True}, f"{_YES}|뜯|떼"),
            Choice("no", "덧방·이미 철거", {"remove_old": False}, f"{_NO}|그냥|그대로"),
        ),
        ("remove_old",),
        columns=2,
    ),
    Question(
        "occupied",
        "거주",
        "도배할 때 짐이 있나요(거주 중), 빈집인가요?",
        "예: 살고 있어요, 빈집이에요",
        (
            Choice("yes", "거주 중", {"occupied": True}, f"{_YES}|살아|짐"),
            Choice("no", "빈집", {"occupied": False}, f"{_NO}|비었|빈"),
        ),
        ("occupied",),
        columns=2,
    ),
    Question(
        "extras",
        "추가 작업",
        "해당하는 것을 모두 골라 주세요. 없으면 바로 ‘다 골랐어요’를 눌러 주세요.",
        "예: 거실 확장했어요, 곰팡이 있어요, 없어요",
        (
            Choice("extended", "발코니 확장", {"extended": True}),
            Choice("mould", "곰팡이", {"mould": True}),
            Choice("putty", "퍼티", {"putty": True}),
        ),
        ("extended", "mould", "putty"),
        is_multiple=True,
    ),
    Question(
        "region",
        "지역",
        "어느 지역인가요? 구나 동까지 알려 주시면 더 좋아요.",
        "예: 서울 마포구, 수원, 해운대",
        tuple(
            Choice(place, place, {"region": place})
            for place in ("서울", "경기", "인천", "부산", "대구", "대전", "광주", "제주")
        ),
        ("region",),
        columns=4,
        read=_read_region,
    ),
    Question(
        "timing",
        "희망 시기",
        "언제쯤 하고 싶으세요? 일주일 안이면 급한 공사로 계산해요.",
        "예: 다음 달 중순, 3월 15일, 급해요",
        (
            Choice("urgent", "일주일 안", {"timing": Timing.URGENT}, "^(?:지금|바로)(?:요|이요)?$"),
            Choice("month", "한 달 안", {"timing": Timing.MONTH}),
            Choice("later", "그 뒤", {"timing": Timing.LATER}, "천천히|여유"),
            Choice("undecided", "미정", {"timing": Timing.UNDECIDED}, "아직|몰라"),
        ),
        ("timing", "timing_words"),
        columns=4,
        read=_read_timing,
    ),
)
# What follows a word that is the whole answer. Possessive: a customer's text must cost no time.
_POLITE = (
    r"(?:걸로|거로|으로|로|만|이|에요|예요|에|은|는|하고|할게|할래|해주세|해줘|부탁[가-힣]{0,5}|입니다"
    r"|할|해|요|좀|싶어)*+"
)
_LETTERS = ((re.compile("ㅇ+"), "네"), (re.compile("ㄴㄴ+"), "아니요"))
BY_NAME = {question.name: question for question in QUESTIONS}


def read_choice(question: Question, text: str) -> Values | None:
    """Return what a direct answer says: a choice by its label, its place or other words for it.

    Raises `AreaError` for an area that nobody has.
    """
    for letters, word in _LETTERS:
        text = word if letters.fullmatch(text.strip()) else text
    compact = re.sub(r"[\s.,!~]", "", correct(text))
    if question.is_multiple and re.search(rf"{_NO}|^(?:다골랐|없|해당없)", compact):
        return dict.fromkeys(question.slots, False)
    if place := re.match(r"([1-9])번(?:째|이|요|으|$)|(첫|두|세|네)번째", compact):
        number = int(parse_number({"첫": "한"}.get(place[2], place[2]) or place[1]) or 0)
        return question.choices[number - 1].values if number <= len(question.choices) else None
    if values := question.read(text):
        return values
    # What says no says yes as well ("안 할래요"), so the last choices are looked at first.
    for choice in reversed(question.choices):
        label = re.escape(choice.label.replace(" ", ""))
        other = re.search(choice.also, compact)
        if re.fullmatch(rf"{label}{_POLITE}", compact):
            return choice.values
        if other and not REJECTED.match(compact, other.end()):
            return choice.values
    return None


def next_question(slots: Slots, skipped: list[str]) -> Question | None:
    """Return the first question that is still to be asked."""
    for question in QUESTIONS:
        is_open = question.name not in skipped and question.when(slots)
        if is_open and not question.is_answered(slots):
            return question
    return None
