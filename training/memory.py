"""How much GPU memory a recipe needs, before a GPU is paid for.

    weights      QLoRA: 0.5160 B a weight of the layers (NF4 in blocks of 64, their scales in 8 bits
                 by 256: arXiv 2305.14314), 2 B of the others; LoRA: 2 B; full: 4 B
    trained      T · (gradient + optimizer's moments, and for adapters the weights)
    checkpoints  L · N · h · 2 B, where only a layer's input is kept (arXiv 1604.06174)
    layer        what one layer keeps for its gradient; without checkpoints of all L layers:
                   N · (kept · h + kept · i)      the architecture's, `_KEPT`
                 + N · 3 B · Σ in                 a LoRA target's input after dropout, and its mask
                 + N · (4 · h + 4 · i)            gradients on their way
    mask         3 B · N · (row's length); where attention is not fused 14 B · heads · N · length
    head         10 B · V · learnt tokens         logits in 32 bits, their gradient, a copy in 16
    unpacked     2 B · the largest 4-bit matrix
    fixed        CUDA's own, and 5 % of the rest that the allocator cannot fill

The peak is where the last layer's gradient begins: the larger of `layer` and `head` counts.
N = tokens of a step (`batch_size` · `max_length`), h = width, i = inner width of the feed-forward,
L = layers, V = vocabulary. `python -m tests.load.memory` prints this beside what a card used.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from training.errors import TrainingInputError
from training.recipe import Base, Setting

GIB = 2**30
CARDS_GB = (16, 24, 48)  # T4 and V100, RTX 4090 and L4, L40S and A6000
CARD_GB = 0.95 * GIB  # what is left of a card's gigabyte: ECC and the driver take their part

_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
_MOST = 256  # rows to a step
_FIXED = 0.6 * GIB
_LEARNT = 0.75  # of a packed row, at most: questions stand in it too
_UNFILLED = 0.05
# Bytes a token that a layer keeps, by width and by inner width: Llama's norms and attention (16)
# and gate, up and their product (6); GPT-2's and GPT-J's GELU is written out in many steps.
_KEPT = {"llama": (16, 6), "qwen2": (16, 6), "gpt2": (30, 16), "gptj": (30, 16)}
_KEPT_INPUTS = (6, 2)  # of matrices that are trained themselves
_UNFUSED = {"gptj"}  # attention that transformers computes step by step


@dataclass(frozen=True, slots=True)
class Shape:
    """A base in numbers, counted on the model itself without its weights."""

    parameters: int
    layer_matrices: int  # weights that QLoRA keeps in 4 bits
    largest_matrix: int
    kept: tuple[int, int]  # bytes a token that a layer keeps, by width and by inner width
    is_fused: bool  # its attention
    layers: int
    width: int
    inner_width: int
    heads: int
    vocabulary: int
    sizes: dict[str, list[tuple[int, int]]]  # by a module's name: (in, out) of each


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of GPU memory by what they are for."""

    weights: float
    trained: float
    checkpoints: float
    layer: float
    mask: float
    head: float
    unpacked: float

    @property
    def peak(self) -> float:
        """What tensors take at the worst moment."""
        kept = self.weights + self.trained + self.checkpoints + self.mask + self.unpacked
        return kept + max(self.layer, self.head)

    @property
    def total(self) -> float:
        """What a card must have free."""
        return self.peak * (1 + _UNFILLED) + _FIXED


def estimate(base: Base, setting: Setting, *, batch_size: int | None = None) -> Estimate:
    """Return what a step of the setting needs."""
    shape = measure_shape(base)
    length = setting.max_length
    tokens = (batch_size or setting.batch_size) * length
    a_layer = tokens * _layer_bytes(shape, setting)
    checkpointed = setting.gradient_checkpointing
    mask = 3 if shape.is_fused else 14 * shape.heads
    return Estimate(
        weights=_weights(shape, setting),
        trained=count_trained(base, setting) * _trained_bytes(setting),
        checkpoints=2 * shape.layers * tokens * shape.width if checkpointed else 0,
        layer=a_layer if checkpointed else a_layer * shape.layers,
        mask=mask * tokens * length if setting.batching == "packed" or not shape.is_fused else 0,
        head=10 * shape.vocabulary * tokens * (_LEARNT if setting.loss == "answer" else 1),
        unpacked=2 * shape.largest_matrix if setting.method == "qlora" else 0,
    )


def largest_batch(base: Base, setting: Setting, gpu_bytes: float) -> int:
    """Return the largest batch size that fits a card; 0 where not even one row does."""
    fitting = 0
    while fitting < _MOST and estimate(base, setting, batch_size=fitting + 1).total <= gpu_bytes:
        fitting += 1
    return fitting


def count_trained(base: Base, setting: Setting) -> int:
    """Return how many weights are trained."""
    shape = measure_shape(base)
    if setting.lora is None:
        return shape.parameters
    return sum(
        setting.lora.rank * (size_in + size_out)
        for target in setting.lora.targets
        for size_in, size_out in shape.sizes.get(target, [])
    )


def measure_shape(base: Base) -> Shape:
    """Count a base's weights on a model without memory."""
    return _measure_shape(json.dumps(base.config))


@cache
def _measure_shape(config_json: str) -> Shape:
    try:
        config = AutoConfig.for_model(**json.loads(config_json))
        kept = _KEPT[config.model_type]
    except (ValueError, TypeError, KeyError) as error:
        msg = f"메모리를 어림할 수 없는 모델이에요 (base.config의 model_type: {', '.join(_KEPT)})"
        raise TrainingInputError(msg) from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    sizes: dict[str, list[tuple[int, int]]] = {}
    for name, module, size in _matrices(model):
        if module is not head:
            sizes.setdefault(name, []).append(size)
    products = [a * b for each in sizes.values() for a, b in each]
    return Shape(
        parameters=sum(each.numel() for each in model.parameters()),
        layer_matrices=sum(products),
        largest_matrix=max(products),
        kept=kept,
        is_fused=config.model_type not in _UNFUSED,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner_width=getattr(config, "intermediate_size", 4 * config.hidden_size),
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        sizes=sizes,
    )


def _matrices(model: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[int, int]]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name.rpartition(".")[2], module, (module.in_features, module.out_features)
        elif isinstance(module, Conv1D):
            yield name.rpartition(".")[2], module, (module.nx, module.nf)


def _weights(shape: Shape, setting: Setting) -> float:
    match setting.method:
        case "qlora":
            others = shape.parameters - shape.layer_matrices
            return shape.layer_matrices * _NF4 + others * 2
        case "lora":
            return shape.parameters * (2 if setting.precision == "bf16" else 4)
        case "full":
            return shape.parameters * 4


def _trained_bytes(setting: Setting) -> int:
    """Return bytes a trained weight; a full model's weights are counted as weights."""
    weight = 2 if setting.method == "qlora" else 4
    own = 0 if setting.method == "full" else weight
    moments = 2 if setting.optimizer == "paged_adamw_8bit" else 2 * weight
    return own + weight + moments


def _layer_bytes(shape: Shape, setting: Setting) -> float:
    """Return bytes a token of one layer, forward and on the way back."""
    wide, inner = shape.kept
    kept: float = wide * shape.width + inner * shape.inner_width
    if setting.lora is None:
        kept += _KEPT_INPUTS[0] * shape.width + _KEPT_INPUTS[1] * shape.inner_width
    else:
        inputs = sum(
            size_in for target in setting.lora.targets for size_in, _ in shape.sizes.get(target, [])
        )
        kept += 3 * inputs / shape.layers
    if setting.precision == "fp32":
        kept *= 2
    on_the_way = 4 * shape.width + 4 * shape.inner_width
    return kept + (on_the_way if setting.gradient_checkpointing else 0)
