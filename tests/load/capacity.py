"""How many customers a card, a process and a database serve, and what fills up first.

    python -m tests.load.capacity [--picture docs/images/capacity.png]

Prints the tables of docs/capacity.md (`tests/test_capacity.py` keeps the two alike). What they
stand on is in `tests/load/plan.py` and `tests/load/roofline.py`.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.load import plan
from tests.load.roofline import ADAPTED, CARDS, HIGH, LOW, PUBLISHED
from tests.load.simulation import Passage

_SEVERAL = 10  # times what a part can do: from there on a multiple is read better than per cents


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
    headings = ("모델과 카드", "토큰 (읽음 + 씀)", "잰 요청/초", "식의 요청/초", "비율", "출처")
    return table(headings, rows)


def show_adapted() -> str:
    """Return what an adapter costs, as published."""
    rows = [
        (
            *(f"{a.without:.2f}", f"{a.adapted:.2f}", f"{a.share:.2f}"),
            f"[{a.date}]({a.source})",
        )
        for a in ADAPTED
    ]
    return table(("어댑터 없이 (요청/초)", "어댑터와", "비율", "출처"), rows)


def show_cards() -> str:
    """Return what each card can do, at most and as is to be expected."""
    prompt, answer = float(np.mean(plan.PROMPTS)), float(np.mean(plan.ANSWERS))
    daily = plan.CUSTOMERS_A_DAY / plan.demand_of(1).peak_requests * plan.FULL
    rows = []
    for card in CARDS:
        low, high = (plan.serve_ldcc(card, efficiency) for efficiency in (LOW, HIGH))
        limit = replace(low, efficiency=1.0).limit(prompt, answer, known=plan.SYSTEM_TOKENS)
        slow, fast = plan.requests_a_second(low), plan.requests_a_second(high)
        rows.append(
            (
                f"[{card.name}]({card.source})",
                "FP8" if low.shape == plan.LDCC_FP8 else "bf16",
                f"{low.at_once(prompt + answer)}",
                f"{limit:.0f}",
                f"{slow:.1f}–{fast:.1f}",
                f"{1 / low.step_s(1, prompt):.0f}–{1 / high.step_s(1, prompt):.0f}",
                f"{_round(slow * daily):,}–{_round(fast * daily):,}",
            )
        )
    headings = (
        *("카드", "무게", "함께 쓰는 답", "위 한계 (요청/초, 계산)", "바랄 만한 것 (요청/초)"),
        *("혼자 물을 때 (토큰/초)", "하루 손님"),
    )
    return table(headings, rows)


def show_parts() -> str:
    """Return what one of each other part can do."""
    demand = plan.demand_of(1)
    daily = plan.CUSTOMERS_A_DAY / demand.peak_messages * plan.FULL
    rows = []
    for name, costs, a_second in (
        ("봇 프로세스 하나", f"{1e3 * plan.PROCESS_S:.0f} ms", 1 / plan.PROCESS_S),
        (
            f"Postgres의 코어 {plan.POSTGRES_CORES}개",
            f"{plan.TRANSACTIONS:.1f}트랜잭션, {1e3 * plan.POSTGRES_S:.1f} ms",
            plan.POSTGRES_CORES / plan.POSTGRES_S,
        ),
        (
            "텔레그램, 봇(가게) 하나",
            f"부르기 {plan.CALLS}번",
            plan.CALLS_A_SECOND / plan.CALLS,
        ),
    ):
        rows.append((name, costs, f"{a_second:,.0f}", f"{_round(a_second * daily):,}"))
    return table(("무엇", "메시지 하나에", "초당 메시지", "하루 손님"), rows)


def show_growth() -> str:
    """Return how full the smallest plant is, by the number of shops."""
    rows = []
    for shops in plan.SHOPS:
        demand, parts = plan.demand_of(shops), plan.loads(shops)
        worst = max(parts, key=lambda part: part.load)
        rows.append(
            (
                f"{shops:,}",
                f"{demand.peak_messages:.2g} / {demand.peak_requests:.2g}",
                *(_share(part.load) for part in parts),
                worst.name if worst.load > plan.FULL else "없음",
            )
        )
    names = (part.name for part in plan.loads(1))
    return table(("가게", "초당 메시지 / 모델 요청", *names, "먼저 차는 것"), rows)


def show_plants() -> str:
    """Return what is enough for so many shops, and how long customers wait there, simulated."""
    rows = []
    for shops in plan.SHOPS:
        plant = plan.plant_of(shops, LOW)
        low, high = plan.watch(shops, plant), plan.watch(shops, plan.plant_of(shops, HIGH))
        full = plan.demand_of(shops).peak_requests / plan.requests_a_second(plant.server)
        rows.append(
            (
                f"{shops:,}",
                f"{plant.gpus} ({_share(full / plant.gpus)})",
                f"{plan.hosts_of(shops)}",
                f"{plan.processes_together(shops)}",
                *(_show_waits(first_s(each)) for each in (low, high)),
                *(_show_waits(whole_s(each)) for each in (low, high)),
                f"{1e3 * quantiles([p.waited_process for p in low])[1]:.0f}",
            )
        )
    headings = (
        *("가게", "L40S (부하)", "봇 기계", "(프로세스를 나눠 쓴다면)"),
        *("첫 글 (낮게)", "첫 글 (높게)", "끝 (낮게)", "끝 (높게)", "봇의 줄 95 (ms)"),
    )
    return table(headings, rows)


def first_s(passages: Sequence[Passage]) -> list[float]:
    """Return the seconds until the model's first token, of the messages that it was asked."""
    return [p.first - p.came for p in passages if p.waited_gpu is not None]


def whole_s(passages: Sequence[Passage]) -> list[float]:
    """Return the seconds until the whole answer, of the messages that the model was asked."""
    return [p.ended - p.came for p in passages if p.waited_gpu is not None]


def _show_waits(seconds: Sequence[float]) -> str:
    middle, high = quantiles(seconds)
    return f"{middle:.1f} / {high:.1f}"


def _round(value: float) -> int:
    """Return a number with two digits that count: more would promise too much."""
    return int(round(value, 1 - math.floor(math.log10(value))))


def _share(share: float) -> str:
    if share >= _SEVERAL:
        return f"{_round(share):,}배"
    return f"{share:.0%}" if share >= 0.01 else f"{share:.2%}"


def report() -> dict[str, str]:
    """Return every table by what it is."""
    return {
        "공개된 값": show_published(),
        "어댑터": show_adapted(),
        "카드": show_cards(),
        "다른 부분": show_parts(),
        "가게가 늘면": show_growth(),
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
        from tests.load.capacityplot import draw  # here: matplotlib is slow to come

        draw(options.picture)


if __name__ == "__main__":
    main()
