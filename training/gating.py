"""`deepbot gate`: the same consultations through what was trained and through what is served."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from training import encoding, machine, trained, weights
from training.agreement import Precision
from training.errors import TrainingError, TrainingInputError
from training.files import write_json
from training.gate import GATE, STAGES, GateRecord, Stage, StageRecord, digest
from training.merged import MergedFolder
from training.probes import Probe, make_probes
from training.progress import Say, counting
from training.runs import Run, open_run
from training.subjects import RefusedError, Subject, open_server

_SHOWN_TOKENS = 12  # of a text, where it begins to differ


@dataclass(frozen=True, slots=True)
class Order:
    """What is compared with a run: a server, or a merged model's folder."""

    run: Path
    url: str | None = None
    merged: Path | None = None
    model: str | None = None  # the server's name for it
    key: str | None = None
    base: Path | None = None
    precision: Precision | None = None  # None: as the subject says of itself


def run_gate(order: Order, *, as_json: bool, say: Say) -> None:
    """Compare, show and record: RUN/gate.json, or gate.json beside a merged model.

    Raises `TrainingError` where something differs, `TrainingInputError`.
    """
    run = open_run(order.run)
    subject = _open_subject(run, order)
    try:
        record = check(run, subject, order.base)
    finally:
        subject.close()
    write_json((order.merged or run.folder) / GATE, record)
    say(record.model_dump_json() if as_json else render(record))
    if record.failed:
        why = next(each.why for each in record.stages if each.stage == record.failed)
        msg = f"관문을 지나지 못했어요. 다른 곳: {STAGES[record.failed]} ({record.failed}). {why}"
        raise TrainingError(msg)


def check(run: Run, subject: Subject, base: Path | None) -> GateRecord:
    """Compare a run with what serves it. Raises `TrainingError`, `TrainingInputError`."""
    adapter_digest = digest(run.folder)  # of what is compared, whatever comes after
    tokenizer = trained.load_tokenizer(run)
    probes = _make_probes(run, subject, tokenizer)
    stages = _check_texts(probes, subject, tokenizer)
    asked: tuple[Stage, ...] = ("base", "adapter")
    if run.record.setting.method == "full":
        asked = ("model",)
    elif not subject.adapted:
        stages.append(StageRecord(stage="base", passed=None, why=_MERGED))
        asked = ("merge",)
    if stages[1].passed:
        prompts = {each.name: encoding.prompt_ids(each.chat, tokenizer) for each in probes}
        stages += weights.check_weights(run, subject, base, prompts, asked)
    else:
        stages += [weights.skip(each) for each in asked]
    failed = next((each.stage for each in stages if each.passed is False), None)
    return GateRecord(
        passed=failed is None,
        failed=failed,
        stages=stages,
        probes=len(probes),
        precision=subject.precision,
        server=subject.shown,
        model=subject.model,
        adapter_digest=adapter_digest,
        base=run.record.base,
        versions=machine.list_versions() | subject.versions,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


_MERGED = "어댑터가 따로 없어 바탕 모델만 물을 수 없음"


def render(record: GateRecord) -> str:
    """Return a record as lines for the operator."""
    marks = {True: "같음", False: "다름", None: "재지 않음"}
    lines = [f"{record.server} ({record.model}), 상담 {record.probes}개, {record.precision}"]
    for each in record.stages:
        line = f"{STAGES[each.stage]} ({each.stage}): {marks[each.passed]}"
        if each.mean is not None:
            line += (
                f" – 로그 확률 {each.values:,}개의 차이 평균 {each.mean:.4f}, 최대"
                f" {each.worst:.3f} nat, 같은 답 {each.answers:.0%}"
            )
        lines.append(f"{line}{f' – {each.why}' if each.why else ''}")
    return "\n".join(lines)


def _open_subject(run: Run, order: Order) -> Subject:
    if (order.url is None) == (order.merged is None):
        msg = "--url과 --merged 가운데 하나를 알려 주세요."
        raise TrainingInputError(msg)
    if order.url:
        return open_server(order.url, model=order.model, key=order.key, precision=order.precision)
    if order.merged is None:
        raise AssertionError
    if run.record.setting.method == "full":
        msg = f"모델 전체를 학습한 것이라 병합한 모델이 없어요: {run.folder}"
        raise TrainingInputError(msg)
    return MergedFolder(order.merged, order.precision)


def _make_probes(run: Run, subject: Subject, tokenizer: PreTrainedTokenizerBase) -> list[Probe]:
    probes = make_probes(subject.context, lambda chat: len(encoding.prompt_ids(chat, tokenizer)))
    if not probes:
        msg = f"서버의 문맥이 상담에는 너무 짧아요: {subject.context}토큰 ({run.name})"
        raise TrainingInputError(msg)
    return probes


def _check_texts(
    probes: Sequence[Probe], subject: Subject, tokenizer: PreTrainedTokenizerBase
) -> list[StageRecord]:
    """Tell templates apart by what the subject's own tokenizer makes of both texts."""
    whys: dict[Stage, str] = {"template": "", "tokenizer": ""}
    with counting("글", len(probes)) as advance:
        for probe in probes:
            for stage, why in _compare_texts(probe, subject, tokenizer):
                whys[stage] = whys[stage] or why
            advance(1)
    return [StageRecord(stage=stage, passed=not why, why=why) for stage, why in whys.items()]


def _compare_texts(
    probe: Probe, subject: Subject, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Stage, str]]:
    """Yield where a probe's text or tokens differ, or that the subject does not take them."""
    text = encoding.prompt_text(probe.chat, tokenizer)
    ours = encoding.text_ids(text, tokenizer)
    try:
        theirs = subject.text_ids(text)
    except RefusedError as error:  # by our count of its tokens there was room
        yield "tokenizer", f"“{probe.name}”: {error}"
        return
    if theirs != ours:
        yield "tokenizer", _point(probe, ours, theirs, tokenizer)
    try:
        rendered = subject.chat_ids(probe.chat)
    except RefusedError as error:
        yield "template", f"“{probe.name}”: {error}"
        return
    if rendered != theirs:
        yield "template", _point(probe, theirs, rendered, tokenizer)


def _point(
    probe: Probe, ours: Sequence[int], theirs: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> str:
    """Return where two prompts begin to differ, in the words of our tokenizer."""
    pairs = zip_longest(ours, theirs)
    place = next(place for place, (one, other) in enumerate(pairs) if one != other)

    def show(ids: Sequence[int]) -> str:
        part = list(islice(ids, place, place + _SHOWN_TOKENS))
        known = [each for each in part if each < len(tokenizer)]
        return f"{tokenizer.decode(known)!r} {part}"

    return f"“{probe.name}”의 {place + 1}번째 토큰부터 우리는 {show(ours)}, 서버는 {show(theirs)}"
