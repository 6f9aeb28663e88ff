"""Fine-tuning by a recipe: whole, LoRA (arXiv 2106.09685) or QLoRA (arXiv 2305.14314).

A run that was killed goes on from its last checkpoint when it is started again with the same
words. Several GPUs: start the command through `accelerate launch`.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import get_last_checkpoint

from training import bases, examples, machine, plots, runs
from training.batches import Rows, build_rows
from training.encoding import Encoded, encode
from training.errors import TrainingError, TrainingInputError
from training.examples import Example
from training.files import write_text
from training.modelcard import write_card
from training.recipe import Recipe, Setting, Variant
from training.recorder import Recorder
from training.trainer import Trainer, build_trainer

Say = Callable[[str], None]

_STARTED = "started.json"  # what a run was begun with: only the same goes on with it


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, on what, and where it goes."""

    recipe: Recipe
    variant: Variant
    data: Path
    out: Path
    base: Path | None = None
    max_steps: int | None = None
    seed: int = 0

    @property
    def setting(self) -> Setting:
        """The variant's setting."""
        return self.recipe.setting(self.variant)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The data as a run takes it."""

    train: list[Encoded]
    validation: list[Encoded]
    rows: Rows
    digest: str


def prepare_data(data: Path, setting: Setting, tokenizer: PreTrainedTokenizerBase) -> Prepared:
    """Encode a data folder. Raises `TrainingInputError`."""

    def encode_all(name: str, limit: int | None = None) -> list[Encoded]:
        found = examples.spread(examples.read_examples(data / name), limit)
        return _encode(found, tokenizer, setting, data / name)

    train = encode_all(examples.TRAIN)
    validation = encode_all(examples.VALIDATION, setting.validation_limit)
    rows = build_rows(train, setting, int(tokenizer.pad_token_id))
    return Prepared(train, validation, rows, examples.digest(data))


def train(order: Order, *, say: Say) -> None:
    """Train, and leave the run in its folder. Raises `TrainingInputError`, `TrainingError`."""
    _hush()
    if (order.out / runs.RUN).exists():
        msg = f"이미 끝난 학습이 있어요: {order.out}. 다른 폴더를 --out으로 알려 주세요."
        raise TrainingInputError(msg)
    located = bases.locate(order.recipe.base, order.base, say=say)
    tokenizer = bases.load_tokenizer(order.recipe.base, located, order.setting)
    prepared = prepare_data(order.data, order.setting, tokenizer)
    state = PartialState(cpu=not torch.cuda.is_available())
    with state.main_process_first():
        checkpoint = _begin(order, located.shown, prepared.digest)
    if checkpoint and state.is_main_process:
        say(f"{Path(checkpoint).name}에서 이어서 학습해요.")
    started = datetime.now(UTC)
    resumed = int(Path(checkpoint).name.rpartition("-")[2]) if checkpoint else 0
    main = state.is_main_process
    recorder = Recorder(order.out, resumed_step=resumed, bar=main, writes=main)
    try:
        trainer = build_trainer(
            bases.load_model(located, order.setting, state.device),
            tokenizer,
            prepared.rows,
            prepared.validation,
            order.setting,
            out=order.out,
            recorder=recorder,
            seed=order.seed,
            max_steps=order.max_steps,
            processes=state.num_processes,
        )
        if checkpoint is None:
            trainer.evaluate()  # what the base can do before it learns
        trainer.train(resume_from_checkpoint=checkpoint)
    except torch.OutOfMemoryError as error:
        msg = (
            "GPU 메모리가 모자라요. batch_size나 max_length를 줄이거나 qlora로 바꿔 주세요"
            " (얼마나 드는지는 --dry-run이 알려 줘요)."
        )
        raise TrainingError(msg) from error
    if not trainer.is_world_process_zero():
        return
    _save(trainer, tokenizer, order, located.shown)
    record = runs.RunRecord(
        recipe=order.recipe,
        variant=order.variant,
        setting=order.setting,
        base=located.shown,
        stand_in=not bases.is_own(order.recipe.base, located),
        seed=order.seed,
        started=started.isoformat(timespec="seconds"),
        versions=machine.list_versions(),
        machine=machine.describe_machine(),
        data=runs.Data(
            digest=prepared.digest,
            train_examples=len(prepared.train),
            validation_examples=len(prepared.validation),
        ),
        totals=_totals(trainer, recorder, prepared),
    )
    plots.draw_loss(recorder.measurements, order.out / runs.LOSS, title=_title(record))
    write_card(order.out, record)
    runs.write_record(order.out, record)
    (order.out / _STARTED).unlink()
    shutil.rmtree(order.out / runs.CHECKPOINTS, ignore_errors=True)


def _encode(
    found: Sequence[Example], tokenizer: PreTrainedTokenizerBase, setting: Setting, path: Path
) -> list[Encoded]:
    encoded = [each for one in found if (each := encode(one, tokenizer, setting))]
    if not encoded:
        msg = f"max_length {setting.max_length}에 들어가는 예가 없어요: {path}"
        raise TrainingInputError(msg)
    return encoded


def _begin(order: Order, base: str, digest: str) -> str | None:
    """Note what a run begins with; return the checkpoint from which it goes on, if any."""
    words = {
        "recipe": order.recipe.model_dump(mode="json"),
        "variant": order.variant,
        "base": base,
        "data": digest,
        "max_steps": order.max_steps,
        "seed": order.seed,
    }
    path = order.out / _STARTED
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != words:
            msg = f"이 폴더에는 다른 설정으로 시작한 학습이 있어요: {order.out}"
            raise TrainingInputError(msg)
        checkpoints = order.out / runs.CHECKPOINTS
        return get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if order.out.exists() and any(order.out.iterdir()):
        msg = f"빈 폴더가 아니에요: {order.out}"
        raise TrainingInputError(msg)
    order.out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(words, ensure_ascii=False))
    return None


def _save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, order: Order, base: str) -> None:
    """Save the best weights with the tokenizer and its chat template: what a server needs."""
    if order.setting.method == "full":
        folder = order.out / runs.MODEL
        trainer.model.save_pretrained(folder)
    else:
        folder = order.out / runs.ADAPTER
        config = trainer.model.peft_config["default"]
        config.base_model_name_or_path = base  # else it names a folder of this machine
        config.revision = order.recipe.base.revision
        trainer.model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's form, with nothing filled in
    tokenizer.save_pretrained(folder)


def _totals(trainer: Trainer, recorder: Recorder, prepared: Prepared) -> runs.Totals:
    epochs = trainer.state.epoch or 0.0
    found = recorder.measurements
    losses = [each.loss for each in found if each.loss is not None]
    validated = [
        (each.validation_loss, each.step) for each in found if each.validation_loss is not None
    ]
    best = min(validated, default=(None, None))
    share = recorder.steps / max(1, trainer.state.global_step)  # of the steps, by this process
    tokens = round(prepared.rows.tokens * epochs)
    parameters = list(trainer.model.parameters())
    return runs.Totals(
        steps=trainer.state.global_step,
        epochs=round(epochs, 4),
        seconds=round(recorder.seconds, 1),
        seconds_per_epoch=round(recorder.seconds / epochs, 1),
        tokens=tokens,
        learnt_tokens=round(prepared.rows.learnt * epochs),
        tokens_per_second=round(tokens * share / recorder.step_seconds, 1),
        peak_memory_bytes=machine.peak_memory_bytes(),
        peak_gpu_bytes=machine.peak_gpu_bytes(),
        parameters=_count_parameters(trainer.model),
        trained_parameters=sum(each.numel() for each in parameters if each.requires_grad),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        first_validation_loss=validated[0][0] if validated else None,
        best_validation_loss=best[0],
        best_step=best[1],
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
    )


def _count_parameters(model: torch.nn.Module) -> int:
    """Return how many weights a model has; in 4 bits two of them share a byte."""
    return sum(
        each.numel() * (2 if each.__class__.__name__ == "Params4bit" else 1)
        for each in model.parameters()
    )


def _title(record: runs.RunRecord) -> str:
    base = record.base if record.stand_in else record.recipe.title
    return f"{base} ({record.variant}, {record.setting.method})"


def _hush() -> None:
    """Keep libraries from talking over the progress bar."""
    warnings.filterwarnings("ignore", module="transformers|trl|peft|bitsandbytes|torch")
    for name in ("transformers", "trl", "peft", "accelerate", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
