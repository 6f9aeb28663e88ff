"""LoRA adapters on running vLLM servers: which are there, one more, one less.

The servers need `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` and `--enable-lora`. Protocol:
https://docs.vllm.ai/en/latest/features/lora.html#dynamically-serving-lora-adapters
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
from pydantic import BaseModel, ValidationError

from inference.remote import without_secrets

_CONNECT_S, _LOAD_S = 5.0, 120.0  # an adapter is read from a disk, and may be the first of its rank
_MOST_SAID = 200  # letters of what a server says


class AdapterError(Exception):
    """What a server could not do, in one Korean sentence."""


class Served(NamedTuple):
    """A model that a server answers by; `path` is an adapter's, None where it is a base model."""

    name: str
    path: str | None


class _Card(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None  # of an adapter: its base


class _Cards(BaseModel):
    data: list[_Card]


class Server:
    """One vLLM server. Every method raises `AdapterError`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self.name = without_secrets(url)

    async def served(self) -> list[Served]:
        """Return what the server answers by."""
        answer = await self._ask("GET", "models")
        try:
            cards = _Cards.model_validate_json(answer.content).data
        except ValidationError as error:
            msg = f"OpenAI 호환 서버가 아니에요 (/models의 답을 읽을 수 없음): {self.name}"
            raise AdapterError(msg) from error
        return [Served(card.id, card.root if card.parent else None) for card in cards]

    async def load(self, name: str, path: str) -> bool:
        """Load an adapter from a path of the server's own, and see that it answers.

        Returns False where it was there already.
        """
        found = {each.name: each.path for each in await self.served()}
        if name in found:
            if found[name] != path:
                msg = f"{self.name}에 이름이 같은 다른 것({found[name] or '바탕 모델'})이 있어요."
                raise AdapterError(msg)
            return False
        await self._ask("POST", "load_lora_adapter", {"lora_name": name, "lora_path": path})
        try:
            await self._try(name)
        except AdapterError:
            await self.unload(name)
            raise
        return True

    async def unload(self, name: str) -> None:
        """Take an adapter out; what it is writing goes on."""
        await self._ask("POST", "unload_lora_adapter", {"lora_name": name})

    async def _try(self, name: str) -> None:
        """Ask for one token: a server may take an adapter that it cannot use."""
        body = {"model": name, "messages": [{"role": "user", "content": "안녕하세요"}]}
        await self._ask("POST", "chat/completions", {**body, "max_tokens": 1})

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            msg = f"서버에 닿지 못해요: {self.name} ({type(error).__name__})"
            raise AdapterError(msg) from error
        if answer.status_code in {401, 403}:
            msg = f"서버가 MODEL_API_KEY를 받지 않아요: {self.name}"
            raise AdapterError(msg)
        if answer.status_code == 404 and _read_error(answer) is None:
            msg = (
                f"{self.name}에 /{path}가 없어요. vLLM을 --enable-lora와"
                " VLLM_ALLOW_RUNTIME_LORA_UPDATING=True로 켜 주세요."
            )
            raise AdapterError(msg)
        if not answer.is_success:
            said = _read_error(answer) or f"상태 {answer.status_code}"
            msg = f"서버가 거절했어요: {self.name} ({said})"
            raise AdapterError(msg)
        return answer


def _read_error(answer: httpx.Response) -> str | None:
    """Return what a server says in OpenAI's form, in one short line; None in any other form."""
    try:
        said = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return " ".join(str(said).split())[:_MOST_SAID]


@asynccontextmanager
async def open_servers(urls: Sequence[str], api_key: str) -> AsyncIterator[list[Server]]:
    """Yield a server for each address (`…/v1`)."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = httpx.Timeout(_LOAD_S, connect=_CONNECT_S)
    clients = [httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout) for url in urls]
    try:
        yield [Server(client, url) for client, url in zip(clients, urls, strict=True)]
    finally:
        for client in clients:
            await client.aclose()


async def load_everywhere(servers: Sequence[Server], name: str, path: str) -> None:
    """Load an adapter into every server, or into none. Raises `AdapterError`."""
    results = await asyncio.gather(
        *(server.load(name, path) for server in servers), return_exceptions=True
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    if not failures:
        return
    loaded = [
        server.unload(name)
        for server, is_new in zip(servers, results, strict=True)
        if is_new is True
    ]
    await asyncio.gather(*loaded, return_exceptions=True)
    raise failures[0]


async def unload_everywhere(servers: Sequence[Server], name: str) -> None:
    """Take an adapter out of every server that has it. Raises `AdapterError` after all."""

    async def unload(server: Server) -> None:
        if any(each.name == name for each in await server.served()):
            await server.unload(name)

    results = await asyncio.gather(*map(unload, servers), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
