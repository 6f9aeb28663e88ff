"""Settings and logs: what is read from where, what is refused, and that no secret is shown."""

import json
import logging
from pathlib import Path
from typing import Literal

import pytest
import structlog
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from bot import logs
from bot.cli import app
from bot.settings import Settings, is_loopback
from db.database import open_database

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside: neither variables nor files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bot.settings.SECRETS", tmp_path / "secrets")
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# Settings


def test_everything_has_a_default() -> None:
    settings = Settings()
    assert settings.telegram_api_url == "https://api.telegram.org"
    assert settings.database_url.get_secret_value() == "sqlite:///var/deepbot.db"
    assert settings.answer_check
    assert settings.admins == []
    assert settings.knowledge is None
    assert settings.model_url == ""
    assert settings.model_first_token_s < settings.model_total_s


@pytest.mark.parametrize(
    ("url", "chosen", "policy"),
    [
        ("", "", "careful"),
        ("http://gpu:8000/v1", "", "model"),
        ("", "model", "model"),
        ("http://gpu:8000/v1", "careful", "careful"),
    ],
)
def test_the_policy_follows_the_model_unless_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch, url: str, chosen: str, policy: str
) -> None:
    monkeypatch.setenv("MODEL_URL", url)
    monkeypatch.setenv("ANSWER_POLICY", chosen)
    assert Settings().policy == policy


@pytest.mark.parametrize(
    "url",
    [
        "https://api.telegram.org",
        "https://bot-api.example.com:8443",
        "http://127.0.0.1:8081",
        "http://localhost:8081",
        "http://[::1]:8081",
    ],
)
def test_the_bot_api_may_be_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TELEGRAM_API_URL", f"{url}/")
    assert Settings().telegram_api_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.telegram.org",
        "http://192.168.0.7:8081",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "http://localhost.example.com",
        "http://",
        "ftp://127.0.0.1",
        "api.telegram.org",
        "http://[127.0.0.1",
    ],
)
def test_the_token_never_goes_over_plain_http(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TELEGRAM_API_URL", url)
    with pytest.raises(ValidationError):
        Settings()


def test_loopback_is_this_machine_alone() -> None:
    assert is_loopback("127.5.5.5")
    assert not is_loopback("0.0.0.0")  # noqa: S104 - is not listened on here
    assert not is_loopback("")


@pytest.mark.parametrize(
    ("value", "admins"), [("", []), ("7", [7]), ("7,8", [7, 8]), (" 7 , -8 ,", [7, -8])]
)
def test_admins_are_a_list_of_numbers(
    monkeypatch: pytest.MonkeyPatch, value: str, admins: list[int]
) -> None:
    monkeypatch.setenv("ADMINS", value)
    assert Settings().admins == admins


@pytest.mark.parametrize(
    ("value", "on"), [("on", True), ("off", False), ("1", True), ("0", False), ("", True)]
)
def test_the_check_is_switched(monkeypatch: pytest.MonkeyPatch, value: str, on: bool) -> None:
    monkeypatch.setenv("ANSWER_CHECK", value)
    assert Settings().answer_check is on


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_dotenv_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    (tmp_path / ".env").write_text(
        f"TELEGRAM_TOKEN={TOKEN}  # 봇 토큰\nMODEL_NAME=from-file\nLOG_FORMAT=json\nUNKNOWN=1\n",
        encoding=encoding,
    )
    monkeypatch.setenv("MODEL_NAME", "from-environment")
    settings = Settings()
    assert settings.telegram_token.get_secret_value() == TOKEN
    assert settings.log_format == "json"
    assert settings.model_name == "from-environment"


def test_a_context_too_short_for_a_question_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_CONTEXT", "1024")
    with pytest.raises(ValidationError):
        Settings()


# The `settings` command


def test_the_command_shows_settings_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setenv("MODEL_API_KEY", SECRET)
    monkeypatch.setenv("MODEL_URL", "http://gpu:8000/v1")
    monkeypatch.setenv(
        "DATABASE_URL", f"postgresql://deepbot:{SECRET}@db.example.com/deepbot?password={SECRET}"
    )
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 0
    assert SECRET not in result.output
    assert TOKEN.partition(":")[2] not in result.output
    shown = dict(line.partition("  #")[0].split("=", 1) for line in result.stdout.splitlines())
    assert shown["TELEGRAM_TOKEN"] == shown["MODEL_API_KEY"] == "********"
    assert shown["DATABASE_URL"] == "postgresql://deepbot:***@db.example.com/deepbot"
    assert shown["ANSWER_POLICY"] == "model"
    assert set(shown) == {name.upper() for name in Settings.model_fields}


def test_the_command_shows_which_secrets_are_missing() -> None:
    result = CliRunner().invoke(app, ["settings"])
    assert "TELEGRAM_TOKEN=  #" in result.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMINS", SECRET),
        ("ADMINS", f"7,{SECRET}"),
        ("ANSWER_CHECK", SECRET),
        ("ANSWER_POLICY", SECRET),
        ("LISTEN", SECRET),
        ("LISTEN", "127.0.0.1:99999"),
        ("LOG_FORMAT", SECRET),
        ("MODEL_CONTEXT", SECRET),
        ("MODEL_TOTAL_S", "-1"),
        ("MODEL_URL", SECRET),
        ("SHOP_HOURS", SECRET),
        ("SHOP_HOURS", f"월-금 09:00-18:00, {SECRET}"),
        ("MODEL_URL", f"http://[{SECRET}]/v1"),
        ("MODEL_URL", f"http://[{SECRET}"),
        ("TELEGRAM_API_URL", f"http://{SECRET}.example.com"),
        ("TELEGRAM_API_URL", f"{SECRET}\n{SECRET}"),
        ("WEBHOOK_SECRET", f"{SECRET}!"),
        ("WEBHOOK_SECRET", "short"),
    ],
)
def test_a_bad_value_is_named_in_one_line_without_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert name in result.stderr
    assert result.stderr.startswith("deepbot: ")
    assert value not in result.output
    assert SECRET not in result.output


# Secrets out of files


def keep_secret(tmp_path: Path, name: str, value: str | bytes) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(value if isinstance(value, bytes) else value.encode())


def test_secrets_are_read_out_of_files_and_never_shown(tmp_path: Path) -> None:
    keep_secret(tmp_path, "telegram_token", f"{TOKEN}\n")  # as an editor leaves it
    keep_secret(tmp_path, "MODEL_API_KEY", SECRET)
    keep_secret(tmp_path, "database_url", f"postgresql://deepbot:{SECRET}@postgres/deepbot\n")
    keep_secret(tmp_path, "unknown", "1")
    settings = Settings()
    assert settings.telegram_token.get_secret_value() == TOKEN
    assert settings.model_api_key.get_secret_value() == SECRET
    assert settings.database_url.get_secret_value().endswith(f":{SECRET}@postgres/deepbot")
    assert settings.sqlite_path is None
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 0
    for text_ in (result.output, repr(settings)):
        assert SECRET not in text_
        assert TOKEN.partition(":")[2] not in text_
    assert "DATABASE_URL=postgresql://deepbot:***@postgres/deepbot" in result.output


def test_the_environment_wins_over_a_file_unless_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_secret(tmp_path, "telegram_token", TOKEN)
    monkeypatch.setenv("TELEGRAM_TOKEN", "")  # as compose passes on what is not set
    assert Settings().telegram_token.get_secret_value() == TOKEN
    monkeypatch.setenv("TELEGRAM_TOKEN", "1:other")
    assert Settings().telegram_token.get_secret_value() == "1:other"


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("database_url", SECRET, "DATABASE_URL"),
        ("database_url", "", "DATABASE_URL"),  # never SQLite instead
        ("webhook_secret", f"{SECRET}!", "WEBHOOK_SECRET"),
        ("telegram_token", SECRET.encode("utf-16"), "UTF-8"),
    ],
)
def test_a_bad_secret_is_named_in_one_line_without_itself(
    tmp_path: Path, name: str, value: str | bytes, named: str
) -> None:
    keep_secret(tmp_path, name, value)
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
    assert SECRET not in result.output


def test_a_secret_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_secret(tmp_path, "telegram_token", TOKEN)

    def refuse(self: Path, encoding: str | None = None) -> str:  # also where root runs the tests
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    result = CliRunner().invoke(app, ["settings"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "telegram_token: Permission denied" in result.stderr


# Logs


def fail_with(message: str) -> None:
    raise RuntimeError(message)


def log_the_token_everywhere() -> None:
    ours, library = structlog.get_logger(), logging.getLogger("some.library")
    ours.info("started", token=TOKEN)
    ours.info(f"started with {TOKEN}")
    ours.info("nested", request={"url": [f"https://api.telegram.org/bot{TOKEN}/getMe"]})
    ours.info("failed", error=RuntimeError(TOKEN))
    library.warning("POST https://api.telegram.org/bot%s/sendMessage", TOKEN)
    for log in (ours, library):
        try:
            fail_with(f"no route to /bot{TOKEN}/getUpdates")
        except RuntimeError:
            log.exception("polling failed")


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("style", ["console", "json"])
def test_no_log_line_holds_the_token(
    capsys: pytest.CaptureFixture[str], style: Literal["console", "json"]
) -> None:
    logs.configure(style)
    log_the_token_everywhere()
    output = capsys.readouterr()
    assert output.out == ""
    assert TOKEN.partition(":")[2] not in output.err
    assert output.err.count("<token>") >= 7
    assert "polling failed" in output.err


@pytest.mark.usefixtures("restored_logging")
def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    log_the_token_everywhere()
    structlog.get_logger().warning("두 줄\n글", number=3)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(events) == 8
    assert all({"event", "level", "timestamp"} <= set(event) for event in events)
    assert "RuntimeError" in events[6]["exception"]
    assert (events[-1]["event"], events[-1]["number"]) == ("두 줄\n글", 3)


@pytest.mark.usefixtures("restored_logging")
def test_quiet_logs_say_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console", level=logs.QUIET)
    structlog.get_logger().warning("quiet warning")
    structlog.get_logger().error("loud error")
    output = capsys.readouterr().err
    assert "quiet" not in output
    assert "loud error" in output


@pytest.mark.usefixtures("restored_logging")
def test_the_http_clients_line_a_call_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console")
    logging.getLogger("httpx").info("HTTP Request: POST https://api.telegram.org/bot1/getMe")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("restored_logging")
async def test_an_sql_error_is_logged_without_what_customers_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {"words": SECRET}
    logs.configure("json")
    database = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    try:
        statement = text("INSERT INTO missing VALUES (:words)")
        await database.run(lambda c: c.execute(statement, written))
    except DBAPIError:
        structlog.get_logger().exception("database_failed")
    finally:
        await database.close()
    output = capsys.readouterr().err
    assert "INSERT INTO missing" in output
    assert SECRET not in output
