"""`deepbot submission`: the competition's test questions answered, and the answers as vectors.

The file has a row an answer: `id, vec_0 … vec_511`, embedded by the competition's model.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from inference import followups
from training.answering import answer_all
from training.errors import TrainingInputError
from training.files import write_table, write_text
from training.progress import Say, tell
from training.similarity import (
    COMPETITION,
    DIMENSIONS,
    Embedder,
    Vectors,
    open_embedder,
)
from training.systems import System, as_example, open_system

_ID, _QUESTION = "id", "질문"
_HEADER = [_ID, *(f"vec_{number}" for number in range(DIMENSIONS))]


def write_submission(
    target: str,
    test: Path,
    out: Path,
    *,
    sample: Path | None,
    embedder: str | None,
    base: Path | None,
    model: str | None,
    key: str | None,
    split_questions: bool,
    say: Say,
) -> None:
    """Answer the questions of `test` (columns id, 질문) and write `out`, and the answers beside it.

    With `split_questions` a text that asks two things is asked as two, and the answers are
    joined. Raises `TrainingInputError`, `TrainingError`.
    """
    if out.is_dir():
        msg = f"적을 파일의 이름을 주세요 (폴더예요): {out}"
        raise TrainingInputError(msg)
    rows = _read_questions(test)
    if sample is not None:
        _check(sample, [id_ for id_, _ in rows], test)
    meaning = open_embedder(embedder)
    if meaning.dimensions != DIMENSIONS:
        msg = (
            f"이 임베더는 {DIMENSIONS}차원이 아니라 {meaning.dimensions}차원이에요: {meaning.name}"
        )
        raise TrainingInputError(msg)
    system = open_system(target, base=base, model=model, key=key)
    journal = out.with_name(f"{out.name}.answers")
    answers = _answer(system, [text for _, text in rows], journal, split=split_questions)
    written = out.with_name(f"{out.stem}-answers.csv")
    write_table(
        written,
        [
            [_ID, _QUESTION, "답변"],
            *([id_, text, answer] for (id_, text), answer in zip(rows, answers, strict=True)),
        ],
    )
    write_text(out, _as_csv([id_ for id_, _ in rows], meaning.embed(answers)))
    journal.unlink()
    say(f"{len(rows):,}개의 답을 적었어요: {out} (글은 {written})")
    _warn(meaning)


def _warn(embedder: Embedder) -> None:
    if embedder.name != COMPETITION:
        tell(f"대회의 임베더({COMPETITION})가 아니라 {embedder.name}의 벡터라 낼 수는 없어요.")


def _answer(system: System, texts: Sequence[str], journal: Path, *, split: bool) -> list[str]:
    parts = [followups.split(text) if split else [text] for text in texts]
    examples = [as_example(part) for each in parts for part in each]
    answers = iter(answer_all(system, examples, journal))
    return [" ".join(next(answers) for _ in each) for each in parts]


def _read_questions(path: Path) -> list[tuple[str, str]]:
    """Return the ids and the questions of the competition's test file."""
    header, *rows = _read(path)
    if not {_ID, _QUESTION} <= set(header):
        msg = f"{_ID}와 {_QUESTION} 열이 있는 파일이 아니에요: {path}"
        raise TrainingInputError(msg)
    cells = [dict(zip(header, row, strict=False)) for row in rows]
    found = [(cell.get(_ID, "").strip(), cell.get(_QUESTION, "").strip()) for cell in cells]
    for number, (id_, text) in enumerate(found, 1):
        if not id_ or not text:
            msg = f"{number}번째 행에 {_ID}나 {_QUESTION}이 비어 있어요: {path}"
            raise TrainingInputError(msg)
    if not found or len({id_ for id_, _ in found}) < len(found):
        msg = f"질문이 없거나 같은 {_ID}가 두 번 있어요: {path}"
        raise TrainingInputError(msg)
    return found


def _check(sample: Path, ids: Sequence[str], test: Path) -> None:
    """Refuse a sample file of another shape than what we are to write."""
    header, *rows = _read(sample)
    if header != _HEADER:
        msg = f"예시 파일의 열이 {_ID}, vec_0 … vec_{DIMENSIONS - 1}이 아니에요: {sample}"
        raise TrainingInputError(msg)
    if len(rows) != len(ids):
        msg = f"예시 파일은 {len(rows):,}행인데 질문은 {len(ids):,}개예요: {test}"
        raise TrainingInputError(msg)
    for number, (row, id_) in enumerate(zip(rows, ids, strict=True), 1):
        if row[0] != id_:
            msg = f"{number}번째 {_ID}가 예시 파일({row[0]})과 시험 파일({id_})에서 달라요."
            raise TrainingInputError(msg)


def _read(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, its header first; empty ones are left out."""
    try:
        rows = [row for row in csv.reader(StringIO(path.read_text("utf-8-sig"))) if row]
    except FileNotFoundError as error:
        msg = f"파일이 없어요: {path}"
        raise TrainingInputError(msg) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"UTF-8로 된 CSV 파일로 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error
    if not rows:
        msg = f"빈 파일이에요: {path}"
        raise TrainingInputError(msg)
    return rows


def _as_csv(ids: Sequence[str], vectors: Vectors) -> str:
    """Return the submission; each number in the fewest digits that read back as the same float."""
    output = StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(
        [id_, *(str(value) for value in row)] for id_, row in zip(ids, vectors, strict=True)
    )
    return output.getvalue()
