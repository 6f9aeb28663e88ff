"""The loss of answers: what training is steered by and what evaluation reports."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from training.batches import Batch, Collator, adds_mask, pack
from training.encoding import IGNORED, Encoded
from training.progress import Advance

_ROW_TOKENS = 1024  # bounds the logits: with a vocabulary of 150,000 half a gigabyte


@dataclass(frozen=True, slots=True)
class Loss:
    """A mean over tokens, in nats a token."""

    mean: float
    tokens: int


@torch.inference_mode()
def measure_loss(
    model: PreTrainedModel,
    encoded: Sequence[Encoded],
    pad_id: int,
    advance: Advance = lambda _: None,
) -> Loss:
    """Return the loss over all labelled tokens, each of the same weight."""
    was_training = model.training
    _stop_training(model)
    total, count = 0.0, 0
    rows = pack(encoded, max(_ROW_TOKENS, *(len(each.ids) for each in encoded)))
    collate = Collator(rows.prefix, pad_id, adds_mask(model))
    for row in rows.dataset:
        batch = {name: each.to(model.device) for name, each in collate([row]).items()}
        total += sum_losses(model, batch).item()
        count += int((batch["labels"][:, 1:] != IGNORED).sum())
        advance(len(row["seq_lengths"]))
    model.train(was_training)
    return Loss(total / max(count, 1), count)


def sum_losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the sum of a batch's losses in nats; logits are computed where a token is learnt."""
    labels = batch["labels"][:, 1:]
    places = (labels != IGNORED).any(dim=0).nonzero().squeeze(-1)
    inputs = {name: each for name, each in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False, logits_to_keep=places).logits
    wanted = labels[:, places]
    learnt = wanted != IGNORED
    return cross_entropy(logits[learnt].float(), wanted[learnt], reduction="sum")


def _stop_training(model: PreTrainedModel) -> None:
    """Turn dropout off, and nothing else.

    On a CPU a 4-bit layer that is not training packs its weights once and for all into a form
    without gradients (bitsandbytes 0.50): training would go on with the layers below it deaf.
    """
    model.eval()
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":  # an import would cost those who need none
            module.train()
