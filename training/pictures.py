"""A data card as pictures, by matplotlib's objects and with a font that has Korean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from training.examples import Example
from training.style import INK, styled

LENGTHS, CATEGORIES = "lengths.png", "categories.png"

_TRAIN, _HELD_OUT = "#1f6fbd", "#e08a1e"
_BINS = 40
_LONGEST = 0.995  # share of texts within the picture; the few longest would squeeze the rest
_RIGHT = 0.8  # share of the width from which a label stands left of its line
_MOST_CATEGORIES = 20
_DPI = 150


def draw_lengths(examples: Sequence[Example], path: Path) -> None:
    """Draw how long questions and answers are, as PNG."""
    with styled():
        figure = Figure(figsize=(8, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1)
        _draw_lengths(upper, [len(each.question) for each in examples], "질문")
        _draw_lengths(lower, [len(each.answer) for each in examples], "답변")
        lower.set_xlabel("글자 수")
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


def draw_categories(categories: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw how many examples of each category there are on both sides, as PNG."""
    names = list(categories)
    shown, others = names[:_MOST_CATEGORIES], names[_MOST_CATEGORIES:]
    rows = [(name, categories[name]["train"], categories[name]["validation"]) for name in shown]
    if others:
        sides = [sum(categories[name][side] for name in others) for side in ("train", "validation")]
        rows.append((f"그 밖의 {len(others)}개", sides[0], sides[1]))
    with styled():
        figure = Figure(figsize=(8, 1.4 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots()
        places = range(len(rows))
        train, held_out = [row[1] for row in rows], [row[2] for row in rows]
        axes.barh(places, train, color=_TRAIN, label="학습", height=0.66)
        axes.barh(places, held_out, left=train, color=_HELD_OUT, label="검증", height=0.66)
        for place, (_, one, other) in enumerate(rows):
            axes.annotate(
                *(f"{one:,} + {other:,}", (one + other, place)),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(places, [_shorten(row[0]) for row in rows], parse_math=False)
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_title("분류마다 몇 쌍인지", loc="left", fontweight="semibold")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        figure.legend(frameon=False, loc="outside upper right", ncols=2)
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


def _draw_lengths(axes: Axes, sizes: Sequence[int], name: str) -> None:
    order = sorted(sizes)
    right = order[int(_LONGEST * (len(order) - 1))] + 1
    width = -(-right // _BINS)  # whole characters, or some bars would hold more lengths
    axes.hist(sizes, bins=range(0, right + width, width), color=_TRAIN, rwidth=0.92)
    for share, label in ((0.5, "가운데"), (0.95, "95%")):
        value = order[int(share * (len(order) - 1))]
        axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            *(f"{label} {value:,}", (value, 1)),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-4 if value > _RIGHT * right else 4, -2),
            textcoords="offset points",
            ha="right" if value > _RIGHT * right else "left",
            va="top",
        )
    beyond = sum(size > right for size in sizes)
    rest = f" (더 긴 것 {beyond:,}개는 그림 밖, 가장 긴 것 {order[-1]:,}자)" if beyond else ""
    axes.set_title(f"{name}의 길이{rest}", loc="left", fontweight="semibold")
    axes.set_ylabel("쌍", rotation=0, ha="right")
    axes.set_xlim(0, right)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.12)  # room for the labels
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _shorten(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
