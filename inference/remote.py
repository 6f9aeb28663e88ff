"""Connections to OpenAI-compatible servers from threads; `inference/client.py` streams chats."""

from urllib.parse import urlsplit

import httpx


def without_secrets(url: str) -> str:
    """Return an address without a user's name and password: to be shown and kept."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def open_client(url: str, api_key: str, *, timeout_s: float | None = None) -> httpx.Client:
    """Return a pool of connections to a server (`…/v1`) that threads may share."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
