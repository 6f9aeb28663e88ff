"""The way to a human of the shop: what who wants one is told, and who hears of it."""

from collections.abc import Collection

from sqlalchemy import Connection

from bot import texts
from bot.estimate.desk import Reply
from bot.hours import DAYS, Hours
from db import handoffs, queries
from db.database import Database
from db.handoffs import OpenHandoff
from db.models import utc_now
from db.queries import KOREA, Person, Turn


class Switchboard:
    """Puts customers through to the shop's admins; without any, nobody is there to answer."""

    def __init__(
        self, database: Database, admins: Collection[int], hours: Hours, bot_id: int
    ) -> None:
        self._database = database
        self._admins = admins
        self._hours = hours
        self._bot_id = bot_id

    async def call(self, turn: Turn, greeting: str, last_question: str) -> Reply:
        """Ask the shop for a human, once, and tell the customer when one answers.

        `greeting` says how the shop is reached besides.
        """
        if not self._admins:
            return Reply(greeting)

        def look(connection: Connection) -> tuple[OpenHandoff | None, Person]:
            return (
                handoffs.find_open(connection, self._bot_id, turn.chat_id),
                queries.customer(connection, turn.customer_id),
            )

        found, customer = await self._database.insist(look)
        if found and found.taken_at:
            return Reply(texts.HUMAN_THERE)
        when = self._say_when()
        if found:
            return Reply(f"{texts.HUMAN_ASKED} {when}")
        told = texts.SHOP_HUMAN.format(
            name=customer.name, id=customer.telegram_id, text=last_question
        )
        now = utc_now()
        return Reply(
            f"{greeting} {texts.HUMAN_TOLD} {when}",
            more=[{"to": admin, "text": told} for admin in self._admins],
            write=lambda c: handoffs.ask(c, self._bot_id, turn.chat_id, turn.customer_id, now),
        )

    def _say_when(self) -> str:
        now = utc_now().astimezone(KOREA)
        if self._hours.is_open(now):
            return texts.HUMAN_SOON
        opens = self._hours.next_opening(now)
        days = (opens.date() - now.date()).days
        day = texts.OPENING_DAYS.get(days) or texts.OPENING_DATE.format(
            month=opens.month, day=opens.day, weekday=DAYS[opens.weekday()]
        )
        return texts.HUMAN_LATER.format(when=f"{day} {opens:%H:%M}")
