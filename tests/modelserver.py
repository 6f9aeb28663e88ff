"""A model server under a test's control: the OpenAI chat protocol, with words at fixed times."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

MODEL = "test-model"


@dataclass
class ModelServer:
    """What it says and how; what it was asked and what became of the requests."""

    reply: Callable[[str], str] = lambda _question: "모르겠습니다."
    first_s: float = 0.0  # pause before the first piece
    token_s: float = 0.0  # pause before each piece
    status: int = 200  # another status is answered at once
    break_after: int | None = None  # pieces after which the connection is dropped
    error_after: int | None = None  # pieces after which an error stands in the stream
    hang: bool = False  # takes the request and says nothing
    api_key: str = ""
    adapters: dict[str, str] = field(default_factory=dict)  # names and paths, as vLLM has them
    adapter_status: int = 200  # to a request for an adapter
    refuses_adapters: bool = False  # as without VLLM_ALLOW_RUNTIME_LORA_UPDATING
    keep_requests: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    finished: int = 0
    cancelled: int = 0
    url: str = ""

    async def wait_until_asked(self, times: int) -> None:
        """Wait until that many requests have come."""
        await self._wait(lambda: len(self.requests) >= times)

    async def wait_until_cancelled(self, times: int) -> None:
        """Wait until that many clients have hung up on an answer."""
        await self._wait(lambda: self.cancelled >= times)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.01)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat request word by word."""
        body = await request.json()
        if self.keep_requests:
            self.requests.append(body)
        if body["model"] not in {MODEL, *self.adapters}:
            return _refuse(404, f"The model `{body['model']}` does not exist.")
        if body["model"] != MODEL and self.adapter_status != 200:
            return _refuse(self.adapter_status, "as ordered")
        if not body.get("stream"):
            if body["max_tokens"] != 1:  # whoever looks whether it works
                return _refuse(400, "bad request")
            return web.json_response({"choices": [{"message": {"content": "네"}}]})
        if self.status != 200:
            return web.json_response({"error": {"message": "as ordered"}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(request, response, body["model"], self.reply(_question(body)))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except ConnectionResetError:  # seen while writing: the same, said by another error
            self.cancelled += 1
            return response
        self.finished += 1
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, model: str, text: str
    ) -> None:
        if self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(self.first_s)
        words = text.split(" ")
        pieces = [word + " " for word in words[:-1]] + words[-1:]
        for number, piece in enumerate(pieces):
            if number == self.break_after:
                if request.transport:
                    request.transport.abort()
                return
            if number == self.error_after:
                await _event(response, {"error": {"message": "as ordered"}})
                return
            await asyncio.sleep(self.token_s)
            await _event(response, {"model": model, "choices": [{"delta": {"content": piece}}]})
        usage = {"prompt_tokens": 7, "completion_tokens": len(pieces)}
        await _event(response, {"model": model, "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")

    async def list_models(self, request: web.Request) -> web.Response:
        """Name the model and its adapters."""
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        cards = [{"id": name, "root": p, "parent": MODEL} for name, p in self.adapters.items()]
        return web.json_response({"data": [{"id": MODEL, "root": "/base", "parent": None}, *cards]})

    async def load_adapter(self, request: web.Request) -> web.Response:
        """Load an adapter as vLLM does."""
        if self.refuses_adapters:
            return web.json_response({"detail": "Not Found"}, status=404)
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return _refuse(400, f"The lora adapter '{name}' has already been loaded.")
        if path.endswith("missing"):
            return _refuse(404, f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def unload_adapter(self, request: web.Request) -> web.Response:
        """Unload an adapter as vLLM does."""
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _refuse(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["ModelServer"]:
        """Listen on a free port; `url` is the API's base."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/load_lora_adapter", self.load_adapter)
        app.router.add_post("/v1/unload_lora_adapter", self.unload_adapter)
        # A client that hangs up cancels its handler: that is how a server sees it.
        async with TestServer(app) as server:
            await server.start_server(handler_cancellation=True, shutdown_timeout=0.2)
            self.url = str(server.make_url("/v1"))
            yield self


def _question(body: dict[str, Any]) -> str:
    """Return what the customer asked, without what was found for it."""
    asked: str = body["messages"][-1]["content"]
    return asked.rpartition("손님 질문: ")[2]


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


async def _event(response: web.StreamResponse, body: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(body).encode() + b"\n\n")
