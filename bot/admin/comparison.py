"""Both sides of a trial, figure by figure, and in sentences whether they differ."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from bot.admin.chance import Share, differ
from bot.admin.view import write_seconds
from db import arms, rollouts
from db.arms import Arm, Arms, Told
from db.models import Way
from db.rollouts import State, Tried
from training.measures import declines

_SURE = 0.05  # below it a difference counts as more than chance


class Found(NamedTuple):
    """The newest trial, with what came of it."""

    tried: Tried
    state: State
    arms: Arms


class Line(NamedTuple):
    """One figure of both sides."""

    name: str
    stable: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial as the page shows it: a table, and sentences about it."""

    tried: Tried
    is_on_trial: bool
    is_for_all: bool  # what everybody gets, unless a trial is on
    lines: list[Line]
    verdicts: list[str]
    missed: int


def read(connection: Connection) -> Found | None:
    """Return the newest trial, None where there was none."""
    tried = rollouts.newest(connection)
    if tried is None:
        return None
    return Found(tried, rollouts.state(connection), arms.read(connection, tried))


def compare(found: Found) -> Comparison:
    """Return what the page shows of a trial."""
    stable, candidate, missed = found.arms
    return Comparison(
        found.tried,
        is_on_trial=found.tried == found.state.trial,
        is_for_all=found.tried == found.state.promoted,
        lines=[Line(name, tell(stable), tell(candidate)) for name, tell in _FIGURES.items()],
        verdicts=[
            judge("좋아요", _liked(stable), _liked(candidate)),
            judge("저장된 답으로 대신한 대화", _failed_chats(stable), _failed_chats(candidate)),
        ],
        missed=missed,
    )


def judge(name: str, stable: Share, candidate: Share) -> str:
    """Return in a sentence whether the shares of both sides differ by more than chance."""
    chance = differ(stable, candidate)
    if chance is None:
        return f"{name}: 아직 알 수 없어요. 더 모여야 해요."
    often = (
        "100번에 한 번도 나오지 않아요"
        if chance < 0.01
        else f"100번에 {round(100 * chance)}번쯤 나와요"
    )
    if chance >= _SURE:
        return f"{name}: 다르다고 할 수 없어요. 둘이 같아도 이만한 차이는 {often}."
    more = "많아요" if candidate.value > stable.value else "적어요"
    return f"{name}: 후보가 더 {more}. 둘이 같다면 이만한 차이는 {often}."


def _liked(arm: Arm) -> Share:
    return Share(arm.verdicts.count(1), len(arm.verdicts))


def _failed_chats(arm: Arm) -> Share:
    failed = _chats(told for told in arm.answers if told.way == Way.FALLBACK)
    return Share(len(failed), len(_chats(arm.answers)))


def _chats(answers: Iterable[Told]) -> set[tuple[int, int]]:
    return {(told.bot_id, told.chat_id) for told in answers}


def _tell_liked(arm: Arm) -> str:
    liked = _liked(arm)
    if not liked.of:
        return "–"
    low, high = liked.interval
    return f"{liked.value:.0%} ({100 * low:.0f}~{high:.0%}), 대화 {liked.of:,}개"


def _tell_share(is_it: Callable[[Told], bool]) -> Callable[[Arm], str]:
    def tell(arm: Arm) -> str:
        count = sum(map(is_it, arm.answers))
        return f"{count / len(arm.answers):.1%} ({count:,})" if arm.answers else "–"

    return tell


def _tell_times(time_of: Callable[[Told], float | None]) -> Callable[[Arm], str]:
    def tell(arm: Arm) -> str:
        times = [time for told in arm.answers if (time := time_of(told)) is not None]
        if len(times) < 2:
            return write_seconds(times[0] if times else None)
        slow = statistics.quantiles(times, n=20, method="inclusive")[-1]
        return f"{write_seconds(statistics.median(times))}, 느릴 때 {write_seconds(slow)}"

    return tell


_FIGURES: dict[str, Callable[[Arm], str]] = {
    "모델에 물은 답": lambda arm: f"{len(arm.answers):,}",
    "대화": lambda arm: f"{len(_chats(arm.answers)):,}",
    "좋아요": _tell_liked,
    "저장된 답으로 대신함": _tell_share(lambda told: told.way == Way.FALLBACK),
    "검사에 걸림": _tell_share(lambda told: (told.error or "").startswith("check_")),
    "모른다고 함": _tell_share(lambda told: told.way != Way.FALLBACK and declines(told.text or "")),
    "첫 글자까지": _tell_times(lambda told: told.first_token_s),
    "답을 마치기까지": _tell_times(lambda told: told.total_s),
}
