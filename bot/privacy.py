"""What customers are told of what is kept of them, and its deletion when they ask for it."""

from dataclasses import replace
from typing import NamedTuple, Self

from sqlalchemy import Connection

from bot import keyboards, texts
from bot.delivery import Delivery, Run
from bot.estimate.desk import Desk
from bot.outbound import Keyboard, Outbound
from bot.settings import Settings
from db import estimates, privacy
from db.database import Database, Work
from db.models import Way
from db.queries import SavedAnswer

_COMMAND = "delete_me"


class Terms(NamedTuple):
    """What a shop keeps, and for how long: in a line, and in full."""

    notice: str
    policy: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the terms that the settings come to."""
        days, sound_days = settings.keep_days, settings.speech_keep_days
        kept = texts.KEPT.format(days=days) if days else texts.KEPT_FOR_EVER
        sound = texts.SOUND_KEPT.format(days=sound_days) if sound_days else texts.SOUND_NOT_KEPT
        shop = settings.shop_name or texts.SHOP
        return cls(
            texts.NOTICE.format(kept=kept),
            texts.PRIVACY.format(
                shop=shop,
                away=_name_servers(settings),
                kept=kept,
                sound=sound,
                contact=" ".join(filter(None, (shop, settings.shop_phone))),
            ),
        )


def _name_servers(settings: Settings) -> str:
    """Return what leaves the shop's machine."""
    is_written = bool(settings.model_url or settings.embeddings_url or settings.voice == "server")
    is_spoken = settings.speech in {"server", "google"}
    what = {
        (True, True): texts.SENT_BOTH,
        (True, False): texts.SENT_TEXTS,
        (False, True): texts.SENT_SOUND,
    }.get((is_written, is_spoken))
    return texts.SENT_AWAY.format(what=what) if what else texts.SENT_NOWHERE


class Privacy:
    """Says what is kept, and forgets it."""

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        delivery: Delivery,
        desk: Desk,
        terms: Terms,
    ) -> None:
        self._database = database
        self._outbound = outbound
        self._delivery = delivery
        self._desk = desk
        self._terms = terms

    async def explain(self, run: Run) -> Work[None]:
        """Say what is kept in full; the notice has nothing to add to that."""
        turn = run.turn
        run.turn = replace(turn, told=True)

        def tell(connection: Connection) -> None:
            privacy.tell(connection, turn.customer_id)

        return await self._say(run, self._terms.policy, also=tell)

    async def ask(self, run: Run) -> Work[None]:
        """Ask whether everything is really to be deleted."""
        return await self._say(run, texts.DELETE, keyboards.forget(run.turn.message_id))

    async def choose(self, run: Run, choice: str, message_id: int) -> Work[None]:
        """Take the answer to the question that the command `message_id` led to."""
        turn = run.turn
        is_kept = run.answer.text is not None  # an earlier try got this far
        if not is_kept and not await self._database.insist(
            lambda c: privacy.asked(c, message_id, turn.customer_id, _COMMAND)
        ):
            await self._outbound.acknowledge(turn.callback_id or "", texts.EXPIRED_BUTTON)
            return _note_nothing
        await self._outbound.acknowledge(turn.callback_id or "", "")
        if turn.telegram_message_id is not None:
            await self._outbound.replace_keyboard(turn.chat_id, turn.telegram_message_id, [])
        if choice != "yes":
            return await self._say(run, texts.NOT_DELETED)
        return await self._erase(run, is_kept=is_kept)

    async def _erase(self, run: Run, *, is_kept: bool) -> Work[None]:
        """Forget a customer, tell the shop of what it waits for, and say how much it was."""
        turn = run.turn

        def hold(connection: Connection) -> None:
            privacy.hold(connection, turn.customer_id)

        def erase(connection: Connection) -> SavedAnswer:
            called = estimates.called(connection, turn.customer_id)
            erased = privacy.erase(connection, turn.customer_id, turn.message_id)
            notices = [notice for saved in called for notice in self._desk.withdraw(saved)]
            return SavedAnswer(texts.DELETED.format(**erased._asdict()), more=notices)

        if not is_kept:
            await self._delivery.keep_made(run, erase, way=Way.FIXED, first=hold)
        note_sent = await self._delivery.send(run)

        def end(connection: Connection) -> None:
            note_sent(connection)
            privacy.unlink(connection, turn.message_id)

        return end

    async def _say(
        self,
        run: Run,
        text: str,
        keyboard: Keyboard | None = None,
        also: Work[None] | None = None,
    ) -> Work[None]:
        if run.answer.text is None:
            await self._delivery.keep(
                run, text=text, keyboard=keyboard or [], also=also, way=Way.FIXED
            )
        return await self._delivery.send(run)


def _note_nothing(_: Connection) -> None:
    """Write nothing with a turn's end."""
