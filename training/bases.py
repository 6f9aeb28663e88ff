"""Bases: the pretrained model and the tokenizer that a recipe names, or others in their place."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from inference import models, prompts
from training import hub
from training.errors import TrainingError, TrainingInputError
from training.progress import Say
from training.recipe import Base, Setting

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Located:
    """Where a base is: a folder, or a repository of a model hub."""

    where: str
    revision: str | None
    tokenizer_revision: str | None
    given: bool  # by the operator, in place of the recipe's
    shown: str  # what a record says of it: no path of this machine's


def locate(base: Base, given: Path | None, *, say: Say) -> Located:
    """Return where a base's weights are: those given, those we fetch, or its repository's.

    A GGUF file is unpacked to bf16 once, beside the models' cache. Raises `TrainingInputError`.
    """
    if given is None and base.manifest is None:
        hub.leave_unreachable()
        return Located(
            base.repository,
            base.revision,
            base.tokenizer_revision or base.revision,
            given=False,
            shown=base.repository,
        )
    path = given or _fetch(str(base.manifest), say)
    if path.suffix == ".gguf" and path.is_file():
        folder = _unpack(path, say)
    elif (path / "config.json").is_file():
        folder = path
    else:
        msg = f"모델이 아니에요 (config.json이 있는 폴더나 .gguf 파일을 주세요): {path}"
        raise TrainingInputError(msg)
    return Located(str(folder), None, None, given=given is not None, shown=path.name)


def is_own(base: Base, located: Located) -> bool:
    """Return whether what was located is the recipe's own model, or has its shape.

    A folder's name proves nothing, and neither does its shape; but another shape disproves it.
    """
    if not located.given:
        return True
    with explained(located.shown):
        found = AutoConfig.from_pretrained(located.where, revision=located.revision)
    config = found.to_dict()
    return all(config.get(name) == value for name, value in base.config.items())


def load_tokenizer(base: Base, located: Located, setting: Setting) -> PreTrainedTokenizerBase:
    """Load the base's tokenizer, with the setting's chat template and with ends of its own."""
    with explained(located.shown):
        tokenizer = AutoTokenizer.from_pretrained(
            located.where, revision=located.tokenizer_revision
        )
    if setting.template != "own":
        tokenizer.chat_template = prompts.TEMPLATES[setting.template]
    elif not tokenizer.chat_template:
        msg = f"이 모델에는 대화 틀(chat template)이 없어요: {located.shown}"
        raise TrainingInputError(msg)
    if tokenizer.eos_token is None:
        if base.end_token is None:
            msg = f"이 토크나이저에는 글의 끝(eos)이 없어요: {located.shown} (base.end_token)"
            raise TrainingInputError(msg)
        tokenizer.eos_token = base.end_token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(located: Located, setting: Setting, device: torch.device) -> PreTrainedModel:
    """Load the base's weights as the setting trains them; for QLoRA in 4 bits (NF4, twice).

    Weights that are trained themselves stay in 32 bits: steps of 1e-5 are lost in 16.
    """
    quantization = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=_DTYPES[setting.precision],
        )
        if setting.method == "qlora"
        else None
    )
    with explained(located.shown):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            located.where,
            revision=located.revision,
            dtype=torch.float32 if setting.method == "full" else _DTYPES[setting.precision],
            quantization_config=quantization,
            device_map={"": device},
        )
    return model


@contextlib.contextmanager
def explained(shown: str) -> Iterator[None]:
    """Turn what the libraries say of a model's files into one sentence."""
    try:
        yield
    except OSError as error:
        msg = (
            f"모델을 열 수 없어요: {shown}. 모델 허브에 닿지 않으면 받아 둔 폴더를"
            " --base로 알려 주세요."
        )
        raise TrainingError(msg) from error
    except (ValueError, KeyError, SafetensorError) as error:
        msg = f"모델의 파일이 깨졌거나 모르는 종류의 모델이에요: {shown}"
        raise TrainingInputError(msg) from error


def _fetch(name: str, say: Say) -> Path:
    try:
        return models.fetch(models.load_manifest()[name], say=say)
    except models.FetchError as error:
        raise TrainingError(str(error)) from error


def _unpack(path: Path, say: Say) -> Path:
    """Write a GGUF's weights as safetensors in bf16, and its tokenizer, once."""
    folder = models.models_folder() / f"{path.stem}-{path.stat().st_size}-bf16"
    if (folder / "config.json").is_file():
        return folder
    say(f"{path.name}: bf16으로 푸는 중 (처음 한 번)…")
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    with _quiet(), explained(path.name), _dropped_unless_moved(part):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        _forget_quantization(model.config)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(folder)
    return folder


@contextlib.contextmanager
def _dropped_unless_moved(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _forget_quantization(config: PretrainedConfig) -> None:
    if hasattr(config, "quantization_config"):
        del config.quantization_config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        transformers_logging.enable_progress_bar()
