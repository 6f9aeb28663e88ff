"""`deepbot gate`, `export`: what was trained against what is served."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bot import console
from bot.errors import BadInputError

app = typer.Typer()

TrainedRun = Annotated[Path, typer.Argument(metavar="학습", help="끝난 학습의 폴더")]
BaseModel = Annotated[
    Path | None,
    typer.Option(metavar="경로", help="바탕 모델의 폴더나 .gguf 파일; 비우면 레시피의 것"),
]


@app.command("gate")
def compare_with_served(
    run: TrainedRun,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="vLLM이나 llama.cpp 서버의 주소 (…/v1)")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="서버의 어댑터나 모델 이름; 하나뿐이면 비워도 됨")
    ] = None,
    base: BaseModel = None,
    merged: Annotated[
        Path | None, typer.Option(metavar="폴더", help="서버 대신, 병합해 내보낸 모델의 폴더")
    ] = None,
    precision: Annotated[
        Literal["bf16", "quantised"] | None,
        typer.Option(
            help="서버의 정밀도: bf16, 또는 quantised(fp8, AWQ, 4비트). 비우면 vLLM은 bf16,"
            " llama.cpp는 파일이 말하는 대로"
        ),
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="견주지 않고, 지난 기록이 있는지만 보기")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="한 줄의 JSON으로 출력")] = False,
) -> None:
    """학습한 것과 서버가 돌리는 것이 같은지 견줍니다 (학습의 gate.json에 남음).

    대화 틀, 토크나이저, 바탕 모델, 어댑터(병합한 모델은 병합)의 차례로 보고, 처음 다른 곳의
    이름을 말합니다. 서버의 API 키는 MODEL_API_KEY에서 읽습니다.

    종료 코드: 0 같음, 1 다르거나 서버에 닿지 못함, 2 잘못된 입력 (--recorded: 지나지 않음도).
    """
    if recorded:
        from training.gate import require_passed

        console.do(lambda: require_passed(run, precision=precision))
        console.say(f"관문을 지난 어댑터예요: {run}")
        return
    from training.gating import Order, run_gate

    order = Order(
        run=run,
        url=url,
        merged=merged,
        model=model,
        key=console.load_settings().model_api_key.get_secret_value() or None,
        base=base,
        precision=precision,
    )
    console.do(lambda: run_gate(order, as_json=as_json, say=console.say))


@app.command("export")
def export_run(
    run: TrainedRun,
    out: Annotated[Path, typer.Option(metavar="경로", help="적을 폴더나 파일", show_default=False)],
    merge: Annotated[
        bool, typer.Option("--merge", help="어댑터를 양자화하지 않은 바탕 모델에 합침")
    ] = False,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="내장 모델의 서버(llama.cpp)가 읽는 어댑터 파일로")
    ] = False,
    base: BaseModel = None,
) -> None:
    """학습한 어댑터를 내보냅니다: 바탕 모델에 합쳐 (합치지 않은 것과 같은지 확인), 또는 GGUF로."""

    def work() -> None:
        if merge == gguf:
            msg = (
                "--merge와 --gguf 가운데 하나를 알려 주세요"
                " (vLLM에는 학습의 adapter 폴더를 그대로 쓰면 돼요)."
            )
            raise BadInputError(msg)
        if gguf:
            from training.ggufadapter import write_gguf
            from training.runs import open_run

            write_gguf(open_run(run), out)
            console.say(f"내보냈어요: {out}")
            return
        from training.export import export_merged

        export_merged(run, out, base=base, say=console.say)

    console.do(work)
