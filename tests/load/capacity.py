"""How many customers a card, a process and a database serve, and what fills up first.

    python -m tests.load.capacity [--picture docs/images/capacity.png]

Prints the tables of docs/capacity.md (`tests/test_capacity.py` keeps the two alike), from what was
measured, what was published, and what is assumed: all of it stands at the top of this module.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.load.customers import Demand, draw_customers
from tests.load.roofline import (
    ADAPTED,
    CARDS,
    HIGH,
    L40S,
    LOW,
    PUBLISHED,
    Card,
    Server,
    measure,
)
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
    """Return LDCC-SOLAR on a card: in bf16 where that fits, else its layers in FP8."""
    config = recipe.load("ldcc-solar").base.config
    whole = measure(config)
    fits = 1.5 * whole.weight_bytes < card.memory
    return Server(card, whole if fits else measure(config, matrix_bytes=1), efficiency)


def requests_a_second(server: Server) -> float:
    """Return how many of the bot's requests a full card ends in a second."""
    return server.requests_a_second(np.mean(PROMPTS), np.mean(ANSWERS), known=SYSTEM_TOKENS)


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
    """Return what is enough for so many shops, planned by the low efficiency, at another."""
    demand = demand_of(shops)
    server = serve_ldcc(L40S, LOW)
    needed = math.ceil(demand.peak_requests / requests_a_second(server) / FULL)
    postgres_s = shops * IDLE_POSTGRES_S + demand.peak_messages * POSTGRES_S
    # What idle bots take of the cores is no message's: those cores are added to, not shared.
    return Plant(
        gpus=gpus or max(1, needed),
        server=replace(server, efficiency=efficiency),
        known=SYSTEM_TOKENS,
        processes=None,
        process_s=PROCESS_S,
        postgres_cores=max(POSTGRES_CORES, math.ceil(postgres_s / FULL)),
        postgres_s=POSTGRES_S,
        calls=CALLS,
        calls_a_second=CALLS_A_SECOND,
    )


def watch(shops: int, plant: Plant, *, watched: int = _WATCHED) -> list[Passage]:
    """Simulate the busiest hour, or as much of it, on as many days, as gives enough messages."""
    demand = demand_of(shops)
    start = demand.peak_hour * 3600.0
    length = min(3600.0, max(60.0, watched / demand.peak_messages))
    days = math.ceil(watched / (demand.peak_messages * length))
    customers = draw_customers(demand, start - _WARM_UP_S, start + length, days, _SEED)
    return simulate(plant, customers).between(start, start + length)


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    middle, high = np.quantile(values, (0.5, 0.95))
    return float(middle), float(high)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show_published() -> str:
    """Return what was published, and the share of the formula's that it is."""
    rows = [
        (
            f"{p.model}, {p.server.card.name}",
            f"{p.prompt:.0f} + {p.answer:.0f}",
            f"{p.requests_a_second:.2f}",
            f"{p.server.requests_a_second(p.prompt, p.answer, most=p.most):.1f}",
            f"{p.efficiency:.2f}",
            f"[{p.date}]({p.source})",
        )
        for p in PUBLISHED
    ]
    rows += [
        ("어댑터를 얹으면 (Llama-2-7B, A100)", "", f"{a.adapted:.2f}", f"{a.without:.2f}",
         f"{a.share:.2f}", f"[{a.date}]({a.source})")
        for a in ADAPTED
    ]  # fmt: skip
    headings = ("무엇", "토큰 (읽음 + 씀)", "잰 요청/초", "견줄 요청/초", "비율", "출처")
    return table(headings, rows)


def show_cards() -> str:
    """Return what each card can do, at most and as is to be expected."""
    daily = demand_of(1)
    rows = []
    for card in CARDS:
        low, high = serve_ldcc(card, LOW), serve_ldcc(card, HIGH)
        slow, fast = requests_a_second(low), requests_a_second(high)
        limit = replace(low, efficiency=1.0).limit(
            float(np.mean(PROMPTS)), float(np.mean(ANSWERS)), known=SYSTEM_TOKENS
        )
        customers = FULL * CUSTOMERS_A_DAY / daily.peak_requests
        rows.append(
            (
                card.name,
                "bf16" if low.shape.weight_bytes > 15e9 else "FP8",
                f"{low.at_once(np.mean(PROMPTS) + np.mean(ANSWERS))}",
                f"{limit:.0f}",
                f"{slow:.1f}–{fast:.1f}",
                f"{1 / low.step_s(1, 500):.0f}–{1 / high.step_s(1, 500):.0f}",
                f"{_round(slow * customers):,}–{_round(fast * customers):,}",
            )
        )
    headings = (
        *("카드", "무게", "함께", "계산한 위 한계 (요청/초)", "바랄 만한 것 (요청/초)"),
        *("혼자일 때 토큰/초", "하루 손님"),
    )
    return table(headings, rows)


def show_growth() -> str:
    """Return how full the smallest plant is, by the number of shops."""
    rows = []
    for shops in SHOPS:
        demand, parts = demand_of(shops), loads(shops)
        worst = max(parts, key=lambda part: part.load)
        rows.append(
            (
                f"{shops:,}",
                f"{shops * CUSTOMERS_A_DAY:,.0f}",
                f"{demand.peak_messages:.3g} / {demand.peak_requests:.3g}",
                *(_percent(part.load) for part in parts),
                worst.name if worst.load > FULL else "아직 없음",
            )
        )
    headings = ("가게", "하루 손님", "초당 메시지 / 모델 요청", *(p.name for p in loads(1)))
    return table((*headings, "먼저 차는 것"), rows)


def show_plants() -> str:
    """Return what is enough for so many shops, and how long customers wait there, simulated."""
    rows = []
    for shops in SHOPS:
        plant, demand = plant_of(shops, LOW), demand_of(shops)
        low, high = watch(shops, plant), watch(shops, plant_of(shops, HIGH))
        at_once = demand.peak_requests / requests_a_second(plant.server) / plant.gpus
        bot_s = shops * IDLE_BOT_S + demand.peak_messages * PROCESS_S
        hosts = math.ceil(max(shops * BOT_BYTES / HOST_BYTES, bot_s / HOST_CORES) / FULL)
        together = math.ceil(demand.peak_messages * PROCESS_S / FULL)
        rows.append(
            (
                f"{shops:,}",
                f"{plant.gpus} ({_percent(at_once)})",
                f"{hosts}",
                f"{together}",
                *(_waits(low, each) + " · " + _waits(high, each) for each in (_FIRST, _WHOLE)),
                f"{1e3 * quantiles([p.waited_process for p in low])[1]:.0f}",
                f"{1e3 * quantiles([p.waited_postgres for p in low])[1]:.0f}",
            )
        )
    headings = (
        *("가게", "L40S (부하)", "봇 기계", "한데 모으면 봇 프로세스"),
        *("첫 글 50 / 95 (초), 낮게 · 높게", "끝 50 / 95 (초), 낮게 · 높게"),
        *("봇을 기다림 95 (ms)", "Postgres를 기다림 95 (ms)"),
    )
    return table(headings, rows)


_FIRST, _WHOLE = "first", "ended"


def _waits(passages: Sequence[Passage], what: str) -> str:
    times = [getattr(p, what) - p.came for p in passages if p.waited_gpu is not None]
    middle, high = quantiles(times)
    return f"{middle:.1f} / {high:.1f}"


def _round(value: float) -> int:
    """Return a number with two digits that count: more would promise too much."""
    digits = 1 - math.floor(math.log10(value))
    return int(round(value, digits))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.2%}"


def report() -> Mapping[str, str]:
    """Return every table by what it is."""
    return {
        "공개된 값과 비율": show_published(),
        "카드": show_cards(),
        "커지면": show_growth(),
        "늘린 다음": show_plants(),
    }


def main() -> None:
    """Print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    for name, text in report().items():
        print(f"\n{name}\n\n{text}")
    if options.picture:
        from tests.load.capacityplot import draw

        draw(options.picture)


if __name__ == "__main__":
    main()
