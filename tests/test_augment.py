"""`deepbot data augment`: more files, merged questions, other words; never the validation."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from inference.alike import find_alike
from inference.check import Problem, find_change
from tests.test_data import SUBJECTS, competition, neighbour, write
from training.augment import PARAPHRASES, augment
from training.errors import TrainingError, TrainingInputError
from training.examples import Example, read_examples
from training.merging import merge
from training.paraphrase import Paraphraser
from training.prepare import prepare
from training.rewording import choose, find_elsewhere
from training.split import ALIKE


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    prepare(
        [competition(tmp_path / "train.csv", 10)],
        folder,
        validation=0.2,
        as_json=True,
        say=lambda _: None,
    )
    return folder


def run(
    folder: Path,
    out: Path,
    *,
    extra: Sequence[Path] = (),
    merge: int = 0,
    paraphraser: Paraphraser | None = None,
) -> dict[str, Any]:
    """Augment, and return what `--json` prints."""
    said: list[str] = []
    augment(
        folder,
        out,
        extra=extra,
        merge=merge,
        paraphraser=paraphraser,
        as_json=True,
        say=said.append,
    )
    found: dict[str, Any] = json.loads(said[0])
    assert found == json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert (out / "validation.jsonl").read_bytes() == (folder / "validation.jsonl").read_bytes()
    return found


# More files


def test_more_categories_are_joined_on(prepared: Path, tmp_path: Path) -> None:
    rows = [
        {
            "NO": n,
            "카테고리": "울음",
            "질문1": f"{subject}, {neighbour(subject)} 쪽이 울어요?",
            "답변1": f"{subject} 곁 {neighbour(subject)}까지 물을 뿌려 펴 주세요.",
            "답변2": f"{neighbour(subject)} 쪽부터 {subject} 주름을 말려 펴 주세요.",
        }
        for n, subject in enumerate(SUBJECTS[:3], 1)
    ]
    rows.append(rows[0] | {"NO": 4})  # again
    rows.append(rows[1] | {"NO": 5, "질문1": "또 뭐예요?", "답변1": "## 답변 펴 주세요, 물로."})
    before = read_examples(prepared / "train.jsonl")
    about = run(prepared, tmp_path / "out", extra=[write(tmp_path / "more.csv", rows)])
    assert about["augmented"]["extra"]["pairs"] == {
        "read": 10,
        "new": 8,
        "flagged": 1,
        "near_validation": 0,
        "kept": 7,
    }
    train = read_examples(tmp_path / "out" / "train.jsonl")
    assert train[: len(before)] == before
    assert len(train) == len(before) + 7 == about["split"]["train"]["examples"]
    assert about["categories"]["울음"] == {"train": 7, "validation": 0}
    assert not {e.group for e in train} & {
        e.group for e in read_examples(tmp_path / "out" / "validation.jsonl")
    }
    with (tmp_path / "out" / "flagged.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["이유"] for row in csv.DictReader(file)] == ["artefact"]


def test_what_is_like_the_validation_is_not_learnt(prepared: Path, tmp_path: Path) -> None:
    held = read_examples(prepared / "validation.jsonl")[0]
    rows = [
        {"question": held.question, "answer": "아주 다른 말로 하는 새 답변입니다."},
        {"question": held.question.replace("?", " 정말"), "answer": "또 다른 말의 답변입니다."},
        {"question": "한 번도 안 나온 물음이에요?", "answer": held.answer + "네"},
        {"question": "싱크대 옆이 축축해요?", "answer": "물이 새는지 먼저 살펴 주세요."},
    ]
    about = run(prepared, tmp_path / "out", extra=[write(tmp_path / "more.csv", rows)])
    assert about["augmented"]["extra"]["pairs"]["near_validation"] == 3
    assert about["augmented"]["extra"]["pairs"]["kept"] == 1


# Two questions in one


def test_merged_pairs_ask_two_questions_and_answer_both(prepared: Path, tmp_path: Path) -> None:
    about = run(prepared, tmp_path / "out", merge=30)
    assert about["augmented"]["merged"] == 30
    before = read_examples(prepared / "train.jsonl")
    train = read_examples(tmp_path / "out" / "train.jsonl")
    assert train[: len(before)] == before
    merged = train[len(before) :]
    assert len({(e.question, e.answer) for e in merged}) == 30
    known = {(e.question, e.answer): e for e in before}
    for each in merged:
        parts = [
            (one, other)
            for one in before
            for other in before
            if each.question.startswith(one.question)
            and each.question.endswith(other.question)
            and each.answer == f"{one.answer} {other.answer}"
        ]
        assert parts
        assert all(one.group != other.group for one, other in parts)
        assert all(one.category == other.category == each.category for one, other in parts)
    assert {" 또한 " in e.question for e in merged} == {True, False}
    assert all(" 또한 " in e.question or " 그리고 " in e.question for e in merged)
    assert len(known) == len(before)


def example(question: str, answer: str, group: str, category: str = "시공") -> Example:
    messages = (
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    )
    return Example(messages, group, category, "made.csv")  # type: ignore[arg-type]


def test_merging_keeps_to_what_can_be_merged() -> None:
    one, other = example("언제 마르죠?", "이틀 뒤예요.", "a"), example("얼마죠", "달라요.", "b")
    assert merge([], 5, 0) == merge([one], 5, 0) == []
    assert merge([one, example("또요?", "네, 그래요.", "a")], 5, 0) == []  # one question, reworded
    made = merge([one, other], 50, 0)
    assert {e.question for e in made} == {
        "언제 마르죠? 또한 얼마죠",
        "언제 마르죠? 그리고 얼마죠",
        "얼마죠, 또한 언제 마르죠?",
        "얼마죠, 그리고 언제 마르죠?",
    }
    assert merge([one, example("긴 답?", "가" * 700, "b")], 5, 0) == []
    far = example("다른 분류?", "다른 답이에요.", "c", "기타")
    assert {e.category for e in merge([one, far], 5, 0)} == {"기타"}
    many = [example(f"질문 {n}?", f"답 {n}입니다.", str(n)) for n in range(9)]
    assert merge(many, 20, 1) == merge(many, 20, 1) != merge(many, 20, 2)


# Other words


class Model(ThreadingHTTPServer):
    """An OpenAI-compatible server that rewords questions by a rule, or fails."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.says = ""  # in place of the rule
        self.fails_after: int | None = None
        self.keys: set[str | None] = set()
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = self.server
        model.keys.add(self.headers["Authorization"])
        status = model.status
        with model.lock:
            if model.fails_after is not None and len(model.asked) >= model.fails_after:
                status = 400
            else:
                model.asked.append(body)
        question = body["messages"][1]["content"].split("\n")[0]
        text = f"1. {question} 알고 싶어서 여쭤봐요\n- “혹시 {question}”\n{question} 12번 안 돼요"
        message = {"content": model.says or text}
        content = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def questions(examples: Sequence[Example]) -> list[str]:
    return list(dict.fromkeys(each.question for each in examples))


def test_a_model_writes_other_words(prepared: Path, tmp_path: Path, model: Model) -> None:
    paraphraser = Paraphraser(model.url, "test", 2, api_key="secret")
    about = run(prepared, tmp_path / "out", paraphraser=paraphraser)
    before = read_examples(prepared / "train.jsonl")
    asked = questions(before)
    assert model.keys == {"Bearer secret"}
    assert {body["model"] for body in model.asked} == {"test"}
    counts = about["augmented"]["paraphrases"]
    assert counts["questions"] == len(asked) == len(model.asked)
    assert counts["written"] == 3 * len(asked)
    assert counts["changed"] == len(asked)  # a number and a negation that were not there
    new = read_examples(tmp_path / "out" / "train.jsonl")[len(before) :]
    assert len(new) == counts["kept"]
    assert counts["kept"] + counts["near_validation"] == 2 * len(asked)
    told = {(e.group, e.answer) for e in before}
    for each in new:
        assert (each.group, each.answer) in told
        assert each.question.startswith("혹시 ") or each.question.endswith("여쭤봐요")
    held = questions(read_examples(prepared / "validation.jsonl"))
    crossing = find_alike([*held, *questions(new)], ALIKE)
    assert [pair for pair in crossing if pair[0] < len(held) <= pair[1]] == []


def test_other_words_like_a_validation_question_are_not_learnt(
    prepared: Path, tmp_path: Path, model: Model
) -> None:
    subject = "울산바위"  # in no question
    rows = [
        {"question": f"{subject} {n} 틈새?", "answer": f"{subject} {s} {neighbour(s)} 순서예요."}
        for n, s in zip(("앞", "뒤", "옆"), SUBJECTS, strict=False)
    ]
    folder = tmp_path / "few"
    source = write(tmp_path / "few.csv", rows)
    prepare([source], folder, as_json=True, say=lambda _: None)
    (held,) = read_examples(folder / "validation.jsonl")
    model.says = f"{held.question}요\n{subject} 쪽 틈새는 왜 그래요?"
    about = run(folder, tmp_path / "out", paraphraser=Paraphraser(model.url, "test", 3))
    counts = about["augmented"]["paraphrases"]
    assert (counts["written"], counts["near_validation"], counts["kept"]) == (4, 2, 1)


def test_what_was_written_before_a_stop_is_not_asked_again(
    prepared: Path, tmp_path: Path, model: Model
) -> None:
    paraphraser = Paraphraser(model.url, "test", 2)
    model.fails_after = 5
    with pytest.raises(TrainingError, match="400"):
        run(prepared, tmp_path / "out", paraphraser=paraphraser)
    kept = (tmp_path / "out" / PARAPHRASES).read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "train.jsonl").exists()
    (tmp_path / "out" / PARAPHRASES).write_text(f'{kept}{{"question": "잘린', encoding="utf-8")
    model.fails_after = None
    known, first = kept.count("\n"), len(model.asked)
    run(prepared, tmp_path / "out", paraphraser=paraphraser)
    asked = len(questions(read_examples(prepared / "train.jsonl")))
    assert known == first == 5
    assert len(model.asked) - first == asked - known
    once = (tmp_path / "out" / "train.jsonl").read_bytes()
    run(prepared, tmp_path / "again", paraphraser=paraphraser)
    assert (tmp_path / "again" / "train.jsonl").read_bytes() == once


def test_a_server_that_does_not_answer_is_said(
    prepared: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.paraphrase._PAUSE_S", 0.0)
    for status in (401, 503):
        model.status = status
        with pytest.raises(TrainingError, match=str(status)):
            run(prepared, tmp_path / "out", paraphraser=Paraphraser(model.url, "test", 1))
    for url in ("http://127.0.0.1:9/v1", "nowhere"):
        with pytest.raises(TrainingError, match="닿지 못해요"):
            run(prepared, tmp_path / "out", paraphraser=Paraphraser(url, "test", 1))
    secret = Paraphraser("http://shop:secret@127.0.0.1:9/v1", "test", 1, api_key="secret")
    with pytest.raises(TrainingError) as failed:
        run(prepared, tmp_path / "out", paraphraser=secret)
    assert "secret" not in str(failed.value)
    assert not list((tmp_path / "out").glob("train*"))


@pytest.mark.parametrize(
    ("question", "written", "kept"),
    [
        ("실크벽지 단점이 뭐예요?", "실크벽지는 뭐가 단점인가요?", True),
        ("실크벽지 단점이 뭐예요?", "실크벽지는 뭐가 장점인가요?", False),
        ("실크벽지 단점이 뭐예요?", "합지벽지는 뭐가 단점인가요?", False),
        ("34평이면 며칠 걸려요?", "34평 도배는 며칠이나 하나요?", True),
        ("34평이면 며칠 걸려요?", "24평 도배는 며칠이나 하나요?", False),
        ("34평이면 며칠 걸려요?", "도배는 며칠이나 하나요?", False),
        ("풀을 안 바르면 떨어지나요?", "풀을 바르면 떨어지나요?", False),
        ("풀을 바르면 떨어지나요?", "풀을 바르지 않으면 떨어지나요?", False),
        ("장판이 들떠요", "장판이 들떠요!", True),
        ("장판이 들떠요", "장판이  들떠요", False),
        ("장판이 들떠요", "Why is it loose?", False),
        ("장판이 들떠요", "장판이 들떠요 " * 9, False),
        ("색은 어떻게 정하나요?", "색은 파랑색입니다.", False),
        ("색은 어떻게 정하나요?", "색 고르는 법을 알려 주세요.", True),
        ("색을 알려 주세요", "색은 어떻게 골라요?", True),
        ("PVC 창이 좋아요?", "플라스틱 창이 좋은가요?", False),
    ],
)
def test_other_words_that_ask_something_else_are_dropped(
    question: str, written: str, kept: bool
) -> None:
    dropped: Counter[str] = Counter()
    assert choose(question, [written], 3, dropped) == ([written] if kept else [])
    assert dropped.total() == (0 if kept else 1)


def test_other_words_nearer_to_other_questions_are_found() -> None:
    asked = [
        *("벽지에 곰팡이가 폈어요", "도배 견적은 얼마예요?", "장판은 며칠 말려요?"),
        *("몰딩이 벌어졌어요", "실크벽지 값은요?", "콘센트 자리는 어떻게 오려요?"),
    ]
    owners = [str(number) for number in range(len(asked))]
    texts = ["도배를 맡기면 값이 얼마나 드나요?", "도배를 맡기면 값이 얼마나 드나요?"]
    furthest = find_elsewhere(["벽에 핀 곰팡이"] * len(asked), owners, asked, owners)
    assert len(furthest) == 1  # of six, one is not among the nearest five
    assert "0" not in {owners[place] for place in furthest}
    assert find_elsewhere(texts, ["1", "none"], asked, owners) == {1}
    assert find_elsewhere([], [], asked, owners) == set()


def test_a_change_has_a_name() -> None:
    assert find_change("", "벽지요?") is Problem.EMPTY
    assert find_change("벽지 2롤이요?", "벽지 3롤이요?") is Problem.NUMBER
    assert find_change("벽지인가요?", "벽지요?") is None


# What is wrong is said


def test_what_cannot_be_augmented_is_said(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="더할 것이 없어요"):
        run(prepared, tmp_path / "out")
    with pytest.raises(TrainingInputError, match="다른 폴더"):
        run(prepared, prepared, merge=1)
    with pytest.raises(TrainingInputError, match="학습 자료가 없어요"):
        run(tmp_path / "none", tmp_path / "out", merge=1)
    with pytest.raises(TrainingInputError, match="폴더예요"):
        run(prepared, tmp_path / "out", extra=[tmp_path])
    (prepared / "card.json").write_text("[", encoding="utf-8")
    with pytest.raises(TrainingInputError, match="자료 카드"):
        run(prepared, tmp_path / "out", merge=1)


def test_a_table_for_people(prepared: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    augment(prepared, tmp_path / "out", merge=100_000, as_json=False, say=lines.append)
    assert "만들 수 없었어요" in lines[0]
    assert "두 질문을 이은 쌍" in lines[0]
    for name in ("lengths.png", "categories.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
