"""A server as a system that answers: whatever speaks the OpenAI chat protocol."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from inference import prompts
from inference.client import ModelClient, ModelError, TimeLimits
from inference.remote import open_client, without_secrets
from training.errors import TrainingError, TrainingInputError
from training.examples import Example
from training.progress import Advance

_CONNECT_S = 10.0
# A server that answers several at once may keep each of them waiting for the others.
_LIMITS = TimeLimits(connect=_CONNECT_S, first_token=300, total=600)


class ServedSystem:
    """Asks a server, several questions at a time, as the bot does where it has found nothing."""

    batch_size = 4

    def __init__(self, url: str, *, model: str | None, key: str | None) -> None:
        self._url = complete_url(url)
        self._key = key or ""
        self._model = model or self._find_model()
        self.name = f"{without_secrets(self._url)} ({self._model})"
        self.fingerprint = hashlib.sha256(f"{self._url} {self._model}".encode()).hexdigest()

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """Ask the examples side by side."""
        try:
            return asyncio.run(self._answer(examples))
        except ModelError as error:
            msg = f"서버가 답하지 못했어요: {self.name} ({error}). 다시 실행하면 이어서 물어요."
            raise TrainingError(msg) from error

    def measure_loss(self, examples: Sequence[Example], advance: Advance) -> None:
        """Return None: the protocol gives no probabilities of an answer that is not its own."""
        advance(len(examples))

    async def _answer(self, examples: Sequence[Example]) -> list[str]:
        async with ModelClient(self._url, self._model, api_key=self._key, limits=_LIMITS) as client:
            return await asyncio.gather(*(_ask(client, example) for example in examples))

    def _find_model(self) -> str:
        """Return the name of the server's one model."""
        names = [str(model["id"]) for model in list_models(self._url, self._key)]
        if len(names) != 1:
            msg = f"모델을 하나 골라 주세요 (--model): {', '.join(names) or '서버에 모델이 없어요'}"
            raise TrainingInputError(msg)
        return names[0]


def list_models(url: str, key: str) -> list[dict[str, Any]]:
    """Return what a server (`…/v1`) says of its models, each with its `id`.

    Raises `TrainingInputError` where it does not take the key, `TrainingError`.
    """
    shown = without_secrets(url)
    try:
        with open_client(url, key, timeout_s=_CONNECT_S) as client:
            answer = client.get("models")
        if answer.status_code in {401, 403}:
            msg = f"서버가 이 API 키를 받지 않아요: {shown}"
            raise TrainingInputError(msg)
        answer.raise_for_status()
        return [{**each, "id": str(each["id"])} for each in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        msg = f"서버에 닿지 못해요: {shown} ({type(error).__name__})"
        raise TrainingError(msg) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"OpenAI 호환 서버가 아니에요 (/models의 답을 읽을 수 없음): {shown}"
        raise TrainingError(msg) from error


async def _ask(client: ModelClient, example: Example) -> str:
    chat = prompts.as_consultation(example.messages, example.facts)[:-1]
    parts = [
        part
        async for part in client.stream(chat, max_tokens=prompts.MAX_ANSWER_TOKENS)
        if isinstance(part, str)
    ]
    return "".join(parts).strip()


def complete_url(url: str) -> str:
    """Return the base of the API, `…/v1`, where only the server is named.

    Raises `TrainingInputError`.
    """
    url = url.rstrip("/")
    try:
        return url if urlsplit(url).path else f"{url}/v1"
    except ValueError as error:  # it may hold a password: it is not shown
        msg = "서버의 주소를 읽을 수 없어요. http://서버:8000/v1처럼 적어 주세요."
        raise TrainingInputError(msg) from error
