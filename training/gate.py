"""The gate's record, and its rule: no adapter is served that has not passed.

`deepbot gate` (training/gating.py) writes RUN/gate.json.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from training.agreement import Precision, Tolerance
from training.errors import TrainingInputError
from training.runs import ADAPTER, MODEL

GATE = "gate.json"

# In this order; of a whole model `model` stands for `base` and `adapter`, of a merged one `merge`.
Stage = Literal["template", "tokenizer", "base", "adapter", "merge", "model"]
STAGES: dict[Stage, str] = {
    "template": "대화 틀",
    "tokenizer": "토크나이저",
    "base": "바탕 모델",
    "adapter": "어댑터",
    "merge": "병합",
    "model": "모델",
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StageRecord(_Record):
    """What a stage found; numbers are those of `training.agreement.Agreement`."""

    stage: Stage
    passed: bool | None  # None: it could not be asked, or makes no sense after what failed
    why: str  # the difference, or why it was not asked; empty where it passed
    tolerance: Tolerance | None = None  # None where nothing was measured
    values: int = 0
    mean: float | None = None
    worst: float | None = None
    answers: float | None = None


class GateRecord(_Record):
    """`gate.json`."""

    passed: bool
    failed: Stage | None  # the first that differs
    stages: list[StageRecord]
    probes: int
    precision: Precision
    server: str  # its address without secrets, or a merged model's folder
    model: str  # the name it serves
    adapter_digest: str
    base: str
    versions: dict[str, str]
    measured: str  # ISO 8601, UTC


def read_gate(adapter: Path) -> GateRecord | None:
    """Read what the gate found of a run's folder or its adapter's; None where it was not asked.

    An adapter's folder may hold its record itself, as where a server has it. Raises
    `TrainingInputError`.
    """
    own = _find_own(adapter)
    return _read(own / GATE if (own / GATE).exists() else own.parent / GATE)


def _read(path: Path) -> GateRecord | None:
    try:
        return GateRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        msg = f"관문의 기록을 읽을 수 없어요: {path} (deepbot gate로 다시 재 주세요)"
        raise TrainingInputError(msg) from error


def require_passed(adapter: Path, *, precision: Precision | None = None) -> None:
    """Raise `TrainingInputError` unless this very adapter has passed the gate as one.

    `adapter` is a run's folder or its adapter's; `precision` that of the server, None: any.
    """
    record = read_gate(adapter)
    if record is None:
        msg = f"관문을 지나지 않은 어댑터예요: {adapter} (deepbot gate로 먼저 견주어 주세요)"
        raise TrainingInputError(msg)
    if record.failed:
        msg = (
            f"관문에서 떨어진 어댑터예요: {adapter} ({STAGES[record.failed]} 단계,"
            f" {record.measured[:10]})"
        )
        raise TrainingInputError(msg)
    if record.adapter_digest != digest(adapter):
        msg = f"관문을 지난 뒤에 어댑터가 바뀌었어요: {adapter} (deepbot gate로 다시 재 주세요)"
        raise TrainingInputError(msg)
    if "merge" in {each.stage for each in record.stages}:
        msg = (
            f"병합한 모델로만 관문을 지났어요: {adapter} (어댑터를 올린 서버로 deepbot gate를"
            " 다시 재 주세요)"
        )
        raise TrainingInputError(msg)
    _require_precision(record, adapter, precision)


def require_merged(folder: Path, *, precision: Precision) -> None:
    """Raise `TrainingInputError` unless a merged model's folder holds a passed record of it."""
    record = _read(folder / GATE)
    if record is None or "merge" not in {each.stage for each in record.stages}:
        msg = (
            f"관문을 지나지 않은 모델이에요: {folder}"
            " (deepbot gate 학습 --merged 폴더로 먼저 견주어 주세요)"
        )
        raise TrainingInputError(msg)
    if record.failed:
        msg = (
            f"관문에서 떨어진 모델이에요: {folder} ({STAGES[record.failed]} 단계,"
            f" {record.measured[:10]})"
        )
        raise TrainingInputError(msg)
    _require_precision(record, folder, precision)


def _require_precision(record: GateRecord, path: Path, precision: Precision | None) -> None:
    """Refuse what was compared in another precision: its rounding is not this one's."""
    if precision not in {None, record.precision}:
        msg = (
            f"관문을 지난 정밀도({record.precision})와 올릴 정밀도({precision})가 달라요: {path}"
            f" (--force로 올리고 deepbot gate … --precision {precision} 명령으로 재 주세요)"
        )
        raise TrainingInputError(msg)


def digest(adapter: Path) -> str:
    """Return the SHA-256 of an adapter's weights and settings (of a whole model's, likewise)."""
    own = _find_own(adapter)
    settings = own / "adapter_config.json"
    if not settings.is_file():
        settings = own / "config.json"
    found = hashlib.sha256()
    for path in [*sorted(own.glob("*.safetensors")), settings]:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _find_own(adapter: Path) -> Path:
    for folder in (adapter, adapter / ADAPTER, adapter / MODEL):
        if (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
            return folder.resolve()
    msg = f"어댑터가 아니에요 (adapter_config.json이 없음): {adapter}"
    raise TrainingInputError(msg)
