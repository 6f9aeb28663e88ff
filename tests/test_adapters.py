"""A new adapter without downtime: who gets which, over the real bot and both databases."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from typer.testing import CliRunner

from bot import rollout
from bot.adapters import Adapters, Chat, is_drawn
from bot.cli import app
from bot.errors import BadInputError, OperatorError
from db import arms, rollouts
from db.database import Database, open_database
from db.models import Answer, AuditEntry, Message, Rollout
from db.rollouts import State
from inference.adapters import AdapterError, Server, load_everywhere, open_servers
from tests.modelserver import MODEL, ModelServer
from tests.processes import run
from tests.shop import Shop, open_shop, say, settings_for

WHO = 9001
MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"
OLD, NEW, PATH = "ko-1", "ko-2", "/adapters/ko-2"
BOT = 7  # of the playground's token

chats = st.builds(Chat, st.integers(1, 2**40), st.integers(-(2**50), 2**50))


# Who is drawn


@given(chats, st.integers(1, 10_000), st.integers(0, 100), st.integers(0, 100))
def test_a_share_that_grows_leaves_nobody_out(chat: Chat, trial: int, one: int, two: int) -> None:
    less, more = sorted((one, two))
    assert is_drawn(chat, trial, less) <= is_drawn(chat, trial, more)
    assert not is_drawn(chat, trial, 0)
    assert is_drawn(chat, trial, 100)


@given(st.integers(1, 2**40), st.integers(1, 10_000), st.integers(1, 99), st.integers(0, 2**50))
def test_a_share_is_held(bot: int, trial: int, share: int, first: int) -> None:
    drawn = sum(is_drawn(Chat(bot, first + n), trial, share) for n in range(1_000))
    # Six standard deviations of a fair draw.
    assert abs(drawn - 10 * share) < 6 * (10 * share * (100 - share) / 100) ** 0.5 + 1


def test_each_trial_draws_anew() -> None:
    everybody = [Chat(BOT, n) for n in range(1_000)]
    first, second = ({c for c in everybody if is_drawn(c, trial, 50)} for trial in (1, 2))
    assert 180 < len(first & second) < 320


# What the database keeps


async def begin(database: Database, share: int = 100, stable: str | None = None) -> None:
    assert await database.run(
        lambda c: rollouts.begin(c, WHO, stable=stable, candidate=NEW, path=PATH, share=share)
    )


async def the_state(database: Database) -> State:
    return await database.run(rollouts.state)


async def set_share(database: Database, share: int) -> None:
    trial = (await the_state(database)).trial
    assert trial
    assert await database.run(lambda c: rollouts.set_share(c, WHO, trial, share))


async def promote(database: Database) -> None:
    trial = (await the_state(database)).trial
    assert trial
    assert await database.run(lambda c: rollouts.promote(c, WHO, trial))


async def take_back(database: Database) -> None:
    state = await the_state(database)
    tried = state.trial or state.promoted
    assert tried
    assert await database.run(lambda c: rollouts.take_back(c, WHO, tried))


async def test_one_trial_at_a_time_and_what_has_ended_is_not_changed(database: Database) -> None:
    await begin(database, 10)
    assert not await database.run(
        lambda c: rollouts.begin(c, WHO, stable=None, candidate="ko-3", path="/x", share=5)
    )
    trial = (await the_state(database)).trial
    assert trial
    await promote(database)
    assert (await the_state(database)).promoted
    assert not await database.run(lambda c: rollouts.promote(c, WHO, trial))
    assert not await database.run(lambda c: rollouts.set_share(c, WHO, trial, 50))
    assert not await database.run(lambda c: rollouts.take_back(c, WHO, trial))
    await take_back(database)
    assert await the_state(database) == State(None, None)
    await begin(database, 20)
    log = select(AuditEntry.telegram_id, AuditEntry.action, AuditEntry.subject)
    assert await database.run(lambda c: c.execute(log.order_by(AuditEntry.id)).all()) == [
        (WHO, "adapter_try", f"{NEW} 10%"),
        (WHO, "adapter_promote", NEW),
        (WHO, "adapter_back", NEW),
        (WHO, "adapter_try", f"{NEW} 20%"),
    ]


async def test_what_was_promoted_before_comes_back(database: Database) -> None:
    for name in ("ko-2", "ko-3"):
        assert await database.run(
            lambda c, name=name: rollouts.begin(  # type: ignore[misc]
                c, WHO, stable=OLD, candidate=name, path=f"/{name}", share=10
            )
        )
        await promote(database)
    adapters, chat = Adapters(database, OLD), Chat(BOT, 1)
    assert (await adapters.choose(chat)).adapters == ("ko-3", OLD)
    await take_back(database)
    assert (await adapters.choose(chat)).adapters == ("ko-2", OLD)
    await take_back(database)
    assert (await adapters.choose(chat)).adapters == (OLD,)


async def test_another_process_sees_a_change_with_its_next_answer(
    database: Database, database_url: str
) -> None:
    other = open_database(database_url)
    here, there, chat = Adapters(database, OLD), Adapters(other, OLD), Chat(BOT, 1)
    await begin(database, 100, OLD)
    assert (await there.choose(chat)).adapters == (NEW, OLD)
    # Without a chat, as from the command line, nobody is on trial.
    assert (await there.choose(None)).adapters == (OLD,)
    await set_share(other, 0)
    assert (await here.choose(chat)).adapters == (OLD,)
    await promote(other)
    assert (await here.choose(None)).adapters == (NEW, OLD)
    await other.close()


# Through the bot


async def adapters_of(shop: Shop, after: int = 0) -> dict[int, list[str | None]]:
    """Return which adapters each chat was answered by, in order."""
    query = (
        select(Message.chat_id, Answer.adapter, Answer.way)
        .join(Message, Message.id == Answer.message_id)
        .where(Message.text.contains("곰팡이"), Message.id > after)
        .order_by(Message.id)
    )
    found: dict[int, list[str | None]] = {}
    for chat_id, adapter, way in await shop.rows(query):
        assert way == "model"
        found.setdefault(chat_id, []).append(adapter)
    return found


async def ask_all(shop: Shop, customers: Iterable[int]) -> dict[int, list[str | None]]:
    """Let customers ask side by side and return which adapters answered."""
    last = await shop.rows(select(Message.id).order_by(Message.id.desc()).limit(1))
    await asyncio.gather(*(say(shop.customer(number), MOULD) for number in customers))
    await shop.wait_until_idle()
    return await adapters_of(shop, last[0].id if last else 0)


async def test_a_share_of_the_chats_tries_the_candidate_and_each_keeps_its_own(
    database_url: str, model: ModelServer
) -> None:
    model.adapters = {OLD: "/adapters/ko-1", NEW: PATH}
    customers = range(309, 315)
    async with open_shop(database_url, model, answer_check=False, model_adapter=OLD) as shop:
        await begin(shop.database, 50, OLD)
        drawn = {n: NEW if is_drawn(Chat(BOT, n), 1, 50) else OLD for n in customers}
        assert set(drawn.values()) == {OLD, NEW}
        for _ in range(2):
            assert await ask_all(shop, customers) == {n: [drawn[n]] for n in customers}
        await say(shop.customer(311), "/new")
        assert await ask_all(shop, [311]) == {311: [drawn[311]]}
        await promote(shop.database)
        assert await ask_all(shop, customers) == {n: [NEW] for n in customers}
        await take_back(shop.database)
        assert await ask_all(shop, customers) == {n: [OLD] for n in customers}


async def test_nothing_is_lost_while_adapters_change(database_url: str, model: ModelServer) -> None:
    model.adapters = {NEW: PATH}
    model.token_s = 0.01
    customers = range(321, 325)
    async with open_shop(database_url, model, answer_check=False, messages_a_minute=0) as shop:

        async def talk(number: int) -> None:
            for _ in range(5):
                await say(shop.customer(number), MOULD)

        async def change() -> None:
            while True:
                await begin(shop.database, 50)
                await asyncio.sleep(0.1)
                await set_share(shop.database, 90)
                await promote(shop.database)
                await asyncio.sleep(0.1)
                model.adapters.clear()  # a server was started anew
                await asyncio.sleep(0.1)
                await take_back(shop.database)
                model.adapters[NEW] = PATH

        changing = asyncio.create_task(change())
        await asyncio.gather(*map(talk, customers))
        assert not changing.done()
        changing.cancel()
        await shop.wait_until_idle()
        answered = await adapters_of(shop)
        told = {number: len(each) for number, each in answered.items()}
        assert told == dict.fromkeys(customers, 5)


@pytest.mark.parametrize("trouble", ["missing", "broken"])
async def test_a_candidate_that_cannot_answer_is_no_customers_trouble(
    trouble: str, database_url: str, model: ModelServer
) -> None:
    if trouble == "broken":
        model.adapters, model.adapter_status = {NEW: PATH}, 500
    async with open_shop(database_url, model, answer_check=False) as shop:
        await begin(shop.database)
        for _ in range(5):
            answered = await say(shop.customer(331), MOULD)
            assert answered.text == model.reply("")
        await shop.wait_until_idle()
        errors = await shop.rows(select(Answer.way, Answer.error, Answer.adapter))
        assert errors == [("model", "adapter_missed", None)] * 5
        # Now it is left alone, and the shop can see it.
        trial = (await the_state(shop.database)).trial
        assert trial
        assert trial.halted_at
        before = len(model.requests)
        await say(shop.customer(332), MOULD)
        assert [r["model"] for r in model.requests[before:]] == [MODEL]
        # Somebody has mended it.
        model.adapters, model.adapter_status = {NEW: PATH}, 200
        await set_share(shop.database, 100)
        assert await ask_all(shop, [331]) == {331: [NEW]}


async def test_a_refusal_of_everything_is_not_the_candidates(
    database_url: str, model: ModelServer
) -> None:
    model.adapters, model.status = {NEW: PATH}, 400
    async with open_shop(database_url, model, answer_check=False) as shop:
        await begin(shop.database)
        for _ in range(6):
            await say(shop.customer(341), MOULD)
        await shop.wait_until_idle()
        trial = (await the_state(shop.database)).trial
        assert trial
        assert trial.halted_at is None
        errors = await shop.rows(select(Answer.way, Answer.error))
        assert set(errors) == {("fallback", "adapter_missed:refused")}
        # The stable one was asked in the candidate's place only.
        found = await shop.database.run(lambda c: arms.read(c, trial))
        assert (found.stable.answers, found.candidate.answers, found.missed) == ([], [], 6)


@pytest.mark.parametrize("trouble", [{"status": 503}, {"status": 429}, {"adapter_status": 503}])
async def test_a_full_server_is_not_the_candidates_trouble(
    trouble: dict[str, int], database_url: str, model: ModelServer
) -> None:
    model.adapters = {NEW: PATH}
    for name, status in trouble.items():
        setattr(model, name, status)
    async with open_shop(database_url, model, answer_check=False) as shop:
        await begin(shop.database)
        for _ in range(5):
            await say(shop.customer(371), MOULD)
        await shop.wait_until_idle()
        trial = (await the_state(shop.database)).trial
        assert trial
        assert trial.halted_at is None
        errors = await shop.rows(select(Answer.way, Answer.error, Answer.adapter))
        assert errors == [("fallback", "server_busy", NEW)] * 5
        # Twice each, as the client tries; no other adapter adds to the load.
        assert [request["model"] for request in model.requests] == [NEW] * 10


async def test_failures_of_the_base_model_are_the_stable_sides(
    database_url: str, model: ModelServer
) -> None:
    model.adapters, model.status = {NEW: PATH}, 500
    async with open_shop(database_url, model, answer_check=False) as shop:
        await begin(shop.database, 0)
        await say(shop.customer(381), MOULD)
        await shop.wait_until_idle()
        trial = (await the_state(shop.database)).trial
        assert trial
        found = await shop.database.run(lambda c: arms.read(c, trial))
        assert [(told.way, told.error) for told in found.stable.answers] == [("fallback", "broken")]
        assert await shop.rows(select(Answer.model, Answer.adapter)) == [(MODEL, None)]


async def test_an_answer_under_way_is_not_begun_anew_by_another(
    database_url: str, model: ModelServer
) -> None:
    model.adapters = {NEW: PATH}
    model.reply = lambda _: "한 마디 두 마디 세 마디"
    model.break_after = 3
    async with open_shop(database_url, model, answer_check=False) as shop:
        await begin(shop.database)
        await say(shop.customer(351), MOULD)
        await shop.wait_until_idle()
        assert [request["model"] for request in model.requests] == [NEW]
        (row,) = await shop.rows(select(Answer.way, Answer.adapter))
        assert tuple(row) == ("fallback", NEW)


# On the servers


async def test_an_adapter_is_on_every_server_or_on_none() -> None:
    async with ModelServer().serve() as one, ModelServer().serve() as two:
        async with open_servers([one.url, two.url], "") as servers:
            await load_everywhere(servers, NEW, PATH)
            assert one.adapters == two.adapters == {NEW: PATH}
            await load_everywhere(servers, NEW, PATH)  # it is there: nothing to do
            two.adapters = {"ko-3": "/other"}
            with pytest.raises(AdapterError, match="이름이 같은"):
                await load_everywhere(servers, "ko-3", "/adapters/ko-3")
            assert "ko-3" not in one.adapters
            two.adapter_status = 500  # it takes the adapter and cannot use it
            with pytest.raises(AdapterError, match="as ordered"):
                await load_everywhere(servers, "ko-4", "/adapters/ko-4")
            assert "ko-4" not in one.adapters | two.adapters
        two.refuses_adapters = True
        async with open_servers([two.url], "") as servers:
            with pytest.raises(AdapterError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
                await load_everywhere(servers, "ko-5", PATH)
    async with open_servers(["http://127.0.0.1:9/v1"], "") as servers:
        with pytest.raises(AdapterError, match="닿지 못해요"):
            await served(servers)


async def served(servers: Sequence[Server]) -> list[str]:
    return [each.name for server in servers for each in await server.served()]


async def test_adapters_are_tried_promoted_and_taken_back_beside_a_running_bot(
    database_url: str, model: ModelServer
) -> None:
    async with (
        ModelServer().serve() as second,
        open_shop(database_url, model, answer_check=False) as shop,
    ):
        servers = {"model_servers": f"{model.url}, {second.url}"}
        settings = settings_for(shop.url, database_url, model, **servers)
        said: list[str] = []

        async def answered_by() -> str:
            await say(shop.customer(361), MOULD)
            return str(model.requests[-1]["model"])

        await rollout.begin(settings, NEW, PATH, 100, say=said.append)
        assert model.adapters == second.adapters == {NEW: PATH}
        assert await answered_by() == NEW
        await rollout.set_share(settings, 0, say=said.append)
        assert await answered_by() == MODEL
        second.adapters.clear()
        await rollout.show(settings, say=said.append)
        assert "  없는 것: ko-2. `deepbot adapters sync`로 올려 주세요." in said
        await rollout.sync(settings, say=said.append)
        assert second.adapters == {NEW: PATH}
        await rollout.promote(settings, say=said.append)
        assert await answered_by() == NEW
        with pytest.raises(BadInputError, match="이미 모두가 받는"):
            await rollout.begin(settings, NEW, PATH, 10, say=said.append)
        await take_back(shop.database)  # as from the pages, which know no servers
        assert model.adapters == {NEW: PATH}
        await rollout.sync(settings, say=said.append)
        assert model.adapters == second.adapters == {}
        assert await answered_by() == MODEL
        with pytest.raises(BadInputError, match="기록과 섞여요"):
            await rollout.begin(settings, NEW, PATH, 10, say=said.append)
        await rollout.begin(settings, "ko-3", PATH, 100, say=said.append)
        trial = (await the_state(shop.database)).trial
        assert trial
        await shop.database.run(lambda c: rollouts.halt(c, trial.id))
        with pytest.raises(OperatorError, match="멈춘 시험"):
            await rollout.promote(settings, say=said.append)
        assert not await shop.database.run(lambda c: rollouts.promote(c, WHO, trial))
        await rollout.take_back(settings, say=said.append)
        assert model.adapters == second.adapters == {}
        assert said[-1] == "이제 모두 이것으로 답을 받아요: 바탕 모델."


class OvertakenServer(ModelServer):
    """While it loads an adapter, somebody else begins a trial."""

    database: Database
    theirs: str

    async def load_adapter(self, request: web.Request) -> web.Response:
        """Load an adapter, too late."""
        assert await self.database.run(
            lambda c: rollouts.begin(
                c, WHO, stable=None, candidate=self.theirs, path=PATH, share=10
            )
        )
        return await super().load_adapter(request)


@pytest.mark.parametrize(("theirs", "left"), [("ko-3", {}), (NEW, {NEW: PATH})])
async def test_who_comes_second_leaves_nothing_on_the_servers(
    theirs: str, left: dict[str, str], database: Database, database_url: str
) -> None:
    server = OvertakenServer()
    server.database, server.theirs = database, theirs
    async with server.serve():
        settings = settings_for("http://127.0.0.1:9", database_url, server)
        with pytest.raises(OperatorError, match="다른 분이"):
            await rollout.begin(settings, NEW, PATH, 100, say=lambda _: None)
    assert server.adapters == left


async def test_what_the_shops_own_setting_names_is_not_unloaded(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model) as shop:
        settings = settings_for(shop.url, database_url, model)
        await rollout.begin(settings, NEW, PATH, 100, say=lambda _: None)
        await rollout.promote(settings, say=lambda _: None)
        settings = settings_for(shop.url, database_url, model, model_adapter=NEW)
        await rollout.take_back(settings, say=lambda _: None)
        await rollout.sync(settings, say=lambda _: None)
        assert model.adapters == {NEW: PATH}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_cannot_be_done_is_said_and_not_half_done(
    database_url: str, model: ModelServer
) -> None:
    settings = settings_for("http://127.0.0.1:9", database_url, model)
    quiet: list[str] = []
    with pytest.raises(OperatorError, match="시험 중인 어댑터가 없어요"):
        await rollout.promote(settings, say=quiet.append)
    with pytest.raises(OperatorError, match="되돌릴 것이 없어요"):
        await rollout.take_back(settings, say=quiet.append)
    with pytest.raises(OperatorError, match="No adapter found"):
        await rollout.begin(settings, NEW, "/missing", 10, say=quiet.append)
    for name, said in (("이름", "영문"), (MODEL, "새 이름")):
        with pytest.raises(BadInputError, match=said):
            await rollout.begin(settings, name, PATH, 10, say=quiet.append)
    assert (quiet, model.adapters) == ([], {})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (("try", NEW, PATH, "--force"), {}, 0, "대화의 10%"),
        (("promote",), {"MODEL_URL": ""}, 1, "내장 모델"),
        ((), {"MODEL_SERVERS": "gpu:8000"}, 2, "MODEL_SERVERS"),
    ],
)
async def test_the_command_ends_with_one_line(
    arguments: tuple[str, ...],
    changes: dict[str, str],
    code: int,
    said: str,
    tmp_path: Path,
    database_url: str,
    model: ModelServer,
) -> None:
    given = {"DATABASE_URL": database_url, "MODEL_URL": model.url, **changes}
    found, output, errors = await run("adapters", *arguments, cwd=tmp_path, **given)
    (line,) = (output + errors).splitlines()
    assert (found, said in line) == (code, True), line
    assert (model.adapters == {NEW: PATH}) == (code == 0)


def test_an_adapter_without_a_passed_gate_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    result = CliRunner().invoke(app, ["adapters", "try", NEW, str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("deepbot: 관문을 지나지 않은 어댑터예요")


async def test_the_database_holds_a_share_to_its_bounds(database: Database) -> None:
    await begin(database, 100)
    with pytest.raises(Exception, match=r"(?i)check"):
        await database.run(lambda c: c.execute(text("UPDATE rollouts SET share = 101")))
    assert await database.run(lambda c: c.scalar(select(Rollout.share))) == 100
