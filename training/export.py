"""`deepbot export RUN --merge`: an adapter put into its base for good, checked after writing."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from training import gating, trained
from training.errors import TrainingError, TrainingInputError
from training.files import write_json, write_text
from training.gate import GATE, STAGES, GateRecord
from training.merged import MergedFolder
from training.progress import Say
from training.reference import load_adapted, memory_explained
from training.runs import CARD, Run, open_run
from training.terms import COMMERCIAL


def export_merged(folder: Path, out: Path, *, base: Path | None, say: Say) -> None:
    """Write a run's base with its adapter merged in, whole or not at all.

    The base is never a quantised one: what 4 bits have rounded off is no part of the model that
    is served. Raises `TrainingInputError`, `TrainingError`.
    """
    run = open_run(folder)
    if run.record.setting.method == "full":
        msg = f"모델 전체를 학습한 것이라 합칠 것이 없어요. {run.folder / 'model'}를 그대로 쓰세요."
        raise TrainingInputError(msg)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"이미 무엇이 있어요. 비었거나 없는 폴더를 알려 주세요: {out}"
        raise TrainingInputError(msg)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with memory_explained():
            _write(run, base, part, say)
        say("합친 모델을 다시 읽어 합치지 않은 것과 견주는 중…")
        record = gating.check(run, MergedFolder(part, None), base)
        _require_same(record)
        write_json(part / GATE, record.model_copy(update={"server": out.name, "model": out.name}))
        write_text(part / CARD, render_card(run))
        part.chmod(0o755)
        part.replace(out)  # over an empty folder at most
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(gating.render(record))
    say(f"내보냈어요: {out}")


def render_card(run: Run) -> str:
    """Return a merged model's card as Markdown with the metadata that model hubs read."""
    record = run.record
    licence = record.recipe.base.licence
    named = f"{licence.name}, 상업적 이용 {COMMERCIAL[licence.commercial]}, {licence.source}"
    stand_in = (
        f"> **대역 모델입니다.** 레시피 {record.recipe.name}의"
        f" 모델({record.recipe.base.repository})이 아니라 다른 모델로 돌린 것입니다.\n\n"
    )
    return (
        f"---\nlanguage: ko\nbase_model: {record.base}\nlibrary_name: transformers\n---\n\n"
        f"# {record.base if record.stand_in else record.recipe.title}: {record.variant}, 병합\n\n"
        f"{stand_in if record.stand_in else ''}"
        f"{record.setting.precision}의 바탕 모델({record.base})에 학습 `{run.name}`의 어댑터를 더한"
        " 무게입니다. 4비트 같은 양자화한 모델에 합친 것이 아니고, 적은 뒤 다시 읽어 합치지 않은"
        f" 것과 견주었습니다(`{GATE}`).\n\n"
        "## 라이선스\n\n"
        "바탕 모델의 무게가 들어 있으므로 그 라이선스"
        f"{'를 확인하고' if record.stand_in else f'({named})를'} 그대로 따라야 합니다.\n"
    )


def _write(run: Run, base: Path | None, folder: Path, say: Say) -> None:
    model = load_adapted(run, base, say=say)
    say("어댑터를 합치는 중…")
    try:
        merged = model.merge_and_unload(safe_merge=True)
        merged.save_pretrained(folder)
        trained.load_tokenizer(run).save_pretrained(folder)
    except OSError as error:
        msg = f"폴더에 쓸 수 없어요: {folder.parent} ({error.strerror or error})"
        raise TrainingError(msg) from error
    except ValueError as error:  # what peft says of weights that are no numbers
        msg = f"어댑터의 무게가 깨져 합칠 수 없어요: {run.folder}"
        raise TrainingInputError(msg) from error


def _require_same(record: GateRecord) -> None:
    if record.failed:
        why = next(each.why for each in record.stages if each.stage == record.failed)
        msg = f"합친 모델이 합치지 않은 것과 달라 내보내지 않았어요: {STAGES[record.failed]}. {why}"
        raise TrainingError(msg)
