"""How updates reach the bot: long polling or a webhook.

https://core.telegram.org/bots/api#getting-updates
"""

import asyncio
import re
import time
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp

from bot.playground.errors import bad_request, conflict
from bot.playground.records import Json
from bot.playground.store import Store
from bot.settings import is_loopback

# What a bot gets without naming it; all the others have to be in `allowed_updates`.
_BY_DEFAULT = {"message", "edited_message", "callback_query", "my_chat_member"}
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 30.0


class Updates:
    """The queue between the customers and the bot."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._webhook = store.setting("webhook")
        self._allowed: list[str] = store.setting("allowed_updates").get("names", [])
        self._poll: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._delivery: asyncio.Task[None] | None = None
        self._last_error: Json = {}
        self._closed = False

    def start(self) -> None:
        """Go on with a webhook that was set before a restart."""
        if self._webhook:
            self._delivery = asyncio.create_task(self._deliver())

    async def close(self) -> None:
        """End the open poll and the deliveries."""
        self._closed = True
        if self._poll and not self._poll.done():
            self._poll.set_result(None)
        await self._stop_delivery()

    def allows(self, kind: str) -> bool:
        """Say whether the bot wants this type of update."""
        return kind in (self._allowed or _BY_DEFAULT)

    def allow(self, names: object) -> None:
        """Remember `allowed_updates`; `None` keeps what was set before."""
        if names is None:
            return
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise bad_request("can't parse allowed_updates: array of strings expected")
        if names != self._allowed:
            self._allowed = names
            self._store.set_setting("allowed_updates", {"names": names})

    def put(self, kind: str, payload: Json) -> bool:
        """Queue an update, unless the bot doesn't want its type."""
        if not self.allows(kind):
            return False
        self._store.add_update(kind, payload)
        self._wake.set()
        if self._poll and not self._poll.done():
            self._poll.set_result(None)
        return True

    async def poll(self, offset: int, limit: int, timeout_s: int) -> list[str]:
        """Answer getUpdates; a second call at the same time ends the first."""
        if self._webhook:
            raise conflict(
                "can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first"
            )
        self._end_poll(
            "terminated by other getUpdates request; "
            "make sure that only one bot instance is running"
        )
        pending = self._store.pending
        if offset < 0:
            offset = min(list(pending)[offset:], default=0)
        if offset:
            self._store.forget_updates(before=offset)
        if not pending and timeout_s > 0 and not self._closed:
            self._poll = poll = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                await asyncio.wait_for(poll, timeout_s)
        return list(pending.values())[: limit if 1 <= limit <= 100 else 100]

    def _end_poll(self, description: str) -> None:
        if self._poll and not self._poll.done():
            self._poll.set_exception(conflict(description))
        self._poll = None

    # Webhook

    async def set_webhook(self, url: str, secret: str, max_connections: int) -> None:
        """Deliver by webhook from now on; an empty URL goes back to polling."""
        await self._stop_delivery()
        self._last_error = {}
        self._webhook = {}
        if url:
            if not _acceptable(url):
                raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
            if not re.fullmatch(r"[\w-]{0,256}", secret, re.ASCII):
                raise bad_request("secret token contains unallowed characters")
            self._end_poll("terminated by setWebhook request")
            self._webhook = {"url": url, "secret": secret, "max_connections": max_connections}
        self._store.set_setting("webhook", self._webhook)
        self.start()

    def webhook_info(self) -> Json:
        """Return the Bot API's WebhookInfo."""
        info: Json = {
            "url": self._webhook.get("url", ""),
            "has_custom_certificate": False,
            "pending_update_count": len(self._store.pending),
        }
        if self._webhook:
            info |= {"max_connections": self._webhook["max_connections"]} | self._last_error
        return info | ({"allowed_updates": self._allowed} if self._allowed else {})

    async def _stop_delivery(self) -> None:
        if self._delivery:
            self._delivery.cancel()
            with suppress(asyncio.CancelledError):
                await self._delivery
            self._delivery = None

    async def _deliver(self) -> None:
        retry_s = _FIRST_RETRY_S
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if not self._store.pending:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                update_id, body = next(iter(self._store.pending.items()))
                problem = await self._post(session, body)
                if problem:
                    now = int(time.time())
                    self._last_error = {"last_error_date": now, "last_error_message": problem}
                    await asyncio.sleep(retry_s)
                    retry_s = min(retry_s * 2, _LAST_RETRY_S)
                else:
                    retry_s = _FIRST_RETRY_S
                    self._store.forget_updates(before=update_id + 1)

    async def _post(self, session: aiohttp.ClientSession, body: str) -> str:
        headers = {"Content-Type": "application/json"}
        if self._webhook["secret"]:
            headers["X-Telegram-Bot-Api-Secret-Token"] = self._webhook["secret"]
        try:
            async with session.post(
                self._webhook["url"], data=body, headers=headers, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return ""
                return f"Wrong response from the webhook: {response.status} {response.reason}"
        except TimeoutError:
            return "Read timeout expired"
        except aiohttp.ClientError:
            return "Connection refused"


def _acceptable(url: str) -> bool:
    try:
        parsed = urlsplit(url)
    except ValueError:
        return False
    host = parsed.hostname or ""
    # Telegram takes no http at all; here the bot may be on the same machine, without certificate.
    return bool(host) if parsed.scheme == "https" else parsed.scheme == "http" and is_loopback(host)
