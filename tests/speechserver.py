"""A transcription server under a test's control: OpenAI's protocol, strict about the sound."""

import asyncio
import email
import email.message
import io
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

MODEL = "whisper-test"


@dataclass
class SpeechServer:
    """What it hears: `text`, or what `hear` makes of the seconds of sound."""

    text: str = ""
    log_probability: float = -0.3
    language: str = "ko"
    status: int = 200
    wait_s: float = 0.0
    hear: Callable[[float], str] | None = None
    seconds: list[float] = field(default_factory=list)  # of the sounds that came
    url: str = ""

    async def wait_until_asked(self) -> None:
        """Wait until a sound has come."""
        async with asyncio.timeout(30):
            while not self.seconds:
                await asyncio.sleep(0.02)

    async def transcribe(self, request: web.Request) -> web.Response:
        """https://platform.openai.com/docs/api-reference/audio/createTranscription."""
        form = _parts(request.headers["Content-Type"], await request.read())
        with wave.open(io.BytesIO(form["file"])) as sound:
            right = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth())
            seconds = sound.getnframes() / sound.getframerate()
        if form["model"].decode() != MODEL or right != (16_000, 1, 2):
            return web.json_response({"error": {"message": "bad request"}}, status=400)
        self.seconds.append(seconds)
        await asyncio.sleep(self.wait_s)
        if self.status != 200:
            return web.json_response({"error": {"message": "as ordered"}}, status=self.status)
        text = self.hear(seconds) if self.hear else self.text
        segment = {
            **{"start": 0.0, "end": seconds, "text": text, "compression_ratio": 1.1},
            "avg_logprob": self.log_probability,
        }
        return web.json_response({"text": text, "language": self.language, "segments": [segment]})

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["SpeechServer"]:
        """Serve on a free port."""
        app = web.Application()
        app.router.add_post("/v1/audio/transcriptions", self.transcribe)
        async with TestServer(app) as server:
            self.url = f"http://127.0.0.1:{server.port}/v1"
            yield self

    def settings(self) -> dict[str, Any]:
        """Return what makes a bot ask this server."""
        return {"speech": "server", "speech_url": self.url, "speech_model": MODEL}


def _parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the fields of a form by name; aiohttp's own parser warns of itself at some lengths."""
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts: dict[str, bytes] = {}
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts[str(part.get_param("name", header="content-disposition"))] = content
    return parts
