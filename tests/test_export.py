"""What was said leaves the shop to be learnt from: masked, in TRL's form, and not unseen."""

import codecs
import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from db import estimates, feedback, queries, reviews
from db.database import Database, open_database
from db.models import Answer, AuditEntry, Customer, Message, Way, utc_now
from tests.modelserver import ModelServer
from tests.playground import TOKEN, running
from tests.processes import run, started
from tests.test_cli import one_line
from tests.test_database import incoming, stored

NOW = utc_now()


def say(
    connection: Connection,
    update_id: int,
    question: str,
    text: str,
    way: Way = Way.STORED,
    **what: Any,  # noqa: ANN401 - column values
) -> int:
    """Store a question with its answer; return the answer's id."""
    turn = stored(connection, incoming(update_id, question, chat=what.pop("chat", 5)))
    values = {"text": text, "way": way, "sent_at": NOW, "sources": [{"id": "DB_1"}], **what}
    queries.write_answer(connection, turn.message_id, **values)
    return connection.scalars(select(Answer.id).where(Answer.message_id == turn.message_id)).one()


def fill(connection: Connection) -> None:
    first = say(
        connection,
        1,
        "김민수예요. 010-1234-5678로 전화 주세요",
        "네, 민수 님. 무엇을 도와드릴까요?",
    )
    say(connection, 2, "그건 왜요?", "습기 때문이에요.", Way.MODEL, asked="곰팡이는 왜 생겨요?")
    bad = say(connection, 3, "얼마예요?", "100만원에 해 드릴게요.", Way.MODEL)
    corrected = say(connection, 4, "냄새는요?", "몰라요.", Way.UNSURE, sources=[])
    say(connection, 5, "안녕", "안녕하세요", Way.FIXED)
    say(connection, 6, "멈춰", "멈", stopped=True)
    say(connection, 7, "안 간 것", "안 갔어요", sent_at=None)
    failed = say(connection, 8, "실패", "문제가 생겼어요.", Way.FAILED)
    other = say(connection, 9, "다른 손님이에요", "반가워요", chat=6, sources=[{"id": "@SUM(1)"}])
    customer = connection.scalars(select(Customer.id).where(Customer.telegram_id == 5)).one()
    connection.execute(update(Customer).values(name="Min"))
    connection.execute(
        update(Message)
        .where(Message.update_id == 9)
        .values(received_at=datetime(2026, 10, 31, 15, tzinfo=NOW.tzinfo))
    )
    feedback.rate(connection, first, customer, -1)
    reviews.claim(connection, 7, NOW)  # in hand is not reviewed
    reviews.save(connection, bad, 7, "bad", ["price_promised"], None, NOW)
    reviews.save(connection, corrected, 7, "bad", ["unclear"], "환기하시고 minsu@naver.com", NOW)
    reviews.save(connection, other, 7, "good", [], None, NOW)
    assert failed
    estimates.save(
        connection,
        estimates.Saved(
            *(1, 1, 5, customer, "done", {"name": "김민수"}, None, None, None, NOW, NOW)
        ),
    )


@pytest.fixture
async def filled(database: Database, database_url: str) -> str:
    await database.run(fill)
    return database_url


async def export(url: str, cwd: Path, *options: str) -> list[dict[str, Any]]:
    code, output, errors = await run(
        *("conversations", "export", "--out", "-", *options), cwd=cwd, DATABASE_URL=url
    )
    assert code == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


async def test_the_lines_are_what_training_takes(filled: str, tmp_path: Path) -> None:
    first, second, corrected, other = await export(filled, tmp_path)
    hello = [
        user("[이름]예요. [전화번호]로 전화 주세요"),
        bot("네, [이름] 님. 무엇을 도와드릴까요?"),
    ]
    assert first == {
        "messages": hello,
        **{"conversation": 1, "answer": 1, "way": "stored", "sources": ["DB_1"]},
        **{"rating": -1, "verdict": None, "labels": []},
    }
    why = [user("곰팡이는 왜 생겨요?"), bot("습기 때문이에요.")]
    assert second["messages"] == [*hello, *why]  # the question as the model saw it
    prompt = [*hello, *why, user("얼마예요?"), bot("100만원에 해 드릴게요."), user("냄새는요?")]
    assert corrected["messages"] == [*prompt, bot("환기하시고 [이메일]")]
    assert corrected["prompt"] == prompt
    assert corrected["chosen"] == [bot("환기하시고 [이메일]")]
    assert corrected["rejected"] == [bot("몰라요.")]
    assert (corrected["verdict"], corrected["labels"]) == ("bad", ["unclear"])
    assert other["messages"] == [user("다른 손님이에요"), bot("반가워요")]
    assert "prompt" not in other


async def test_what_is_exported_can_be_narrowed_and_bared(filled: str, tmp_path: Path) -> None:
    async def ids(*options: str) -> list[int]:
        return [line["answer"] for line in await export(filled, tmp_path, *options)]

    assert await ids("--reviewed-only") == [4, 9]
    assert await ids("--until", "2026-10-31") == []
    assert await ids("--until", "2026-11-01") == [9]  # 15:00 UTC is the next day in Korea
    assert await ids("--since", "2026-11-02") == [1, 2, 4]
    raw = await export(filled, tmp_path, "--raw", "--reviewed-only")
    assert raw[0]["messages"][0] == user("김민수예요. 010-1234-5678로 전화 주세요")


async def test_every_export_is_logged(filled: str, database: Database, tmp_path: Path) -> None:
    await export(filled, tmp_path)
    await export(filled, tmp_path, "--raw", "--since", "2026-11-01", "--reviewed-only")
    logged = await database.run(
        lambda c: c.execute(
            select(AuditEntry.telegram_id, AuditEntry.action, AuditEntry.subject).order_by(
                AuditEntry.id
            )
        ).all()
    )
    assert logged == [
        (0, "export", "conversations .. masked"),
        (0, "export", "conversations 2026-11-01.. raw reviewed"),
    ]


async def test_a_csv_opens_in_a_spreadsheet_and_runs_nothing(filled: str, tmp_path: Path) -> None:
    code, output, errors = await run(
        *("conversations", "export", "--format", "csv", "--out", "mine.csv"),
        cwd=tmp_path,
        DATABASE_URL=filled,
    )
    assert (code, output) == (0, "")
    assert "답변 4개를 적었어요." in errors
    path = tmp_path / "mine.csv"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(codecs.BOM_UTF8)
    assert not path.with_name("mine.csv.part").exists()
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    lines = await export(filled, tmp_path)
    assert [json.loads(row["messages"]) for row in rows] == [line["messages"] for line in lines]
    assert json.loads(rows[2]["rejected"]) == lines[2]["rejected"]
    assert rows[0] | {"rating": "-1", "sources": "DB_1", "rejected": ""} == rows[0]
    assert rows[3]["sources"] == "'@SUM(1)"


async def test_many_answers_come_in_pages_without_gap(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    def work(c: Connection) -> None:
        for n in range(1, 502):
            say(c, n, f"질문 {n}", "답", chat=n)

    await database.run(work)
    assert [line["answer"] for line in await export(database_url, tmp_path)] == list(range(1, 502))


async def test_it_works_beside_a_running_bot(tmp_path: Path, model: ModelServer) -> None:
    async with running() as telegram:
        settings = {
            "TELEGRAM_TOKEN": TOKEN,
            "TELEGRAM_API_URL": telegram.url,
            "MODEL_URL": model.url,
        }
        url = f"sqlite:///{tmp_path / 'deepbot.db'}"
        async with started("bot", cwd=tmp_path, DATABASE_URL=url, **settings):
            customer = telegram.playground.customer(5)
            await customer.send("도배 후 환기는 어떻게 하나요?")
            await customer.wait_for(1, timeout=30)
            database = open_database(url)
            while not await database.run(lambda c: c.scalar(select(Answer.sent_at))):
                pass
            await database.close()
            (line,) = await export(url, tmp_path)
            assert line["messages"][0] == user("도배 후 환기는 어떻게 하나요?")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--since", "어제"), 2, "2026-11-01"),
        (("--out", "no/such/file.jsonl"), 1, "no/such/file.jsonl"),
    ],
)
async def test_what_is_wrong_is_one_line(
    tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    ended, output, errors = await run(
        "conversations", "export", "--out", "-", *options, cwd=tmp_path
    )
    assert (ended, output) == (code, "")
    assert says in one_line(errors)
