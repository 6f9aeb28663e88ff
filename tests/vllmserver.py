"""vLLM's OpenAI server as far as the gate asks it, over transformers: strict in what it takes.

The fields and their defaults are those of vLLM 0.32 (`CompletionRequest`, `ChatCompletionRequest`
in `vllm/entrypoints/openai/`), compared with answers of the real one.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from aiohttp import web
from aiohttp.test_utils import TestServer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CHAT = {"model", "messages", "max_tokens", "temperature", "repetition_penalty", "return_token_ids"}
_COMPLETION = {
    *("model", "prompt", "max_tokens", "temperature", "repetition_penalty", "logprobs"),
    *("add_special_tokens", "return_token_ids", "return_tokens_as_token_ids"),
}


class _RefusalError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class VllmServer:
    """A base under its name, and what else is served over it."""

    tokenizer: PreTrainedTokenizerBase
    base: PreTrainedModel
    adapters: dict[str, PreTrainedModel] = field(default_factory=dict)  # with their layers in
    api_key: str = ""
    context: int = 1024
    says_logprobs: bool = True
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def list_models(self, _: web.Request) -> web.Response:
        """Name the base and the adapters."""
        base: dict[str, Any] = {"id": "base", "owned_by": "vllm", "parent": None}
        cards = [{**base, "max_model_len": self.context}]
        cards += [
            {"id": name, "owned_by": "vllm", "parent": "base", "max_model_len": None}
            for name in self.adapters
        ]
        return web.json_response({"object": "list", "data": cards})

    async def chat(self, request: web.Request) -> web.Response:
        """Render a chat and answer by one token."""
        body = await _read(request, _CHAT)
        model = self._model(body["model"])
        text = self.tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        self._generate(model, ids, body)
        answer: dict[str, Any] = {
            "system_fingerprint": "vllm-0.32.0-0",
            "choices": [],
            "prompt_token_ids": None,
        }
        if body.get("return_token_ids"):
            answer["prompt_token_ids"] = ids
        return web.json_response(answer)

    async def complete(self, request: web.Request) -> web.Response:
        """Complete a text or tokens."""
        body = await _read(request, _COMPLETION)
        model = self._model(body["model"])
        ids = body["prompt"]
        if isinstance(ids, str):
            special = body.get("add_special_tokens", True)
            ids = self.tokenizer(ids, add_special_tokens=special)["input_ids"]
        tokens, rows = self._generate(model, ids, body)
        choice: dict[str, Any] = {"token_ids": None, "prompt_token_ids": None, "logprobs": None}
        if body.get("return_token_ids"):
            choice |= {"token_ids": tokens, "prompt_token_ids": ids}
        if body.get("logprobs") is not None and self.says_logprobs:
            choice["logprobs"] = {"top_logprobs": [self._show(row, body) for row in rows]}
        return web.json_response({"choices": [choice]})

    def _model(self, name: str) -> PreTrainedModel:
        self.asked.append(name)
        if name == "base":
            return self.base
        if name not in self.adapters:
            raise _RefusalError(404, f"The model `{name}` does not exist.")
        return self.adapters[name]

    def _generate(
        self, model: PreTrainedModel, ids: list[int], body: dict[str, Any]
    ) -> tuple[list[int], list[torch.Tensor]]:
        if body.get("temperature") != 0:
            raise _RefusalError(400, "only greedy here")
        if max(ids) >= len(self.tokenizer):
            raise _RefusalError(400, f"Token id {max(ids)} is out of vocabulary")
        if len(ids) + body["max_tokens"] > self.context:
            raise _RefusalError(400, "This model's maximum context length is exceeded")
        generate: Any = model.generate
        with torch.inference_mode():
            made = generate(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids)),
                do_sample=False,
                max_new_tokens=body["max_tokens"],
                return_dict_in_generate=True,
                output_logits=True,
            )
        rows = [torch.log_softmax(each[0].float(), dim=-1) for each in made.logits]
        return made.sequences[0, len(ids) :].tolist(), rows

    def _show(self, row: torch.Tensor, body: dict[str, Any]) -> dict[str, float]:
        values, tokens = row.topk(body["logprobs"])
        pairs = zip(tokens.tolist(), values.tolist(), strict=True)
        if body.get("return_tokens_as_token_ids"):
            return {f"token_id:{token}": value for token, value in pairs}
        return {str(self.tokenizer.decode([token])): value for token, value in pairs}

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except _RefusalError as refusal:
            error = {"error": {"message": str(refusal), "code": refusal.status}}
            return web.json_response(error, status=refusal.status)
        return answer

    async def _listen(self, ready: threading.Event, end: asyncio.Event) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.complete)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/v1"))
            ready.set()
            await end.wait()

    @contextmanager
    def serve(self) -> Iterator["VllmServer"]:
        """Listen on a free port, in a thread: the command under test is no coroutine."""
        loop, ready, end = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=[self._listen(ready, end)])
        thread.start()
        try:
            assert ready.wait(10)
            yield self
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join(10)
            loop.close()


async def _read(request: web.Request, known: set[str]) -> dict[str, Any]:
    body: dict[str, Any] = await request.json()
    if unknown := set(body) - known:
        raise _RefusalError(400, f"unknown fields: {unknown}")
    return body
