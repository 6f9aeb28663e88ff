"""`deepbot db purge`: old conversations, deleted from the command line."""

from collections.abc import Callable
from datetime import timedelta

from bot import forgetting
from bot.app import open_database
from bot.settings import Settings
from db import privacy
from db.models import utc_now
from db.privacy import Purged

Say = Callable[[str], None]


async def purge(settings: Settings, days: int, *, dry_run: bool, say: Say) -> None:
    """Delete conversations whose last message is older, or say how many there are."""
    if not days:
        say("KEEP_DAYS=0이라 지우지 않아요. 지우려면 --older-than으로 날 수를 알려 주세요.")
        return
    before = utc_now() - timedelta(days=days)
    async with open_database(settings, beside=True) as database:
        old = await database.run(lambda c: privacy.count_old(c, before))
        size = f"대화 {old.conversations:,}개(메시지 {old.messages:,}개)"
        if dry_run:
            say(f"{days:,}일이 지난 {size}를 지울 수 있어요. 아직 지우지 않았어요.")
            return

        def tell(gone: Purged) -> None:
            say(f"지우는 중: 대화 {gone.conversations:,}/{old.conversations:,}개")

        gone = await forgetting.purge(database, days, tell)
        await database.scrub()
    say(
        f"지웠어요: 대화 {gone.conversations:,}개, 메시지 {gone.messages:,}개, "
        f"남은 것이 없는 손님 {gone.customers:,}명."
    )
