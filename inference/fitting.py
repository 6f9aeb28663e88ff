"""A base on a card: what its weights, its adapters and its requests take, and what fits.

Counted from the publisher's `config.json` alone: where a model is served torch need not be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

GIB = 2**30

Precision = Literal["bf16", "fp8", "4bit"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp8", "4bit")  # the finest first

UTILIZATION = 0.9  # of a card, that vLLM may take
# What is left of a card's gigabyte when ECC and the driver have taken their part.
_CARD_GB = 0.95 * GIB
# vLLM's own: activations of the largest step, logits, CUDA graphs, the context of CUDA.
_OVERHEAD = 2.0 * GIB
_LEAST_CONTEXTS = 4  # a server that holds fewer whole requests makes customers wait in line
# Bytes a weight of the layers: fp8 with a scale a channel; NF4 with a scale (fp32) to 64 weights.
_BYTES: dict[Precision, float] = {"bf16": 2.0, "fp8": 1.0, "4bit": 0.5 + 4 / 64}

_GPTS = {"gpt2", "gptj"}
_LLAMA_NAMES = (
    *("num_hidden_layers", "hidden_size"),
    *("num_attention_heads", "max_position_embeddings"),
)
_GPT_NAMES = ("n_layer", "n_embd", "n_head", "n_positions")


class UnservableError(Exception):
    """It cannot be served so; its text is one Korean sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A base in numbers, from its publisher's `config.json`."""

    kind: str
    layers: int
    width: int
    inner_width: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    positions: int
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read a `config.json`. Raises `UnservableError`."""
        kind = config.get("model_type")
        try:
            layers, width, heads, positions = (
                int(config[name]) for name in (_GPT_NAMES if kind in _GPTS else _LLAMA_NAMES)
            )
            return cls(
                kind=str(kind),
                layers=layers,
                width=width,
                inner_width=int(config.get("intermediate_size") or 4 * width),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head_size=int(config.get("head_dim") or width // heads),
                vocabulary=int(config["vocab_size"]),
                positions=positions,
                tied=bool(config.get("tie_word_embeddings", kind == "gpt2")),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            msg = f"모델의 config.json에서 모양을 읽을 수 없어요 ({error})."
            raise UnservableError(msg) from error

    @property
    def matrices(self) -> int:
        """The layers' weights, which quantisation makes smaller."""
        attention = self.width * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        feeding = 2 if self.kind in _GPTS else 3  # up and down, and elsewhere a gate
        return self.layers * (attention + feeding * self.width * self.inner_width)

    @property
    def ends(self) -> int:
        """The weights of the embeddings and of the head, which stay in bf16."""
        tables = self.vocabulary * (1 if self.tied else 2)
        return self.width * (tables + (self.positions if self.kind == "gpt2" else 0))

    @property
    def token_bytes(self) -> int:
        """What a token takes in the KV cache, in bf16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_size

    def weight_bytes(self, precision: Precision) -> float:
        """What the weights take."""
        return self.matrices * _BYTES[precision] + self.ends * 2

    def adapter_bytes(self, rank: int) -> int:
        """What vLLM sets aside for an adapter over every matrix, in bf16."""
        attention = 2 * (self.width + self.heads * self.head_size)
        attention += 2 * (self.width + self.kv_heads * self.head_size)
        return 2 * rank * self.layers * (attention + 3 * (self.width + self.inner_width))


@dataclass(frozen=True, slots=True)
class Need:
    """What is to be on the cards of a server together."""

    shape: Shape
    context: int  # tokens of the longest request
    adapter_bytes: int = 0  # of all that are to be there at once
    stored_bytes: int | None = None  # of weights that come quantised, and stay as they are


@dataclass(frozen=True, slots=True)
class Memory:
    """The bytes of one card by what they are for."""

    weights: float
    adapters: float
    cache: float
    contexts: int  # whole requests that the cache holds, on all cards together


def fit(
    need: Need, gpu_gb: float, *, cards: int, precision: Precision | None
) -> tuple[Precision | None, Memory]:
    """Return the finest precision that leaves room for enough requests; None: as weights come.

    Where a `precision` is wished, room for one request is enough. Raises `UnservableError`.
    """
    if need.stored_bytes is not None:
        memory = _divide(need, need.stored_bytes, gpu_gb, cards)
        if memory.contexts >= 1:
            return None, memory
    else:
        least = 1 if precision else _LEAST_CONTEXTS
        for each in (precision,) if precision else PRECISIONS:
            memory = _divide(need, need.shape.weight_bytes(each), gpu_gb, cards)
            if memory.contexts >= least:
                return each, memory
    msg = (
        f"GPU 메모리 {gpu_gb:g} GB에는 모델과 문맥 {need.context:,}토큰의 질문이 들어가지 않아요."
        " 더 큰 GPU, --tensor-parallel, 더 짧은 --context로 해 보세요."
    )
    raise UnservableError(msg)


def _divide(need: Need, weights: float, gpu_gb: float, cards: int) -> Memory:
    adapters = need.adapter_bytes / cards
    cache = gpu_gb * _CARD_GB * UTILIZATION - weights / cards - adapters - _OVERHEAD
    contexts = int(cache * cards / (need.shape.token_bytes * need.context))
    return Memory(weights / cards, adapters, max(cache, 0.0), max(contexts, 0))
