"""The model card says what a run is, and what was measured before and after."""

from pathlib import Path

import pytest

from tests.runs import QUESTIONS, make_evaluation, make_record, write_run
from training.files import write_json
from training.modelcard import write_card
from training.runs import CARD, EVALUATION, UNTRAINED, Answered, open_run

HOSTILE = "<script>alert(1)</script>\n\n# 제목\n[눌러](http://evil.example) | 칸 | `코드`"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", make_record())


def card(folder: Path) -> str:
    write_card(folder, open_run(folder).record)
    return (folder / CARD).read_text(encoding="utf-8")


def test_nothing_measured_is_nothing_said(folder: Path) -> None:
    text = card(folder)
    assert "## 재기" not in text
    assert "loss.png" in text
    assert "라이선스" in text


def test_before_and_after_stand_side_by_side(folder: Path) -> None:
    write_json(folder / UNTRAINED, make_evaluation(loss=3.9, refusals=0.25))
    write_json(folder / EVALUATION, make_evaluation(loss=2.5, refusals=0.0))
    text = card(folder)
    assert "| | 학습 전 | 학습 후 |" in text
    assert "| 답의 손실 (nat/토큰) | 3.900 | 2.500 |" in text
    assert "| 답을 피함 | 25% | 0% |" in text
    for question in QUESTIONS:
        assert question in text
    assert text.count("- 학습 전: ") == text.count("- 학습 후: ") == len(QUESTIONS)


def test_what_a_model_says_is_shown_and_does_nothing(folder: Path) -> None:
    answers = [Answered(question=QUESTIONS[0], answer=HOSTILE, seconds=1)]
    write_json(folder / EVALUATION, make_evaluation(answers=answers))
    text = card(folder)
    (line,) = [each for each in text.splitlines() if "alert" in each]
    assert r"\<script\>" in line
    assert r"\# 제목 \[눌러\]" in line
    assert "[눌러](" not in line
    assert "\n# 제목" not in text


def test_what_was_asked_other_questions_is_not_set_beside(folder: Path) -> None:
    write_json(folder / UNTRAINED, make_evaluation(data_digest="1" * 64))
    write_json(folder / EVALUATION, make_evaluation(data_digest="2" * 64))
    assert "학습 전" not in card(folder)
