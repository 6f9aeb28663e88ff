"""The model card of a run: what it is, what from, what for, how it was measured."""

from pathlib import Path

from training import runs
from training.files import write_text
from training.runs import RunRecord
from training.terms import COMMERCIAL, COUNTED, METHODS


def write_card(folder: Path, record: RunRecord) -> None:
    """Write a run's README.md."""
    write_text(folder / runs.CARD, render_card(record))


def render_card(record: RunRecord) -> str:
    """Return the card as Markdown with the metadata that model hubs read."""
    setting, totals, licence = record.setting, record.totals, record.recipe.base.licence
    use = COMMERCIAL[licence.commercial]
    gpu = record.machine.gpu or "없음"
    lines = [
        "---",
        "language: ko",
        f"base_model: {record.base}",
        "library_name: " + ("transformers" if setting.method == "full" else "peft"),
        "---",
        "",
        f"# {record.base if record.stand_in else record.recipe.title}: {record.variant}",
        "",
    ]
    if record.stand_in:
        lines += [
            f"> **대역 모델입니다.** 레시피 {record.recipe.name}의 모델"
            f"({record.recipe.base.repository})이 아니라 다른 모델로 돌린 것이라,"
            " 값은 그 시스템의 값이 아닙니다.",
            "",
        ]
    lines += [
        "| | |",
        "|---|---|",
        f"| 바탕 모델 | {record.base} |",
        f"| 라이선스 | {licence.name}, 상업적 이용 {use} ({licence.source}) |"
        if not record.stand_in
        else "| 라이선스 | 바탕 모델의 것을 확인하세요 |",
        f"| 방법 | {METHODS[setting.method]}{_describe_lora(record)} |",
        f"| 손실 | {COUNTED[setting.loss]} |",
        f"| 배치 | {setting.batching} {setting.batch_size} × {setting.accumulation},"
        f" 길이 {setting.max_length} |",
        f"| 학습률 | {setting.learning_rate:g}, {setting.schedule} |",
        f"| 자료 | 학습 {record.data.train_examples:,}, 검증 {record.data.validation_examples:,}"
        f" (SHA-256 {record.data.digest[:12]}…) |",
        f"| 걸음, 에포크 | {totals.steps:,}, {totals.epochs:.2f}"
        + (" (검증 손실이 더 줄지 않아 멈춤) |" if totals.stopped_early else " |"),
        f"| 검증 손실 | {_show(totals.first_validation_loss)}"
        f" → {_show(totals.best_validation_loss)} ({totals.best_step or 0:,}걸음) |",
        f"| 시간 | {totals.seconds:,.0f}초, 에포크당 {totals.seconds_per_epoch:,.0f}초,"
        f" {totals.tokens_per_second:,.0f} 토큰/초 |",
        f"| 메모리 | RAM {totals.peak_memory_bytes / 2**30:.1f} GiB"
        + (f", GPU {totals.peak_gpu_bytes / 2**30:.1f} GiB |" if totals.peak_gpu_bytes else " |"),
        f"| 기계 | {record.machine.cpu}, {record.machine.cores}코어, GPU {gpu} |",
        f"| 판 | {', '.join(f'{name} {version}' for name, version in record.versions.items())} |",
        "",
        "![학습과 검증 손실](loss.png)",
        "",
        "도배 상담에 쓰려고 학습했습니다. 사실은 상담에 딸린 자료에서 오고, 모델의 말은 보내기 전에"
        " 검사합니다. 가격을 묻는 데에는 쓰지 않습니다.",
        "",
    ]
    return "\n".join(lines)


def _describe_lora(record: RunRecord) -> str:
    lora = record.setting.lora
    if lora is None:
        return ""
    return f" r{lora.rank} α{lora.alpha} ({', '.join(lora.targets)})"


def _show(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.3f}"
