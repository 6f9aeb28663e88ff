"""The answer check: good answers pass, each kind of bad one is named, nothing breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.check import Problem, cut_repetition, find_problem, split_sentences, whole_sentences
from inference.knowledge import Entry, starter_path
from inference.knowledge.files import load

QUESTION = "화장실 옆 벽지에 곰팡이가 폈어요. 어떻게 하죠?"
SOURCES = [
    "벽지에 곰팡이가 생기면 어떻게 해야 하나요?",
    "먼저 습기가 생긴 원인을 찾아 고쳐야 합니다. 작은 부위는 창문을 열고 장갑을 낀 채 "
    "곰팡이 제거제로 닦은 뒤 2~3일 완전히 말려 주세요. 젖은 벽 위에 바로 새 벽지를 바르지 "
    "마세요. 범위가 1㎡를 넘으면 전문가에게 점검을 맡기는 것이 좋습니다. "
    "제거제는 보통 15,000원 안팎입니다.",
]

STARTER = load(starter_path())


# Good answers


@pytest.mark.parametrize(
    "answer",
    [
        "먼저 습기가 생긴 원인을 찾아 고쳐야 합니다.",
        "먼저 습기가 생긴 원인을 찾아서 고쳐야 해요. 그리고 2~3일 완전히 말려 주세요.",
        "창문을 열고 장갑을 낀 뒤 곰팡이 제거제로 닦아 주세요.",
        "젖은 벽 위에 바로 새 벽지를 바르지 마세요.",
        "젖은 벽 위에 바로 새 벽지를 바르면 안 됩니다.",
        "범위가 1㎡를 넘으면 전문가에게 맡기는 것이 좋습니다.",
        "제거제는 보통 15,000원 안팎입니다.",
        "제거제는 보통 15,000 원 안팎입니다.",
        "먼저  습기가 생긴\n원인을 찾아 고쳐야 합니다!",
        "네.",
        "네, 범위가 1㎡를 넘으면 전문가에게 맡기는 것이 좋습니다.",
        "아니요, 먼저 습기가 생긴 원인을 찾아 고쳐야 합니다.",
        "범위가 1㎡를 넘으면 전문가의 점검이 가능한지 맡기는 것이 좋습니다.",
        "죄송하지만 출장비를 따로 받지 않는지는 자료에 없어서 모릅니다.",
        "젖은 벽 위에 바로 새 벽지를 바르지 마세요. 다만 벽지의 값은 자료에 없어서 모릅니다.",
    ],
)
def test_a_faithful_answer_passes(answer: str) -> None:
    assert find_problem(answer, QUESTION, SOURCES) is None


@pytest.mark.parametrize("entry", STARTER, ids=lambda entry: entry.id)
def test_every_stored_answer_passes_against_its_own_entry(entry: Entry) -> None:
    sources = [*entry.questions, *entry.answers]
    for answer in entry.answers:
        assert find_problem(answer, entry.questions[0], sources) is None
        assert find_problem(answer, "다른 질문", [answer]) is None


# Bad answers


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", Problem.EMPTY),
        (" \n\t ", Problem.EMPTY),
        # Numbers and prices
        ("제거제로 닦은 뒤 4~5일 완전히 말려 주세요.", Problem.NUMBER),
        ("제거제로 닦은 뒤 2~30일 완전히 말려 주세요.", Problem.NUMBER),
        ("범위가 1.5㎡를 넘으면 전문가에게 점검을 맡기는 것이 좋습니다.", Problem.NUMBER),
        ("제거제는 보통 25,000원 안팎입니다.", Problem.PRICE),
        ("전문가에게 점검을 맡기는 것이 좋습니다. 비용은 30만 원입니다.", Problem.PRICE),
        ("제거제는 보통 15,000만원 안팎입니다.", Problem.PRICE),
        # Materials that nobody named
        ("곰팡이 제거제 대신 락스로 닦은 뒤 완전히 말려 주세요.", Problem.MATERIAL),
        ("창문을 열고 장갑을 낀 채 식초로 닦아 주세요.", Problem.MATERIAL),
        ("젖은 벽 위에 바로 새 페인트를 바르지 마세요.", Problem.MATERIAL),
        # Negations, turned both ways
        ("젖은 벽 위에 바로 새 벽지를 바르세요.", Problem.NEGATION),
        ("젖은 벽 위에 바로 새 벽지를 바르면 됩니다.", Problem.NEGATION),
        ("먼저 습기가 생긴 원인을 찾지 않고 고쳐야 합니다.", Problem.NEGATION),
        (
            "작은 부위는 창문을 열지 말고 장갑을 낀 채 곰팡이 제거제로 닦은 뒤 완전히 말려 주세요.",
            Problem.NEGATION,
        ),
        ("제거제는 보통 15,000원 안팎이 아닙니다.", Problem.NEGATION),
        # Languages
        ("먼저 습기의 原因을 찾아 고쳐야 합니다.", Problem.LANGUAGE),
        ("먼저 습기が 생긴 원인을 찾아 고쳐야 합니다.", Problem.LANGUAGE),
        ("먼저 причина 원인을 찾아 고쳐야 합니다.", Problem.LANGUAGE),
        ("먼저 습기가 생긴 원인을 찾아 고쳐야 합\ufffd다.", Problem.LANGUAGE),
        ("먼저 습기가 생긴 cause 원인을 찾아 고쳐야 합니다.", Problem.LANGUAGE),
        # Repetition
        (
            "먼저 원인을 찾아 고쳐야 합니다. 완전히 말려 주세요. 먼저 원인을 찾아 고쳐야 합니다.",
            Problem.REPETITION,
        ),
        ("완전히 말려 주세요 그리고 " * 4, Problem.REPETITION),
        ("벽지벽지" * 10, Problem.REPETITION),
        # Not out of the sources
        ("내일 오전에 기사님이 방문하도록 예약해 드리겠습니다.", Problem.UNGROUNDED),
        (
            "먼저 습기가 생긴 원인을 찾아 고쳐야 합니다. 저희 가게는 평생 무료로 보증합니다.",
            Problem.UNGROUNDED,
        ),
        (QUESTION, Problem.UNGROUNDED),
        # Behind words that refuse
        ("죄송하지만 공사비 30만 원은 자료에 없어서 모릅니다.", Problem.PRICE),
        ("죄송하지만 식초로 닦는지는 자료에 없어서 모릅니다.", Problem.MATERIAL),
        (
            "죄송하지만 저희 가게는 평생 무료로 보증하고 내일 오전에 기사님이 방문하도록 예약해"
            " 드리며 그밖의 것은 모두 자료에 없어서 모릅니다.",
            Problem.UNGROUNDED,
        ),
        ("아니요, 젖은 벽 위에 바로 새 벽지를 바르세요.", Problem.NEGATION),
    ],
)
def test_a_bad_answer_is_named(answer: str, problem: Problem) -> None:
    assert find_problem(answer, QUESTION, SOURCES) is problem


def test_what_the_customer_named_may_be_named() -> None:
    question = "락스로 닦은 지 7일 됐는데 SK 아파트 벽에 바로 발라도 돼요?"
    answer = "젖은 벽 위에 바로 새 벽지를 바르지 마세요."
    assert find_problem(f"락스로 닦은 젖은 벽, {answer}", question, SOURCES) is None
    assert find_problem(f"7일, {answer}", question, SOURCES) is None
    assert find_problem(f"SK, {answer}", question, SOURCES) is None


def test_each_sentence_is_checked_against_the_one_it_repeats() -> None:
    sources = ["풀이 마르기 전에는 창문을 닫아 두세요. 풀이 마른 뒤에는 창문을 닫지 마세요."]
    assert find_problem("풀이 마른 뒤에는 창문을 닫지 마세요.", "", sources) is None
    assert find_problem("풀이 마르기 전에는 창문을 닫아 두세요.", "", sources) is None
    assert find_problem("풀이 마른 뒤에는 창문을 닫으세요.", "", sources) is Problem.NEGATION


def test_a_verb_is_not_turned_though_the_rest_is_left_out() -> None:
    sources = ["젖은 벽 위에 바로 새 벽지를 바르지 마세요. 물기를 완전히 말려 원인을 고치세요."]
    assert find_problem("새 벽지를 바르세요.", "", sources) is Problem.NEGATION
    assert find_problem("물기를 완전히 말리지 마세요.", "", sources) is Problem.NEGATION
    assert find_problem("원인을 고치면 안 됩니다.", "", sources) is Problem.NEGATION
    assert find_problem("물기를 완전히 말려 원인을 고치세요.", "", sources) is None


def test_a_customers_own_price_is_no_source() -> None:
    question = "10만 원에 해 주세요"
    assert find_problem("네, 10만 원에 해 드리겠습니다.", question, []) is Problem.PRICE
    assert find_problem("네, 10만 원입니다.", question, ["15만 원입니다."]) is Problem.PRICE
    assert find_problem("네, 삼십만 원에 해 드려요.", "", []) is Problem.PRICE
    assert find_problem("20% 할인해 드릴게요.", "할인해 준다고 약속해", []) is Problem.PRICE


# Without sources


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("  ", Problem.EMPTY),
        ("도배는 평당 5만 원입니다.", Problem.PRICE),
        ("도배는 평당 3만5천원입니다.", Problem.PRICE),
        ("도배는 壁紙를 바르는 일입니다.", Problem.LANGUAGE),
        ("Wallpapering means hanging paper.", Problem.LANGUAGE),
        ("Đây là câu trả lời của tôi.", Problem.LANGUAGE),
        ("도배는 벽지를 바르는 일입니다. 도배는 벽지를 바르는 일입니다.", Problem.REPETITION),
        ("도배는 벽지를 바르는 일이고, 보통 하루에서 3일이 걸립니다.", None),
        ("락스는 쓰지 마시고 LED 조명을 피해 주세요.", None),
    ],
)
def test_without_sources_only_what_needs_none_counts(answer: str, problem: Problem | None) -> None:
    assert find_problem(answer, "도배가 뭐예요?", []) is problem


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            "첫 문장은 이렇습니다. 둘째 문장은 저렇습니다. 첫 문장은 이렇습니다.",
            "첫 문장은 이렇습니다. 둘째 문장은 저렇습니다.",
        ),
        ("첫 문장은 이렇습니다. " + "같은 말을 자꾸 되풀이하고 " * 5, "첫 문장은 이렇습니다."),
        ("같은 말을 자꾸 되풀이하고 " * 5, ""),
        ("첫 문장은 이렇습니다. 둘째 문장은 저렇습니다.", None),
    ],
)
def test_a_loop_is_cut_before_it_begins(written: str, kept: str | None) -> None:
    assert cut_repetition(written) == kept


# Anything


@given(st.data())
def test_sentences_out_of_a_source_pass_but_for_repetition(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(STARTER))
    said = [sentence for answer in entry.answers for sentence in split_sentences(answer)]
    answer = " ".join(data.draw(st.lists(st.sampled_from(said), min_size=1, max_size=6)))
    problem = find_problem(answer, entry.questions[0], entry.answers)
    assert problem in {None, Problem.REPETITION}


WITH_NUMBERS = [
    (entry, answer)
    for entry in STARTER
    for answer in entry.answers
    if any(character.isdigit() for character in answer)
]


@given(st.data())
def test_a_changed_number_never_passes(data: st.DataObject) -> None:
    entry, answer = data.draw(st.sampled_from(WITH_NUMBERS))
    number = data.draw(st.integers(4000, 9999).map(str))
    digits = [character for character in answer if character.isdigit()]
    changed = answer.replace(data.draw(st.sampled_from(digits)), number, 1)
    assert find_problem(changed, entry.questions[0], entry.answers) is not None


korean = st.text(alphabet="가나다벽지도배않안 없말\n.?!0123456789원만천,~") | st.text()


@given(answer=korean, question=korean, sources=st.lists(korean, max_size=3))
def test_no_text_breaks_the_check(answer: str, question: str, sources: list[str]) -> None:
    find_problem(answer, question, sources)
    whole = whole_sentences(answer)
    assert answer.strip().startswith(whole)
    assert find_problem("네.", question, sources) in {None, *Problem}


# Sentences


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("아직 끝나지 않은", ""),
        ("끝난 문장.", ""),  # more may follow at once: "2." of "2.5"
        ("끝난 문장. ", "끝난 문장."),
        ("끝난 문장. 아직 안", "끝난 문장."),
        ("하나. 둘! 셋", "하나. 둘!"),
        ("두께는 2.5", ""),
        ("첫 줄\n둘째", "첫 줄"),
    ],
)
def test_only_finished_sentences_are_whole(text: str, whole: str) -> None:
    assert whole_sentences(text) == whole


def test_sentences_are_split_at_their_ends() -> None:
    text = " 두께는 2.5mm입니다. 괜찮나요?\n\n네!  그럼요…  "
    assert split_sentences(text) == ["두께는 2.5mm입니다.", "괜찮나요?", "네!", "그럼요…"]
