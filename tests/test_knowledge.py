"""Knowledge files and what an editor is told of them; imports beside a running bot."""

import asyncio
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from bot.playground.client import Customer
from inference.knowledge import Entry, KnowledgeError, checking, files, starter_path
from inference.knowledge.files import load, read
from tests.modelserver import ModelServer
from tests.playground import running
from tests.processes import bot_process, run
from tests.shop import say

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dacon-236216"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_a_file_is_read_in_the_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "knowledge.csv"
    path.write_text(
        "id,질문_1,질문_2,category,답변_1,답변_2\n"
        'DB_7,"첫, 질문?", 둘째 질문? ,하자,"여러\n줄 답변",\n'
        "DB_8,질문만?,,,,\n"
        "DB_9,질문?,,,답변.,\n",
        encoding=encoding,
    )
    assert load(path) == [
        Entry("DB_7", ("첫, 질문?", "둘째 질문?"), "하자", ("여러\n줄 답변",)),
        Entry("DB_9", ("질문?",), "기타", ("답변.",)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\n\n",
        "id,질문_1,답변_1\n".encode(),
        "가,나,다\n1,질문?,답변.\n".encode(),
        "id,질문_1,답변_1\n1,질문?,\n2,,답변.\n".encode(),
        "id,질문_1,답변_1\n1,질문?,답변.\n".encode("utf-16"),
        b"\x00" * 100,
        b"PK\x03\x04" + bytes(range(256)),
        b"id\n" + b"x" * 200_000,
    ],
    ids=[
        *("missing", "empty", "blank lines", "no rows", "wrong columns", "half rows"),
        *("utf-16", "zeros", "spreadsheet", "endless cell"),
    ],
)
def test_a_file_that_is_no_use_is_named_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "knowledge.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KnowledgeError, match=r"지식 파일.*knowledge\.csv") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_knowledge_file(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="읽을 수 없어요"):
        load(tmp_path)


PAIRS = [("도배는 며칠 걸려요?", "하루면 됩니다."), ("도배는 며칠 걸려요?", "이틀도 걸립니다.")]


def test_pairs_of_one_question_become_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("Question", "Answer"), *PAIRS, ("환기는?", "조금씩.")])
    first, second = load(path)
    assert first == Entry("pairs_2", (PAIRS[0][0],), "기타", tuple(answer for _, answer in PAIRS))
    assert second.id == "pairs_4"


def test_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "지식.xlsx"
    book = Workbook()
    assert book.active is not None
    for row in (
        ["NO", "카테고리", "질문1", "질문2", "답변1"],
        [1, "울음", "왜 울어요?", None, 7.0],
    ):
        book.active.append(row)
    book.save(path)
    assert load(path) == [Entry("지식_1", ("왜 울어요?",), "울음", ("7",))]


def test_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "knowledge.jsonl"
    rows = [
        {"id": "A_1", "questions": ["하나?", "둘?"], "answers": ["답."], "category": "시공"},
        {"question": "셋?", "answer": "답 셋."},
        ["no entry"],
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert load(path) == [
        Entry("A_1", ("하나?", "둘?"), "시공", ("답.",)),
        Entry("knowledge_2", ("셋?",), "기타", ("답 셋.",)),
    ]


def test_what_is_skipped_is_said_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    long = "길" * 3001
    path.write_text(
        "id,질문_1,답변_1\nA,질문?,답.\nA,다른 질문?,답.\nB,,답.\nC,질문만?,\nD D,질문?,답.\n"
        f"E,질문?,{long}\n",
        encoding="utf-8",
    )
    problems = [(row.number, row.problem) for row in read(path) if row.problem]
    assert [number for number, _ in problems] == [3, 4, 5, 6, 7]
    for (_, problem), word in zip(
        problems, ("이미 있음", "질문이", "답변이", "빈칸", "3,000"), strict=True
    ):
        assert word in problem


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
texts = words.map(files._text).filter(bool)


@given(
    st.lists(
        st.builds(
            lambda q, a: (tuple(dict.fromkeys(q)), tuple(dict.fromkeys(a))),
            st.lists(texts, min_size=1, max_size=12),
            st.lists(texts, min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_exported_is_imported_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    cells: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    entries = [Entry(f"X_{n}", q, "기타", a) for n, (q, a) in enumerate(cells)]
    for ending in ("csv", "jsonl"):
        path = tmp_path_factory.mktemp("export") / f"k.{ending}"
        files.write(path, entries)
        assert load(path) == entries


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not on this machine")
@pytest.mark.parametrize(("name", "count"), [("train.csv", 541), ("augment_99rows.csv", 99)])
def test_the_competitions_files_are_taken_as_they_are(name: str, count: int) -> None:
    rows = read(SHARED / name)
    assert [row.problem for row in rows] == [""] * count
    assert all(1 <= len(row.entry.questions) <= 2 for row in rows)
    assert all(1 <= len(row.entry.answers) <= 5 for row in rows)


# What an editor is told


def rows(*entries: Entry) -> list[files.Row]:
    return [files.Row(number, entry) for number, entry in enumerate(entries, 2)]


GOOD = Entry("G", ("도배는 며칠 걸려요?", "도배 기간?"), "시공", ("하루.", "하루입니다."))
OTHER = Entry("H", ("벽지 이음매가 왜 벌어져요?", "틈이 생겨요"), "울음", ("말라서.", "줄어서."))


def test_the_starter_knowledge_has_nothing_to_put_right() -> None:
    assert checking.find(read(starter_path())) == []


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (Entry("X", ("왜?",), "시공", ("답.", "답 둘.")), "empty"),
        (Entry("X", ("왜?", "어째서?"), "시공", ("답.",)), "empty"),
        (Entry("X", ("왜?", "어째서?"), "요리", ("답.", "답 둘.")), "category"),
        (Entry("X", ("왜?", "어째서?"), "시공", ("답.", "길" * 601)), "long"),
        (
            Entry("X", ("언제?", "며칠?"), "시공", ("24시간 말리세요.", "48시간 말리세요.")),
            "number",
        ),
        (Entry("X", ("도배는 며칠 걸려요", "며칠?"), "시공", ("하루.", "하루입니다.")), "double"),
        (
            Entry(
                "X",
                ("젖은 콘센트를 떼도 돼요?", "콘센트가 젖었어요"),
                "안전",
                ("네.", "차단기부터."),
            ),
            "warning",
        ),
    ],
)
def test_what_is_wrong_is_found(entry: Entry, kind: str) -> None:
    assert [finding.kind for finding in checking.find(rows(GOOD, OTHER, entry))] == [kind]
    assert checking.find(rows(GOOD, OTHER)) == []


def test_overlapping_ranges_do_not_contradict() -> None:
    answers = ("2~3일 말리세요.", "3~4일 말리세요.")
    assert checking.find(rows(Entry("X", ("언제?", "며칠?"), "시공", answers))) == []


# The command


class Where(NamedTuple):
    cwd: Path
    database_url: str = ""


async def deepbot(*arguments: str, where: Where) -> tuple[int, str]:
    changes = {"DATABASE_URL": where.database_url}
    code, output, errors = await run("knowledge", *arguments, cwd=where.cwd, **changes)
    assert "Traceback" not in errors
    return code, output or errors


def write_entry(path: Path, question: str, answer: str) -> None:
    files.write(path, [Entry("SHOP_1", (question,), "견적·계약·보증", (answer,))])


PARKING = "가게 앞에 주차할 수 있나요?"


async def test_import_list_search_export_remove(tmp_path: Path, database_url: str) -> None:
    where = Where(tmp_path, database_url)
    write_entry(tmp_path / "shop.csv", PARKING, "건물 뒤에 두 대 자리가 있어요.")
    code, said = await deepbot("import", "shop.csv", where=where)
    assert code == 0
    assert "새로 1, 바꿈 0, 그대로 0, 건너뜀 0" in said
    write_entry(tmp_path / "shop.csv", PARKING, "건물 뒤에 세 대 자리가 있어요.")
    assert "새로 0, 바꿈 1" in (await deepbot("import", "shop.csv", where=where))[1]
    assert "그대로 1" in (await deepbot("import", "shop.csv", where=where))[1]

    code, listed = await deepbot("list", "--json", where=where)
    entries = {entry["id"]: entry for entry in map(json.loads, listed.splitlines())}
    assert len(entries) == len(load(starter_path())) + 1
    assert entries["SHOP_1"]["answers"] == ["건물 뒤에 세 대 자리가 있어요."]

    code, found = await deepbot("search", "차 댈 데 있어요? 가게 앞 주차", "--json", where=where)
    hits = json.loads(found)["entries"]
    assert len(hits) == 10
    assert hits[0]["id"] == "SHOP_1"

    assert (await deepbot("remove", "SHOP_1", "NOPE", where=where)) == (
        2,
        "deepbot: 없는 id예요: NOPE\n",
    )
    code, _ = await deepbot("remove", "SHOP_1", "DB_001", where=where)
    assert code == 0
    assert (await deepbot("export", "all.csv", where=where))[0] == 0
    assert {entry.id for entry in load(tmp_path / "all.csv")} == {
        entry.id for entry in load(starter_path())
    } - {"DB_001"}
    assert (await deepbot("import", str(starter_path()), where=where))[1].startswith(
        "455개 항목을 읽었어요: 새로 1"
    )


async def test_a_file_of_no_use_is_said_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("가,나\n1,2\n", encoding="utf-8")
    code, said = await deepbot("import", "bad.csv", where=Where(tmp_path))
    assert code == 1
    assert "열 이름" in said
    code, said = await deepbot("import", "none.xlsx", where=Where(tmp_path))
    assert (code, "none.xlsx" in said) == (1, True)
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04broken")
    code, said = await deepbot("import", "broken.xlsx", where=Where(tmp_path))
    assert (code, "읽을 수 없어요" in said) == (1, True)
    assert not (tmp_path / "var").exists()


async def test_check_exits_with_1_where_something_is_to_be_put_right(tmp_path: Path) -> None:
    write_entry(tmp_path / "shop.csv", PARKING, "두 대.")
    code, said = await deepbot("check", "shop.csv", "--json", where=Where(tmp_path))
    assert code == 1
    assert [json.loads(line)["kind"] for line in said.splitlines()] == ["empty", "empty"]
    assert (await deepbot("check", where=Where(tmp_path))) == (
        0,
        "455개 항목을 보았어요: 고칠 것이 없어요.\n",
    )


async def test_a_running_bot_takes_up_what_is_imported_and_removed(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    where = Where(tmp_path, database_url)
    careful = {"ANSWER_POLICY": "careful", "EMBEDDINGS_URL": ""}
    async with (
        running() as telegram,
        bot_process(telegram, model, database_url, tmp_path, **careful),
    ):
        customer = telegram.playground.customer(71)
        before = await say(customer, PARKING)
        assert "두 대" not in before.text
        write_entry(tmp_path / "shop.csv", PARKING, "건물 뒤에 두 대 자리가 있어요.")
        assert (await deepbot("import", "shop.csv", where=where))[0] == 0
        await until(lambda text: "두 대" in text, customer)
        assert (await deepbot("remove", "SHOP_1", where=where))[0] == 0
        await until(lambda text: "두 대" not in text, customer)


async def until(is_right: Callable[[str], bool], customer: Customer) -> None:
    """Ask until the answer is as it should be."""
    async with asyncio.timeout(30):
        while not is_right((await say(customer, PARKING)).text):
            await asyncio.sleep(1)
