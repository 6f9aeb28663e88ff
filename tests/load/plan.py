"""What customers want, what serves them, and how full it gets: measured, published, assumed.

All figures that a reader might doubt or change stand at the top. `tests/load/capacity.py` makes
tables of them.
"""

import math
from dataclasses import dataclass

import numpy as np

from tests.load.customers import Demand, draw_customers
from tests.load.roofline import L40S, LOW, Card, Server, measure
from tests.load.simulation import Passage, Plant, simulate
from training import recipe

# Measured by `python -m tests.load.demand`, 2026-11-26: policy "model", the 258 messages of
# tests/data/dialogues.jsonl, tokens by Qwen2.5's tokenizer; the means of the tenths.
PROMPTS = (280, 296, 398, 416, 435, 491, 533, 574, 661, 724)
ANSWERS = (71, 83, 91, 95, 99, 101, 104, 110, 117, 136)
SYSTEM_TOKENS = 122  # the system prompt, which every prompt begins with
MODEL_SHARE = 194 / 258
QUESTIONS = 258 / 60  # messages of a dialogue

# Measured by `python -m tests.load.transactions`, 2026-11-26, two cores, other work beside it.
TRANSACTIONS, POSTGRES_S = 3.96, 1.88e-3  # for a message
IDLE_TRANSACTIONS, IDLE_POSTGRES_S = 2.60, 1.50e-3  # a second, for a bot that nobody writes to
IDLE_BOT_S = 3.5e-3  # of a core, a second
CONNECTIONS = 20  # that a busy bot holds
BOT_BYTES = 240 * 2**20

# From docs/durability.md: every question new, on SQLite, and what Postgres takes longer.
PROCESS_S = 1 / 42 + (1 / 149 - 1 / 226)
CALLS = 6  # to Telegram for an answer
CALLS_A_SECOND = 30.0  # https://core.telegram.org/bots/faq#my-bot-is-hitting-limits

# Assumed: nobody has counted them.
CUSTOMERS_A_DAY = 20.0  # of a shop
ESTIMATE_SHARE, ESTIMATE_STEPS = 0.25, 15  # the steps are the longest form's
THINK_S, STEP_S = 30.0, 8.0
CURVE = (
    *(1, 0.5, 0.3, 0.2, 0.2, 0.4, 1, 2, 4, 6, 7, 7),
    *(6, 6, 7, 7, 6, 6, 7, 9, 10, 8, 5, 2.4),
)
FULL = 0.7  # of what a part can do: beyond, lines grow fast
HOST_CORES, HOST_BYTES = 8, 64e9  # of a machine for bots
POSTGRES_CORES, POSTGRES_CONNECTIONS = 4, 97  # 100 by default, 3 of them kept for its owner

_LDCC_CONFIG = recipe.load("ldcc-solar").base.config
LDCC, LDCC_FP8 = measure(_LDCC_CONFIG), measure(_LDCC_CONFIG, matrix_bytes=1)

SHOPS = (1, 10, 100, 1_000, 10_000)
_SEED = 9
_WARM_UP_S = 900.0
_WATCHED = 6_000  # messages, about


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the whole: its name, and how full it is; 1 is all that it can."""

    name: str
    load: float


def demand_of(shops: int) -> Demand:
    """Return what so many shops' customers want."""
    return Demand(
        shops=shops,
        customers_a_day=CUSTOMERS_A_DAY,
        questions=QUESTIONS,
        estimate_share=ESTIMATE_SHARE,
        estimate_steps=ESTIMATE_STEPS,
        model_share=MODEL_SHARE,
        prompts=PROMPTS,
        answers=ANSWERS,
        think_s=THINK_S,
        step_s=STEP_S,
        curve=CURVE,
    )


def serve_ldcc(card: Card, efficiency: float) -> Server:
    """Return LDCC-SOLAR on a card: in bf16 where that leaves room for answers, else in FP8."""
    fits = 1.5 * LDCC.weight_bytes < card.memory
    return Server(card, LDCC if fits else LDCC_FP8, efficiency)


def requests_a_second(server: Server) -> float:
    """Return how many of the bot's requests a full card ends in a second."""
    prompt, answer = float(np.mean(PROMPTS)), float(np.mean(ANSWERS))
    return server.requests_a_second(prompt, answer, known=SYSTEM_TOKENS)


def loads(shops: int, efficiency: float = LOW) -> list[Part]:
    """Return how full the parts of the smallest plant are in the busiest hour.

    One GPU, one machine with a process for every shop, and one Postgres for all of them.
    """
    demand = demand_of(shops)
    messages = demand.peak_messages
    bot_s = shops * IDLE_BOT_S + messages * PROCESS_S
    postgres_s = shops * IDLE_POSTGRES_S + messages * POSTGRES_S
    return [
        Part("GPU", demand.peak_requests / requests_a_second(serve_ldcc(L40S, efficiency))),
        Part("봇의 메모리", shops * BOT_BYTES / HOST_BYTES),
        Part("봇의 CPU", bot_s / HOST_CORES),
        Part("Postgres 연결", shops * CONNECTIONS / POSTGRES_CONNECTIONS),
        Part("Postgres CPU", postgres_s / POSTGRES_CORES),
        Part("텔레그램 (가게마다)", messages / shops * CALLS / CALLS_A_SECOND),
    ]


def plant_of(shops: int, efficiency: float, *, gpus: int | None = None) -> Plant:
    """Return what is enough for so many shops by the low efficiency, at an efficiency."""
    demand = demand_of(shops)
    needed = demand.peak_requests / requests_a_second(serve_ldcc(L40S, LOW)) / FULL
    return Plant(
        gpus=gpus or math.ceil(needed),
        server=serve_ldcc(L40S, efficiency),
        known=SYSTEM_TOKENS,
        processes=None,
        process_s=PROCESS_S,
        postgres_cores=POSTGRES_CORES,
        postgres_s=POSTGRES_S,
        calls=CALLS,
        calls_a_second=CALLS_A_SECOND,
    )


def hosts_of(shops: int) -> int:
    """Return how many machines hold a process for every shop."""
    bot_s = shops * IDLE_BOT_S + demand_of(shops).peak_messages * PROCESS_S
    return math.ceil(max(shops * BOT_BYTES / HOST_BYTES, bot_s / HOST_CORES) / FULL)


def processes_together(shops: int) -> int:
    """Return how many processes were enough, could one serve several shops."""
    return math.ceil(demand_of(shops).peak_messages * PROCESS_S / FULL)


def watch(shops: int, plant: Plant, *, watched: int = _WATCHED) -> list[Passage]:
    """Simulate the busiest hour, or as much of it, on as many days, as gives enough messages."""
    demand = demand_of(shops)
    start = demand.peak_hour * 3600.0
    length = min(3600.0, max(60.0, watched / demand.peak_messages))
    days = math.ceil(watched / (demand.peak_messages * length))
    customers = draw_customers(demand, start - _WARM_UP_S, start + length, days=days, seed=_SEED)
    return simulate(plant, customers).between(start, start + length)
