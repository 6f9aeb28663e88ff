"""A data card as people read it in a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.noise import MEANING, Noise
from training.sources import LEFT_OUT

_SIDES = (("train", "학습"), ("validation", "검증"))
_LENGTHS = (("question", "질문"), ("answer", "답변"), ("conversation", "대화 전체"))


def report(about: Mapping[str, Any], folder: Path) -> str:
    """Return the card of `deepbot data prepare` as text."""
    pairs = about["pairs"]
    lines = ["파일"]
    for file in about["files"]:
        lines.append(f"  {file['name']}: {file['rows']:,}행 → {file['pairs']:,}쌍")
        if file["incomplete_rows"]:
            lines.append(f"    질문이나 답변이 없는 행 {file['incomplete_rows']:,}개")
        lines += [
            f"    {LEFT_OUT[reason]}: {count:,}개는 넣지 않음"
            for reason, count in file["left_out"].items()
        ]
    lines += [
        "쌍",
        f"  읽음 {pairs['read']:,}",
        f"  다듬음 {pairs['normalised']:,} (빈칸, 따옴표, 보이지 않는 글자)",
        f"  겹친 것을 뺌 {pairs['read'] - pairs['deduplicated']:,} → {pairs['deduplicated']:,}",
        f"  이상해 보임 {pairs['flagged']:,}"
        + (" (--keep-flagged: 넣음)" if about["flagged_kept"] else " (넣지 않음)"),
        *(
            f"    {MEANING[Noise(reason)]}: {count:,}"
            for reason, count in about["flagged"].items()
            if count
        ),
        f"  남음 {pairs['kept']:,}",
    ]
    lines += report_examples(about)
    lines.append(f"적은 곳: {folder}")
    return "\n".join(lines)


def report_augmented(about: Mapping[str, Any], folder: Path) -> str:
    """Return the card of `deepbot data augment` as text."""
    counts = about["augmented"]
    lines = [f"학습 쌍 {counts['train_before']:,}에서"]
    if extra := counts.get("extra"):
        lines += [f"  {file['name']}: {file['rows']:,}행" for file in extra["files"]]
        pairs = extra["pairs"]
        lines.append(
            f"  더한 파일: {pairs['read']:,}쌍 가운데 {pairs['kept']:,}"
            f" (이미 있음 {pairs['read'] - pairs['new']:,}, 이상해 보임 {pairs['flagged']:,},"
            f" 검증과 비슷함 {pairs['near_validation']:,})"
        )
    if reworded := counts.get("paraphrases"):
        lines.append(
            f"  바꿔 쓴 질문: {reworded['written']:,}개 가운데 {reworded['kept']:,}"
            f" (수나 재료나 부정이 바뀜 {reworded['changed']:,}, 같은 말 {reworded['same']:,},"
            f" 묻지 않음 {reworded['unasked']:,}, 다른 질문에 가까움 {reworded['elsewhere']:,},"
            f" 검증과 비슷함 {reworded['near_validation']:,})"
        )
    if counts["merge_wanted"]:
        short = counts["merged"] < counts["merge_wanted"]
        lines.append(
            f"  두 질문을 이은 쌍: {counts['merged']:,}"
            + (f" ({counts['merge_wanted']:,}개까지는 만들 수 없었어요)" if short else "")
        )
    return "\n".join([*lines, *report_examples(about), f"적은 곳: {folder}"])


def report_examples(about: Mapping[str, Any]) -> list[str]:
    """Return the lines on the examples of a folder: split, lengths, categories."""
    lines = ["나눔 (질문 묶음으로)"]
    for side, name in _SIDES:
        count = about["split"][side]
        lines.append(f"  {name} {count['examples']:,}쌍, 묶음 {count['groups']:,}개")
    for unit, name in (("characters", "글자"), ("tokens", "토큰")):
        if about[unit]:
            lines.append(f"길이 ({name}: 평균, 50%, 95%, 99%, 최대)")
            lines += [
                f"  {label} {m['mean']:,}, {m['p50']:,}, {m['p95']:,}, {m['p99']:,}, {m['max']:,}"
                for key, label in _LENGTHS
                if (m := about[unit][key])
            ]
    lines.append("분류 (학습, 검증)")
    lines += [
        f"  {name} {count['train']:,}, {count['validation']:,}"
        for name, count in about["categories"].items()
    ]
    return lines
