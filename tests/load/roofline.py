"""How fast a card can serve a model at most, by its memory's and its arithmetic's speed.

    a step of a batch     max((weights + tokens kept · kv) / bandwidth, 2 · P · B / FLOPS)
    reading a prompt      2 · P · tokens / FLOPS
    requests a second     1 / (reading + answer · step / B)

P = weights that every token is multiplied by, B = requests in the batch, kv = bytes of keys and
values a token. No server reaches that: `efficiency` is the share that one does, and what vLLM's
developers have published of theirs, divided by this same formula, says what to expect
(`PUBLISHED`). What a card can do is its maker's figure for dense 16-bit arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 2**30
USED = 0.9  # of a card's memory, as vLLM takes by default
MOST_AT_ONCE = 256  # requests in a batch, vLLM's `--max-num-seqs` of long


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU: bytes a second, dense 16-bit operations a second, bytes of memory."""

    name: str
    bandwidth: float
    flops: float
    memory: float
    source: str


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
H100 = Card("H100 SXM 80 GB", 3.35e12, 989e12, 80e9, f"{_NVIDIA}/h100/")
L40S = Card("L40S 48 GB", 864e9, 362e12, 48e9, f"{_NVIDIA}/l40s/")
RTX4090 = Card(
    *("RTX 4090 24 GB", 1008e9, 165e12, 24e9),
    "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
)
L4 = Card("L4 24 GB", 300e9, 121e12, 24e9, f"{_NVIDIA}/l4/")
CARDS = (H100, L40S, RTX4090, L4)
_H100_NVL = Card("H100 NVL 94 GB", 3.9e12, 835e12, 94e9, f"{_NVIDIA}/h100/")
_A100 = Card("A100 80 GB", 2.039e12, 312e12, 80e9, f"{_NVIDIA}/a100/")


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as a server sees it: weights multiplied, bytes of weights and of a token's keys."""

    multiplied: float
    weight_bytes: float
    kv_bytes: float


def measure(config: Mapping[str, Any], *, matrix_bytes: float = 2.0) -> Shape:
    """Return the shape of a Llama-like model; its layers' matrices in so many bytes a weight.

    Embeddings and head stay in 16 bits, as vLLM leaves them, and so do keys and values.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", width // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer = 2 * width * queries + 2 * width * keys + 3 * width * inner
    layers = config["num_hidden_layers"] * layer
    table = config["vocab_size"] * width
    return Shape(
        multiplied=layers + table,
        weight_bytes=layers * matrix_bytes + 2 * table * 2,
        kv_bytes=2 * config["num_hidden_layers"] * keys * 2,
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A model on a card, at a share of what the card could do."""

    card: Card
    shape: Shape
    efficiency: float = 1.0

    @property
    def room(self) -> float:
        """Tokens whose keys and values the card can hold; 0 where the weights do not fit."""
        return max(0.0, (USED * self.card.memory - self.shape.weight_bytes) / self.shape.kv_bytes)

    def at_once(self, tokens: float, most: int = MOST_AT_ONCE) -> int:
        """Return how many requests of so many tokens can run together."""
        return min(most, int(self.room / tokens))

    def read_s(self, tokens: float) -> float:
        """Return the seconds that reading so many tokens of a prompt takes."""
        return 2 * self.shape.multiplied * tokens / self.card.flops / self.efficiency

    def step_s(self, batch: float, kept: float) -> float:
        """Return the seconds of a step: a token more for each of a batch, with `kept` tokens."""
        moved = (self.shape.weight_bytes + kept * self.shape.kv_bytes) / self.card.bandwidth
        return max(moved, 2 * self.shape.multiplied * batch / self.card.flops) / self.efficiency

    def requests_a_second(
        self, prompt: float, answer: float, *, most: int = MOST_AT_ONCE, known: float = 0.0
    ) -> float:
        """Return how many requests a full card ends in a second; `known` tokens are not read."""
        batch = self.at_once(prompt + answer, most)
        if batch == 0:
            return 0.0
        step = self.step_s(batch, batch * (prompt + answer / 2))
        return 1 / (self.read_s(prompt - known) + answer * step / batch)

    def limit(self, prompt: float, answer: float, *, known: float = 0.0) -> float:
        """Return the requests a second that nothing can exceed: reading and moving side by side."""
        batch = self.at_once(prompt + answer)
        if batch == 0:
            return 0.0
        moved = self.shape.weight_bytes / batch + (prompt + answer / 2) * self.shape.kv_bytes
        computed = self.read_s(prompt - known + answer)
        return 1 / max(computed, answer * moved / self.card.bandwidth / self.efficiency)


@dataclass(frozen=True, slots=True)
class Published:
    """A throughput that somebody has measured with vLLM and published."""

    source: str
    date: str
    model: str
    server: Server
    prompt: float
    answer: float
    requests_a_second: float
    most: int = MOST_AT_ONCE

    @property
    def efficiency(self) -> float:
        """The share of the formula's that was reached."""
        return self.requests_a_second / self.server.requests_a_second(
            self.prompt, self.answer, most=self.most
        )


def _llama(vocabulary: int, inner: int, keys: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 4096,
        "intermediate_size": inner,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": keys,
    }


_LLAMA_2_7B = measure(_llama(32_000, 11_008, 32))
_LLAMA_3_8B = measure(_llama(128_256, 14_336, 8))
_QWEN3_32B = {
    "vocab_size": 151_936,
    "hidden_size": 5120,
    "intermediate_size": 25_600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
}

_VLLM = "https://github.com/vllm-project/vllm"
# Lengths are the totals of each published run over its requests. The A100's memory is not said;
# with 40 GB the shares would be higher.
PUBLISHED = (
    Published(
        *(f"{_VLLM}/pull/7117", "2024-08-04", "Llama-3-8B"),
        Server(H100, _LLAMA_3_8B),
        *(256, 256, 24.32),
    ),
    Published(
        *(f"{_VLLM}/pull/11267", "2024-12-17", "Llama-2-7B"),
        Server(_A100, _LLAMA_2_7B),
        *((5509.93 - 2693.62) / 11.45, 2693.62 / 11.45, 11.45),
    ),
    Published(
        *(f"{_VLLM}/pull/14431", "2025-03-07", "Llama-3.1-8B"),
        Server(H100, _LLAMA_3_8B),
        *(215.196, 198.001, 48.15),
    ),
    Published(
        *(f"{_VLLM}/issues/17788", "2025-05-07", "Qwen3-32B"),
        Server(_H100_NVL, measure(_QWEN3_32B)),
        *(217.393, 200.516, 3.26),
        most=32,
    ),
    Published(
        *(f"{_VLLM}/pull/29217", "2025-11-22", "Qwen3-VL-32B FP8"),
        Server(L40S, measure(_QWEN3_32B, matrix_bytes=1)),
        *(217.393, 189.963, 3.27),
    ),
)


@dataclass(frozen=True, slots=True)
class Adapted:
    """The same server without and with an adapter, published: requests a second."""

    source: str
    date: str
    without: float
    adapted: float

    @property
    def share(self) -> float:
        """What is left with the adapter."""
        return self.adapted / self.without


# Both Llama-2-7B, rank 8, one A100; the second beside the first's plain server, on vLLM's V1.
ADAPTED = (
    Adapted(f"{_VLLM}/pull/11267", "2024-12-17", 11.45, 7.60),
    Adapted(f"{_VLLM}/pull/11613", "2024-12-30", 11.45, 10.96),
)
LOW = min(p.efficiency for p in PUBLISHED) * min(a.share for a in ADAPTED)
HIGH = max(p.efficiency for p in PUBLISHED) * max(a.share for a in ADAPTED)
