"""What the gate looks at: a server of vLLM's or llama.cpp's, or a merged model in its folder."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from inference.client import ChatMessage
from inference.remote import open_client, without_secrets
from training.agreement import Precision, Step
from training.errors import TrainingError, TrainingInputError
from training.probes import ANSWER_TOKENS
from training.served import complete_url, list_models

TOP = 5  # log-probabilities a step: that of the chosen token alone hardly moves where it is sure
_TIMEOUT_S = 600.0
_Answer = TypeVar("_Answer", bound=BaseModel)


class RefusedError(TrainingError):
    """A server does not take what it was asked: too long for it, no such role."""


class Subject(Protocol):
    """Something that renders chats, tokenizes texts and answers greedily, as it is served."""

    shown: str  # without secrets
    model: str
    versions: dict[str, str]
    precision: Precision
    context: int  # tokens of prompt and answer together
    adapted: bool  # it answers with an adapter over a base that it answers with too

    def chat_ids(self, chat: Sequence[ChatMessage]) -> list[int]:
        """Return the tokens it makes of a chat. Raises `TrainingError`, `RefusedError`."""

    def text_ids(self, text: str) -> list[int]:
        """Return the tokens it makes of a chat that is written out already. Raises the same."""

    def answer(self, prompt: Sequence[int], *, adapter: bool) -> list[Step]:
        """Answer a prompt's tokens greedily, `ANSWER_TOKENS` at most."""

    def close(self) -> None:
        """Free what it holds."""


class _Card(BaseModel):
    """What a server says of a model."""

    class Meta(BaseModel):
        n_ctx: int
        ftype: str

    id: str
    owned_by: str = ""
    parent: str | None = None  # vLLM: the base of an adapter
    max_model_len: int | None = None  # vLLM: of a base
    meta: Meta | None = None  # llama.cpp


def open_server(
    url: str, *, model: str | None, key: str | None, precision: Precision | None
) -> "VllmServer | LlamaServer":
    """Open a server by what it says it is. Raises `TrainingInputError`, `TrainingError`."""
    url = complete_url(url)
    try:
        cards = [_Card.model_validate(each) for each in list_models(url, key or "")]
    except ValidationError as error:
        msg = f"서버의 답을 읽을 수 없어요 (/models): {without_secrets(url)}"
        raise TrainingError(msg) from error
    chosen = _choose(cards, model)
    context = next((card.max_model_len for card in cards if card.max_model_len), None)
    if chosen.owned_by == "vllm" and context:
        return VllmServer(url, chosen.id, chosen.parent, context, key or "", precision)
    if chosen.owned_by == "llamacpp" and chosen.meta:
        exact = chosen.meta.ftype.removeprefix("all ") in {"BF16", "F16", "F32"}
        said: Precision = "bf16" if exact else "quantised"
        return LlamaServer(url, chosen.id, chosen.meta.n_ctx, key or "", precision or said)
    msg = f"vLLM이나 llama.cpp의 서버가 아니라 견줄 수 없어요: {without_secrets(url)}"
    raise TrainingInputError(msg)


def _choose(cards: Sequence[_Card], name: str | None) -> _Card:
    """Return the model of that name; of none the one adapter, or the one model."""
    adapters = [card for card in cards if card.parent]
    wanted = [card for card in cards if card.id == name] if name else adapters or cards
    if len(wanted) != 1:
        names = ", ".join(card.id for card in cards)
        msg = f"서버의 모델을 하나 골라 주세요 (--model): {names}"
        raise TrainingInputError(msg)
    return wanted[0]


class _Completed(BaseModel):
    class Choice(BaseModel):
        class Logprobs(BaseModel):
            top_logprobs: list[dict[str, float] | None]

        token_ids: list[int]
        prompt_token_ids: list[int]
        logprobs: Logprobs | None = None

    choices: list[Choice]


class _Chatted(BaseModel):
    prompt_token_ids: list[int]
    system_fingerprint: str | None = None


class VllmServer:
    """vLLM over its OpenAI API alone, so that a proxy may keep the rest of it closed.

    https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    """

    def __init__(
        self,
        url: str,
        model: str,
        base: str | None,
        context: int,
        key: str,
        precision: Precision | None,
    ) -> None:
        self.shown = without_secrets(url)
        self.model = model
        self.versions: dict[str, str] = {}
        self.precision: Precision = precision or "bf16"  # it does not say
        self.context = context
        self.adapted = base is not None
        self._base = base
        self._http = _Http(url, key)

    def chat_ids(self, chat: Sequence[ChatMessage]) -> list[int]:
        """Ask the very endpoint that the bot asks."""
        body = {"model": self.model, "messages": list(chat), "return_token_ids": True}
        answered = self._http.post(
            "chat/completions", {**body, **_GREEDY, "max_tokens": 1}, _Chatted
        )
        if answered.system_fingerprint:
            self.versions["server"] = answered.system_fingerprint
        return answered.prompt_token_ids

    def text_ids(self, text: str) -> list[int]:
        """Complete the text by a token."""
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        return self._complete({**body, "max_tokens": 1}).prompt_token_ids

    def answer(self, prompt: Sequence[int], *, adapter: bool) -> list[Step]:
        """Complete the tokens under the name of the adapter, or of its base."""
        choice = self._complete(
            {
                "model": self.model if adapter else self._base,
                "prompt": list(prompt),
                "max_tokens": ANSWER_TOKENS,
                "logprobs": TOP,
                "return_tokens_as_token_ids": True,
            }
        )
        tops = chain(choice.logprobs.top_logprobs if choice.logprobs else [], repeat(None))
        return [
            Step(token, {int(name.removeprefix("token_id:")): p for name, p in (top or {}).items()})
            for token, top in zip(choice.token_ids, tops, strict=False)
        ]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _complete(self, body: dict[str, Any]) -> _Completed.Choice:
        whole = {**body, **_GREEDY, "return_token_ids": True}
        return self._http.post("completions", whole, _Completed).choices[0]


# A model's own `generation_config` may sample, or punish what repeats.
_GREEDY = {"temperature": 0, "repetition_penalty": 1.0}


class _Rendered(BaseModel):
    prompt: str


class _Tokens(BaseModel):
    tokens: list[int]


class _Stepped(BaseModel):
    class Probability(BaseModel):
        class Top(BaseModel):
            id: int
            logprob: float

        top_logprobs: list[Top]

    tokens: list[int]
    stop_type: str
    completion_probabilities: list[Probability] = []


class LlamaServer:
    """llama.cpp's server. https://github.com/ggml-org/llama.cpp/tree/master/tools/server"""

    def __init__(self, url: str, model: str, context: int, key: str, precision: Precision) -> None:
        self.shown = without_secrets(url)
        self.model = model
        self.versions = {"server": "llama.cpp"}
        self.precision: Precision = precision
        self.context = context
        self._http = _Http(url.removesuffix("/v1"), key)
        self._adapters = [each["id"] for each in self._http.get("lora-adapters")]
        self.adapted = bool(self._adapters)

    def chat_ids(self, chat: Sequence[ChatMessage]) -> list[int]:
        """Render and tokenize as its chat endpoint does, which adds special tokens itself."""
        text = self._http.post("apply-template", {"messages": list(chat)}, _Rendered).prompt
        return self._tokenize(text, add_special=True)

    def text_ids(self, text: str) -> list[int]:
        """Tokenize what names its special tokens itself."""
        return self._tokenize(text, add_special=False)

    def answer(self, prompt: Sequence[int], *, adapter: bool) -> list[Step]:
        """Answer by one token a request.

        Of a token that speculation has guessed, and of the bytes of one character together, it
        says no probabilities of their own. Within an answer its cache keeps the prompt; at first
        it is told to read it, since what it keeps it takes for another adapter's scale too.
        """
        body: dict[str, Any] = {"n_predict": 1, "n_probs": TOP, "return_tokens": True}
        body |= {"temperature": 0, "repeat_penalty": 1.0, "id_slot": 0}
        if not adapter:
            body["lora"] = [{"id": each, "scale": 0.0} for each in self._adapters]
        steps: list[Step] = []
        while len(steps) < ANSWER_TOKENS:
            ids = [*prompt, *(step.token for step in steps)]
            asked = {**body, "prompt": ids, "cache_prompt": bool(steps)}
            got = self._http.post("completion", asked, _Stepped)
            said = got.completion_probabilities
            top = {each.id: each.logprob for each in said[0].top_logprobs} if said else {}
            steps += [Step(token, top) for token in got.tokens]
            if got.stop_type == "eos":
                break
        return steps

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _tokenize(self, text: str, *, add_special: bool) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": True}
        return self._http.post("tokenize", body, _Tokens).tokens


class _Http:
    """Requests whose failures are one Korean sentence."""

    def __init__(self, url: str, key: str) -> None:
        self._shown = without_secrets(url)
        self._client = open_client(url, key, timeout_s=_TIMEOUT_S)

    def get(self, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        try:
            return self._send("GET", path).json()
        except ValueError as error:
            raise self._unreadable(path) from error

    def post(self, path: str, body: dict[str, Any], form: type[_Answer]) -> _Answer:
        answered = self._send("POST", path, json=body)
        try:
            return form.model_validate_json(answered.content)
        except ValidationError as error:
            raise self._unreadable(path) from error

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, **body: Any) -> httpx.Response:  # noqa: ANN401
        try:
            answered = self._client.request(method, path, **body)
        except httpx.HTTPError as error:
            msg = f"서버가 답하지 않아요: {self._shown} ({type(error).__name__}, /{path})"
            raise TrainingError(msg) from error
        if answered.status_code in {401, 403}:
            msg = f"서버가 이 API 키를 받지 않아요: {self._shown}"
            raise TrainingInputError(msg)
        if answered.status_code != 200:
            said = " ".join(answered.text.split())[:200]
            msg = f"서버가 거절했어요 ({answered.status_code}, /{path}): {said}"
            raise RefusedError(msg) if answered.status_code == 400 else TrainingError(msg)
        return answered

    def _unreadable(self, path: str) -> TrainingError:
        return TrainingError(f"서버의 답을 읽을 수 없어요 (/{path}): {self._shown}")
