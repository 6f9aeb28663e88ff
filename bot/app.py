"""Wires the parts: the model's side, one python-telegram-bot Application, polling, recovery."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import platformdirs
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from telegram import Bot, BotCommand, Update
from telegram.error import InvalidToken, NetworkError, RetryAfter, TelegramError
from telegram.ext import Application, ApplicationBuilder, TypeHandler
from telegram.request import HTTPXRequest

from bot import texts, updates
from bot.consult import Consultant
from bot.outbound import Outbound
from bot.settings import Settings, is_loopback
from bot.turns import ChatOrder, Turns
from db import queries
from db.models import utc_now
from db.sessions import Sessions, create_engine, create_sessions, upgrade
from inference import embedded, knowledge, models
from inference.client import ModelClient, TimeLimits
from inference.retrieval import E5Embedder, Retriever

log = structlog.get_logger()

RawUpdate = dict[str, Any]
BotApplication = Application[Any, Any, Any, Any, Any, Any]

_POLL_S = 30
_READ_S = 30.0  # a message whose answer is waited for too shortly would be sent twice
_LONGEST_PAUSE_S = 30.0
_RESUME_EVERY_S = 60.0
_RESUME_AFTER_S = 30.0  # a younger turn may be on its way to the queue
_GRACE_S = 3.0  # for running answers when the process is asked to end


class OperatorError(Exception):
    """Something the operator must put right; the text is one Korean sentence."""


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Migrate the database to the newest revision and keep its engine open."""
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        await upgrade(engine)
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_consultant(
    settings: Settings, *, model_required: bool = True
) -> AsyncIterator[Consultant]:
    """Load the knowledge, reach the model (the embedded one is started) and consult.

    Where the model is not required and does not start, it counts as away.
    """
    async with open_model(settings, required=model_required) as client:
        yield Consultant(
            await asyncio.to_thread(_load_retriever, settings.knowledge),
            client,
            policy=settings.policy,
            check_answers=settings.answer_check,
            context_tokens=(
                settings.model_context if settings.model_url else embedded.CONTEXT_TOKENS
            ),
            adapter=settings.model_adapter or None,
        )


def _load_retriever(path: Path | None) -> Retriever:
    entries = knowledge.load(path or knowledge.starter_path())
    cache = platformdirs.user_cache_path("deepbot") / "vectors"
    return Retriever(entries, E5Embedder(), cache=cache)


@asynccontextmanager
async def open_model(settings: Settings, *, required: bool = True) -> AsyncIterator[ModelClient]:
    """Return a client of MODEL_URL, or of the embedded server, which runs meanwhile."""
    limits = TimeLimits(first_token=settings.model_first_token_s, total=settings.model_total_s)
    if settings.model_url:
        async with ModelClient(
            settings.model_url,
            settings.model_adapter or settings.model_name,
            api_key=settings.model_api_key.get_secret_value(),
            limits=limits,
        ) as client:
            yield client
        return
    model = models.load_manifest()[models.DEMO_MODEL]
    if required and not model.is_fetched():
        msg = "내장 모델이 아직 없어요. 먼저 `deepbot models fetch`로 받아 주세요."
        raise OperatorError(msg)
    server = embedded.EmbeddedServer(model.path())
    try:
        try:
            await server.start()
        except embedded.EmbeddedServerError as error:
            if required:
                raise OperatorError(str(error)) from error
        async with ModelClient(
            server.url, model.path().stem, api_key=server.api_key, limits=limits
        ) as client:
            yield client
    finally:
        await server.stop()


def build_application(settings: Settings) -> BotApplication:
    """Return the Application; our own polling feeds it, since it must store first."""
    api = settings.telegram_api_url
    return (
        ApplicationBuilder()
        .token(settings.telegram_token.get_secret_value())
        .base_url(f"{api}/bot")
        .base_file_url(f"{api}/file/bot")
        .request(_build_request(api, connections=256))
        .concurrent_updates(ChatOrder())
        .updater(None)
        .job_queue(None)
        .build()
    )


def _build_request(api: str, connections: int) -> HTTPXRequest:
    return HTTPXRequest(
        connection_pool_size=connections,
        read_timeout=_READ_S,
        # A proxy of the environment is for the outside world, not for this machine's own servers.
        httpx_kwargs={"trust_env": not is_loopback(urlsplit(api).hostname or "")},
    )


@asynccontextmanager
async def running_bot(
    settings: Settings, engine: AsyncEngine, consultant: Consultant
) -> AsyncIterator[BotApplication]:
    """Take up unfinished turns, then answer what comes, until the context is left."""
    if not settings.telegram_token.get_secret_value():
        msg = "TELEGRAM_TOKEN이 없어요. @BotFather에게 받은 토큰을 환경 변수나 .env에 넣어 주세요."
        raise OperatorError(msg)
    application = build_application(settings)
    await _initialize(application)
    sessions = create_sessions(engine)
    turns = Turns(sessions, Outbound(application.bot), consultant)

    async def run_turn(turn: queries.Turn, _context: object) -> None:
        await turns.run(turn)

    application.add_handler(TypeHandler(queries.Turn, run_turn))
    await application.start()
    await _resume(application, sessions)
    request = _build_request(settings.telegram_api_url, connections=1)
    work = asyncio.gather(
        _poll(application, sessions, request), _keep_resuming(application, sessions)
    )
    log.info("bot_started", bot=application.bot.username)
    try:
        yield application
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        await request.shutdown()
        if isinstance(order := application.update_processor, ChatOrder):
            await order.park(_GRACE_S)
        await application.stop()
        await application.shutdown()
        log.info("bot_stopped")


async def _initialize(application: BotApplication) -> None:
    """Log in, however long the network takes. Raises `OperatorError` for a wrong token."""
    pause = 1.0
    while True:
        try:
            await application.initialize()
            await application.bot.delete_webhook()  # one left behind would refuse polling
            break
        except InvalidToken as error:
            msg = "텔레그램이 TELEGRAM_TOKEN을 받아들이지 않아요. 토큰을 다시 확인해 주세요."
            raise OperatorError(msg) from error
        except (NetworkError, RetryAfter) as error:
            log.warning("telegram_unreachable", error=type(error).__name__, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
    with suppress(TelegramError):  # only the menu hangs on it
        await application.bot.set_my_commands(
            [BotCommand(name, text) for name, text in texts.COMMANDS.items()]
        )


async def _resume(application: BotApplication, sessions: Sessions, age_s: float = 0.0) -> None:
    """Take up the turns that never ended: those of an earlier process, later our own failures."""
    before = utc_now() - timedelta(seconds=age_s)
    order = application.update_processor
    async with sessions.begin() as session:
        turns = await queries.unfinished(session, application.bot.id, before)
    turns = [turn for turn in turns if not (isinstance(order, ChatOrder) and order.holds(turn))]
    if turns:
        log.info("turns_resumed", count=len(turns))
    for turn in turns:
        application.update_queue.put_nowait(turn)


async def _keep_resuming(application: BotApplication, sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(_RESUME_EVERY_S)
        try:
            await _resume(application, sessions, _RESUME_AFTER_S)
        except Exception as error:  # the next round tries again
            log.warning("resuming_failed", error=type(error).__name__)


async def _poll(application: BotApplication, sessions: Sessions, request: HTTPXRequest) -> None:
    """Fetch updates for ever. A batch is stored before the next call tells Telegram so."""
    bot = application.bot
    query = {"timeout": _POLL_S, "allowed_updates": json.dumps(updates.ALLOWED_UPDATES)}
    pause = 1.0
    while True:
        try:
            # Not `bot.get_updates`: there one update that it cannot parse fails the whole batch,
            # and the batch goes to the log.
            result = await request.post(
                f"{bot.base_url}/getUpdates?{urlencode(query)}", read_timeout=_POLL_S + _READ_S
            )
            batch = cast(list[RawUpdate], result)
            for turn in await _store(bot, sessions, batch):
                application.update_queue.put_nowait(turn)
            if batch:
                query["offset"] = batch[-1]["update_id"] + 1
            pause = 1.0
        except Exception as error:
            # Nothing is lost: what is not stored is not acknowledged, so it comes again.
            log.warning("polling_failed", error=type(error).__name__, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


async def _store(bot: Bot, sessions: Sessions, batch: list[RawUpdate]) -> list[queries.Turn]:
    """Store a batch of raw updates in one transaction and return the turns it brings."""
    async with sessions.begin() as session:
        stored = [
            await queries.store(session, incoming)
            for body in batch
            if (incoming := _read(bot, body))
        ]
    return [turn for turn in stored if turn]


def _read(bot: Bot, body: RawUpdate) -> queries.Incoming | None:
    """Read one update; one that cannot be read must not hold up those behind it."""
    try:
        return updates.read(Update.de_json(body, bot), bot.id, bot.username)
    except Exception as error:  # whatever the library raises on what it does not know
        log.warning("update_unreadable", error=type(error).__name__)
        return None
