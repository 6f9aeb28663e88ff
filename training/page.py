"""The page of a comparison: one HTML file with its style and its pictures inside."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from training import plots, recipe
from training.advice import Advice
from training.contenders import Contender, describe_machine
from training.figures import FIGURES, Figure, judge
from training.recipe import Recipe
from training.runs import RunRecord
from training.terms import COMMERCIAL, COUNTED, METHODS, VARIANTS


def render(contenders: Sequence[Contender], advice: Advice) -> str:
    """Return the page; whatever a run or an answer says is escaped."""
    environment = Environment(
        loader=PackageLoader("training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "machine": describe_machine,
        "tuning": describe_tuning,
        "duration": write_duration,
    }
    environment.filters.update(filters)
    judgements = {figure: judge(figure, contenders) for figure in FIGURES}
    return environment.get_template("compare.html").render(
        contenders=contenders,
        advice=advice,
        figures=FIGURES,
        groups=[(name, len(list(each))) for name, each in groupby(FIGURES, lambda f: f.group)],
        judgements=judgements,
        not_compared=[(figure, j.broken) for figure, j in judgements.items() if j.broken],
        show=show_value,
        curves=_draw_curves(contenders),
        questions=_collect_answers(contenders),
        references=_references(),
        variants=VARIANTS,
        commercial=COMMERCIAL,
    )


def describe_tuning(run: RunRecord) -> list[str]:
    """Return how a run was tuned, in a few lines."""
    setting, totals = run.setting, run.totals
    rank = f" r{setting.lora.rank} α{setting.lora.alpha}" if setting.lora else ""
    batch = f"{setting.batch_size}" + (
        f" × {setting.accumulation}" if setting.accumulation > 1 else ""
    )
    done = f"{setting.epochs}에포크"
    if abs(totals.epochs - setting.epochs) > 0.01:
        why = "일찍 멈춤" if totals.stopped_early else "다 채우지 않음"
        done = f"{done} 가운데 {totals.epochs:.4g} ({why})"
    return [
        f"{METHODS[setting.method]}{rank}",
        f"손실 {COUNTED[setting.loss]} · {setting.precision}",
        f"배치 {batch} · {setting.max_length:,}토큰까지",
        f"학습률 {setting.learning_rate:g}",
        done,
    ]


def show_value(figure: Figure, contender: Contender) -> str:
    """Return a figure as a cell shows it."""
    value = figure.value(contender)
    if value is None:
        return "–"
    if figure.unit == "초":
        return write_duration(value) if value >= 60 else f"{value:.{figure.digits}f}초"
    return f"{value:,.{figure.digits}f}"


def write_duration(seconds: float) -> str:
    """Return a time as the first team's slides write it: hh:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _draw_curves(contenders: Sequence[Contender]) -> list[tuple[Contender, str]]:
    trained = [contender for contender in contenders if contender.run]
    pictures = plots.draw_curves([contender.metrics for contender in trained])
    return [
        (contender, f"data:image/svg+xml;base64,{b64encode(picture).decode()}")
        for contender, picture in zip(trained, pictures, strict=True)
    ]


def _collect_answers(contenders: Sequence[Contender]) -> dict[str, dict[int, str]]:
    """Return each question with the answers, by the number of the contender."""
    found: dict[str, dict[int, str]] = {}
    for contender in contenders:
        for each in contender.evaluation.answers if contender.evaluation else ():
            found.setdefault(each.question, {})[contender.number] = each.answer
    return found


def _references() -> list[Recipe]:
    recipes = [recipe.load(name) for name in recipe.names()]
    return [each for each in recipes if each.reference]
