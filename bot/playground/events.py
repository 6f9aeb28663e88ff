"""Who is watching a chat: one queue of ready-made server-sent events for each open stream."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A stream this far behind has a reader that is gone or stuck; it is ended and may connect again.
MAX_BEHIND = 10_000

Queue = asyncio.Queue[bytes | None]


def encode(event: str, data: object) -> bytes:
    """Return one server-sent event."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


class Hub:
    """Hands the events of a chat to its watchers; `None` in a queue ends the stream."""

    def __init__(self) -> None:
        self._queues: defaultdict[int, set[Queue]] = defaultdict(set)
        self._closed = False

    @contextmanager
    def watch(self, chat_id: int) -> Iterator[Queue]:
        """Give a queue that receives the chat's events for as long as the block runs."""
        queue: Queue = asyncio.Queue()
        if self._closed:
            queue.put_nowait(None)
        self._queues[chat_id].add(queue)
        try:
            yield queue
        finally:
            self._queues[chat_id].discard(queue)
            if not self._queues[chat_id]:
                del self._queues[chat_id]

    def publish(self, chat_id: int, event: str, data: Callable[[], dict[str, Any]]) -> None:
        """Send an event; `data` is called only when somebody watches."""
        if chat_id not in self._queues:
            return
        chunk = encode(event, data())
        for queue in self._queues[chat_id]:
            if queue.qsize() < MAX_BEHIND:
                queue.put_nowait(chunk)
            elif queue.qsize() == MAX_BEHIND:
                queue.put_nowait(None)

    def close(self) -> None:
        """End all streams, now and later."""
        self._closed = True
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(None)
