"""The vLLM command lines of a base with its adapters.

All from plain arguments; nothing is started here (`inference/vllm_server.py` does). Every flag is
one that vLLM 0.32 takes: https://docs.vllm.ai/en/v0.32.0/cli/serve/
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inference import prompts
from inference.fitting import UTILIZATION, Memory, Need, Precision, Shape, UnservableError, fit

CONTEXT_TOKENS = 4096  # of a request and its answer: what the bot asks with (MODEL_CONTEXT)
DRAIN_S = 20  # in which a server that is told to end finishes the answers it is writing

Template = Literal["sections", "original", "own"]

_MOST_AT_ONCE = 256  # beyond it answers grow slower than they are read
# A question with its answer, of which 95 of 100 take less: 724 tokens read and 136 written; the
# mean is 584. Measured by tests/load/demand.py with Qwen's tokenizer (docs/capacity.md). At the
# mean a third of the cache stays free: where it is full, vLLM ends answers to begin them anew.
_REQUEST_TOKENS = 860
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank may be
_ADAPTED = {"llama", "qwen2"}  # they have SupportsLoRA in vLLM 0.32; GPT-2 and GPT-J have not
_NAME = re.compile(r"[\w.-]{1,64}")
_FLAGS: dict[Precision, tuple[str, ...]] = {
    "bf16": (),
    # Made of bf16 while loading, a layer at a time: the whole bf16 is never on the card.
    "fp8": ("--quantization", "fp8_per_channel"),
    # NF4, over which QLoRA has learnt. A plugin since 0.32 (vllm-bnb-plugin).
    "4bit": ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes"),
}
_GUESSES = 8
_STEP_TOKENS = 2048  # of all requests in a step, by default; with adapters each guess needs its own
# Guesses the next tokens where an answer copies from its prompt; what is said stays the same.
_SPECULATION = {
    "method": "ngram",
    "num_speculative_tokens": _GUESSES,
    "prompt_lookup_min": 2,
    "prompt_lookup_max": 4,
}


@dataclass(frozen=True, slots=True)
class Base:
    """What is served: a hub's repository or a folder."""

    where: str
    shape: Shape
    revision: str | None = None
    tokenizer_revision: str | None = None
    stored_bytes: int | None = None  # of weights that come quantised


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter by the name under which it is asked for."""

    name: str
    path: str
    rank: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be served, on what."""

    name: str  # of the base
    base: Base
    template: Template
    gpu_gb: float  # of one card, as its maker counts
    adapters: tuple[Adapter, ...] = ()
    precision: Precision | None = None  # None: the finest that fits
    context: int | None = None  # None: the bot's, or the base's where that is shorter
    speculative: bool = False
    replicas: int = 1
    tensor_parallel: int = 1
    data_parallel: int = 1
    ray: bool = False
    host: str = "127.0.0.1"
    port: int = 8000


@dataclass(frozen=True, slots=True)
class Server:
    """A vLLM or its router: arguments without the program, environment without the key."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    host: str
    port: int

    @property
    def root(self) -> str:
        """The address at which this machine reaches it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order comes to."""

    servers: tuple[Server, ...]
    router: Server | None
    template: Path | None  # where the chat template must lie
    template_text: str
    precision: Precision | None  # None: as the weights come
    memory: Memory
    context: int


def plan(order: Order, *, folder: Path) -> Plan:
    """Work out the command lines; the chat template is to lie in `folder`.

    Raises `UnservableError`.
    """
    _check(order)
    shape = order.base.shape
    context = min(shape.positions, order.context or CONTEXT_TOKENS)
    rank = _round(max(each.rank for each in order.adapters)) if order.adapters else 0
    # One more: a new adapter is tried beside the one that it may replace.
    adapters = len(order.adapters) + 1
    precision, memory = fit(
        Need(shape, context, shape.adapter_bytes(rank) * adapters, order.base.stored_bytes),
        order.gpu_gb,
        cards=order.tensor_parallel,
        precision=order.precision,
    )
    template = None if order.template == "own" else folder / f"{order.template}.jinja"
    at_once = min(_MOST_AT_ONCE, memory.contexts * context // min(context, _REQUEST_TOKENS))
    if order.speculative:
        at_once = min(at_once, _STEP_TOKENS // (_GUESSES + 1))
    common = (
        "serve",
        order.base.where,
        *_given("--revision", order.base.revision),
        *_given("--tokenizer-revision", order.base.tokenizer_revision),
        *("--served-model-name", order.name),
        *("--dtype", "bfloat16"),
        *(_FLAGS[precision] if precision else ()),
        *("--max-model-len", str(context)),
        *("--gpu-memory-utilization", str(UTILIZATION)),
        # What every request begins with, and a conversation so far, is read only once.
        "--enable-prefix-caching",
        *("--max-num-seqs", str(at_once)),
        # Beyond this the bot is turned away at once, and answers from what is stored.
        *("--max-num-queued-reqs", str(2 * at_once * order.data_parallel)),
        *(_adapter_flags(order.adapters, rank, adapters) if order.adapters else ()),
        *_given("--chat-template", template),
        # A publisher's settings of generation (Qwen's repetition penalty) were not trained with.
        *("--generation-config", "vllm"),
        *_given("--speculative-config", json.dumps(_SPECULATION) if order.speculative else None),
        *_parallel_flags(order),
        *("--shutdown-timeout", str(DRAIN_S)),
        "--disable-fastapi-docs",
        *("--disable-access-log-for-endpoints", "/health,/metrics"),
    )
    servers = tuple(
        Server(
            (*common, "--host", host, "--port", str(port)), _environment(order, number), host, port
        )
        for number, (host, port) in enumerate(_addresses(order))
    )
    return Plan(
        servers,
        _router(order, servers) if order.replicas > 1 else None,
        template,
        prompts.TEMPLATES.get(order.template, ""),
        precision,
        memory,
        context,
    )


def _check(order: Order) -> None:
    shape = order.base.shape
    if order.precision and order.base.stored_bytes is not None:
        msg = (
            f"이미 줄인 모델이라 그대로 올려요: {order.base.where}"
            f" (--precision {order.precision}은 쓰지 않아요)"
        )
        raise UnservableError(msg)
    names = [order.name, *(each.name for each in order.adapters)]
    if len(set(names)) < len(names):
        msg = f"바탕 모델과 어댑터의 이름은 서로 달라야 해요: {', '.join(names)} (--name)"
        raise UnservableError(msg)
    if wrong := next((name for name in names if not _NAME.fullmatch(name)), None):
        msg = f"모델의 이름에는 글자, 숫자, ., _, -만 쓸 수 있어요: {wrong} (--name)"
        raise UnservableError(msg)
    if order.adapters and shape.kind not in _ADAPTED:
        msg = (
            f"vLLM은 이런 모델({shape.kind})에 어댑터(LoRA)를 얹지 못해요."
            " `deepbot export 학습 --merge --out 폴더`로 합친 뒤 --adapter 대신 --model 폴더로"
            " 올려 주세요."
        )
        raise UnservableError(msg)
    if unreadable := next((each.path for each in order.adapters if "," in each.path), None):
        msg = f"vLLM은 쉼표가 든 어댑터의 경로를 읽지 못해요: {unreadable}"
        raise UnservableError(msg)
    if shape.heads % order.tensor_parallel:
        msg = f"--tensor-parallel은 어텐션 헤드 {shape.heads}개를 똑같이 나누는 수여야 해요."
        raise UnservableError(msg)


def _round(rank: int) -> int:
    for allowed in _RANKS:
        if rank <= allowed:
            return allowed
    msg = f"vLLM은 랭크 {_RANKS[-1]}까지의 어댑터만 올려요 (이 어댑터는 {rank})."
    raise UnservableError(msg)


def _adapter_flags(adapters: tuple[Adapter, ...], rank: int, at_once: int) -> tuple[str, ...]:
    return (
        "--enable-lora",
        *("--max-lora-rank", str(rank)),
        *("--max-loras", str(at_once)),
        *("--lora-modules", *(f"{each.name}={each.path}" for each in adapters)),
    )


def _parallel_flags(order: Order) -> tuple[str, ...]:
    flags: tuple[str, ...] = ()
    if order.tensor_parallel > 1:
        flags += ("--tensor-parallel-size", str(order.tensor_parallel))
    if order.data_parallel > 1:
        flags += ("--data-parallel-size", str(order.data_parallel))
        if order.adapters:  # adapters can be loaded while it runs in one API server only
            flags += ("--api-server-count", "1")
    if order.ray:
        flags += ("--distributed-executor-backend", "ray")
        if order.data_parallel > 1:
            flags += ("--data-parallel-backend", "ray")
    return flags


def _environment(order: Order, number: int) -> dict[str, str]:
    environment = {"VLLM_NO_USAGE_STATS": "1"}
    if order.adapters:
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if order.replicas > 1:
        cards = order.tensor_parallel * order.data_parallel
        own = range(number * cards, (number + 1) * cards)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
    return environment


def _addresses(order: Order) -> list[tuple[str, int]]:
    """Return where the servers listen: those behind a router for this machine alone."""
    if order.replicas == 1:
        return [(order.host, order.port)]
    return [("127.0.0.1", order.port + number) for number in range(1, order.replicas + 1)]


def _router(order: Order, servers: tuple[Server, ...]) -> Server:
    arguments = (
        *("--host", order.host),
        *("--port", str(order.port)),
        *("--worker-urls", *(each.root for each in servers)),
        # A conversation goes where its beginning was read, while that server is no more than
        # this far ahead of the others: at 64, the default, they would stand idle.
        *("--policy", "cache_aware"),
        *("--balance-abs-threshold", "4"),
    )
    return Server(arguments, {}, order.host, order.port)


def _given(flag: str, value: object) -> tuple[str, ...]:
    return () if value is None else (flag, str(value))
