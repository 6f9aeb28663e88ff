"""Encoded examples as rows for a trainer, and rows as a batch for a model.

`packed`: several whole texts to a row of at most `max_length`, best fit first (Ding et al. 2024,
https://arxiv.org/abs/2404.10830). What all texts begin with (the system prompt) stands in a row
once: each text sees it and itself, at the positions that it has alone. The loss and the gradients
are those of the texts one by one; only the padding and the repetition are gone.

`padded`: a text to a row, filled up to `max_length`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel
from trl.data_utils import pack_dataset

from training.encoding import IGNORED, Encoded
from training.recipe import Setting

Batch = dict[str, torch.Tensor]

disable_progress_bars()  # ours tells how far a run is


@dataclass(frozen=True, slots=True)
class Rows:
    """A dataset of `input_ids`, `labels` and `seq_lengths`, and what it holds."""

    dataset: Dataset
    prefix: list[int]  # tokens that all texts share, and no row repeats
    tokens: int  # of the texts, the shared ones counted in each
    learnt: int  # tokens that the loss counts
    cells: int  # tokens that the model reads


def build_rows(encoded: Sequence[Encoded], setting: Setting, pad_id: int) -> Rows:
    """Return the rows that the setting's way of batching asks for."""
    if setting.batching == "packed":
        return pack(encoded, setting.max_length)
    length = setting.max_length
    dataset = Dataset.from_dict(
        {
            "input_ids": [_fill(each.ids, pad_id, length) for each in encoded],
            "labels": [_fill(each.labels, IGNORED, length) for each in encoded],
            "seq_lengths": [[length]] * len(encoded),
        }
    )
    return _rows(dataset, [], encoded, length * len(encoded))


def pack(encoded: Sequence[Encoded], length: int) -> Rows:
    """Return rows of at most `length` tokens, none of which is padding or repeated."""
    prefix = find_prefix(encoded)
    start = len(prefix)
    dataset = Dataset.from_dict(
        {
            "input_ids": [each.ids[start:] for each in encoded],
            "labels": [each.labels[start:] for each in encoded],
        }
    )
    dataset = pack_dataset(dataset, length - start, "bfd")
    cells = sum(start + sum(lengths) for lengths in dataset["seq_lengths"])
    return _rows(dataset, prefix, encoded, cells)


def find_prefix(encoded: Sequence[Encoded]) -> list[int]:
    """Return what all texts begin with, as far as no loss counts it."""
    first, last = min(each.ids for each in encoded), max(each.ids for each in encoded)
    free = min(_leading_ignored(each.labels) for each in encoded)
    length = 0
    # The last token before an answer stays with its text: the answer's first is told from it.
    while length < free - 1 and first[length : length + 1] == last[length : length + 1]:
        length += 1
    return first[:length]


@dataclass(frozen=True, slots=True)
class Collator:
    """Rows → `input_ids`, `labels`, `position_ids` (rows × length) and an attention mask.

    The mask (rows × 1 × length × length) is true where a token sees another; models whose own
    code adds it to the scores (`adds_mask`, GPT-J's) get numbers instead.
    """

    prefix: Sequence[int]
    pad_id: int
    adds_mask: bool

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Lay rows beside one another, filled up to the longest."""
        shared = len(self.prefix)
        length = shared + max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), length), self.pad_id)
        labels = torch.full((len(rows), length), IGNORED)
        positions = torch.zeros((len(rows), length), dtype=torch.long)
        texts = torch.full((len(rows), length), -1)  # which text a token is of; padding: -1
        for number, row in enumerate(rows):
            end = shared + len(row["input_ids"])
            ids[number, :end] = torch.tensor([*self.prefix, *row["input_ids"]])
            labels[number, shared:end] = torch.tensor(row["labels"])
            positions[number, :shared] = torch.arange(shared)
            texts[number, :shared] = 0
            begin = shared
            for text, size in enumerate(row["seq_lengths"], 1):
                positions[number, begin : begin + size] = shared + torch.arange(size)
                texts[number, begin : begin + size] = text
                labels[number, begin] = IGNORED  # what stands before it is another text's
                begin += size
        return {
            "input_ids": ids,
            "labels": labels,
            "position_ids": positions,
            "attention_mask": self._mask(texts),
        }

    def _mask(self, texts: torch.Tensor) -> torch.Tensor:
        length = texts.shape[1]
        same = texts[:, :, None] == texts[:, None, :]
        shared = (texts == 0)[:, None, :]
        seen = (same | shared).tril()[:, None]
        if not self.adds_mask:
            return seen
        numbers = torch.zeros((len(texts), 1, length, length))
        return numbers.masked_fill(~seen, torch.finfo(torch.bfloat16).min)


def adds_mask(model: PreTrainedModel) -> bool:
    """Return whether a model adds its attention mask to the scores."""
    return bool(model.config._attn_implementation == "eager")


def _rows(dataset: Dataset, prefix: list[int], encoded: Sequence[Encoded], cells: int) -> Rows:
    return Rows(
        dataset,
        prefix,
        tokens=sum(len(each.ids) for each in encoded),
        learnt=sum(each.learnt for each in encoded),
        cells=cells,
    )


def _leading_ignored(labels: Sequence[int]) -> int:
    return next((n for n, label in enumerate(labels) if label != IGNORED), len(labels))


def _fill(values: list[int], filler: int, length: int) -> list[int]:
    return values + [filler] * (length - len(values))
