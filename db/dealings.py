"""How far the shop is with its customers' estimates."""

from typing import NamedTuple

from sqlalchemy import Connection, and_, case, select, update

from db.estimates import Saved, columns
from db.models import Customer, Estimate

STEPS = ("new", "called", "won", "lost")


class Deal(NamedTuple):
    """An estimate, whose it is, and how far the shop is with it."""

    saved: Saved
    name: str
    progress: str


_IS_WAITING = and_(Estimate.called_at.is_not(None), Estimate.progress == "new")
_DEALS = (
    select(Customer.name, Estimate.progress, *columns())
    .join(Customer, Customer.id == Estimate.customer_id)
    .where(Estimate.state != "cancelled")
    .order_by(case((_IS_WAITING, 0), else_=1), Estimate.updated_at.desc(), Estimate.id.desc())
)


def find_all(connection: Connection, progress: str | None, first: int, limit: int) -> list[Deal]:
    """Return estimates, callbacks that nobody has made first, then the newest."""
    query = _DEALS.where(Estimate.progress == progress) if progress else _DEALS
    return [
        Deal(Saved(*row[2:]), row[0], row[1])
        for row in connection.execute(query.offset(first).limit(limit))
    ]


def move(connection: Connection, estimate_id: int, step: str) -> bool:
    """Set how far the shop is with an estimate; return whether there is one."""
    moved = connection.execute(
        update(Estimate).where(Estimate.id == estimate_id).values(progress=step)
    )
    return bool(moved.rowcount)
