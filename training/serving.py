"""What of a recipe and its runs a server is told: the base, the adapter, its template and rank."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.fitting import Shape
from inference.vllm import Adapter, Base, Template
from training.errors import TrainingInputError
from training.gate import GATE
from training.recipe import Recipe, Setting
from training.runs import ADAPTER, MODEL, RUN, open_run


@dataclass(frozen=True, slots=True)
class Ready:
    """What is to be served of a recipe."""

    base: Base
    adapters: tuple[Adapter, ...]
    template: Template


@dataclass(frozen=True, slots=True)
class _Trained:
    """A run, or an adapter that has left its run's folder."""

    folder: Path  # of the adapter, or of the whole model
    name: str
    setting: Setting
    base: str | None  # as the run's record names it


def prepare(
    recipe: Recipe, trained: Path | None, model: Path | None, *, name: str | None, planned: bool
) -> Ready:
    """Return what to serve: a run or its adapter, a local `model` in place of the base, or both.

    What is only `planned` need not be there yet. Raises `TrainingInputError`, `UnservableError`.
    """
    if trained is None:
        if model is None:
            msg = "무엇을 올릴지 --adapter(학습의 폴더)나 --model(합친 모델의 폴더)로 알려 주세요."
            raise TrainingInputError(msg)
        own = _has_template(model) or not model.exists()  # what is merged will have its own
        template: Template = "own" if own else recipe.default.template
        return Ready(_open(recipe, model, planned=planned), (), template)
    found = _find(recipe, trained, planned=planned)
    if found.setting.lora is None:
        if model is not None:
            msg = f"모델 전체를 학습한 것이라 다른 모델과는 올리지 않아요 (--model): {trained}"
            raise TrainingInputError(msg)
        return Ready(_open(recipe, found.folder, planned=planned), (), found.setting.template)
    if model is not None and (model / GATE).is_file():
        msg = f"이미 어댑터를 합친 모델이에요. --adapter 없이 올려 주세요: {model}"
        raise TrainingInputError(msg)
    if model is None and found.base not in {None, recipe.base.repository}:
        msg = f"이 학습은 {found.base} 위에서 했어요. 그 모델의 폴더를 --model로 알려 주세요."
        raise TrainingInputError(msg)
    rank = max(found.setting.lora.rank, _read_rank(found.folder))
    adapter = Adapter(name or found.name, str(found.folder), rank)
    base = _of_hub(recipe) if model is None else _open(recipe, model, planned=planned)
    return Ready(base, (adapter,), found.setting.template)


def _find(recipe: Recipe, path: Path, *, planned: bool) -> _Trained:
    part = MODEL if recipe.default.lora is None else ADAPTER
    if (path / "adapter_config.json").is_file():
        folder = path.resolve().parent
        if (folder / RUN).is_file():
            return _read_run(recipe, folder, path)
        return _Trained(path, path.resolve().name, recipe.default, None)
    if (path / RUN).is_file():
        return _read_run(recipe, path, None)
    if planned and not path.exists():
        return _Trained(path / part, path.name, recipe.default, None)
    msg = f"학습의 폴더도 어댑터의 폴더도 아니에요 ({RUN}이나 adapter_config.json이 없음): {path}"
    raise TrainingInputError(msg)


def _read_run(recipe: Recipe, folder: Path, adapter: Path | None) -> _Trained:
    run = open_run(folder)
    theirs = run.record.recipe.base.repository
    if theirs != recipe.base.repository:
        msg = f"이 학습은 {theirs}의 것이라 {recipe.name}({recipe.base.repository})에 맞지 않아요."
        raise TrainingInputError(msg)
    setting = run.record.setting
    part, needed = (
        (MODEL, "config.json") if setting.lora is None else (ADAPTER, "adapter_config.json")
    )
    found = adapter or folder / part
    if not (found / needed).is_file():
        msg = f"학습한 것이 없어요 ({part}/{needed}): {folder}"
        raise TrainingInputError(msg)
    return _Trained(found, run.name, setting, run.record.base)


def _of_hub(recipe: Recipe) -> Base:
    base = recipe.base
    return Base(base.repository, Shape.of(base.config), base.revision, base.tokenizer_revision)


def _open(recipe: Recipe, folder: Path, *, planned: bool) -> Base:
    """Return a model in a folder: a base, merged, or one whose weights are quantised already."""
    if planned and not folder.exists():
        return Base(str(folder), Shape.of(recipe.base.config))
    config = _read_json(folder / "config.json")
    if config is None:
        msg = f"모델의 폴더가 아니에요 (config.json이 없음): {folder}"
        raise TrainingInputError(msg)
    stored = None
    if config.get("quantization_config"):
        stored = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    return Base(str(folder), Shape.of(config), stored_bytes=stored)


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    return "chat_template" in (_read_json(folder / "tokenizer_config.json") or {})


def _read_rank(folder: Path) -> int:
    """Return the largest rank of an adapter's layers; 0 where it is not there yet."""
    config = _read_json(folder / "adapter_config.json")
    try:
        return max(config["r"], *config.get("rank_pattern", {}).values(), 0) if config else 0
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"어댑터의 설정을 읽을 수 없어요: {folder / 'adapter_config.json'}"
        raise TrainingInputError(msg) from error


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return what stands in a file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"파일을 읽을 수 없어요: {path}"
        raise TrainingInputError(msg) from error
    if not isinstance(found, dict):
        msg = f"파일을 읽을 수 없어요: {path}"
        raise TrainingInputError(msg)
    return found
