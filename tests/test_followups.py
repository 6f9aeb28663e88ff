"""What a text asks after what was asked before, and where it holds two questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.followups import Lean, is_bare, read, split

SILK = "실크 벽지의 단점이 뭐예요?"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "좀 더 자세히 알려줘",
            "더 알려 주세요",
            "자세히요",
            "좀더 설명해줘요",
            "더 자세히 설명해 주실래요?",
        ),
        *("네 조금만 더 얘기해 주세요", "계속", "구체적으로 알려 주세요!!"),
    ],
)
def test_more_is_wanted(text: str) -> None:
    assert read(text, SILK).lean == Lean.MORE


@pytest.mark.parametrize(
    "text",
    [
        *(
            "그럼 비용은?",
            "그거 하면 얼마예요?",
            "가격은요",
            "비용이 얼마나 드나요?",
            "얼마 정도 해요?",
        ),
        *("견적은 얼마나 나와요?", "다 하면 대충 얼마일까요"),
    ],
)
def test_a_price_is_wanted(text: str) -> None:
    assert read(text, SILK).lean == Lean.PRICE


@pytest.mark.parametrize(
    "text",
    [
        *("더 튼튼한 벽지를 알려 주세요", "비용이 업체마다 왜 달라요?", "벽지를 더 붙여도 되나요?"),
        *("견적을 몇 군데 받아야 하나요", "자세히 보니 벽지가 찢어졌어요"),
    ],
)
def test_a_question_of_its_own_is_neither(text: str) -> None:
    assert read(text, SILK).lean not in {Lean.MORE, Lean.PRICE}


@pytest.mark.parametrize(
    "text", ["그건 왜 그래요?", "그럼 며칠이나 걸려요?", "왜요?", "그때는 어떻게 해요"]
)
def test_a_pronoun_stands_for_the_last_question(text: str) -> None:
    reading = read(text, SILK)
    assert reading.lean == Lean.REFERS
    assert SILK in reading.full
    assert text in reading.full


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("아니 실크 말고 합지요", "합지 벽지의 단점이 뭐예요?"),
        ("아뇨, 실크 말고 방염이요. 값은요?", "방염 벽지의 단점이 뭐예요? 값은요"),
        ("합지는요?", "합지 벽지의 단점이 뭐예요?"),
        ("아니요 합지요", "합지 벽지의 단점이 뭐예요?"),
    ],
)
def test_a_correction_changes_the_last_question(text: str, full: str) -> None:
    assert read(text, SILK).full == full


def test_without_a_topic_a_text_stands_alone() -> None:
    for text in ("그건 왜 그래요?", "합지는요?", "아니 실크 말고 합지요", "벽지가 울어요"):
        assert read(text, None).full == text


def test_a_topic_is_left_when_another_is_named() -> None:
    assert read("다른 얘긴데 장판은 언제 깔아요?", SILK).lean == Lean.NOT


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "도배는 며칠 걸리나요? 그리고 냄새는 언제 빠져요?",
            ["도배는 며칠 걸리나요?", "냄새는 언제 빠져요?"],
        ),
        (
            "신생아가 있어요. 바로 자도 되나요? 또한 환기는 어떻게 하나요",
            ["신생아가 있어요. 바로 자도 되나요?", "환기는 어떻게 하나요"],
        ),
        (
            "벽지 남은거 보관해야대나요? 글고 도배는 몇년마다 하는거에여?",
            ["벽지 남은거 보관해야대나요?", "도배는 몇년마다 하는거에여?"],
        ),
        ("강아지 키우는데 벽지 뭐가 좋아요? 자꾸 긁어 놔요", None),
        ("벽지가 왜 이래요??!", None),
        ("합지 그리고 실크의 차이가 뭐예요?", None),
    ],
)
def test_two_questions_are_split_and_one_is_not(text: str, parts: list[str] | None) -> None:
    assert split(text) == (parts or [text])


@given(st.text(max_size=200), st.none() | st.text(max_size=200))
def test_any_text_is_read(text: str, topic: str | None) -> None:
    read(text, topic)
    assert 1 <= len(split(text)) <= 3


@pytest.mark.parametrize(
    "piece", ["아니 ", "말고 ", "더 자세히 ", "그럼 ", "얼마 ", "? 그리고 ", "는요", "그래"]
)
def test_no_text_stalls_the_reading(piece: str) -> None:
    read(piece * 300, piece * 300)
    split(piece * 300)
    is_bare(f"그건 {piece * 300} 벽지")


@pytest.mark.parametrize("text", ["그건 왜 그래요?", "그건왜그런거에요", "그게 뭐예요", "왜요?"])
def test_what_names_nothing_is_bare(text: str) -> None:
    assert is_bare(text)


@pytest.mark.parametrize("text", ["그럼 곰팡이는요?", "하이요", "네", "", "그건 몇 년 가요?"])
def test_what_names_something_is_not(text: str) -> None:
    assert not is_bare(text)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("아니 합지 말고 실크 단점이요", "실크 단점이요"),
        ("아니 포토벽지 말고 수입벽지요", "수입벽지 장점이 뭐예요?"),
        ("아니 A 말고 \\1 \\g<0>이요", None),
    ],
)
def test_a_correction_may_ask_itself(text: str, full: str | None) -> None:
    topic = "포토 벽지 장점이 뭐예요?" if "포토" in text else "합지 A 장점이 뭐예요?"
    said = read(text, topic).full
    assert said == full or full is None
