"""Which adapter answers whom: the trial that runs, and those before it.

Each function works inside the caller's transaction. What a process reads is what all others have
written: nothing of it is kept in between. `who` is an admin's Telegram id, or 0 for the command
line; what they did goes into the log.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from db import access
from db.models import Rollout, Stage, utc_now


class Tried(NamedTuple):
    """An adapter that was or is on trial; `stable` is None for the base model."""

    id: int
    stable: str | None
    candidate: str
    path: str
    share: int
    stage: Stage
    begun_at: datetime
    ended_at: datetime | None
    halted_at: datetime | None


class State(NamedTuple):
    """The trial that runs, and the adapter that was promoted last and not taken back."""

    trial: Tried | None
    promoted: Tried | None


_COLUMNS = (
    *(Rollout.id, Rollout.stable, Rollout.candidate, Rollout.path, Rollout.share, Rollout.stage),
    *(Rollout.begun_at, Rollout.ended_at, Rollout.halted_at),
)
# A trial is newer than all that was promoted: there is one at a time.
_STATE = select(*_COLUMNS).where(Rollout.stage != Stage.BACK).order_by(Rollout.id.desc()).limit(2)
_ALL = select(*_COLUMNS).order_by(Rollout.id.desc())


def state(connection: Connection) -> State:
    """Return how things stand."""
    found = [Tried(*row) for row in connection.execute(_STATE)]
    trial = found.pop(0) if found and found[0].stage == Stage.TRIAL else None
    return State(trial, found[0] if found else None)


def newest(connection: Connection) -> Tried | None:
    """Return the trial that runs, or else the last one there was."""
    row = connection.execute(_ALL.limit(1)).one_or_none()
    return Tried(*row) if row else None


def read_all(connection: Connection) -> list[Tried]:
    """Return every trial there was, the newest first."""
    return [Tried(*row) for row in connection.execute(_ALL)]


def begin(
    connection: Connection,
    who: int,
    *,
    stable: str | None,
    candidate: str,
    path: str,
    share: int,
) -> bool:
    """Begin a trial; False where one runs already."""
    values = {"stable": stable, "candidate": candidate, "path": path, "share": share}
    try:
        with connection.begin_nested():
            connection.execute(
                insert(Rollout).values(**values, stage=Stage.TRIAL, begun_at=utc_now())
            )
    except IntegrityError:
        return False
    access.note(connection, who, "adapter_try", f"{candidate} {share}%")
    return True


def set_share(connection: Connection, who: int, tried: Tried, share: int) -> bool:
    """Let a trial have another share, and a halted one go on; False where it has ended."""
    is_done = _change(connection, tried.id, Stage.TRIAL, share=share, halted_at=None)
    return is_done and _note(connection, who, "adapter_share", f"{tried.candidate} {share}%")


def promote(connection: Connection, who: int, tried: Tried) -> bool:
    """Let a trial's candidate answer everybody; False where the trial has ended or was halted."""
    changed = connection.execute(
        update(Rollout)
        .where(*(Rollout.id == tried.id, Rollout.stage == Stage.TRIAL, Rollout.halted_at.is_(None)))
        .values(stage=Stage.PROMOTED, ended_at=utc_now())
    )
    is_done = changed.rowcount == 1
    return is_done and _note(connection, who, "adapter_promote", tried.candidate)


def take_back(connection: Connection, who: int, tried: Tried) -> bool:
    """Let nobody have an adapter any more; False where it is no longer what it was."""
    is_done = _change(
        connection, tried.id, tried.stage, now=Stage.BACK, ended_at=tried.ended_at or utc_now()
    )
    return is_done and _note(connection, who, "adapter_back", tried.candidate)


def halt(connection: Connection, trial_id: int) -> None:
    """Note that the servers keep refusing a trial's candidate."""
    _change(connection, trial_id, Stage.TRIAL, halted_at=utc_now())


def _change(
    connection: Connection,
    rollout_id: int,
    was: Stage,
    *,
    now: Stage | None = None,
    **values: object,
) -> bool:
    """Write columns of a trial unless it has come further than it was meanwhile."""
    changed = connection.execute(
        update(Rollout)
        .where(Rollout.id == rollout_id, Rollout.stage == was)
        .values(stage=now or was, **values)
    )
    return changed.rowcount == 1


def _note(connection: Connection, who: int, action: str, subject: str) -> bool:
    access.note(connection, who, action, subject)
    return True
