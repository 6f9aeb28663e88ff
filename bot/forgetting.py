"""What is deleted once it was kept long enough: by the running bot, and by `deepbot db purge`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from bot.settings import Settings
from db import privacy, recordings
from db.database import Database, Work
from db.models import utc_now
from db.privacy import Purged

log = structlog.get_logger()

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_BATCH = 100  # conversations in one transaction
_PAUSE_S = 0.05  # between two, for whoever else writes


async def forget_for_ever(settings: Settings, database: Database) -> None:
    """Delete sound every hour, and conversations every day."""

    async def forget_sound() -> None:
        before = utc_now() - timedelta(days=settings.speech_keep_days)
        forgotten = await database.run(lambda c: recordings.forget_sound(c, before))
        await database.run(privacy.sweep)
        if forgotten:
            log.info("sound_forgotten", recordings=forgotten)
        await database.scrub()

    async def forget_old() -> None:
        if settings.keep_days and (gone := await purge(database, settings.keep_days)).last_id:
            log.info("conversations_forgotten", **gone._asdict())
            await database.scrub()

    await asyncio.gather(_repeat(forget_sound, _HOUR_S), _repeat(forget_old, _DAY_S))


async def _repeat(work: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # it must go on, whatever it was
            log.error("not_forgotten", what=work.__name__, error=type(error).__name__)
        await asyncio.sleep(every_s)


async def purge(
    database: Database, days: int, on_batch: Callable[[Purged], None] | None = None
) -> Purged:
    """Delete conversations whose last message is older, and return how much it was.

    `on_batch` is told how much it is so far.
    """
    before = utc_now() - timedelta(days=days)
    gone = Purged(0, 0, 0, 0)
    while batch := await database.insist(_batch_after(gone.last_id, before)):
        gone = Purged(
            gone.conversations + batch.conversations,
            gone.messages + batch.messages,
            gone.customers + batch.customers,
            batch.last_id,
        )
        if on_batch:
            on_batch(gone)
        await asyncio.sleep(_PAUSE_S)
    return gone


def _batch_after(last_id: int, before: datetime) -> Work[Purged | None]:
    return lambda c: privacy.purge(c, before, last_id, _BATCH)
