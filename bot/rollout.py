"""`deepbot adapters`: an adapter is tried, promoted, taken back: on the servers, for the chats."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from bot.admin.view import write_time
from bot.admin.wording import STAGES
from bot.app import open_database
from bot.errors import BadInputError, OperatorError
from bot.settings import Settings
from db import rollouts
from db.database import Database
from db.models import Stage
from db.rollouts import State, Tried
from inference.adapters import (
    AdapterError,
    Server,
    load_everywhere,
    open_servers,
    unload_everywhere,
)

Say = Callable[[str], None]

BASE = "바탕 모델"
_COMMAND_LINE = 0  # in place of an admin
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_TRIAL = "시험 중인 어댑터가 없어요. `deepbot adapters try 이름 경로`로 시작해 주세요."
_HALTED = (
    "서버가 거듭 거절해서 멈춘 시험이에요: {}. 서버를 고치고 `deepbot adapters share`로 몫을 다시"
    " 정한 뒤에 올려 주세요."
)
_CHANGED = "그 사이에 다른 분이 바꿨어요. `deepbot adapters`로 확인해 주세요."


async def show(settings: Settings, *, say: Say) -> None:
    """Print what the servers answer by, who gets what, and what there was."""
    async with _opened(settings) as (database, servers):
        state = await database.insist(rollouts.state)
        past = await database.insist(rollouts.read_all)
        say(f"모두에게: {_stable(settings, state) or BASE}")
        if trial := state.trial:
            halted = "" if trial.halted_at is None else " — 서버가 거듭 거절해서 지금은 아무에게도"
            say(f"시험: {trial.candidate}, 대화의 {trial.share}%{halted}")
        await _show_servers(servers, state, say)
        for tried in past:
            days = f"{write_time(tried.begun_at)} ~ {_end(tried)}"
            share = f" {tried.share}%" if tried.stage == Stage.TRIAL else ""
            say(f"{days}  {tried.candidate}  {STAGES[tried.stage]}{share}  ({tried.path})")


async def begin(settings: Settings, name: str, path: str, share: int, *, say: Say) -> None:
    """Load an adapter into every server and let a share of the chats have it."""
    if not _NAME.fullmatch(name):
        msg = "어댑터의 이름은 영문, 숫자, ., _, -로 100자까지예요."
        raise BadInputError(msg)
    async with _opened(settings) as (database, servers):
        state = await database.insist(rollouts.state)
        stable = _stable(settings, state)
        if state.trial:
            msg = f"다른 시험이 끝나지 않았어요: {state.trial.candidate}. promote나 back을 먼저."
            raise OperatorError(msg)
        if name in {stable, settings.model_name}:
            msg = f"이미 모두가 받는 것의 이름이에요: {name}. 새 이름을 써 주세요."
            raise BadInputError(msg)
        past = await database.insist(rollouts.read_all)
        if any(tried.candidate == name for tried in past):
            msg = f"전에 시험한 기록과 섞여요: {name}. 새 이름을 써 주세요."
            raise BadInputError(msg)
        await _load(servers, name, path)
        is_begun = await database.insist(
            lambda c: rollouts.begin(
                c, _COMMAND_LINE, stable=stable, candidate=name, path=path, share=share
            )
        )
        if not is_begun:
            other = (await database.insist(rollouts.state)).trial
            if other is None or other.candidate != name:
                await _unload(servers, name)
            raise OperatorError(_CHANGED)
    say(f"서버 {len(servers)}대에 올렸어요: {name}. 이제 대화의 {share}%가 이것으로 답을 받아요.")


async def set_share(settings: Settings, share: int, *, say: Say) -> None:
    """Let another share of the chats have the adapter on trial."""
    async with _opened(settings) as (database, _):
        trial = await _trial(database)
        if not await database.insist(lambda c: rollouts.set_share(c, _COMMAND_LINE, trial, share)):
            raise OperatorError(_CHANGED)
    say(f"{trial.candidate}: 이제 대화의 {share}%가 받아요.")


async def promote(settings: Settings, *, say: Say) -> None:
    """Let everybody have the adapter on trial."""
    async with _opened(settings) as (database, servers):
        trial = await _trial(database)
        if trial.halted_at:
            raise OperatorError(_HALTED.format(trial.candidate))
        await _load(servers, trial.candidate, trial.path)  # where a server was started anew
        if not await database.insist(lambda c: rollouts.promote(c, _COMMAND_LINE, trial)):
            raise OperatorError(_CHANGED)
    say(
        f"이제 모두 이것으로 답을 받아요: {trial.candidate} (MODEL_ADAPTER보다 앞서요)."
        " 전의 것도 서버에 남아 있어서 back으로 바로 돌아갈 수 있어요."
    )


async def take_back(settings: Settings, *, say: Say) -> None:
    """End the trial, or else take back what was promoted last; the servers forget it."""
    async with _opened(settings) as (database, servers):
        state = await database.insist(rollouts.state)
        tried = state.trial or state.promoted
        if tried is None:
            msg = "되돌릴 것이 없어요: 시험 중인 것도, 올린 것도 없어요."
            raise OperatorError(msg)
        if not await database.insist(lambda c: rollouts.take_back(c, _COMMAND_LINE, tried)):
            raise OperatorError(_CHANGED)
        stable = _stable(settings, await database.insist(rollouts.state))
        say(f"이제 모두 이것으로 답을 받아요: {stable or BASE}.")
        if tried.candidate == stable:  # MODEL_ADAPTER names it, too
            return
        try:
            await unload_everywhere(servers, tried.candidate)
        except AdapterError as error:
            msg = f"되돌렸지만 서버에서 내리지는 못했어요: {error}"
            raise OperatorError(msg) from error


async def sync(settings: Settings, *, say: Say) -> None:
    """Let every server have what the database wants there, and nothing that was taken back."""
    async with _opened(settings) as (database, servers):
        state = await database.insist(rollouts.state)
        kept = {_stable(settings, state), settings.model_adapter}
        for tried in (state.promoted, state.trial):
            if tried:
                await _load(servers, tried.candidate, tried.path)
                kept.add(tried.candidate)
        past = await database.insist(rollouts.read_all)
        gone = {tried.candidate for tried in past if tried.candidate not in kept}
        for name in gone:
            await _unload(servers, name)
        await _show_servers(servers, state, say)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, list[Server]]]:
    """Open the database and the servers. Raises `OperatorError` without MODEL_URL."""
    if not settings.model_url:
        msg = (
            "어댑터는 MODEL_URL의 서버(vLLM)에서만 시험할 수 있어요. 내장 모델은 들어 있는 어댑터"
            " 하나로 모두에게 답해요."
        )
        raise OperatorError(msg)
    urls = settings.model_servers or [settings.model_url]
    async with (
        open_database(settings, beside=True) as database,
        open_servers(urls, settings.model_api_key.get_secret_value()) as servers,
    ):
        yield database, servers


async def _trial(database: Database) -> Tried:
    trial = (await database.insist(rollouts.state)).trial
    if trial is None:
        raise OperatorError(_NO_TRIAL)
    return trial


async def _load(servers: Sequence[Server], name: str, path: str) -> None:
    try:
        await load_everywhere(servers, name, path)
    except AdapterError as error:
        raise OperatorError(str(error)) from error


async def _unload(servers: Sequence[Server], name: str) -> None:
    try:
        await unload_everywhere(servers, name)
    except AdapterError as error:
        raise OperatorError(str(error)) from error


async def _show_servers(servers: Sequence[Server], state: State, say: Say) -> None:
    """Print what each server has, and what it lacks."""
    for server in servers:
        await _show_server(server, state, say)


async def _show_server(server: Server, state: State, say: Say) -> None:
    try:
        served = {each.name: each.path for each in await server.served()}
    except AdapterError as error:
        say(f"{server.name}: {error}")
        return
    names = [name if path is None else f"{name} ({path})" for name, path in served.items()]
    say(f"{server.name}: {', '.join(names)}")
    wanted = [tried.candidate for tried in (state.promoted, state.trial) if tried]
    if missing := [name for name in wanted if name not in served]:
        say(f"  없는 것: {', '.join(missing)}. `deepbot adapters sync`로 올려 주세요.")


def _stable(settings: Settings, state: State) -> str | None:
    """Return what all get who get no candidate, None for the base model."""
    return state.promoted.candidate if state.promoted else settings.model_adapter or None


def _end(tried: Tried) -> str:
    return write_time(tried.ended_at) if tried.ended_at else "지금"
