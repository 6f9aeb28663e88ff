"""Fine-tuning by a recipe: whole, LoRA (arXiv 2106.09685) or QLoRA (arXiv 2305.14314).

A run that was killed goes on from its last checkpoint when it is started again with the same
words. Several GPUs: start the command through `torchrun` or `accelerate launch`.
"""

import contextlib
import json
import logging
import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import PartialState
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from training import bases, examples, machine, plots, runs
from training.bases import Located
from training.batches import Rows, build_rows
from training.checkpoints import Checkpoint, find_checkpoint
from training.encoding import Encoded, encode
from training.errors import TrainingError, TrainingInputError
from training.examples import Example
from training.files import write_text
from training.modelcard import write_card
from training.progress import Say
from training.recipe import Recipe, Setting, Variant
from training.recorder import Recorder
from training.trainer import Trainer, build_trainer

_FULL_BYTES = 64 * 2**20  # torch and safetensors do not say why they failed to write
_LOCK = ".lock"
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
    left_out: int  # examples whose prompt leaves no room for an answer
    digest: str


def prepare_data(data: Path, setting: Setting, tokenizer: PreTrainedTokenizerBase) -> Prepared:
    """Encode a data folder. Raises `TrainingInputError`."""
    found = examples.read_examples(data / examples.TRAIN)
    held = examples.spread(
        examples.read_examples(data / examples.VALIDATION), setting.validation_limit
    )
    train = _encode(found, tokenizer, setting, data / examples.TRAIN)
    validation = _encode(held, tokenizer, setting, data / examples.VALIDATION)
    return Prepared(
        train,
        validation,
        rows=build_rows(train, setting, int(tokenizer.pad_token_id)),
        left_out=len(found) + len(held) - len(train) - len(validation),
        digest=examples.digest(data),
    )


def train(order: Order, *, say: Say) -> bool:
    """Train, and leave the run in its folder; of several processes one does, and returns true.

    Raises `TrainingInputError`, `TrainingError`.
    """
    _hush()
    state = PartialState(cpu=not torch.cuda.is_available())
    with _claimed(order.out) if state.is_main_process else contextlib.nullcontext():
        return _train(order, state, say)


def _train(order: Order, state: PartialState, say: Say) -> bool:
    located = bases.locate(order.recipe.base, order.base, say=say)
    tokenizer = bases.load_tokenizer(order.recipe.base, located, order.setting)
    prepared = prepare_data(order.data, order.setting, tokenizer)
    stand_in = not bases.is_own(order.recipe.base, located)
    with state.main_process_first():
        started, checkpoint = _begin(order, located.shown, prepared.digest)
    if prepared.left_out and state.is_main_process:
        say(
            f"예 {prepared.left_out:,}개는 질문만으로 max_length {order.setting.max_length}를 채워"
            " 넣지 않아요."
        )
    if checkpoint and state.is_main_process:
        say(f"{checkpoint.folder.name}에서 이어서 학습해요.")
    recorder = Recorder(
        order.out,
        resumed_step=checkpoint.state.global_step if checkpoint else None,
        main=state.is_main_process,
    )
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
        _learn(trainer, checkpoint)
    except torch.OutOfMemoryError as error:
        msg = (
            "GPU 메모리가 모자라요. batch_size나 max_length를 줄이거나 qlora로 바꿔 주세요"
            " (얼마나 드는지는 --dry-run이 알려 줘요)."
        )
        raise TrainingError(msg) from error
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(order.out).free > _FULL_BYTES:
            raise
        msg = "디스크가 가득 찼어요. 자리를 비우고 다시 시작하면 이어서 학습해요."
        raise TrainingError(msg) from error
    finally:
        recorder.close()
    if not state.is_main_process:
        return False
    totals = _totals(trainer, recorder, prepared)
    _save(trainer, tokenizer, order, located)
    record = runs.RunRecord(
        recipe=order.recipe,
        variant=order.variant,
        setting=order.setting,
        base=located.shown,
        stand_in=stand_in,
        seed=order.seed,
        started=started,
        versions=machine.list_versions(),
        machine=machine.describe_machine(),
        data=runs.Data(
            digest=prepared.digest,
            train_examples=len(prepared.train),
            validation_examples=len(prepared.validation),
        ),
        totals=totals,
    )
    plots.draw_loss(recorder.measurements, order.out / runs.LOSS, title=_title(record))
    write_card(order.out, record)
    runs.write_record(order.out, record)
    (order.out / _STARTED).unlink()
    shutil.rmtree(order.out / runs.CHECKPOINTS, ignore_errors=True)
    return True


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Have a run's folder for one command alone: a new one, an empty one, or a killed run's."""
    lock = out / _LOCK
    found = {path.name for path in out.iterdir()} - {lock.name} if out.is_dir() else set()
    if runs.RUN in found:
        msg = f"이미 끝난 학습이 있어요: {out}. 다른 폴더를 --out으로 알려 주세요."
        raise TrainingInputError(msg)
    if out.is_file() or (found and _STARTED not in found):
        msg = f"빈 폴더가 아니에요: {out}"
        raise TrainingInputError(msg)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink()
                with contextlib.suppress(OSError):
                    out.rmdir()  # where nothing came of it
    except Timeout as error:
        msg = f"이 폴더에서 다른 학습이 돌고 있어요: {out}"
        raise TrainingInputError(msg) from error


def _learn(trainer: Trainer, checkpoint: Checkpoint | None) -> None:
    if checkpoint is None:
        trainer.evaluate()  # what the base can do before it learns
        trainer.train()
    elif checkpoint.is_last:
        trainer.take_up(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint.folder))


def _encode(
    found: Sequence[Example], tokenizer: PreTrainedTokenizerBase, setting: Setting, path: Path
) -> list[Encoded]:
    encoded = [each for one in found if (each := encode(one, tokenizer, setting))]
    if not encoded:
        msg = f"max_length {setting.max_length}에 들어가는 예가 없어요: {path}"
        raise TrainingInputError(msg)
    return encoded


def _begin(order: Order, base: str, digest: str) -> tuple[str, Checkpoint | None]:
    """Note what a run begins with; return when it did and the checkpoint that it goes on from."""
    words = {
        "recipe": order.recipe.model_dump(mode="json"),
        "variant": order.variant,
        "base": base,
        "data": digest,
        "max_steps": order.max_steps,
        "seed": order.seed,
    }
    path = order.out / _STARTED
    if checkpoint := find_checkpoint(order.out / runs.CHECKPOINTS):
        begun = json.loads(path.read_text(encoding="utf-8"))
        started = begun.pop("started")
        if begun != words:
            msg = f"이 폴더에는 다른 설정으로 시작한 학습이 있어요: {order.out}"
            raise TrainingInputError(msg)
        return started, checkpoint
    started = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(path, json.dumps({**words, "started": started}, ensure_ascii=False))
    return started, None


def _save(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, order: Order, located: Located
) -> None:
    """Save the best weights with the tokenizer and its chat template: what a server needs."""
    if order.setting.method == "full":
        folder = order.out / runs.MODEL
        trainer.model.save_pretrained(folder)
    else:
        folder = order.out / runs.ADAPTER
        config = trainer.model.peft_config["default"]
        config.base_model_name_or_path = located.shown  # else it names a folder of this machine
        config.revision = located.revision
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
    # Of what was learnt: at step 0 stands the base.
    best = min((each for each in validated if each[1] and math.isfinite(each[0])), default=None)
    if best is None:
        msg = "검증 손실이 수가 아니게 됐어요. 학습률(learning_rate)을 낮춰 주세요."
        raise TrainingError(msg)
    tokens = round(prepared.rows.tokens * epochs)
    parameters = list(trainer.model.parameters())
    return runs.Totals(
        steps=trainer.state.global_step,
        epochs=round(epochs, 4),
        seconds=round(recorder.seconds, 1),
        seconds_per_epoch=round(recorder.seconds / epochs, 1),
        tokens=tokens,
        learnt_tokens=round(prepared.rows.learnt * epochs),
        tokens_per_second=round(tokens / sum(each.step_seconds or 0 for each in found), 1),
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
    transformers_logging.disable_progress_bar()
