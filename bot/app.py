"""Wires the parts: the model's side, the bot, its worker, polling or webhook."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import structlog
from filelock import FileLock, Timeout
from sqlalchemy import literal, select
from telegram import Bot, BotCommand
from telegram.error import BadRequest, InvalidToken, NetworkError, RetryAfter, TelegramError

from bot import hearing, hours, speaking, texts, updates
from bot.adapters import Adapters
from bot.admin.invitations import Invitations
from bot.admin.roles import roles_of
from bot.consult import Consultant, Limits
from bot.errors import OperatorError
from bot.estimate import rates
from bot.estimate.desk import Desk, Shop
from bot.estimate.drawing import DrawingProcess
from bot.forgetting import forget_for_ever
from bot.gate import Gate
from bot.handoff import Switchboard
from bot.hearing import Ears
from bot.library import Index, Library, follow
from bot.listening import Listener
from bot.outbound import Outbound
from bot.pacing import Pacing
from bot.privacy import Terms
from bot.receiving import Receiver
from bot.settings import Settings
from bot.speaking import Mouth
from bot.telegram_api import build_bot, build_request
from bot.turns import Turns
from bot.web import Door
from bot.worker import Worker
from db import database as db
from db.database import Database
from inference import embedded, models
from inference.client import ModelClient, TimeLimits
from inference.embeddings import Progress

log = structlog.get_logger()

_LONGEST_PAUSE_S = 30.0
_WEBHOOK_CONNECTIONS = 100  # that Telegram may open at once; one serves a chat at a time


@asynccontextmanager
async def open_database(settings: Settings, *, beside: bool = False) -> AsyncIterator[Database]:
    """Migrate the database to the newest revision and keep it open.

    A SQLite file is this process's alone; with `beside` it is not, and a bot that has it has
    migrated it, too.
    """
    async with AsyncExitStack() as stack:
        database = db.open_database(settings.database_url.get_secret_value())
        stack.push_async_callback(database.close)
        if beside:
            with suppress(OperatorError), _only_process_on(settings):
                await db.upgrade(database)
        else:
            stack.enter_context(_only_process_on(settings))
            await db.upgrade(database)
        yield database


@contextmanager
def _only_process_on(settings: Settings) -> Iterator[None]:
    """Hold a SQLite file for this process alone. Raises `OperatorError` where another does.

    The lock is the operating system's: it ends with the process, however that ends.
    """
    path = settings.sqlite_path
    if path is None:
        yield
        return
    try:
        with FileLock(f"{path}.lock", timeout=0):
            yield
    except Timeout as error:
        msg = f"다른 딥봇이 {path} 파일을 쓰고 있어요. 여러 프로세스에는 Postgres가 필요해요."
        raise OperatorError(msg) from error


@asynccontextmanager
async def open_consultant(
    settings: Settings,
    database: Database | None = None,
    *,
    model_required: bool = True,
    live: bool = True,
    progress: Progress | None = None,
) -> AsyncIterator[Consultant]:
    """Load the knowledge, reach the model (the embedded one is started) and consult.

    The knowledge is the file's and the database's; while `live`, what changes of it is taken up.
    Where the model is not required and does not start, it counts as away.
    """
    at_once = settings.model_at_once or (32 if settings.model_url else embedded.PARALLEL)
    library = Library(settings.knowledge, database)
    index = Index(settings)
    async with open_model(settings, required=model_required) as client:
        state = await library.state()
        consultant = Consultant(
            await index.build(await library.read(), progress or _log_progress),
            client,
            policy=settings.policy,
            check_answers=settings.answer_check,
            limits=Limits(
                context_tokens=(
                    settings.model_context if settings.model_url else embedded.CONTEXT_TOKENS
                ),
                tokens_a_day=settings.tokens_a_day,
            ),
            gate=Gate(at_once=at_once, most_waiting=settings.model_queue),
            adapters=open_adapters(settings, database),
            phone=settings.shop_phone,
        )

        async def take_up() -> None:
            consultant.retriever = await index.build(await library.read(), _log_progress)
            log.info("knowledge_taken_up", entries=len(consultant.retriever.entries))

        following = asyncio.create_task(follow(library, state, take_up)) if live else None
        try:
            yield consultant
        finally:
            if following:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


def open_adapters(settings: Settings, database: Database | None) -> Adapters:
    """Return who answers whom; the embedded model has one adapter, for everybody."""
    if not settings.model_url:
        return Adapters(None, embedded.TUNED.stem)
    return Adapters(database, settings.model_adapter or None)


def _log_progress(done: int, total: int) -> None:
    """Say how far the vectors of new knowledge have come, about ten times."""
    if done == total or done * 10 // total != max(0, done - 32) * 10 // total:
        log.info("embedding_knowledge", done=done, of=total)


@asynccontextmanager
async def open_model(settings: Settings, *, required: bool = True) -> AsyncIterator[ModelClient]:
    """Return a client of MODEL_URL, or of the embedded server, which runs meanwhile."""
    limits = TimeLimits(
        connect=settings.model_connect_s,
        first_token=settings.model_first_token_s,
        total=settings.model_total_s,
    )
    if settings.model_url:
        async with ModelClient(
            settings.model_url,
            settings.model_name,
            api_key=settings.model_api_key.get_secret_value(),
            limits=limits,
        ) as client:
            yield client
        return
    model = models.load_manifest()[models.DEMO_MODEL]
    if required and not model.is_fetched():
        msg = "내장 모델이 아직 없어요. 먼저 `deepbot models fetch`로 받아 주세요."
        raise OperatorError(msg)
    server = embedded.EmbeddedServer(model.path(), adapter=embedded.TUNED)
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


@asynccontextmanager
async def running_bot(
    settings: Settings,
    database: Database,
    consultant: Consultant,
    *,
    webhook: bool = False,
    door: Door | None = None,
) -> AsyncIterator[None]:
    """Take up unfinished turns, then answer what comes, until the context is left.

    With `webhook`, Telegram brings the updates through `door`, and other processes may do the
    same on the same Postgres; else this process fetches them, and is the only one.
    """
    if not settings.telegram_token.get_secret_value():
        msg = "TELEGRAM_TOKEN이 없어요. @BotFather에게 받은 토큰을 환경 변수나 .env에 넣어 주세요."
        raise OperatorError(msg)
    try:
        shop_rates = rates.load(settings.rates)
    except rates.RatesError as error:
        raise OperatorError(str(error)) from error
    bot = build_bot(settings)
    pacing = Pacing(settings.telegram_calls_a_second)
    drawing = DrawingProcess()
    ears = _open_ears(settings)
    mouth = Mouth(speaking.Engine.of(settings))
    forgetting = asyncio.create_task(forget_for_ever(settings, database))
    try:
        await _log_in(bot)
        shop = Shop(
            rates=shop_rates,
            admins=settings.admins,
            name=settings.shop_name,
            phone=settings.shop_phone,
            bot_name=bot.username,
        )
        desk = Desk(database, shop, drawing, bot.id)
        outbound = Outbound(bot, pacing)
        listener = Listener(
            database,
            outbound,
            ears,
            lambda: consultant.retriever.judge,
            keeps_sound=settings.speech_keep_days > 0,
        )
        invitations = Invitations(roles_of(settings), settings.pages_url)
        switchboard = Switchboard(
            database, settings.admins, hours.parse(settings.shop_hours), bot.id
        )
        turns = Turns(
            *(database, outbound, consultant, desk, listener, mouth),
            *(invitations, switchboard, bot.id, Terms.of(settings)),
        )
        worker = Worker(
            database,
            bot.id,
            turns,
            alone=not webhook or settings.sqlite_path is not None,
            on_share=pacing.share,
            on_end=_cancel_current_task(),
        )
        receiver = Receiver(bot, database, worker, messages_a_minute=settings.messages_a_minute)
        try:
            await worker.start()
            if door:
                door.check = _check(database)
            async with _receiving(settings, bot, receiver, door if webhook else None):
                log.info("bot_started", bot=bot.username)
                yield
        finally:
            if door:
                door.check = None
            await worker.stop(settings.shutdown_s)
            log.info("bot_stopped")
    finally:
        forgetting.cancel()
        await asyncio.gather(forgetting, return_exceptions=True)
        await drawing.close()
        if ears:
            await ears.close()
        await mouth.close()
        await bot.shutdown()


def _open_ears(settings: Settings) -> Ears | None:
    if settings.speech == "off":
        return None
    is_ours = settings.speech == "local" and not settings.speech_model
    if is_ours and not models.load_manifest()[models.SPEECH_MODEL].is_fetched():
        log.warning("no_speech_model", hint="deepbot models fetch")
        return None
    return Ears(hearing.Engine.of(settings), most_s=settings.speech_max_s)


@asynccontextmanager
async def _receiving(
    settings: Settings, bot: Bot, receiver: Receiver, door: Door | None
) -> AsyncIterator[None]:
    """Let updates in: through the door, or by polling."""
    if door:
        secret = settings.webhook_secret.get_secret_value()
        door.webhook = receiver.webhook(secret)
        await _insist(
            lambda: bot.set_webhook(
                settings.webhook_url,
                secret_token=secret,
                allowed_updates=updates.ALLOWED_UPDATES,
                max_connections=_WEBHOOK_CONNECTIONS,
            )
        )
        try:
            yield
        finally:
            door.webhook = None  # Telegram tries again, elsewhere
            await receiver.close()
        return
    await _insist(bot.delete_webhook)  # one left behind would refuse polling
    request = build_request(settings.telegram_api_url)
    await request.initialize()
    polling = asyncio.create_task(receiver.poll(request))
    try:
        yield
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling
        await request.shutdown()


def _cancel_current_task() -> Callable[[], object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called from a coroutine
    return task.cancel


def _check(database: Database) -> Callable[[], Awaitable[str | None]]:
    async def check() -> str | None:
        await database.run(lambda c: c.execute(select(literal(1))))
        return None

    return check


async def _log_in(bot: Bot) -> None:
    """Log in, however long the network takes. Raises `OperatorError` for a wrong token."""
    await _insist(bot.initialize)
    with suppress(TelegramError):  # only the menu hangs on it
        await bot.set_my_commands([BotCommand(name, text) for name, text in texts.COMMANDS.items()])


async def _insist(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call without which there is no bot until it succeeds. Raises `OperatorError`."""
    pause = 1.0
    while True:
        try:
            await call()
            return
        except InvalidToken as error:
            msg = "텔레그램이 TELEGRAM_TOKEN을 받아들이지 않아요. 토큰을 다시 확인해 주세요."
            raise OperatorError(msg) from error
        except BadRequest as error:
            msg = f"텔레그램이 거절했어요 (WEBHOOK_URL을 확인해 주세요): {error.message}"
            raise OperatorError(msg) from error
        except (NetworkError, RetryAfter) as error:
            log.warning("telegram_unreachable", error=type(error).__name__, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
