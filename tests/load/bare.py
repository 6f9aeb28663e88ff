"""The baseline: a plain python-telegram-bot handler that streams by edits and stores nothing.

It reads the model with our own client; everything else is as the library comes.
"""

import asyncio
import os
import time
from contextlib import suppress

from telegram import Update
from telegram.error import BadRequest
from telegram.ext import Application, ApplicationBuilder, ContextTypes, MessageHandler, filters

from inference.client import ChatMessage, ModelClient, Usage

_EDIT_EVERY_S = 0.4


async def serve(url: str, token: str, model_url: str, model: str) -> None:
    """Answer until the process is killed."""
    async with ModelClient(model_url, model) as client:

        async def answer(update: Update, _: ContextTypes.DEFAULT_TYPE) -> None:
            if update.message is None:
                return
            text, shown, shown_at, sent = "", "", 0.0, None
            chat: list[ChatMessage] = [{"role": "user", "content": update.message.text or ""}]
            async for part in client.stream(chat, max_tokens=2000):
                if isinstance(part, Usage):
                    continue
                text += part
                if sent is None:
                    sent = await update.message.reply_text(text)
                    shown, shown_at = text, time.monotonic()
                elif time.monotonic() - shown_at > _EDIT_EVERY_S:
                    await sent.edit_text(text)
                    shown, shown_at = text, time.monotonic()
            if sent and text != shown:
                with suppress(BadRequest):
                    await sent.edit_text(text)

        builder = ApplicationBuilder().token(token).base_url(f"{url}/bot").concurrent_updates(True)
        application: Application = builder.build()  # type: ignore[type-arg]
        application.add_handler(MessageHandler(filters.TEXT, answer))
        async with application:
            await application.start()
            if application.updater:
                await application.updater.start_polling()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(
        serve(
            os.environ["TELEGRAM_API_URL"],
            os.environ["TELEGRAM_TOKEN"],
            os.environ["MODEL_URL"],
            os.environ["MODEL_NAME"],
        )
    )
