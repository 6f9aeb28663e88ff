"""The model card of a run: what it is, what from, what for, how it was measured."""

import re
from collections.abc import Callable
from pathlib import Path

from training import runs
from training.files import write_text
from training.runs import EvaluationRecord, RunRecord
from training.terms import COMMERCIAL, COUNTED, METHODS


def write_card(folder: Path, record: RunRecord) -> None:
    """Write a run's README.md, with what was measured of it so far."""
    run = runs.Run(folder, record)
    measured = render_measured(run.evaluation(untrained=True), run.evaluation())
    write_text(folder / runs.CARD, "\n".join(filter(None, [render_card(record), measured])))


def render_measured(before: EvaluationRecord | None, after: EvaluationRecord | None) -> str:
    """Return what `deepbot evaluate` found, before and after, and the ten answers."""
    if before and after and before.data_digest != after.data_digest:
        before = None  # of other questions: no comparison
    found = [each for each in (before, after) if each]
    if not found:
        return ""
    heads = [head for head, each in (("학습 전", before), ("학습 후", after)) if each]
    embedder = found[-1].embedder
    rows: list[tuple[str, Callable[[EvaluationRecord], str]]] = [
        ("답의 손실 (nat/토큰)", lambda e: _show(e.loss)),
        (f"의미 유사도 ({embedder})", lambda e: _show(e.similarity)),
        ("글자 겹침 (chrF)", lambda e: f"{e.chrf:.1f}"),
        ("답을 피함", lambda e: f"{e.refusals:.0%}"),
        ("되풀이", lambda e: f"{e.repetitions:.0%}"),
        ("답 하나의 시간 (50%, 95%)", lambda e: f"{e.seconds_p50:.1f}초, {e.seconds_p95:.1f}초"),
    ]
    lines = [
        "## 재기",
        "",
        f"`{found[-1].data}`의 예 {found[-1].examples:,}개, 찾은 자료 없이.",
        "",
        f"| | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
        *(f"| {name} | {' | '.join(read(each) for each in found)} |" for name, read in rows),
        "",
        "## 답",
        "",
        "학습 자료에 없는 질문 열 개. 모델이 쓴 그대로이며 틀린 말이 있을 수 있습니다.",
        "",
    ]
    for number, asked in enumerate(found[-1].answers):
        lines.append(f"**{number + 1}. {_as_text(asked.question)}**")
        lines.append("")
        for head, each in zip(heads, found, strict=True):
            lines.append(f"- {head}: {_as_text(each.answers[number].answer) or '(빈 답)'}")
        lines.append("")
    return "\n".join(lines)


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


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _as_text(words: str) -> str:
    """Return words on one line in which Markdown and HTML find nothing to do."""
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", " ".join(words.split()))
