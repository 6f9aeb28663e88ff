"""A whole shop for end-to-end tests: playground, database, consultant and the real bot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, Executable, select, text

from bot.app import open_consultant, open_database, running_bot
from bot.playground import client
from bot.playground.client import Customer, Playground
from bot.playground.store import Store
from bot.settings import Settings
from db.database import Database
from db.models import Estimate, Message
from tests.modelserver import MODEL, ModelServer
from tests.playground import TOKEN, Running, running


@dataclass
class Shop:
    """What a test drives and looks at."""

    url: str
    store: Store
    playground: Playground
    database: Database
    model: ModelServer

    def customer(self, chat_id: int) -> Customer:
        return self.playground.customer(chat_id)

    async def rows(self, query: Executable) -> list[Any]:
        return await self.database.run(lambda c: list(c.execute(query).all()))

    async def wait_until_idle(self) -> None:
        """Wait until every stored message's turn has ended."""
        unfinished = select(Message.id).where(Message.done_at.is_(None))
        async with asyncio.timeout(10):
            while await self.rows(unfinished):
                await asyncio.sleep(0.02)


def settings_for(
    url: str,
    database_url: str,
    model: ModelServer,
    **changes: Any,  # noqa: ANN401 - settings
) -> Settings:
    values: dict[str, Any] = {
        "telegram_token": SecretStr(TOKEN),
        "telegram_api_url": url,
        "database_url": SecretStr(database_url),
        "model_url": model.url,
        "model_name": MODEL,
        **changes,
    }
    return Settings(**values)


@asynccontextmanager
async def open_shop(
    database_url: str,
    model: ModelServer,
    *,
    newcomers: bool = False,
    **changes: Any,  # noqa: ANN401 - settings
) -> AsyncIterator[Shop]:
    """Run a shop; only to `newcomers` it has to say what it keeps of them."""
    async with (
        running() as telegram,
        open_bot(telegram, database_url, model, newcomers=newcomers, **changes) as database,
    ):
        yield Shop(telegram.url, telegram.store, telegram.playground, database, model)


@asynccontextmanager
async def open_shop_with(settings: Settings, database_url: str) -> AsyncIterator[Shop]:
    """Run a shop with the model that `settings` name: the embedded one by default."""
    async with running() as telegram:
        settings = settings.model_copy(
            update={
                "telegram_token": SecretStr(TOKEN),
                "telegram_api_url": telegram.url,
                "database_url": SecretStr(database_url),
            }
        )
        async with open_database(settings) as database:
            await tell_everybody(database)
            async with (
                open_consultant(settings, database) as consultant,
                running_bot(settings, database, consultant),
            ):
                yield Shop(
                    telegram.url, telegram.store, telegram.playground, database, ModelServer()
                )


@asynccontextmanager
async def open_bot(
    telegram: Running,
    database_url: str,
    model: ModelServer,
    *,
    newcomers: bool = False,
    **changes: Any,  # noqa: ANN401 - settings
) -> AsyncIterator[Database]:
    """Run the bot on a playground that is there already."""
    settings = settings_for(telegram.url, database_url, model, **changes)
    async with open_database(settings) as database:
        if not newcomers:
            await tell_everybody(database)
        async with (
            open_consultant(settings, database) as consultant,
            running_bot(settings, database, consultant),
        ):
            yield database


async def tell_everybody(database: Database) -> None:
    """Let every customer be one who was told what is kept, from their first message on."""

    def tell(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(
                text("ALTER TABLE customers ALTER COLUMN noticed_at SET DEFAULT now()")
            )
            return
        connection.execute(
            text(
                "CREATE TRIGGER IF NOT EXISTS told AFTER INSERT ON customers BEGIN UPDATE customers"
                " SET noticed_at = CURRENT_TIMESTAMP WHERE id = NEW.id; END"
            )
        )

    await database.run(tell)


async def ask(customer: Customer, text: str, *, answers: int = 1) -> list[client.Message]:
    """Send `text` and return the bot's final messages that follow it."""
    sent = await customer.send(text)
    return await customer.wait_for(answers, after=sent.id)


async def last(customer: Customer, after: int) -> client.Message:
    """Return the bot's next final message."""
    return (await customer.wait_for(1, after=after))[-1]


async def say(customer: Customer, text: str) -> client.Message:
    """Send `text` and return the bot's final message that follows it."""
    return (await ask(customer, text))[-1]


async def tap(customer: Customer, label: str) -> client.Message:
    """Press the newest button with that label and return the message that follows."""
    before = (await customer.messages())[-1].id
    await customer.press_text(label)
    return await last(customer, before)


def labels(message: client.Message) -> list[str]:
    return [button["text"] for button in message.buttons]


async def the_estimate(shop: Shop) -> Any:  # noqa: ANN401 - a row
    """Return the row of the one estimate."""
    (row,) = await shop.rows(select(Estimate))
    return row
