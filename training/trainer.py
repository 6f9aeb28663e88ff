"""TRL's trainer as the recipes set it (https://huggingface.co/docs/trl/sft_trainer)."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
)
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig, SFTTrainer

from training import runs
from training.batches import Batch, Collator, Rows, adds_mask
from training.checkpoints import Checkpoint
from training.encoding import IGNORED, Encoded
from training.errors import TrainingInputError
from training.loss import measure_loss, sum_losses
from training.recipe import Setting
from training.recorder import Recorder

_CHECKPOINTS_KEPT = 2  # the best and the last
_VALIDATIONS = 5  # at least, however short a run is


class Trainer(SFTTrainer):  # type: ignore[misc]  # a class without types
    """TRL's trainer, with a validation loss in which every token weighs the same."""

    def __init__(self, *, validation: list[Encoded], **kwargs: Any) -> None:  # noqa: ANN401 - TRL's own
        self._validation = validation
        super().__init__(**kwargs)

    def evaluate(self, *_args: object, **_kwargs: object) -> dict[str, float]:
        """Measure the loss of the validation answers."""
        with self.accelerator.autocast():
            loss = measure_loss(self.model, self._validation, self.processing_class.pad_token_id)
        metrics = {"eval_loss": loss.mean}
        self.model.eval()  # by which the trainer's log knows whose figures these are
        self.log(metrics)
        self.model.train()
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the mean loss of a batch.

        TRL's head folds the vocabulary with Triton; without it (on a processor) those folds take
        most of a step, and the logits of the learnt tokens alone are cheaper.
        """
        if inputs["labels"].device.type == "cuda":
            loss: torch.Tensor = super().compute_loss(
                model, inputs, return_outputs, num_items_in_batch
            )
            return loss
        count = num_items_in_batch
        if count is None:
            count = (inputs["labels"][:, 1:] != IGNORED).sum()
        loss = sum_losses(model, inputs) / torch.as_tensor(count).clamp(min=1)
        # The count is that of all processes, and their gradients are averaged.
        return loss if num_items_in_batch is None else loss * self.accelerator.num_processes

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Stand where a run stood at its end, with its best weights."""
        self.state = checkpoint.state
        self.state.best_model_checkpoint = str(checkpoint.best)
        self._load_best_model()

    def create_model_card(self, *_args: object, **_kwargs: object) -> None:
        """Leave the card to `training.modelcard`."""


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    validation: list[Encoded],
    setting: Setting,
    *,
    out: Path,
    recorder: Recorder,
    seed: int = 0,
    max_steps: int | None = None,
    processes: int = 1,
) -> Trainer:
    """Return a trainer that leaves its checkpoints in the run's folder."""
    torch.manual_seed(seed)
    model.config.use_cache = False
    callbacks: list[Any] = [recorder]
    if setting.patience:
        callbacks.append(EarlyStoppingCallback(setting.patience, setting.min_delta))
    trainer = Trainer(
        model=model,
        args=_arguments(setting, rows, out, seed, max_steps, processes),
        train_dataset=rows.dataset,
        eval_dataset=rows.dataset.select([0]),  # ours is measured apart
        validation=validation,
        processing_class=tokenizer,
        data_collator=Collator(
            rows.prefix,
            tokenizer.pad_token_id,
            adds_mask=adds_mask(model),
        ),
        peft_config=_lora(setting, model),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if setting.precision == "bf16":
        for module in trainer.model.modules():
            if isinstance(module, BaseTunerLayer):
                # Autocast puts in 16 bits again what peft would put in 32.
                module.cast_input_dtype_enabled = False
    return trainer


def steps_per_epoch(rows: int, setting: Setting, processes: int = 1) -> int:
    """Return how many optimizer steps an epoch over so many rows takes."""
    a_step = setting.batch_size * setting.accumulation * processes
    return max(1, -(-rows // a_step))


def count_steps(rows: int, setting: Setting, max_steps: int | None, processes: int = 1) -> int:
    """Return how many optimizer steps a run takes at most."""
    steps = steps_per_epoch(rows, setting, processes) * setting.epochs
    return min(steps, max_steps or steps)


def _arguments(
    setting: Setting, rows: Rows, out: Path, seed: int, max_steps: int | None, processes: int
) -> SFTConfig:
    an_epoch = steps_per_epoch(len(rows.dataset), setting, processes)
    steps = count_steps(len(rows.dataset), setting, max_steps, processes)
    every = max(1, min(an_epoch // setting.validations_per_epoch, steps // _VALIDATIONS))
    on_cpu = not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(out / runs.CHECKPOINTS),
        per_device_train_batch_size=setting.batch_size,
        gradient_accumulation_steps=setting.accumulation,
        max_steps=steps,
        learning_rate=setting.learning_rate,
        lr_scheduler_type=setting.schedule,
        warmup_steps=round(setting.warmup * steps),
        weight_decay=setting.weight_decay,
        optim=setting.optimizer,
        bf16=setting.precision == "bf16",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        activation_checkpointing=setting.gradient_checkpointing,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=_CHECKPOINTS_KEPT,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show another figure in place of none
        ddp_find_unused_parameters=False,
        seed=seed,
        data_seed=seed,
        report_to="none",
        disable_tqdm=True,
    )


def _lora(setting: Setting, model: PreTrainedModel) -> LoraConfig | None:
    if setting.lora is None:
        return None
    known = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if missing := set(setting.lora.targets) - known:
        msg = f"이 모델에는 없는 층이에요 (lora.targets): {', '.join(sorted(missing))}"
        raise TrainingInputError(msg)
    return LoraConfig(
        r=setting.lora.rank,
        lora_alpha=setting.lora.alpha,
        lora_dropout=setting.lora.dropout,
        target_modules=list(setting.lora.targets),
        fan_in_fan_out=any(isinstance(each, Conv1D) for each in model.modules()),  # GPT-2's
        task_type="CAUSAL_LM",
    )
