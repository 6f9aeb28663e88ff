"""The pictures of losses."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.runs import make_metrics
from training.plots import draw_curves, draw_loss
from training.runs import Measurement


def test_a_picture_of_a_run_is_wide_enough_for_a_readme(tmp_path: Path) -> None:
    draw_loss(make_metrics(), tmp_path / "loss.png", title="손실")
    height, width, _ = imread(tmp_path / "loss.png").shape
    assert (width, height) == (1200, 630)


def test_korean_is_drawn_as_letters_and_not_as_boxes(tmp_path: Path) -> None:
    for name, title in (("a", "거실 도배"), ("b", "안방 벽지")):
        draw_loss(make_metrics(), tmp_path / f"{name}.png", title=title)
    assert not np.array_equal(imread(tmp_path / "a.png"), imread(tmp_path / "b.png"))


@pytest.mark.parametrize("title", ["$x_{$", "a\\b", "🙂", "", "아주 긴 이름 " * 20])
def test_any_name_can_be_a_title(tmp_path: Path, title: str) -> None:
    draw_loss(make_metrics(5), tmp_path / "loss.png", title=title)
    assert imread(tmp_path / "loss.png").size


def test_both_losses_are_drawn(tmp_path: Path) -> None:
    metrics = make_metrics()
    training = [each for each in metrics if each.loss is not None]
    validation = [each for each in metrics if each.validation_loss is not None]
    (both,), (only_training,), (only_validation,), (nothing,) = (
        [_texts(each) for each in draw_curves([some])]
        for some in (metrics, training, validation, [])
    )
    assert {"학습 손실 (고른 값)", "검증 손실", "가장 낮음 1.119"} <= both
    assert "검증 손실" not in only_training
    assert "학습 손실 (고른 값)" not in only_validation
    assert "잰 값이 없어요" in nothing


def test_curves_side_by_side_have_the_same_axes() -> None:
    short, long = make_metrics(20, best=1.0), make_metrics(60, best=8.0)
    together = draw_curves([short, long])
    assert _ticks(together[0]) == _ticks(together[1])
    assert _ticks(draw_curves([short])[0]) != _ticks(together[0])


def test_a_loss_that_came_to_no_number_spoils_no_picture(tmp_path: Path) -> None:
    broken = [
        Measurement(step=step, epoch=step / 10, seconds=step, loss=loss, validation_loss=loss)
        for step, loss in enumerate((2.0, 1.5, math.nan, math.inf), start=1)
    ]
    draw_loss(broken, tmp_path / "loss.png", title="발산")
    first, second = draw_curves([broken, make_metrics()])
    assert "가장 낮음 1.500" in _texts(first)
    assert "가장 낮음 1.119" in _texts(second)


def test_the_same_run_gives_the_same_picture() -> None:
    assert draw_curves([make_metrics()]) == draw_curves([make_metrics()])


def _texts(picture: bytes) -> set[str]:
    """What is written in an SVG: its letters are outlines, with the text in a comment."""
    return set(re.findall(r"<!-- (.*?) -->", picture.decode()))


def _ticks(picture: bytes) -> set[str]:
    return {text for text in _texts(picture) if re.fullmatch(r"[\d.]+", text)}
