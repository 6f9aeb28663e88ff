"""Pictures of losses, by matplotlib's objects and with a font that has Korean."""

from collections.abc import Sequence
from io import BytesIO
from math import isfinite
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.runs import Measurement
from training.style import LINE, MUTED, styled

_TRAINING, _VALIDATION = "#9aa5b0", "#1f6fbd"
_SMOOTHED_FROM = 20  # measurements; fewer are drawn as they are

Point = tuple[float, float]


def draw_loss(metrics: Sequence[Measurement], path: Path, *, title: str) -> None:
    """Draw the training and the validation loss of a run over its steps, as PNG."""
    with styled():
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        training = [(m.step, m.loss) for m in metrics if m.loss is not None]
        validation = [(m.step, m.validation_loss) for m in metrics if m.validation_loss is not None]
        _draw(axes, training, validation)
        axes.set_title(title, loc="left", fontweight="semibold", pad=10, parse_math=False)
        axes.set_xlabel("걸음")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.savefig(path, format="png", dpi=150)


def draw_curves(runs: Sequence[Sequence[Measurement]]) -> list[bytes]:
    """Draw a picture (SVG) a run, over epochs, all with the same axes: to stand side by side."""
    points = [
        (
            [(m.epoch, m.loss) for m in metrics if m.loss is not None],
            [(m.epoch, m.validation_loss) for m in metrics if m.validation_loss is not None],
        )
        for metrics in runs
    ]
    drawn = [
        point
        for training, validation in points
        for point in (*training, *validation)
        if isfinite(point[1])
    ]
    right = max((epoch for epoch, _ in drawn), default=1.0)
    top = max((loss for _, loss in drawn), default=1.0)
    return [_draw_curve(*each, right * 1.02 or 1.0, top * 1.05 or 1.0) for each in points]


def _draw_curve(
    training: Sequence[Point], validation: Sequence[Point], right: float, top: float
) -> bytes:
    with styled():
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        axes = figure.subplots()
        _draw(axes, training, validation)
        axes.set_xlim(0, right)
        axes.set_ylim(0, top)
        axes.set_xlabel("에포크")
        picture = BytesIO()
        # No date and no chance in it: the same runs give the same page.
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _draw(axes: Axes, training: Sequence[Point], validation: Sequence[Point]) -> None:
    if training:
        x, y = zip(*training, strict=True)
        if len(training) < _SMOOTHED_FROM:
            axes.plot(x, y, color=_TRAINING, linewidth=1.6, label="학습 손실")
        else:
            axes.plot(x, y, color=_TRAINING, linewidth=0.8, alpha=0.45)
            axes.plot(x, _smooth(y), color=MUTED, linewidth=1.6, label="학습 손실 (고른 값)")
    if validation:
        x, y = zip(*validation, strict=True)
        axes.plot(
            *(x, y), color=_VALIDATION, linewidth=2, marker="o", markersize=4, label="검증 손실"
        )
        _mark_best(axes, validation)
    axes.set_ylabel("손실 (nat/토큰)")
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    if training or validation:
        axes.figure.legend(loc="outside lower right", ncols=2, frameon=False)
    else:
        axes.text(0.5, 0.5, "잰 값이 없어요", transform=axes.transAxes, ha="center", color=MUTED)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return means over windows around each value: unlike a running one they do not lag."""
    reach = len(values) // _SMOOTHED_FROM
    return [
        fmean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))
    ]


def _mark_best(axes: Axes, validation: Sequence[Point]) -> None:
    finite = [point for point in validation if isfinite(point[1])]
    if not finite:
        return
    best = min(finite, key=lambda point: point[1])
    axes.plot(*best, marker="o", markersize=8, color=_VALIDATION, markeredgecolor="white")
    axes.annotate(
        f"가장 낮음 {best[1]:.3f}",
        best,
        xytext=(0, 9),
        textcoords="offset points",
        ha="right" if best is finite[-1] else "center",
        color=_VALIDATION,
        fontweight="semibold",
    )
