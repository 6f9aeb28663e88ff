"""`deepbot compare`: contenders side by side, as a page and as a table for a spreadsheet."""

from collections.abc import Sequence
from pathlib import Path

from training import page
from training.advice import Bounds, advise
from training.contenders import Contender, open_contenders
from training.errors import TrainingError, TrainingInputError
from training.figures import FIGURES
from training.files import write_table, write_text
from training.progress import Say
from training.terms import COUNTED, METHODS, VARIANTS

PAGE, TABLE = "index.html", "comparison.csv"

_YES_NO = {True: "예", False: "아니요", None: "밝혀지지 않음"}


def compare(folders: Sequence[Path], out: Path, *, rag: Path | None, say: Say) -> None:
    """Write the comparison of finished runs, and of retrieval alone, into the folder `out`.

    `rag` is the evaluation of a server. Raises `TrainingInputError`, `TrainingError`.
    """
    contenders = open_contenders(folders, rag)
    advice = advise(contenders, Bounds())
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / PAGE, page.render(contenders, advice))
        write_table(out / TABLE, _tabulate(contenders))
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"폴더가 아니에요: {out}"
        raise TrainingInputError(msg) from error
    except OSError as error:
        msg = f"비교를 적을 수 없어요: {out} ({error.strerror})"
        raise TrainingError(msg) from error
    say(f"{len(contenders)}개를 견줬어요: {out / PAGE}, {out / TABLE}")
    name = f"{advice.chosen.title} ({advice.chosen.name})" if advice.chosen else "없음"
    say(f"추천: {name}. {advice.why}")


def _tabulate(contenders: Sequence[Contender]) -> list[list[object]]:
    """Return the comparison a row a contender: plain numbers, the units in the header."""
    rows = [_row(contender) for contender in contenders]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def _row(contender: Contender) -> dict[str, object]:
    run, evaluation, licence = contender.run, contender.evaluation, contender.licence
    setting = run and run.setting
    lora = setting and setting.lora
    machine = run and run.machine
    gpu_bytes = machine and machine.gpu_memory_bytes
    return {
        "번호": contender.number,
        "시스템": contender.title,
        "이름": contender.name,
        "대역 모델": run and _YES_NO[contender.stand_in],
        "레시피": run and run.recipe.name,
        "설정": run and VARIANTS[run.variant],
        "바탕 모델": run and run.base,
        "시작 (UTC)": run and run.started[:19].replace("T", " "),
        "CPU": machine and machine.cpu,
        "코어": machine and machine.cores,
        "기계의 RAM (GiB)": machine and round(machine.memory_bytes / 2**30, 1),
        "기계의 GPU": machine and machine.gpu,
        "기계의 GPU 메모리 (GiB)": gpu_bytes and round(gpu_bytes / 2**30, 1),
        "방법": setting and METHODS[setting.method],
        "LoRA 랭크": lora and lora.rank,
        "LoRA 알파": lora and lora.alpha,
        "손실을 센 곳": setting and COUNTED[setting.loss],
        "배치": setting and setting.batch_size,
        "누적": setting and setting.accumulation,
        "최대 길이 (토큰)": setting and setting.max_length,
        "학습률": setting and setting.learning_rate,
        "정밀도": setting and setting.precision,
        "정한 에포크": setting and setting.epochs,
        "학습한 에포크": run and run.totals.epochs,
        "걸음": run and run.totals.steps,
        "학습 예": run and run.data.train_examples,
        "검증 예": run and run.data.validation_examples,
        "자료의 SHA-256": run and run.data.digest,
        **{f"{each.group}: {each.name} ({each.unit})": each.value(contender) for each in FIGURES},
        "임베더": evaluation and evaluation.embedder,
        "평가 파일": evaluation and evaluation.data,
        "평가한 예": evaluation and evaluation.examples,
        "라이선스": licence and licence.name,
        "상업적 이용": licence and _YES_NO[licence.commercial],
    }
