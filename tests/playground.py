"""A playground to test against: the server on a free port, its store, and both kinds of clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup

from bot.playground.client import Customer, Playground
from bot.playground.server import create_app, serve
from bot.playground.store import Store

TOKEN = "7:PLAYGROUND"
PNG = (
    bytes.fromhex("89504e470d0a1a0a0000000d49484452000000030000000208060000009d74661a") + b"\0" * 9
)


@dataclass
class Running:
    url: str
    store: Store
    playground: Playground
    bot: Bot


def bot_at(url: str, token: str = TOKEN) -> Bot:
    return Bot(token, base_url=f"{url}/bot", base_file_url=f"{url}/file/bot")


@asynccontextmanager
async def running(path: Path | None = None) -> AsyncIterator[Running]:
    store = Store(path)
    try:
        async with serve(create_app(store, token=TOKEN), 0) as port:
            url = f"http://127.0.0.1:{port}"
            async with Playground(url) as playground, bot_at(url) as bot:
                yield Running(url, store, playground, bot)
    finally:
        store.close()


def one_button(text: str = "출처", data: str = "source") -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(text, callback_data=data)]])


async def texts(customer: Customer) -> list[str]:
    return [message.text for message in await customer.messages()]
