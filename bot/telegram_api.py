"""python-telegram-bot's way to Telegram, over aiohttp: a third of the CPU of its default, httpx."""

from urllib.parse import urlsplit

import aiohttp
from telegram import Bot
from telegram._utils.defaultvalue import DefaultValue
from telegram._utils.types import ODVInput
from telegram.error import NetworkError, TimedOut
from telegram.request import BaseRequest, RequestData

from bot.settings import Settings, is_loopback

_CONNECT_S = 5.0
_READ_S = 30.0  # a message whose answer is waited for too shortly would be sent twice
_CONNECTIONS = 256


class AiohttpRequest(BaseRequest):
    """Makes the calls of a `Bot`; errors name neither URL nor token.

    https://docs.python-telegram-bot.org/en/stable/telegram.request.baserequest.html
    """

    def __init__(self, *, trust_env: bool) -> None:
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    @property
    def read_timeout(self) -> float:
        """Seconds that an answer may take unless a call says otherwise."""
        return _READ_S

    async def initialize(self) -> None:
        """Open the pool of connections."""
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            headers={"User-Agent": self.USER_AGENT},
            trust_env=self._trust_env,
        )

    async def shutdown(self) -> None:
        """Close the pool."""
        if self._session:
            await self._session.close()
            self._session = None

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        write_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        connect_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        pool_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """Make one call and return status and body. Raises `TimedOut`, `NetworkError`."""
        if self._session is None:
            msg = "AiohttpRequest is used before initialize()"
            raise RuntimeError(msg)
        read_s = _READ_S if isinstance(read_timeout, DefaultValue) else read_timeout
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=read_s)
        try:
            async with self._session.request(
                method, url, timeout=timeout, data=_body(request_data)
            ) as response:
                return response.status, await response.read()
        except TimeoutError as error:
            raise TimedOut from error
        except aiohttp.ClientError as error:
            raise NetworkError(type(error).__name__) from None


def _body(data: RequestData | None) -> aiohttp.Payload | aiohttp.FormData | None:
    if data is None:
        return None
    if not data.contains_files:
        return aiohttp.BytesPayload(data.json_payload, content_type="application/json")
    form = aiohttp.FormData(data.json_parameters, quote_fields=False)  # Korean file names
    for name, (filename, content, mime) in data.multipart_data.items():
        form.add_field(name, content, filename=filename, content_type=mime)
    return form


def build_bot(settings: Settings) -> Bot:
    """Return the bot of the settings' token, not logged in yet."""
    api = settings.telegram_api_url
    return Bot(
        settings.telegram_token.get_secret_value(),
        base_url=f"{api}/bot",
        base_file_url=f"{api}/file/bot",
        request=build_request(api),
        get_updates_request=build_request(api),
    )


def build_request(api: str) -> AiohttpRequest:
    """Return a pool of connections to a Bot API server."""
    # A proxy of the environment is for the outside world, not for this machine's own servers.
    return AiohttpRequest(trust_env=not is_loopback(urlsplit(api).hostname or ""))
