"""The picture of docs/capacity.md: what fills up first, and what one GPU more brings."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.load import plan
from tests.load.capacity import quantiles, whole_s
from tests.load.roofline import HIGH, LOW
from training.style import INK, LINE, styled

_COLORS = ("#8fbce6", "#e08a1e", "#8a4fb0", "#b3372e", "#3a8f5c", "#7a828a")
_SHOPS = 10_000  # of the right picture
_GPUS = range(4, 13)


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    with styled():
        figure = Figure(figsize=(12, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        _draw_loads(left)
        _draw_gpus(right)
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def _draw_loads(axes: Axes) -> None:
    rows = [plan.loads(shops) for shops in plan.SHOPS]
    axes.axhline(1, color=INK, linewidth=1.2)
    axes.text(1.1, 1.25, "가득 참", color=INK)
    ends = []
    for number, part in enumerate(rows[0]):
        loads = [row[number].load for row in rows]
        wide = 6 if number == 0 else 2  # another line nearly hides this one
        axes.plot(*(plan.SHOPS, loads), color=_COLORS[number], linewidth=wide)
        ends.append((loads[-1], part.name, _COLORS[number]))
    _label(axes, ends)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, plan.SHOPS[-1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_xlabel("가게 수 (가게마다 봇 하나, GPU와 Postgres는 함께)")
    axes.set_title("가장 작은 구성이 얼마나 차는지", loc="left", fontweight="semibold")


def _label(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines at their ends, apart from each other."""
    last = 0.0
    for load, name, color in sorted(ends):
        height = max(load, 2.6 * last)  # a line of text, on this scale
        last = height
        axes.annotate(
            *(name, (plan.SHOPS[-1], load)),
            xytext=(plan.SHOPS[-1] * 1.35, height),
            color=color,
            va="center",
            annotation_clip=False,
        )


def _percent(value: float, _: int) -> str:
    return f"{value:,.0%}" if value >= 0.01 else f"{value:.2%}"


def _draw_gpus(axes: Axes) -> None:
    for efficiency, name, color in ((LOW, "낮게", _COLORS[3]), (HIGH, "높게", _COLORS[4])):
        times = [
            quantiles(whole_s(plan.watch(_SHOPS, plan.plant_of(_SHOPS, efficiency, gpus=gpus))))[1]
            for gpus in _GPUS
        ]
        axes.plot(_GPUS, times, color=color, linewidth=2, marker="o", markersize=4)
        axes.annotate(
            *(f"효율을 {name} 보면", (_GPUS[-1], times[-1])),
            xytext=(0, -18),
            textcoords="offset points",
            ha="right",
            color=color,
        )
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_xlabel("L40S의 수")
    axes.set_title(
        f"가게 {_SHOPS:,}곳, 답의 95%가 끝나는 시간 (초)",
        loc="left",
        fontweight="semibold",
    )
