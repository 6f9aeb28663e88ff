"""Reading slots from sentences: written utterances, number words, what a text wants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.estimate.areas import find_area
from bot.estimate.intents import changes_estimate, is_knowledge_question, wants_estimate
from bot.estimate.places import province
from bot.estimate.reading import read_slots
from bot.estimate.spelling import correct
from tests.read_utterances import read_all

_DIGITS = " 일이삼사오육칠팔구"
_TENS = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
_ONES = ["", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"]


def sino(number: int) -> str:
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    words = ""
    for digit, scale in ((hundreds, "백"), (tens, "십")):
        if digit:
            words += (_DIGITS[digit] if digit > 1 else "") + scale
    return words + (_DIGITS[ones] if ones else "")


def native(number: int) -> str:
    if number == 20:
        return "스무"
    return _TENS[number // 10] + _ONES[number % 10]


def test_rules_alone_read_the_written_utterances() -> None:
    shares, wrong = read_all()
    right, asked = (sum(column) for column in zip(*shares.values(), strict=True))
    assert asked >= 150
    assert right / asked >= 0.95, wrong


@given(st.integers(1, 199), st.sampled_from(["평", " 평", "평이요", " 평 정도", "평쯤 돼요"]))
def test_sino_korean_numbers(number: int, ending: str) -> None:
    if number == 2 and ending.startswith(" "):
        return  # "이 평": this 평
    area = find_area(f"아파트 {sino(number)}{ending}")
    assert area
    assert (area.value, area.unit) == (number, "pyeong")


@given(st.integers(1, 99), st.sampled_from(["평", " 평", "평이요", " 평짜리"]))
def test_native_korean_numbers(number: int, ending: str) -> None:
    area = find_area(f"집이 {native(number)}{ending}")
    assert area
    assert (area.value, area.unit) == (number, "pyeong")


@pytest.mark.parametrize(
    "town", ["부천", "인천", "춘천", "이천", "홍천", "포천", "제천", "만수동", "구만리"]
)
def test_towns_that_end_like_numbers(town: str) -> None:
    for text in (f"{town} 25평 아파트", f"{town}이고 25평", f"{town} 스물다섯 평"):
        assert read_slots(text).area == 25, text


@given(st.decimals(4, 999, places=1), st.sampled_from(["㎡", "m2", " 제곱미터", "제곱", " 헤베"]))
def test_square_metres(number: float, unit: str) -> None:
    area = find_area(f"전용 {number}{unit}")
    assert area
    assert (area.value, area.unit, area.basis) == (float(number), "sqm", "exclusive")


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    slots = read_slots(text)
    assert slots.area is None or 1 <= (slots.pyeong or 0) <= 1000
    wants_estimate(text)
    is_knowledge_question(text)


@pytest.mark.parametrize(
    ("text", "value", "unit", "basis"),
    [
        ("24평", 24, "pyeong", None),
        ("이십사 평", 24, "pyeong", None),
        ("이 십 사 평", 24, "pyeong", None),
        ("스물네평", 24, "pyeong", None),
        ("79㎡", 79, "sqm", None),
        ("80 제곱미터", 80, "sqm", None),
        ("전용 59", 59, "sqm", "exclusive"),
        ("전용 오십구", 59, "sqm", "exclusive"),
        ("팔사 타입", 84, "sqm", "exclusive"),
        ("24~25평쯤", 24.5, "pyeong", None),
        ("스물네다섯 평", 24.5, "pyeong", None),
        ("이십사오 평", 24.5, "pyeong", None),
        ("백이십 평", 120, "pyeong", None),
        ("1,000평", 1000, "pyeong", None),
        ("국민평형", 84, "sqm", "exclusive"),
        ("84A타입", 84, "sqm", "exclusive"),
        ("34평(전용 84㎡)", 34, "pyeong", "supply"),
        ("84㎡(전용)", 84, "sqm", "exclusive"),
        ("84㎡(34평)", 34, "pyeong", "supply"),
        ("79㎡(24평)", 79, "sqm", None),
    ],
)
def test_areas(text: str, value: float, unit: str, basis: str | None) -> None:
    area = find_area(correct(text))
    assert area
    assert (area.value, area.unit, area.basis) == (value, unit, basis)


@pytest.mark.parametrize(
    "text",
    [
        "20평대",
        "삼십평대",
        "평당 3만원",
        "이 평수에",
        "평택",
        "방 3개",
        "30년 된 집",
        "010-2424-3434",
    ],
)
def test_no_areas(text: str) -> None:
    assert find_area(text) is None


@pytest.mark.parametrize("text", ["0평", "10000평", "만 평", "0.5평", "2㎡", "9" * 30 + "평"])
def test_areas_that_nobody_has(text: str) -> None:
    area = find_area(text)
    assert area
    assert not area.is_sane
    assert read_slots(text).area is None


@pytest.mark.parametrize(
    "text",
    [
        "34평 아파트 실크로 천장까지 얼마예요?",
        "견적 내주세요",
        "견적 좀 받아볼 수 있을까요",
        "견적이요",
        "24평 합지 비용 알려주세요",
        "빌라 실크 도배 가격이 얼마인가요",
        "34평 실크 도배 비용이 어떻게 되나요?",
        "24평 아파트 도배 견적 어떻게 되나요",
        "도배 얼마예요?",
        "방 하나 도배하는데 얼마예요",
        "도배 비용 문의드립니다",
        "공급면적 기준 34평 실크 얼마예요?",
    ],
)
def test_texts_that_want_an_estimate(text: str) -> None:
    assert wants_estimate(text)


@pytest.mark.parametrize(
    "text",
    [
        "도배 견적은 어떻게 나오나요?",
        "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?",
        "실크랑 합지 차이가 뭐예요?",
        "실크 벽지 가격이 왜 달라요?",
        "34평 아파트인데 벽지가 들떠요",
        "견적 필요 없어요",
        "다른 곳에서 견적 받았는데 200만원이면 비싼가요?",
        "아파트 34평 매매가격 얼마예요",
        "안녕하세요",
    ],
)
def test_texts_that_want_none(text: str) -> None:
    assert not wants_estimate(text)


@pytest.mark.parametrize(
    "text",
    [
        "합지면요?",
        "실크로 할게요",
        "천장은 빼 주세요",
        "천장 빼고 계산해 주세요",
        "40평이면요?",
        "천장 빼면 얼마예요",
        "프리미엄으로 바꿔주세요",
    ],
)
def test_texts_that_change_the_sum(text: str) -> None:
    assert changes_estimate(text)


@pytest.mark.parametrize(
    "text",
    [
        "24평 빌라 합지로 얼마예요?",
        "합지가 왜 싸요?",
        "고마워요",
        "곰팡이가 생겼어요",
        *("이번 주에 다시 전화 주세요", "나중에 다시 올게요", "실크로 하면 냄새가 얼마나 나요?"),
        *("실크로 하면 곰팡이가 다시 생기나요?", "곰팡이 핀 벽지 바꿔야 하나요?"),
    ],
)
def test_texts_that_do_not_change_the_sum(text: str) -> None:
    assert not changes_estimate(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "견적 언제주실 수 있나요",
            "세종류 견적 주세요",
            "아파트인천장까지",
            "진주색 벽지로",
            "서울벽지 쓰나요",
        ),
        *("삼십평대구요", "제주 여행 다녀와서 할게요"),
    ],
)
def test_no_places(text: str) -> None:
    assert read_slots(text).region is None


@pytest.mark.parametrize(
    ("place", "where"),
    [
        *(("서울 마포구", "서울"), ("수원", "경기"), ("수원시 영통구", "경기"), ("해운대", "부산")),
        *(("전라북도 전주", "전북"), ("강릉", "강원"), ("김포시", "경기"), ("어딘가", None)),
    ],
)
def test_places_lie_in_their_province(place: str, where: str | None) -> None:
    assert province(place) == where
