"""The `deepbot` command as an operator sees it: output, one clear line, exit codes."""

import asyncio
import contextlib
import errno
import json
import signal
import socket
import sqlite3
from pathlib import Path

import aiohttp
import pytest
import typer
from sqlalchemy.exc import OperationalError

from bot import cli, console
from bot.demo import FIRST_CUSTOMER
from bot.estimate import questions, wording
from bot.playground.client import Playground
from inference import models
from tests.modelserver import MODEL, ModelServer
from tests.playground import TOKEN, running
from tests.processes import run, run_on, started

AIRING = "도배 후 환기는 어떻게 하나요?"

needs_model = pytest.mark.skipif(
    not models.load_manifest()[models.DEMO_MODEL].is_fetched(),
    reason="the model is not fetched: deepbot models fetch",
)


def one_line(errors: str) -> str:
    (line,) = errors.strip().splitlines()
    assert line.startswith("deepbot: ")
    return line


async def test_ask_prints_the_answer_and_its_sources(tmp_path: Path) -> None:
    code, output, errors = await run("ask", AIRING, cwd=tmp_path, MODEL_URL="http://127.0.0.1:9/v1")
    assert (code, errors) == (0, "")
    assert "맞바람" in output
    assert "(DB_093, " in output


async def test_ask_json_has_every_promised_key(tmp_path: Path, model: ModelServer) -> None:
    model.reply = lambda _: "처음 2~3일은 창문을 조금만 열어 은은하게 환기하세요."
    code, output, _ = await run(
        *("ask", "--json", AIRING), cwd=tmp_path, MODEL_URL=model.url, MODEL_NAME=MODEL
    )
    answer = json.loads(output)
    assert code == 0
    assert answer["answer"] == model.reply("")
    assert answer["model"] == MODEL
    assert answer["sources"][0].keys() == {"id", "question", "score"}
    assert answer["sources"][0]["id"] == "DB_093"
    assert 0.85 < answer["confidence"] <= 1
    assert 0 < answer["first_token_s"] <= answer["total_s"]


async def test_ask_uses_one_knowledge_file_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "id,질문_1,질문_2,category,답변_1\n"
        "TRAIN_012,도배 후 환기는 어떻게 하나요?,,시공,창문을 조금만 여세요.\n"
        "TRAIN_013,벽지는 어디서 사나요?,,마감재,지업사에서 삽니다.\n",
        encoding="utf-8",
    )
    away = {"MODEL_URL": "http://127.0.0.1:9/v1", "ANSWER_POLICY": "careful"}
    code, output, _ = await run(
        "ask", AIRING, "--json", "--knowledge", "mine.csv", cwd=tmp_path, **away
    )
    answer = json.loads(output)
    assert (code, answer["answer"]) == (0, "창문을 조금만 여세요.")
    assert [source["id"] for source in answer["sources"]] == ["TRAIN_012"]

    many = ("ask", AIRING, "--retrieve-only", "--json", "--knowledge", "mine.csv")
    code, output, _ = await run(*many, cwd=tmp_path, **away)
    assert code == 0
    assert [entry["id"] for entry in json.loads(output)["entries"]] == ["TRAIN_012", "TRAIN_013"]


async def test_ask_takes_a_question_a_line(tmp_path: Path, model: ModelServer) -> None:
    lines = f"{AIRING}\n\n안녕하세요\n".encode() + b"\xff\xfe\n" + "가".encode() * 1001
    code, output, errors = await run_on(
        *(lines, "ask", "-", "--json"),
        cwd=tmp_path,
        MODEL_URL=model.url,
        MODEL_NAME=MODEL,
        ANSWER_POLICY="careful",
    )
    first, blank, greeting, broken, long = map(json.loads, output.splitlines())
    assert first["sources"][0]["id"] == "DB_093"
    assert greeting["kind"] == "greeting"
    assert all("error" in line for line in (blank, broken, long))
    assert (code, "3줄" in one_line(errors)) == (2, True)


@pytest.mark.parametrize("question", ["", "  \n", "\u200b\u2060", "\udcff벽지", "가" * 1001])
async def test_ask_refuses_nothing_and_too_much(question: str, tmp_path: Path) -> None:
    code, output, errors = await run("ask", question, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert "질문" in one_line(errors)


@pytest.mark.parametrize("policy", ["model", "careful"])
async def test_ask_without_model_and_without_a_find_exits_with_3(
    policy: str, tmp_path: Path
) -> None:
    code, output, errors = await run(
        *("ask", "--json", "양자역학의 해석들을 비교해 줘"),
        cwd=tmp_path,
        MODEL_URL="http://127.0.0.1:9/v1",
        ANSWER_POLICY=policy,
    )
    assert (code, errors) == (3, "")
    assert json.loads(output)["sources"] == []


@pytest.mark.model
@needs_model
async def test_ask_with_the_embedded_model_answers_from_what_was_found(tmp_path: Path) -> None:
    code, output, _ = await run(
        *("ask", "--json", "이음매에 하얀 게 말라붙었는데 닦이나요"), cwd=tmp_path
    )
    answer = json.loads(output)
    assert code == 0
    assert answer["model"] == "qwen2.5-coder-0.5b-instruct-q4_k_m"
    assert answer["way"] in {"model", "fallback"}
    assert answer["sources"][0]["id"] == "DB_008"


async def test_a_knowledge_file_that_is_none_is_named(tmp_path: Path) -> None:
    code, _, errors = await run(
        "ask", AIRING, cwd=tmp_path, MODEL_URL="http://127.0.0.1:9/v1", KNOWLEDGE="none.csv"
    )
    assert code == 1
    assert "none.csv" in one_line(errors)


async def test_bot_without_a_token_says_so(tmp_path: Path, model: ModelServer) -> None:
    code, _, errors = await run("bot", cwd=tmp_path, MODEL_URL=model.url)
    assert code == 1
    assert "TELEGRAM_TOKEN" in one_line(errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_bot_can_be_ended_while_telegram_is_out_of_reach(
    tmp_path: Path, model: ModelServer, number: signal.Signals
) -> None:
    away = {"TELEGRAM_TOKEN": "1:x", "TELEGRAM_API_URL": "http://127.0.0.1:9"}
    async with started("bot", cwd=tmp_path, MODEL_URL=model.url, **away) as bot:
        assert bot.stderr
        async with asyncio.timeout(20):
            assert b"telegram_unreachable" in await bot.stderr.readline()
            bot.send_signal(number)
            _, log = await bot.communicate()
        assert bot.returncode == 0
        assert b"Traceback" not in log


async def test_a_database_out_of_reach_is_one_line(tmp_path: Path, model: ModelServer) -> None:
    code, _, errors = await run(
        "bot",
        cwd=tmp_path,
        MODEL_URL=model.url,
        DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/x",
    )
    assert code == 1
    assert "데이터베이스" in one_line(errors)
    assert "hunter2" not in errors


async def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, errors = await run("demo", "--folder", "file/demo", cwd=tmp_path)
    assert code == 1
    assert "file" in one_line(errors)


async def test_migrations_run_from_the_command_line(tmp_path: Path) -> None:
    for arguments in (("db", "upgrade"), ("db", "downgrade", "base"), ("db", "upgrade")):
        assert (await run(*arguments, cwd=tmp_path))[0] == 0
    code, _, errors = await run("db", "downgrade", "nonsense", cwd=tmp_path)
    assert code == 2
    assert "판" in one_line(errors)


async def test_a_second_bot_on_a_sqlite_file_is_refused(tmp_path: Path, model: ModelServer) -> None:
    async with running() as telegram:
        bot = {"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_API_URL": telegram.url, "MODEL_URL": model.url}
        async with started("bot", cwd=tmp_path, **bot):
            async with asyncio.timeout(20):
                while not await telegram.playground.calls("setMyCommands"):
                    await asyncio.sleep(0.05)
            code, _, errors = await run("bot", cwd=tmp_path, **bot)
            assert code == 1
            assert "deepbot.db" in one_line(errors)


async def test_help_names_every_command(tmp_path: Path) -> None:
    code, output, _ = await run("--help", cwd=tmp_path)
    assert code == 0
    assert all(
        name in output for name in ("demo", "playground", "bot", "ask", "settings", "models", "db")
    )


async def test_the_demo_starts_answers_and_ends(tmp_path: Path, model: ModelServer) -> None:
    options = ("demo", "--port", "0")
    async with started(
        *options, cwd=tmp_path, MODEL_URL=model.url, ANSWER_POLICY="careful"
    ) as demo:
        assert demo.stdout
        url = (await demo.stdout.readline()).decode().split()[-3]
        assert url.startswith("http://127.0.0.1:")
        async with Playground(url) as playground, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/healthz") as response:
                assert response.status == 200
            customer = playground.customer(1)
            await customer.send(AIRING)
            answer, notice = await customer.wait_for(2)
            assert "맞바람" in answer.text
            assert "/privacy" in notice.text
            first = playground.customer(FIRST_CUSTOMER)  # hears of calls, so they are offered
            await first.send("34평 실크 얼마예요?")
            await first.wait_for(1)
            await first.press_text(wording.NOW)
            await first.wait_for(lambda seen: wording.CALL in str(seen[-1].buttons), timeout=30)

            port = url.rpartition(":")[2]
            code, _, errors = await run(
                "demo", "--port", port, "--folder", "other", cwd=tmp_path, MODEL_URL=model.url
            )
            assert code == 1
            assert f"{port}번 포트" in one_line(errors)
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            _, log = await demo.communicate()
        assert demo.returncode == 0
        assert b"Traceback" not in log

    async with started(
        *options, cwd=tmp_path, MODEL_URL=model.url, ANSWER_POLICY="careful"
    ) as again:
        assert again.stdout
        url = (await again.stdout.readline()).decode().split()[-3]
        async with Playground(url) as playground:
            customer = playground.customer(1)
            assert len(await customer.messages()) == 3  # the history is still there
            sent = await customer.send(AIRING)
            await customer.wait_for(1, after=sent.id)


async def test_the_playground_alone_serves_a_bot_of_another_process(
    tmp_path: Path, model: ModelServer
) -> None:
    async with started("playground", "--port", "0", cwd=tmp_path) as telegram:
        assert telegram.stdout
        url = (await telegram.stdout.readline()).decode().split()[-3]
        words = (await telegram.stdout.readline()).decode().split()
        printed = dict(word.split("=", 1) for word in words if "=" in word)
        printed |= {"MODEL_URL": model.url, "ANSWER_POLICY": "careful"}
        async with started("bot", cwd=tmp_path, **printed), Playground(url) as playground:
            customer = playground.customer(5)
            await customer.send(AIRING)
            answer, _ = await customer.wait_for(2, timeout=20)
            assert "맞바람" in answer.text


async def test_health_waits_for_the_bot(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with (
        started(
            "demo", "--port", str(port), cwd=tmp_path, MODEL_URL="http://127.0.0.1:9/v1"
        ) as demo,
        aiohttp.ClientSession() as session,
    ):
        seen: list[int] = []
        async with asyncio.timeout(30):
            while 200 not in seen:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
                        seen.append(response.status)
        assert seen[0] == 503
        assert demo.returncode is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OperationalError("INSERT", {}, Exception("database or disk is full")),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_one_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        console.run(work())
    assert ended.value.exit_code == 1
    assert "디스크가 가득" in one_line(capsys.readouterr().err)


async def test_estimate_prints_what_it_was_worked_out_from(tmp_path: Path) -> None:
    code, output, errors = await run(
        *("estimate", "--wallpaper", "silk", "--brand", "standard", "--building", "apartment"),
        *("--area", "34", "--unit", "pyeong", "--ceiling", "full", "--json"),
        cwd=tmp_path,
    )
    assert (code, errors) == (0, "")
    answer = json.loads(output)
    assert answer["slots"]["area"] == 34
    assert answer["slots"]["wallpaper"] == "silk"
    assert answer["total"] == {"low": 2_451_350, "high": 3_327_500}
    for end in ("low", "high"):
        assert sum(item[end] for item in answer["items"]) == answer["total"][end]
    assert answer["assumptions"]["rolls"] == {"low": 17, "high": 17}
    assert answer["rates_date"] == "2026-09-01"


async def test_estimate_takes_korean_words_own_rates_and_draws_the_quote(tmp_path: Path) -> None:
    rates = (Path(cli.__file__).parent / "estimate" / "rates.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(rates.replace("2026-09-01", "2026-10-15"), encoding="utf-8")
    code, output, _ = await run(
        *("estimate", "--wallpaper", "합지", "--area", "79.34", "--unit", "㎡"),
        *("--remove-old", "네", "--pdf", "quote.pdf", "--png", "quote.png"),
        cwd=tmp_path,
        RATES=str(own),
    )
    assert code == 0
    assert "합지 · 79.34㎡(약 24평) · 기존 벽지 철거" in output
    assert "2026-10-15" in output
    assert "**" not in output
    assert (tmp_path / "quote.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "quote.png").read_bytes().startswith(b"\x89PNG")


async def test_estimate_help_names_every_slot_and_choice_in_both_languages(tmp_path: Path) -> None:
    code, output, _ = await run("estimate", "--help", cwd=tmp_path, COLUMNS="80")
    assert code == 0
    words = "".join(output.replace("│", "").split())
    for question in questions.QUESTIONS:
        for slot in question.slots:
            if slot != "timing_words":
                assert f"({slot})" in words
        if question.name in {"area", "rooms", "remove_old", "occupied", "extras", "region"}:
            continue  # numbers, names, yes and no
        for choice in question.choices:
            assert f"{choice.name}{choice.label.replace(' ', '')}" in words


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--wallpaper"),
        (["--wallpaper", "gold", "--area", "34"], "silk(실크)"),
        (["--wallpaper", "silk", "--area", "10000"], "1,000평"),
        (["--wallpaper", "silk", "--area", "nan"], "area"),
        (["--wallpaper", "silk", "--area", "서른네평"], "--area 서른네평"),
        (["--wallpaper", "silk", "--area", "34", "--rooms", "1.5"], "rooms"),
        (["--wallpaper", "silk", "--area", "-3"], "area"),
        (["--wallpaper", "silk", "--area", "34", "--unit", "yard"], "sqm(㎡)"),
        (["--wallpaper", "silk", "--area", "34", "--occupied", "maybe"], "yes"),
        (["--wallpaper", "silk", "--area", "34", "--rooms", "99"], "rooms"),
    ],
)
async def test_estimate_says_in_one_line_what_is_wrong(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    code, output, errors = await run("estimate", *arguments, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert says in one_line(errors)


async def test_estimate_says_what_is_wrong_with_rates_and_files(tmp_path: Path) -> None:
    work = ("estimate", "--wallpaper", "silk", "--area", "34")
    code, _, errors = await run(*work, "--rates", "none.toml", cwd=tmp_path)
    assert (code, "none.toml" in one_line(errors)) == (1, True)
    code, _, errors = await run(*work, "--pdf", "no/such/folder.pdf", cwd=tmp_path)
    assert (code, "no/such/folder.pdf" in one_line(errors)) == (1, True)


async def test_estimate_reads_a_sentence_and_a_line_each_from_standard_input(
    tmp_path: Path,
) -> None:
    sentence = "34평 아파트 실크로 천장까지 하면 얼마예요?"
    code, output, _ = await run("estimate", "--read", sentence, "--json", cwd=tmp_path)
    assert code == 0
    slots = json.loads(output)
    assert {k: v for k, v in slots.items() if v is not None} == {
        **{"wallpaper": "silk", "building": "apartment", "area": 34, "unit": "pyeong"},
        "ceiling": "full",
    }
    assert {"brand", "area_basis", "remove_old", "occupied", "region"} <= slots.keys()
    lines = f"{sentence}\n\n전용 59㎡ 빌라\n".encode() + b"\xff\n"
    code, output, errors = await run_on(lines, "estimate", "--read", "-", cwd=tmp_path)
    assert (code, errors) == (0, "")
    first, empty, third, broken = map(json.loads, output.splitlines())
    assert first == slots
    assert set(empty.values()) == set(broken.values()) == {None}
    assert (third["area"], third["unit"], third["area_basis"]) == (59, "sqm", "exclusive")
