"""A run as a system that answers: its base with its adapter, or the model it has become."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from inference import prompts
from training import bases
from training.bases import Located
from training.encoding import as_chat, encode, prompt_ids
from training.errors import TrainingInputError
from training.examples import Example
from training.loss import measure_loss
from training.progress import Advance, Say, tell
from training.runs import ADAPTER, MODEL, RUN, Run


class TrainedSystem:
    """Generates greedily, so that the same run says the same again."""

    batch_size = 8

    def __init__(self, run: Run, base: Path | None, *, untrained: bool = False) -> None:
        self.name = f"{run.name} (학습 전)" if untrained else run.name
        self.run = run
        self.model, self.tokenizer = load_run(run, base, untrained=untrained, say=tell)
        found = hashlib.sha256((run.folder / RUN).read_bytes())
        found.update(f"{base and base.resolve()} {untrained}".encode())
        self.fingerprint = found.hexdigest()
        self.model.generation_config = GenerationConfig(  # a base's own may sample
            do_sample=False,
            max_new_tokens=prompts.MAX_ANSWER_TOKENS,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """Answer a batch, padded on the left."""
        batch = self.tokenizer.pad(
            {"input_ids": [self._prompt(example) for example in examples]},
            padding_side="left",
            return_tensors="pt",
        ).to(self.model.device)
        generate: Any = self.model.generate  # transformers gives it a type of its own alone
        with torch.inference_mode():
            whole = generate(**batch)
        return [self._text(row) for row in whole[:, batch["input_ids"].shape[1] :].tolist()]

    def measure_loss(self, examples: Sequence[Example], advance: Advance) -> float | None:
        """Return the loss of the answers alone, whatever the run has learnt from.

        Examples whose prompt fills `max_length` are left out, as in training.
        """
        setting = self.run.record.setting.model_copy(update={"loss": "answer"})
        found = [encode(example, self.tokenizer, setting) for example in examples]
        encoded = [each for each in found if each]
        advance(len(examples) - len(encoded))
        if not encoded:
            return None
        return measure_loss(self.model, encoded, int(self.tokenizer.pad_token_id), advance).mean

    def _prompt(self, example: Example) -> list[int]:
        """Return the tokens of what is asked; where they leave no room, only the last ones."""
        ids = prompt_ids(as_chat(example, self.run.record.setting)[:-1], self.tokenizer)
        room = self.model.config.max_position_embeddings - prompts.MAX_ANSWER_TOKENS
        return ids[-room:]

    def _text(self, ids: list[int]) -> str:
        end = self.tokenizer.eos_token_id
        said = ids[: ids.index(end)] if end in ids else ids
        return str(self.tokenizer.decode(said, skip_special_tokens=True)).strip()


def load_run(
    run: Run, base: Path | None, *, untrained: bool = False, say: Say
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load what a run has trained, on the first GPU or the processor, ready to answer.

    The layers of an adapter are put into the base, unless it is wanted `untrained`. Raises
    `TrainingInputError`, `TrainingError`.
    """
    setting = run.record.setting
    tokenizer = load_tokenizer(run)
    if setting.method == "full" and not untrained:
        return bases.load_model(find_own(run), setting, find_device()).eval(), tokenizer
    model = bases.load_model(locate_base(run, base, say=say), setting, find_device())
    if not untrained:
        model = adapt(model, find_own(run)).get_base_model()
    return model.eval(), tokenizer


def load_tokenizer(run: Run) -> PreTrainedTokenizerBase:
    """Load the tokenizer a run has left, with its setting's chat template."""
    return bases.load_tokenizer(run.record.recipe.base, find_own(run), run.record.setting)


def find_own(run: Run) -> Located:
    """Return where a run's adapter or model is. Raises `TrainingInputError`."""
    full = run.record.setting.method == "full"
    part, needed = (MODEL, "config.json") if full else (ADAPTER, "adapter_config.json")
    folder = run.folder / part
    if not (folder / needed).is_file():
        msg = f"학습한 것이 없어요 ({part}/{needed}): {run.folder}"
        raise TrainingInputError(msg)
    return Located(str(folder), None, None, given=False, shown=run.name)


def find_device() -> torch.device:
    """Return the first GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def locate_base(run: Run, base: Path | None, *, say: Say) -> Located:
    """Return where a run's base is. Raises `TrainingInputError` where it must be told."""
    located = bases.locate(run.record.recipe.base, base, say=say)
    if base is None and located.shown != run.record.base:
        msg = f"이 학습은 {run.record.base} 위에서 했어요. 그 모델을 --base로 알려 주세요."
        raise TrainingInputError(msg)
    return located


def adapt(model: PreTrainedModel, own: Located) -> PeftModel:
    """Put a run's adapter over its base. Raises `TrainingInputError` where they do not fit."""
    try:
        return PeftModel.from_pretrained(model, own.where)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, SafetensorError) as error:
        msg = (
            f"어댑터가 이 모델에 맞지 않거나 파일이 깨졌어요: {own.shown} (--base를 확인해 주세요)"
        )
        raise TrainingInputError(msg) from error
