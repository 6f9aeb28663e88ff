"""The parameters of a Bot API call, in any of the four ways Telegram takes them.

https://core.telegram.org/bots/api#making-requests
"""

import json
from dataclasses import dataclass

from aiohttp import web
from aiohttp.multipart import BodyPartReader

from bot.playground.errors import BotApiError, bad_request
from bot.playground.records import clean_name

MAX_UPLOAD = 50 * 1024 * 1024  # https://core.telegram.org/bots/api#sending-files


@dataclass(slots=True)
class Upload:
    """A file that came with a call."""

    name: str
    mime: str
    data: bytes


def loads(text: str | bytes) -> object:
    """Read JSON that can be passed on: no NaN, no half surrogates, no endless nesting."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


class Params:
    """Typed access to the parameters of one call."""

    def __init__(self, values: dict[str, object], uploads: dict[str, Upload]) -> None:
        self._values = values
        self._uploads = uploads

    def text(self, name: str) -> str:
        """Return a string, empty when it is missing."""
        value = self._values.get(name)
        return value if isinstance(value, str) else "" if value is None else json.dumps(value)

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer; what isn't one counts as missing, as it does for Telegram."""
        try:
            return int(self.text(name))
        except ValueError:
            return default

    def flag(self, name: str) -> bool:
        """Return a boolean, false when it is missing."""
        return self.text(name).strip().lower() in {"true", "yes", "1"}

    def json(self, name: str, what: str) -> object:
        """Return a JSON-serialized parameter, `None` when it is missing."""
        text = self.text(name)
        try:
            return loads(text) if text else None
        except ValueError as error:
            raise bad_request(f"can't parse {what} JSON object") from error

    def upload(self, name: str) -> Upload | None:
        """Return a file sent along, directly or as `attach://part`."""
        return self._uploads.get(self.text(name).removeprefix("attach://") or name)


async def read_params(request: web.Request) -> Params:
    """Read the parameters of a call from its query string and body."""
    values: dict[str, object] = dict(request.query)
    uploads: dict[str, Upload] = {}
    try:
        if request.content_type == "application/json":
            body = loads(await request.read())
            if not isinstance(body, dict):
                raise ValueError("an object is needed")
            values |= body
        elif request.content_type == "multipart/form-data":
            await _read_parts(request, values, uploads)
        else:
            values |= {key: str(value) for key, value in (await request.post()).items()}
    except (ValueError, LookupError) as error:
        raise bad_request("can't parse the request's parameters") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise BotApiError(413, "Request Entity Too Large") from error
    return Params(values, uploads)


async def _read_parts(
    request: web.Request, values: dict[str, object], uploads: dict[str, Upload]
) -> None:
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            raise ValueError("a named part is needed")
        data = bytearray()
        while chunk := await part.read_chunk(256 * 1024):
            data += chunk
            if len(data) > MAX_UPLOAD:
                raise BotApiError(413, "Request Entity Too Large")
        if part.filename is None:
            values[part.name] = data.decode()
        else:
            mime = part.headers.get("Content-Type", "application/octet-stream")
            uploads[part.name] = Upload(clean_name(part.filename), mime, bytes(data))
