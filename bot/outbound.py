"""The only sender to Telegram: streaming, pacing, retrying; and what fetches from it.

Cosmetic calls (typing, growing text) may be dropped; a final message is retried until it is
delivered or Telegram refuses it for good.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, cast

import structlog
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, Message, MessageEntity
from telegram.constants import ChatAction
from telegram.error import BadRequest, Forbidden, NetworkError, RetryAfter, TelegramError

from bot import metrics, texts
from bot.formatting import Formatted, clip
from bot.pacing import Pacing

log = structlog.get_logger()

T = TypeVar("T")
Keyboard = list[list[dict[str, str]]]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between two tries, doubled at each
_COSMETIC_GAP_S = 0.4  # between two growing texts, at the least
_COSMETIC_LIMIT_S = 5.0  # a growing text is not worth a longer wait
_FETCH_PAUSES_S = (0.5, 2.0, 6.0)
_TOO_BIG = "file is too big"  # in Telegram's words
_TYPING_AFTER_S = 0.3  # a faster answer needs no "typing"
_TYPING_EVERY_S = 4.5  # Telegram shows "typing" for five seconds
_DRAFT_EVERY_S = 20.0  # a draft vanishes 30 seconds after its last change
STOP_DATA, RATING_DATA = "stop", "rate:"  # what buttons carry that pass the queue

_RESULTS = {RetryAfter: "flood_control", BadRequest: "refused", Forbidden: "unreachable"}


def _markup(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    rows = [[InlineKeyboardButton(b["text"], callback_data=b["data"]) for b in r] for r in keyboard]
    return InlineKeyboardMarkup(rows) if rows else None


class Outbound:
    """Sends for one bot."""

    def __init__(self, bot: Bot, pacing: Pacing | None = None) -> None:
        self._bot = bot
        self._pacing = pacing or Pacing()

    async def send(self, chat_id: int, part: Formatted, keyboard: Keyboard) -> int:
        """Send one message of at most 4,096 characters and return its id."""

        def call(entities: list[MessageEntity]) -> Awaitable[Message]:
            return self._bot.send_message(
                chat_id, part.text, entities=entities or None, reply_markup=_markup(keyboard)
            )

        return (await self._deliver_formatted(chat_id, part, call)).message_id

    async def edit(
        self, chat_id: int, message_id: int, part: Formatted, keyboard: Keyboard
    ) -> None:
        """Make a sent message say `part`; saying so already is no error."""

        def call(entities: list[MessageEntity]) -> Awaitable[Message | bool]:
            return self._bot.edit_message_text(
                part.text,
                chat_id,
                message_id,
                entities=entities or None,
                reply_markup=_markup(keyboard),
            )

        try:
            await self._deliver_formatted(chat_id, part, call)
        except BadRequest as error:
            if "not modified" not in error.message.lower():
                raise

    async def _deliver_formatted(
        self, chat_id: int, part: Formatted, call: Callable[[list[MessageEntity]], Awaitable[T]]
    ) -> T:
        """Deliver a text with its formatting, or plain where Telegram does not take that."""
        entities = part.entities()
        try:
            return await self._deliver(chat_id, lambda: call(entities))
        except BadRequest as error:
            if not entities or "entit" not in error.message.lower():
                raise
            log.warning("formatting_refused")
        return await self._deliver(chat_id, lambda: call([]))

    async def send_photo(
        self, chat_id: int, content: bytes, caption: str, keyboard: Keyboard
    ) -> int:
        """Send a picture and return its message's id."""
        message = await self._deliver(
            chat_id,
            lambda: self._bot.send_photo(
                chat_id, content, caption or None, reply_markup=_markup(keyboard)
            ),
        )
        return message.message_id

    async def send_document(
        self, chat_id: int, content: bytes, name: str, keyboard: Keyboard
    ) -> int:
        """Send a file and return its message's id."""
        message = await self._deliver(
            chat_id,
            lambda: self._bot.send_document(
                chat_id, content, filename=name, reply_markup=_markup(keyboard)
            ),
        )
        return message.message_id

    async def send_voice(self, chat_id: int, content: bytes) -> int:
        """Send a voice note and return its message's id."""
        message = await self._deliver(
            chat_id, lambda: self._bot.send_voice(chat_id, content, filename="voice.ogg")
        )
        return message.message_id

    async def fetch(self, file_id: str, most_bytes: int) -> bytes:
        """Return the bytes of a file that a customer sent, which may be tried a few times.

        Raises `TelegramError`.

        https://core.telegram.org/bots/api#getfile
        """
        pauses = iter(_FETCH_PAUSES_S)
        while True:
            try:
                file = await self._bot.get_file(file_id)
                if file.file_size is not None and file.file_size > most_bytes:
                    raise BadRequest(_TOO_BIG)
                return bytes(await file.download_as_bytearray())
            except BadRequest:
                raise
            except (NetworkError, RetryAfter) as error:
                pause = next(pauses, None)
                if pause is None:
                    raise
                log.warning("fetch_failed", error=type(error).__name__, retry_in_s=pause)
                await asyncio.sleep(pause)

    async def edit_keyboard(self, chat_id: int, message_id: int, keyboard: Keyboard) -> None:
        """Change the buttons of a sent message, for sure; one that is gone has none to change."""
        try:
            await self._deliver(
                chat_id,
                lambda: self._bot.edit_message_reply_markup(
                    chat_id, message_id, reply_markup=_markup(keyboard)
                ),
            )
        except BadRequest as error:
            log.info("buttons_not_changed", error=error.message)

    async def replace_keyboard(self, chat_id: int, message_id: int, keyboard: Keyboard) -> None:
        """Change the buttons of a sent message if there is room for the call."""
        await self.cosmetic(
            chat_id,
            lambda: self._bot.edit_message_reply_markup(
                chat_id, message_id, reply_markup=_markup(keyboard)
            ),
        )

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Answer a pressed button; one that waited too long is past answering."""
        with suppress(TelegramError):
            await self._bot.answer_callback_query(callback_id, text or None)

    def stream(
        self,
        chat_id: int,
        draft_id: int | None,
        message_id: int | None,
        on_message: Callable[[int], Awaitable[None]],
    ) -> "AnswerStream":
        """Return a stream that shows an answer while it grows.

        Without a `draft_id`, and in groups, it grows as a message. `message_id` is one that an
        earlier try left behind, to be edited; `on_message` is told the id of a new one before
        anything else happens to it.
        """
        drafts = chat_id > 0 and message_id is None
        return AnswerStream(self, chat_id, draft_id if drafts else None, message_id, on_message)

    async def _deliver(self, chat_id: int, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it is done, however long. Raises what Telegram refuses for good.

        Where the answer to a call is lost, the call is made again: rather twice than never.
        """
        pause = _FIRST_PAUSE_S
        await self._wait_for_room(chat_id)
        self._pacing.take(chat_id, _now())
        while True:
            try:
                return await self._count(call)
            except RetryAfter as error:
                self._penalize(chat_id, error)
                await self._wait_for_room(chat_id)
            except BadRequest:  # a kind of NetworkError to python-telegram-bot, but final
                raise
            except NetworkError as error:
                log.warning("telegram_call_failed", error=type(error).__name__, retry_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _count(self, call: Callable[[], Awaitable[T]]) -> T:
        result = "ok"
        try:
            return await call()
        except TelegramError as error:
            result = _RESULTS.get(type(error), "failed")
            raise
        finally:
            metrics.TELEGRAM_CALLS.labels(result).inc()

    async def _wait_for_room(self, chat_id: int) -> None:
        wait = self._pacing.wait(chat_id, _now())
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._pacing.wait(chat_id, _now())

    def _penalize(self, chat_id: int, error: RetryAfter) -> None:
        seconds = cast(timedelta, error.retry_after).total_seconds()
        self._pacing.penalize(chat_id, seconds, _now())

    def admits(self, chat_id: int) -> bool:
        """Return whether the chat has room for a cosmetic call now."""
        return self._pacing.admits(chat_id, _now())

    async def cosmetic(self, chat_id: int, call: Callable[[], Awaitable[T]]) -> T | None:
        """Call once if there is room; None where it was dropped or did not work."""
        with suppress(TelegramError):
            return await self._try(chat_id, call)
        return None

    async def _try(self, chat_id: int, call: Callable[[], Awaitable[T]]) -> T | None:
        if not self.admits(chat_id):
            return None
        self._pacing.take(chat_id, _now())
        try:
            return await self._count(call)
        except RetryAfter as error:
            self._penalize(chat_id, error)
            return None

    async def type(self, chat_id: int) -> None:
        """Show that an answer is being written."""
        await self.cosmetic(
            chat_id,
            lambda: self._bot.send_chat_action(
                chat_id, ChatAction.TYPING, read_timeout=_COSMETIC_LIMIT_S
            ),
        )

    async def draft(self, chat_id: int, draft_id: int, text: str) -> bool:
        """Show a growing text as a draft; False where this chat refuses drafts.

        https://core.telegram.org/bots/api#sendmessagedraft, with the Stop button of API 10.3
        """
        try:
            await self._try(
                chat_id,
                lambda: self._bot.send_message_draft(
                    chat_id,
                    draft_id,
                    clip(text),
                    api_kwargs={"can_stop": True},
                    read_timeout=_COSMETIC_LIMIT_S,
                ),
            )
        except TelegramError as error:
            # Compared in one case: python-telegram-bot changes that of Telegram's words.
            return "peer_invalid" not in error.message.lower()
        return True

    async def show(self, chat_id: int, message_id: int | None, text: str) -> int | None:
        """Show a growing text as a message, new or edited, and return its id."""
        keyboard = _markup([[{"text": texts.BUTTON_STOP, "data": STOP_DATA}]])
        if message_id is not None:
            await self.cosmetic(
                chat_id,
                lambda: self._bot.edit_message_text(
                    clip(text),
                    chat_id,
                    message_id,
                    reply_markup=keyboard,
                    read_timeout=_COSMETIC_LIMIT_S,
                ),
            )
            return message_id
        message = await self.cosmetic(
            chat_id, lambda: self._bot.send_message(chat_id, clip(text), reply_markup=keyboard)
        )
        return message.message_id if message else None


class AnswerStream:
    """Shows one answer while it grows: a draft in a private chat, an edited message elsewhere.

    Entered, it sends on its own, at most one call at a time; left, nothing more of it is sent.
    """

    def __init__(
        self,
        outbound: Outbound,
        chat_id: int,
        draft_id: int | None,
        message_id: int | None,
        on_message: Callable[[int], Awaitable[None]],
    ) -> None:
        self._outbound = outbound
        self._chat_id = chat_id
        self._draft_id = draft_id
        self._message_id = message_id
        self._on_message = on_message
        self.text = ""
        self.drafts_refused = False
        self._shown = ""
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    def grow(self, text: str) -> None:
        """Set the whole text so far; what is not sent yet is replaced."""
        self.text = text
        self._changed.set()

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._changed.set()
        if self._sender:
            # Not cancelled: a draft under way could arrive after the final message.
            await self._sender

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        patience, shown_at = _TYPING_AFTER_S, loop.time()
        while not self._closed.is_set():
            await _wait(self._changed, patience)
            self._changed.clear()
            patience = _TYPING_EVERY_S
            stale = self._draft_id and self._shown and loop.time() - shown_at > _DRAFT_EVERY_S
            if self.text != self._shown or stale:
                # Once closed, only an answer that came too fast to be seen growing is shown.
                if self._closed.is_set() and (self._shown or self._draft_id is None):
                    return
                if self._outbound.admits(self._chat_id):
                    await self._show(self.text)
                    shown_at = loop.time()
                else:
                    self._changed.set()  # the newest text is shown once there is room
                await _wait(self._closed, _COSMETIC_GAP_S)
            elif not self._shown and not self._closed.is_set():
                await self._outbound.type(self._chat_id)

    async def _show(self, text: str) -> None:
        self._shown = text
        if self._draft_id is not None:
            if await self._outbound.draft(self._chat_id, self._draft_id, text):
                return
            self._draft_id, self.drafts_refused = None, True
        before = self._message_id
        self._message_id = await self._outbound.show(self._chat_id, before, text)
        if self._message_id is None:
            self._closed.set()  # it may stand there all the same: a second try could double it
        elif before is None:
            await self._on_message(self._message_id)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
