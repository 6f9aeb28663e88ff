"""How updates reach the bot: long polling or a webhook.

https://core.telegram.org/bots/api#getting-updates
"""

import asyncio
import json
import re
import time
from collections import deque
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
        self._lines: dict[int, deque[tuple[int, str]]] = {}  # by chat: updates to deliver
        self._deliveries: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(1)
        self._last_error: Json = {}
        self._closed = False

    def start(self) -> None:
        """Deliver to the webhook, where one is set, what waits and what comes."""
        if not self._webhook:
            return
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)
        )
        self._slots = asyncio.Semaphore(self._webhook["max_connections"])
        for update_id, body in self._store.pending.items():
            self._enqueue(update_id, body)

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
        update_id, body = self._store.add_update(kind, payload)
        if self._webhook:
            self._enqueue(update_id, body)
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

    async def set_webhook(
        self, url: str, secret: str, max_connections: int, *, drop_pending: bool = False
    ) -> None:
        """Deliver by webhook from now on; an empty URL goes back to polling."""
        webhook = {}
        if url:
            if not _acceptable(url):
                raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
            if not re.fullmatch(r"[\w-]{0,256}", secret, re.ASCII):
                raise bad_request("secret token contains unallowed characters")
            self._end_poll("terminated by setWebhook request")
            webhook = {"url": url, "secret": secret, "max_connections": max_connections}
        if webhook == self._webhook and not drop_pending:
            return  # what is under way to it goes on
        await self._stop_delivery()
        if drop_pending:
            self._store.forget_updates()
        self._last_error = {}
        self._webhook = webhook
        self._store.set_setting("webhook", webhook)
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
        deliveries = list(self._deliveries)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        self._lines.clear()
        if self._session:
            await self._session.close()
            self._session = None

    def _enqueue(self, update_id: int, body: str) -> None:
        """Put an update behind those of its chat; chats are delivered side by side."""
        chat_id = _chat_of(json.loads(body))
        if chat_id in self._lines:
            self._lines[chat_id].append((update_id, body))
            return
        self._lines[chat_id] = deque([(update_id, body)])
        delivery = asyncio.create_task(self._deliver(chat_id))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, chat_id: int) -> None:
        """Deliver a chat's updates, each after the one before it was taken."""
        retry_s = _FIRST_RETRY_S
        line = self._lines[chat_id]
        while line:
            update_id, body = line[0]
            async with self._slots:
                problem = await self._post(body)
            if not problem:
                retry_s = _FIRST_RETRY_S
                line.popleft()
                self._store.forget_update(update_id)
                continue
            now = int(time.time())
            self._last_error = {"last_error_date": now, "last_error_message": problem}
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, _LAST_RETRY_S)
        del self._lines[chat_id]

    async def _post(self, body: str) -> str:
        if self._session is None:
            return "Webhook was removed"
        headers = {"Content-Type": "application/json"}
        if self._webhook["secret"]:
            headers["X-Telegram-Bot-Api-Secret-Token"] = self._webhook["secret"]
        try:
            async with self._session.post(
                self._webhook["url"], data=body, headers=headers, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return ""
                return f"Wrong response from the webhook: {response.status} {response.reason}"
        except TimeoutError:
            return "Read timeout expired"
        except aiohttp.ClientError:
            return "Connection refused"


def _chat_of(update: Json) -> int:
    """Return the chat that an update is about, 0 where it is about none."""
    for payload in update.values():
        if isinstance(payload, dict):
            chat = payload.get("chat") or payload.get("message", {}).get("chat", {})
            return int(chat.get("id", 0))
    return 0


def _acceptable(url: str) -> bool:
    try:
        parsed = urlsplit(url)
    except ValueError:
        return False
    host = parsed.hostname or ""
    # Telegram takes no http at all; here the bot may be on the same machine, without certificate.
    return bool(host) if parsed.scheme == "https" else parsed.scheme == "http" and is_loopback(host)
