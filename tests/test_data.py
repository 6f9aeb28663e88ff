"""`deepbot data prepare`: what comes in, what is counted, flagged and split, and what comes out."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from inference.alike import find_alike
from inference.knowledge import starter_path
from training.errors import TrainingError, TrainingInputError
from training.examples import Example, read_examples
from training.noise import Noise, judge
from training.prepare import prepare
from training.rows import compare_answers, compare_phrasings
from training.sources import Pair, read_source
from training.split import ALIKE, choose_validation, group
from training.strangers import find_strangers
from training.tidy import tidy

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dacon-236216"

# Subjects unlike each other, so that rows made of them are no near-duplicates.
SUBJECTS = (
    *("합지벽지", "실크벽지", "방염벽지", "띠벽지", "초배지", "걸레받이", "몰딩", "석고보드"),
    *("장판", "강마루", "타일", "페인트", "퍼티", "실리콘", "단열재", "곰팡이"),
)


def run(
    paths: Sequence[Path],
    out: Path,
    *,
    validation: float = 0.1,
    seed: int = 0,
    keep_flagged: bool = False,
    tokenizer: Path | None = None,
) -> dict[str, Any]:
    """Prepare, and return what `--json` prints."""
    said: list[str] = []
    prepare(
        paths,
        out,
        validation=validation,
        seed=seed,
        keep_flagged=keep_flagged,
        tokenizer=tokenizer,
        as_json=True,
        say=said.append,
    )
    found: dict[str, Any] = json.loads(said[0])
    assert len(said) == 1
    assert found == json.loads((out / "card.json").read_text(encoding="utf-8"))
    return found


def write(path: Path, rows: Sequence[Mapping[str, object]], encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def answers(subject: str, count: int) -> list[str]:
    ways = ("환기를 하면", "며칠 말리면", "걸레로 닦으면", "풀을 새로 바르면", "업체에 맡기면")
    return [f"{subject} 틈은 {neighbour(subject)}까지 {way} 메워집니다." for way in ways[:count]]


def neighbour(subject: str) -> str:
    return SUBJECTS[SUBJECTS.index(subject) - 5]


def competition(path: Path, rows: int = 3) -> Path:
    return write(
        path,
        [
            {
                "id": f"TRAIN_{n:03}",
                "질문_1": f"{subject}, {neighbour(subject)} 틈이 왜 생겨?",
                "질문_2": f"{neighbour(subject)} 곁의 {subject}, 왜 벌어지나요?",
                "category": "마감하자" if n % 2 else "마감재",
                **{f"답변_{k}": text for k, text in enumerate(answers(subject, 5), 1)},
            }
            for n, subject in enumerate(SUBJECTS[:rows])
        ],
    )


def read_back(out: Path) -> tuple[list[Example], list[Example]]:
    return read_examples(out / "train.jsonl"), read_examples(out / "validation.jsonl")


# What comes in


def test_each_question_of_the_competition_goes_with_each_answer(tmp_path: Path) -> None:
    about = run([competition(tmp_path / "train.csv", 4)], tmp_path / "out")
    assert about["rows"] == 4
    assert about["pairs"] == {
        "read": 40,
        "normalised": 0,
        "deduplicated": 40,
        "flagged": 0,
        "kept": 40,
    }
    assert about["files"][0]["rows"] == 4
    assert about["files"][0]["pairs"] == 40
    train, validation = read_back(tmp_path / "out")
    assert len(train) + len(validation) == 40
    assert about["split"]["train"] == {"examples": len(train), "groups": 3}
    assert about["split"]["validation"] == {"examples": len(validation), "groups": 1}
    assert {each.category for each in [*train, *validation]} == {"마감하자", "마감재"}


def test_the_augmentations_columns_and_plain_pairs_come_in_too(tmp_path: Path) -> None:
    augmentation = write(
        tmp_path / "augment.csv",
        [
            {
                "NO": n,
                "카테고리": "울음",
                "질문1": f"{subject}, {neighbour(subject)} 쪽이 울어요?",
                "질문2": f"{neighbour(subject)} 곁의 {subject} 주름은?",
                **{f"답변{k}": text for k, text in enumerate(answers(subject, 5), 1)},
            }
            for n, subject in enumerate(SUBJECTS[:2], 1)
        ]
        + [dict.fromkeys(("NO", "카테고리", "질문1", "질문2", "답변1"), "")],
    )
    pairs = write(
        tmp_path / "pairs.csv",
        [
            {
                "Question": f"{subject} 값?",
                "Answer": f"{subject}, {neighbour(subject)} 값은 달라요.",
            }
            for subject in SUBJECTS[2:5]
        ],
        encoding="cp949",
    )
    about = run([augmentation, pairs], tmp_path / "out")
    assert [(f["name"], f["rows"], f["pairs"]) for f in about["files"]] == [
        ("augment.csv", 2, 20),  # the empty row is none
        ("pairs.csv", 3, 3),
    ]
    assert about["pairs"]["read"] == about["pairs"]["kept"] == 23
    assert set(about["categories"]) == {"울음", "기타"}


def test_a_spreadsheet_and_the_shops_own_knowledge_come_in(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["id", "질문_1", "질문_2", "category", "답변_1", "답변_2"])
    sheet.append(["A", "장판이 들떠요?", "장판 들뜸 대처법", "들뜸", "눌러 붙입니다.", "말립니다."])
    sheet.append(["B", "마루가 울어요?", None, "울음", "습기를 빼고 말려 주세요.", None])
    book.save(tmp_path / "made.xlsx")
    about = run([tmp_path / "made.xlsx"], tmp_path / "out")
    assert (about["rows"], about["pairs"]["read"]) == (2, 5)
    knowledge = read_source(starter_path())
    assert knowledge.rows == 455
    assert len(knowledge.pairs) > 40 * knowledge.rows  # about twenty phrasings by two answers


def test_rows_without_an_answer_are_counted_not_learnt(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.csv",
        [
            {"question": "장판이 들떠요?", "answer": "눌러 붙인 뒤 말려 주세요."},
            {"question": "답이 없는 질문?", "answer": ""},
            {"question": "타일이 깨졌어요?", "answer": "깨진 타일만 바꿀 수 있어요."},
        ],
    )
    about = run([path], tmp_path / "out")
    assert about["files"][0] | {"sha256": ""} == {
        "name": "pairs.csv",
        "sha256": "",
        "rows": 3,
        "pairs": 2,
        "incomplete_rows": 1,
        "left_out": {},
    }


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def record(conversation: int, *texts: str, **more: object) -> dict[str, object]:
    """A line as `deepbot conversations export` writes it."""
    return {
        "messages": said(*texts),
        "conversation": conversation,
        "answer": 7,
        "way": "model",
        "sources": ["DB_001"],
        "rating": None,
        "verdict": None,
        "labels": [],
    } | more


def test_conversations_come_in_as_far_as_they_are_fit_to_learn_from(tmp_path: Path) -> None:
    first = ("장판이 들떠요", "눌러 붙인 뒤 말려 주세요.")
    corrected = said("풀이 안 붙어요", "바탕을 먼저 닦아 주세요.")
    records = [
        record(1, *first),
        record(1, *first, "며칠이나요?", "이틀은 말려 주세요."),
        record(2, "타일이 깨졌어요", "그냥 두세요, 괜찮아요.", verdict="bad"),
        record(3, "벽이 축축해요", "모르겠어요, 죄송해요.", way="unsure"),
        record(4, "몰딩이 벌어져요", "손님이 싫어한 답이에요.", rating=-1),
        record(5, "실리콘이 까매요", "곰팡이니 걷어 내고 새로 쏘세요.", rating=-1, verdict="good"),
        record(
            6,
            *(each["content"] for each in corrected),
            verdict="bad",
            prompt=corrected[:1],
            chosen=corrected[1:],
            rejected=said("", "그냥 붙이세요.")[1:],
        ),
        record(7, "질문만 있어요"),
        {"messages": None, "conversation": 8},
    ]
    path = tmp_path / "reviewed.jsonl"
    path.write_text("".join(f"{json.dumps(r, ensure_ascii=False)}\n" for r in records), "utf-8")
    about = run([path], tmp_path / "out")
    assert about["rows"] == 9
    assert about["pairs"]["kept"] == 4
    assert about["files"][0]["left_out"] == {"bad": 1, "broken": 2, "disliked": 1, "no_answer": 1}
    train, validation = read_back(tmp_path / "out")
    learnt = {each.answer: each for each in [*train, *validation]}
    assert set(learnt) == {
        "눌러 붙인 뒤 말려 주세요.",
        "이틀은 말려 주세요.",
        "곰팡이니 걷어 내고 새로 쏘세요.",
        "바탕을 먼저 닦아 주세요.",
    }
    later = learnt["이틀은 말려 주세요."]
    assert [each["content"] for each in later.messages[:2]] == list(first)  # what was said before
    assert later.group == learnt["눌러 붙인 뒤 말려 주세요."].group  # one conversation


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("other.csv", "이름,나이\n가,1\n".encode()),
        ("head.csv", "질문_1,답변_1\n".encode()),
        ("empty.csv", b""),
        ("bytes.csv", b"\xff\xfe\x00\x01" * 20),
        ("broken.jsonl", b'{"messages": [\n'),
        ("broken.xlsx", b"no spreadsheet"),
    ],
)
def test_a_file_that_cannot_be_learnt_from_is_named_in_one_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TrainingInputError, match=name) as raised:
        run([path], tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_or_no_folder_is_said(tmp_path: Path) -> None:
    good = competition(tmp_path / "train.csv")
    for path, told in ((tmp_path, "폴더예요"), (tmp_path / "none.csv", "없어요")):
        with pytest.raises(TrainingInputError, match=told):
            run([path], tmp_path / "out")
    with pytest.raises(TrainingInputError, match="폴더가 아니에요"):
        run([good], good)
    with pytest.raises(TrainingError, match="쓸 수 없어요"):
        run([good], good / "below")
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(TrainingInputError, match="0과 1 사이"):
            run([good], tmp_path / "out", validation=share)
    with pytest.raises(TrainingInputError, match="묶음이 둘은"):
        run([competition(tmp_path / "one.csv", 1)], tmp_path / "out")
    with pytest.raises(TrainingInputError, match="토크나이저가 아니에요"):
        run([good], tmp_path / "out", tokenizer=tmp_path)


# One form, once each


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("  벽지가\t  울어요 \r\n\r\n\r\n\r\n네  ", "벽지가 울어요\n\n네"),
        ("“벽지”는 ‘종이’예요", "\"벽지\"는 '종이'예요"),
        ("벽\u200b지\ufeff\x07", "벽지"),
        ("언제 마를까??", "언제 마를까?"),
        ("\u1107\u1167\u11a8", "벽"),  # letters apart, as a Mac writes names
        ("정말요?!", "정말요?!"),
    ],
)
def test_texts_are_brought_into_one_form(raw: str, told: str) -> None:
    assert tidy(raw) == told


@given(st.text())
def test_one_form_stays_as_it_is(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)


def test_what_says_the_same_is_learnt_once(tmp_path: Path) -> None:
    rows = [
        {"question": "장판이  들떠요?", "answer": "눌러 붙인 뒤 말려 주세요."},
        {"question": "장판이 들떠요??", "answer": "눌러 붙인 뒤 말려 주세요. "},
        {"question": "타일이 깨졌어요?", "answer": "깨진 타일만 바꿀 수 있어요."},
    ]
    about = run([write(tmp_path / "pairs.csv", rows)], tmp_path / "out")
    assert about["pairs"]["read"] == 3
    assert about["pairs"]["normalised"] == 2  # the blank at the end goes as it is read
    assert about["pairs"]["deduplicated"] == 2


# What is flagged


@pytest.mark.parametrize(
    ("question", "answer", "noise"),
    [
        ("벽지가 왜 울어요?", "습기를 머금어 늘어났기 때문입니다.", None),
        ("곰팡이", "먼저 습기의 원인을 찾아 주세요.", None),
        ("?", "먼저 습기의 원인을 찾아 주세요.", Noise.EMPTY),
        ("벽지가 왜 울어요?", "네.", Noise.EMPTY),
        ("벽지가 왜 울어요?", "## 수정된 답변 습기 때문입니다.", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "수정된 답변: 습기 때문입니다.", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "답변 네, 습기 때문에 울 수 있습니다.", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "수정이 어려운 하자는 새로 바릅니다.", None),
        ("몰딩수정이 뭐예요?", "몰딩수정은 벌어진 몰딩을 고치는 일입니다.", None),
        ("벽지가 왜 울어요?", "저는 AI 언어 모델이라 벽을 볼 수 없습니다.", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "습기 때문입니다.(https://example.com)", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "습기 때문입니다. getElement, 그래서 말립니다.", Noise.ARTEFACT),
        ("벽지가 왜 울어요?", "[전화번호]로 연락 주시면 봐 드려요.", Noise.ARTEFACT),
        ("[전화번호]인데 언제 오세요?", "내일 오전에 들르겠습니다.", None),
        ("PVC가 뭐예요?", "PVC(Polyvinyl Chloride)는 단단한 플라스틱입니다.", None),
        ("LED 조명은요?", "LED는 DIY로도 달 수 있고 Wi-Fi로 켭니다.", None),
        ("벽지가 왜 울어요?", "습기입니다. keep the room dry and warm.", Noise.LANGUAGE),
        ("벽지가 왜 울어요?", "Because of the damp air in the room.", Noise.LANGUAGE),
        ("벽지가 왜 울어요?", "湿気のためです。", Noise.LANGUAGE),
        ("Why does it blister?", "습기를 머금어 늘어났기 때문입니다.", Noise.LANGUAGE),
        ("벽지가 왜 울어요?", "습기 \ufffd\ufffd문에 늘어났기 때문입니다.", Noise.GARBLED),
        ("벽지가 왜 울어요?", "습ㅣ기가 많기 때문에 늘어납니다.", Noise.GARBLED),
        ("벽지가 울어요ㅠㅠ", "습기를 빼고 말려 주세요 ㅎㅎ", None),
    ],
)
def test_a_pair_is_judged_by_its_texts(question: str, answer: str, noise: Noise | None) -> None:
    assert judge(question, answer) == noise


def test_arithmetic_that_the_other_answers_contradict_is_flagged() -> None:
    agreed = ["평수에 2.5를 곱합니다.", "평수 × 2.5로 셈합니다.", "면적에 2.5를 곱하면 됩니다."]
    assert compare_answers([*agreed, "평수를 2.5로 나누어 셈합니다."]) == {3: Noise.FORMULA}
    assert compare_answers([*agreed, "벽의 넓이를 재서 셈합니다."]) == {}
    assert compare_answers(["두 가지로 나누어집니다.", "크게 둘로 나눕니다."]) == {}


def test_a_phrasing_that_asks_for_the_opposite_is_flagged() -> None:
    drawbacks = ["값이 비싼 것이 단점입니다.", "단점은 무겁다는 점입니다."]
    both = ["값은 비싸지만 오래가는 장점이 있고, 무거운 것이 단점입니다."]
    asked = ["띠벽지의 단점이 뭐죠?", "띠벽지의 장점은 어떤 걸까요?"]
    assert compare_phrasings(asked, drawbacks) == {
        (1, 0): Noise.OPPOSITE,
        (1, 1): Noise.OPPOSITE,
    }
    assert compare_phrasings(asked, both) == {}
    assert compare_phrasings([asked[0], "띠벽지의 단점은요?"], drawbacks) == {}


def test_a_phrasing_that_asks_for_what_is_not_answered_is_flagged() -> None:
    asked = ["초배지가 무슨 종이예요?", "초배지는 어떤 용도로 쓰이나요?"]
    told = ["도배지 아래에 붙이는 얇은 종이입니다.", "벽면을 고르기 위해 쓰는 종이입니다."]
    assert compare_phrasings(asked, told) == {(1, 0): Noise.UNANSWERED}
    assert compare_phrasings(["초배지의 용도는?", asked[1]], told) == {}
    many = [*asked, "초배지 알려 주세요", "초배지 설명 좀"]
    assert compare_phrasings(many, told) == {}  # people name things in passing


def test_answers_that_changed_places_are_found() -> None:
    topics = [
        (["곰팡이가 폈어요", "벽에 곰팡이가 생겼어요"], "곰팡이는 습기와 환기 부족으로 생깁니다"),
        (["도배 비용은요?", "견적을 알고 싶어요"], "견적은 평수와 자재와 인건비로 정해집니다"),
        (["장판을 새로 깔래요", "바닥 장판 바꾸기"], "장판은 바닥을 고르게 한 뒤에 깝니다"),
    ]
    rows = [(asked, [f"{told}{end}" for end in ("", ".", "요.", "!")]) for asked, told in topics]
    assert find_strangers(rows) == set()
    rows[0][1][1], rows[1][1][2] = rows[1][1][2], rows[0][1][1]
    assert find_strangers(rows) == {(0, 1), (1, 2)}


def noisy(path: Path) -> Path:
    competition(path, 4)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write("TRAIN_900,=1+1은 무슨 수식이야?,,기타,## 수정된 답변 수식입니다.,,,,\n")
    return path


def test_what_is_flagged_is_listed_with_its_reason_and_left_out(tmp_path: Path) -> None:
    path = noisy(tmp_path / "train.csv")
    about = run([path], tmp_path / "out")
    assert about["pairs"]["flagged"] == 1
    assert about["pairs"]["kept"] == 40
    assert about["flagged"]["artefact"] == 1
    assert sum(about["flagged"].values()) == 1
    content = (tmp_path / "out" / "flagged.csv").read_bytes()
    assert content.startswith("\ufeff".encode())
    (row,) = csv.DictReader(content.decode("utf-8-sig").splitlines())
    assert row["이유"] == "artefact"
    assert (row["파일"], row["행"], row["id"]) == ("train.csv", "6", "TRAIN_900")
    assert row["질문"] == "'=1+1은 무슨 수식이야?"  # no spreadsheet runs it
    kept = run([path], tmp_path / "all", keep_flagged=True)
    assert kept["pairs"]["kept"] == 41
    assert kept["pairs"]["flagged"] == 1


def test_rows_are_looked_at_as_a_whole(tmp_path: Path) -> None:
    topics = (
        ("곰팡이가 핀 벽", "곰팡이는 습기와 환기 부족으로 생깁니다"),
        ("도배 견적", "견적은 평수와 자재와 인건비로 정해집니다"),
        ("장판 교체", "장판은 바닥을 고르게 한 뒤에 깝니다"),
    )
    rows: list[dict[str, object]] = [
        {
            "id": f"T_{n}",
            "질문_1": f"{topic}은 뭐가 문제예요?",
            "질문_2": f"{topic} 이야기 좀 해 주세요",
            **{f"답변_{k}": f"{told}{end}" for k, end in enumerate((".", "요.", "!", " …"), 1)},
        }
        for n, (topic, told) in enumerate(topics)
    ]
    rows[0]["답변_2"], rows[1]["답변_3"] = rows[1]["답변_3"], rows[0]["답변_2"]
    rows[2]["질문_2"] = "장판 교체 가격이 얼마예요?"
    assert run([write(tmp_path / "t.csv", rows)], tmp_path / "out")["flagged"] == {
        **dict.fromkeys(map(str, Noise), 0),
        "stranger": 4,  # both phrasings of both rows
        "unanswered": 4,  # one phrasing, all answers
    }


# The split


def texts(examples: Sequence[Example]) -> tuple[set[str], set[str]]:
    return {each.question for each in examples}, {each.answer for each in examples}


WORDS = st.sampled_from(SUBJECTS)
ROWS = st.lists(
    st.tuples(
        st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=2),
        st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=3),
    ),
    min_size=2,
    max_size=12,
)


def as_pairs(rows: Sequence[tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]]) -> list[Pair]:
    return [
        Pair(
            tuple(
                {"role": role, "content": " ".join(words)}
                for role, words in (("user", asked), ("assistant", told))
            ),
            SUBJECTS[number % 3],
            *("made.csv", number, "", q, a),
            unit=f"made.csv#{number}",
        )
        for number, (questions, told_all) in enumerate(rows)
        for q, asked in enumerate(questions)
        for a, told in enumerate(told_all)
    ]


@given(ROWS, st.integers(0, 3), st.sampled_from([0.1, 0.3, 0.5]))
def test_nothing_crosses_the_split(
    rows: Sequence[tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]], seed: int, share: float
) -> None:
    pairs = as_pairs(rows)
    groups = group(pairs)
    if len(set(groups)) < 2:
        return
    held = choose_validation(pairs, groups, share, seed)
    assert held < set(groups)
    assert held
    sides: dict[bool, list[Pair]] = {True: [], False: []}
    for pair, name in zip(pairs, groups, strict=True):
        sides[name in held].append(pair)
    for of in ("unit", "question", "answer"):
        here, there = ({getattr(pair, of) for pair in side} for side in sides.values())
        assert not here & there
        if of != "unit":
            crossing = [
                (one, other)
                for one, other in find_alike([*here, *there], ALIKE)
                if one < len(here) <= other
            ]
            assert crossing == []


@given(
    st.lists(st.text(alphabet="가나다라마 a1?", max_size=9), max_size=12),
    st.sampled_from([0.5, 0.8]),
)
def test_alike_texts_are_found_as_by_looking_at_all(texts: list[str], share: float) -> None:
    def pairs(text: str) -> set[str]:
        letters = "".join(c for c in text if c.isalnum())
        return {letters[i : i + 2] for i in range(len(letters) - 1)} or {letters} - {""}

    expected = {
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(map(pairs, texts)), 2)
        if one and other and len(one & other) / len(one | other) >= share
    }
    assert set(find_alike(texts, share)) == expected


def test_rows_that_ask_nearly_the_same_fall_on_one_side() -> None:
    asked = (
        *(
            "우리 집 다락방 구석에 자꾸 맺히는 물방울이 왜 생겨요?",
            "우리집 다락방 구석에 자꾸 맺히는 물방울은 왜 생겨요?",
        ),
        "장판은 며칠이나 말려?",
    )
    pairs = as_pairs([([[text]], [[text[:2], f"{n}"]]) for n, text in enumerate(asked)])
    one, other, third = group(pairs)
    assert one == other != third


def test_each_category_is_held_out_by_its_share(tmp_path: Path) -> None:
    path = competition(tmp_path / "train.csv", 16)
    about = run([path], tmp_path / "out", validation=0.25)
    assert about["categories"] == {
        "마감재": {"train": 60, "validation": 20},
        "마감하자": {"train": 60, "validation": 20},
    }


def test_small_categories_together_give_their_share() -> None:
    pairs = as_pairs([([[s]], [[neighbour(s), s]]) for s in SUBJECTS])
    alone = [replace(pair, category=pair.question) for pair in pairs]
    assert len(choose_validation(alone, group(alone), 0.25, 0)) == 4


def test_the_same_files_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    path = noisy(tmp_path / "train.csv")
    for out in ("a", "b"):
        run([path], tmp_path / out, seed=3)
    names = sorted(each.name for each in (tmp_path / "a").iterdir())
    assert names == [
        *("card.json", "categories.png", "flagged.csv"),
        *("lengths.png", "train.jsonl", "validation.jsonl"),
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    sides = set()
    for seed in range(6):
        run([path], tmp_path / "b", seed=seed)
        sides.add((tmp_path / "b" / "validation.jsonl").read_bytes())
    assert len(sides) > 1  # another seed, another split


# The card


def test_the_card_holds_lengths_in_characters_and_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "words"
    folder.mkdir()
    words.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    rows = [
        {"question": "장판이 들떠요?", "answer": "눌러 붙인 뒤 말려 주세요."},
        {"question": "타일이 깨졌어요?", "answer": "깨진 타일만 바꿀 수 있어요."},
        {"question": "벽지에 틈이 벌어졌는데요?", "answer": "풀을 넣고 눌러 주세요."},
    ]
    about = run([write(tmp_path / "p.csv", rows)], tmp_path / "out", tokenizer=tmp_path / "words")
    assert about["tokens"]["question"] == {"mean": 2.3, "p50": 2, "p95": 3, "p99": 3, "max": 3}
    assert about["tokens"]["answer"]["max"] == 5
    assert about["tokenizer"] == "words"
    assert about["characters"]["question"]["max"] == 14
    assert about["characters"]["conversation"]["max"] == 27
    assert {"python", "transformers"} <= set(about["versions"])
    assert run([tmp_path / "p.csv"], tmp_path / "out")["tokens"] is None


def test_a_table_for_people_and_pictures_stand_beside(tmp_path: Path) -> None:
    lines: list[str] = []
    prepare([noisy(tmp_path / "train.csv")], tmp_path / "out", as_json=False, say=lines.append)
    told = "\n".join(lines)
    for part in ("train.csv: 5행 → 41쌍", "이상해 보임 1", "만든 흔적", "남음 40", "마감하자"):
        assert part in told
    for name in ("lengths.png", "categories.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_a_stop_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run([competition(tmp_path / "train.csv")], out)
    before = {each.name: each.read_bytes() for each in out.iterdir()}

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.prepare.write_card", fail)
    with pytest.raises(KeyboardInterrupt):
        run([competition(tmp_path / "train.csv", 5)], out)
    assert {each.name: each.read_bytes() for each in out.iterdir()} == before


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        rows = [
            {"question": f"{s} 틈?", "answer": f"{s}, {neighbour(s)} 순으로 메워요."}
            for s in SUBJECTS[number * 3 : number * 3 + 3]
        ]
        write(tmp_path / folder / "p.csv", rows)
    paths = [tmp_path / folder / "p.csv" for folder in ("a", "b")]
    run(paths, tmp_path / "out")
    train, validation = read_back(tmp_path / "out")
    assert len({each.group for each in [*train, *validation]}) == 6


# The competition's own files, where they are


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not on this machine")
def test_the_competitions_files_are_counted_exactly(tmp_path: Path) -> None:
    paths = [SHARED / "train.csv", SHARED / "augment_99rows.csv"]
    about = run(paths, tmp_path / "out")
    assert [(f["rows"], f["pairs"]) for f in about["files"]] == [(541, 5410), (99, 990)]
    assert about["pairs"]["read"] == 6400
    with (tmp_path / "out" / "flagged.csv").open(encoding="utf-8-sig", newline="") as file:
        flagged = list(csv.DictReader(file))
    found = {(row["id"], row["답변 번호"], row["이유"]) for row in flagged}
    # The formulas that public audits of the file name as garbled.
    assert {("TRAIN_056", "4", "formula"), ("TRAIN_439", "5", "formula")} <= found
    assert {row["파일"] for row in flagged} == {"train.csv"}
