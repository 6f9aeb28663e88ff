"""Connections to OpenAI-compatible servers from threads; `inference/client.py` streams chats."""

import httpx


def open_client(url: str, api_key: str, *, timeout_s: float | None = None) -> httpx.Client:
    """Return a pool of connections to a server (`…/v1`) that threads may share."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
