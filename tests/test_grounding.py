"""Answers written from found entries: what comes along, what is left out, what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from inference import check, prompts
from inference.knowledge import starter_path
from inference.knowledge.files import load
from tests.fit_confidence import read_questions
from tests.grounding import Asked, measure, nearest
from training.encoding import as_chat
from training.examples import TRAIN, VALIDATION, read_examples
from training.grounding import read_lines, shipped
from training.recipe import load as load_recipe

STARTER = {entry.id: entry for entry in load(starter_path())}
MOULD, SILK = STARTER["DB_001"], STARTER["DB_002"]
GOOD = {
    "question": "곰팡이 핀 벽은 뭐부터 해요?",
    "facts": [MOULD.id, SILK.id],
    "answer": check.split_sentences(MOULD.answers[0])[0],
}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["data", "ground", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_what_comes_along_becomes_examples_in_the_words_of_the_bot(tmp_path: Path) -> None:
    code, said, _ = run("--out", tmp_path)
    assert code == 0
    train, held = read_examples(tmp_path / TRAIN), read_examples(tmp_path / VALIDATION)
    assert f"학습 {len(train)}개" in said
    assert f"검증 {len(held)}개" in said
    assert not {each.group for each in train} & {each.group for each in held}
    for each in (*train, *held):
        answers = [answer for fact in each.facts for answer in fact.answers]
        context = "\n".join([each.question, *(fact.questions[0] for fact in each.facts)])
        assert check.find_problem(each.answer, context, answers) is None
    first = train[0]
    chat = as_chat(first, load_recipe("qwen-small").default)
    facts = [STARTER[fact.id] for fact in first.facts]
    assert chat[:-1] == prompts.consultation(first.question, facts, context_tokens=4096)


def test_nothing_that_it_is_measured_on_is_learnt_from() -> None:
    learnt = {line.question for line in read_lines(shipped())}
    for name in ("heldout_questions.csv", "heldout_unanswered.txt"):
        assert not learnt & {question for question, _ in read_questions(name)}


def test_an_answer_that_its_facts_do_not_bear_out_is_left_out(tmp_path: Path) -> None:
    other = GOOD | {"facts": ["DB_003"], "answer": STARTER["DB_003"].answers[0]}
    others = [
        GOOD | {"facts": [f"DB_{n:03}"], "answer": STARTER[f"DB_{n:03}"].answers[0]}
        for n in range(10, 20)
    ]
    wrong = GOOD | {"answer": "내일 오전에 기사님이 30만 원에 방문합니다."}
    path = write(tmp_path / "made.jsonl", GOOD, wrong, other, *others)
    code, said, _ = run(path, "--out", tmp_path / "out", "--validation", 0.3)
    assert code == 0
    assert "뺀 답 1개" in said
    kept = [
        each.answer
        for name in (TRAIN, VALIDATION)
        for each in read_examples(tmp_path / "out" / name)
    ]
    assert len(kept) == 12
    assert wrong["answer"] not in kept


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (GOOD | {"facts": ["DB_999999"]}, "1행의 자료가 지식에 없어요: DB_999999"),
        (GOOD | {"facts": []}, "1행에는 question, facts"),
        ({"question": "무엇?"}, "1행에는 question, facts"),
        (GOOD, "나눌 만큼의 예가 없어요"),
    ],
)
def test_a_bad_file_gets_one_line(line: object, sentence: str, tmp_path: Path) -> None:
    code, _, error = run(write(tmp_path / "bad.jsonl", line), "--out", tmp_path / "out")
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_figures_tell_true_from_false_and_right_from_wrong() -> None:
    asked = [Asked("무엇?", (MOULD, SILK), MOULD.id)] * 4 + [
        Asked("무엇?", (MOULD, SILK), None)
    ] * 2
    answers = [
        MOULD.answers[0],  # right
        SILK.answers[0],  # true, of the wrong entry
        "죄송하지만 그 점은 자료에 없어서 모릅니다.",
        "락스와 식초를 30분 섞으세요.",
        "죄송하지만 그 점은 자료에 없어서 모릅니다.",
        MOULD.answers[0],
    ]
    found = measure(asked, answers)
    assert (found.answerable, found.unanswerable) == (4, 2)
    assert (found.true, found.good, found.refused) == (0.75, 0.25, 0.25)
    assert found.refused_rightly == 0.5
    assert nearest(SILK.answers[1], (MOULD, SILK)) == SILK.id
