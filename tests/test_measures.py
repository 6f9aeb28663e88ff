"""The figures of answers, against arithmetic and examples of their own."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from importlib import resources

import numpy as np
import pytest

from training import measures
from training.similarity import measure_similarity


class Compass:
    """An embedder of known vectors."""

    name, dimensions = "compass", 2

    def embed(self, texts: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        known = {"동": (2, 0), "서": (-1, 0), "북": (0, 3), "북동": (5, 5)}
        return np.array([known[text] for text in texts], np.float32)


def test_similarity_is_the_mean_of_cosines_not_below_zero() -> None:
    # 동·동 = 1, 동·서 = −1 and counts as 0, 북·동 = 0, 북·북동 = √½.
    found = measure_similarity(Compass(), ["동", "동", "북", "북"], ["동", "서", "동", "북동"])

    assert found == pytest.approx((1 + 0 + 0 + math.sqrt(0.5)) / 4)


def chrf_by_hand(reference: str, prediction: str) -> float:
    """Return F₂ of the mean precision and recall of character n-grams, without spaces."""
    precisions, recalls = [], []
    for n in range(1, 7):
        one, other = (
            Counter(text[i : i + n] for i in range(len(text) - n + 1))
            for text in (reference.replace(" ", ""), prediction.replace(" ", ""))
        )
        common = (one & other).total()
        precisions.append(common / other.total())
        recalls.append(common / one.total())
    precision, recall = sum(precisions) / 6, sum(recalls) / 6
    return 100 * 5 * precision * recall / (4 * precision + recall)


def test_overlap_is_that_of_characters() -> None:
    reference, prediction = "벽지를 바르고 사흘을 기다립니다", "벽지를 바른 뒤 사흘 기다립니다"

    found = measures.measure_overlap([reference], [prediction])

    assert found == pytest.approx(chrf_by_hand(reference, prediction))
    assert measures.measure_overlap([reference], [reference]) == pytest.approx(100)
    assert measures.measure_overlap([reference], ["없음"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        "잘 모르겠습니다.",
        "죄송하지만 제가 가진 정보로는 확인할 수 없습니다.",
        "죄송합니다. 그 질문에는 답변드릴 수 없습니다.",
        "정확한 답변을 드리기 어려워요. 가게에 문의해 주세요.",
        "자료에서 답을 찾을 수 없어요.",
        "죄송합니다, 저는 상담원입니다. 도와드릴 내용이 없습니다.",
        "죄송해요, 저는 도배와 벽지, 집 안 마감에 관한 것만 답할 수 있어요.",
        "가격과 할인은 제가 약속해 드릴 수 없어요.",
    ],
)
def test_an_answer_that_declines(answer: str) -> None:
    assert measures.declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "벽 속 곰팡이는 눈으로 확인할 수 없습니다. 벽지를 뜯어 보세요.",
        "원인을 알 수 없을 때는 전문가에게 맡기세요.",
        "합지는 물걸레질을 할 수 없어요.",
        "정해진 답은 없지만 흰색이 무난합니다.",
        "하루 말리면 됩니다. 그래도 들뜨면 다시 바르세요. 자세한 것은 잘 모르겠으면 물어보세요.",
    ],
)
def test_an_answer_that_says_what_cannot_be_done_declines_nothing(answer: str) -> None:
    assert not measures.declines(answer)


def test_no_answer_of_the_starter_knowledge_declines() -> None:
    with resources.files("inference.knowledge").joinpath("starter.csv").open("rb") as file:
        rows = list(csv.DictReader(line.decode() for line in file))
    answers = [text for row in rows for name, text in row.items() if "답변" in name and text]

    assert len(answers) > 900
    assert not [answer for answer in answers if measures.declines(answer)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("풀이 마르면 펴집니다. 사흘 기다리세요.", False),
        ("풀이 마르면서 펴집니다. 풀이 마르면서 펴집니다.", True),
        ("벽지를 바르고 나서 " * 6, True),
    ],
)
def test_an_answer_that_repeats_itself(answer: str, expected: bool) -> None:
    assert measures.repeats(answer) is expected
