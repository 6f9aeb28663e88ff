"""Which adapter answers whom: the trial that runs, and those before it.

Each function works inside the caller's transaction. What a process reads is what all others have
written: nothing of it is kept in between.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

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
    connection: Connection, *, stable: str | None, candidate: str, path: str, share: int
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
    return True


def set_share(connection: Connection, rollout_id: int, share: int) -> bool:
    """Let a trial have another share, and a halted one go on; False where it has ended."""
    return _change(connection, rollout_id, Stage.TRIAL, share=share, halted_at=None)


def promote(connection: Connection, rollout_id: int) -> bool:
    """Let a trial's candidate answer everybody; False where the trial has ended."""
    return _change(
        connection,
        rollout_id,
        Stage.TRIAL,
        stage=Stage.PROMOTED,
        ended_at=utc_now(),
        halted_at=None,
    )


def take_back(connection: Connection, tried: Tried) -> bool:
    """Let nobody have an adapter any more; False where it is no longer what it was."""
    return _change(
        connection, tried.id, tried.stage, stage=Stage.BACK, ended_at=tried.ended_at or utc_now()
    )


def halt(connection: Connection, rollout_id: int) -> None:
    """Note that the servers keep refusing a trial's candidate."""
    _change(connection, rollout_id, Stage.TRIAL, halted_at=utc_now())


def _change(connection: Connection, rollout_id: int, was: Stage, **values: object) -> bool:
    changed = connection.execute(
        update(Rollout).where(Rollout.id == rollout_id, Rollout.stage == was).values(**values)
    )
    return changed.rowcount == 1
