"""`deepbot serve`: the model's server, vLLM on GPUs or the embedded one on this processor."""

from pathlib import Path
from typing import Annotated

import typer

from bot import console, logs
from inference.fitting import Precision

app = typer.Typer()

_EMBEDDED = "embedded"
_OF_EMBEDDED = {"recipe", "adapter", "port", "dry_run", "force"}


@app.command()
def serve(
    context_: typer.Context,
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="레시피|embedded", help="레시피의 이름이나 TOML 파일, 또는 embedded"
        ),
    ],
    adapter: Annotated[
        Path | None,
        typer.Option(metavar="폴더", help="끝난 학습의 폴더나 그 어댑터의 폴더"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="어댑터를 부를 이름 (비우면 학습 폴더의 이름)")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="폴더", help="합친 모델, 받아 둔 바탕 모델, AWQ로 줄인 바탕 모델"),
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(metavar="GB", help="카드 하나의 메모리; 비우면 물어봄", min=1)
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="무게의 정밀도; 비우면 들어가는 것 가운데 가장 고운 것")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="질문과 답의 토큰; 비우면 4096까지", min=512)
    ] = None,
    replicas: Annotated[
        int, typer.Option(help="따로 도는 서버의 수 (앞에 vllm-router)", min=1, max=64)
    ] = 1,
    tensor_parallel: Annotated[
        int, typer.Option(help="모델 하나를 나눌 GPU의 수", min=1, max=64)
    ] = 1,
    data_parallel: Annotated[
        int, typer.Option(help="한 주소 뒤에 모델을 이만큼", min=1, max=64)
    ] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="한 기계를 넘는 모델: GPU를 Ray의 클러스터에서")
    ] = False,
    speculative: Annotated[
        bool, typer.Option("--speculative", help="프롬프트에서 베끼는 말을 미리 짐작 (n-gram)")
    ] = False,
    host: Annotated[str, typer.Option(help="여는 주소")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="여는 포트", min=1, max=65535)] = 8000,
    vllm: Annotated[str, typer.Option(metavar="경로", help="vllm 명령")] = "vllm",
    router: Annotated[
        str, typer.Option(metavar="경로", help="vllm-router 명령 (--replicas)")
    ] = "vllm-router",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="실행하지 않고 명령과 까닭만 출력")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="관문을 지나지 않은 것도 올림")] = False,
) -> None:
    """학습한 것을 vLLM에 올립니다. embedded는 내장 CPU 모델을 엽니다.

    키는 MODEL_API_KEY입니다. 관문(deepbot gate)을 지난 것만 올립니다.
    종료 코드: 1 서버가 뜨지 않음, 2 올릴 수 없는 것.
    """
    from bot import serve_command
    from bot.settings import list_secrets
    from inference.vllm_server import Programs

    settings = console.load_settings()
    logs.configure(settings.log_format)
    if recipe == _EMBEDDED:
        _require_of_embedded(context_)
        work = serve_command.serve_embedded(
            settings, adapter, port, dry_run=dry_run, force=force, say=console.say
        )
        console.do(lambda: console.serve(work))
        return
    parallel = serve_command.Parallel(replicas, tensor_parallel, data_parallel, ray)
    console.do(
        lambda: serve_command.serve_recipe(
            recipe,
            adapter,
            model,
            serve_command.Wishes(
                name, gpu_memory, precision, context, speculative, parallel, host, port
            ),
            key=settings.model_api_key.get_secret_value(),
            programs=Programs(vllm, router, list_secrets()),
            dry_run=dry_run,
            force=force,
            say=console.say,
        )
    )


def _require_of_embedded(context: typer.Context) -> None:
    others = [
        option.opts[0]
        for option in context.command.params
        if option.name not in _OF_EMBEDDED and _is_given(context, option.name)
    ]
    if others:
        console.fail(f"내장 모델에는 쓰지 않는 옵션이에요: {', '.join(others)}", console.BAD_INPUT)


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name else None
    return source is not None and source.name == "COMMANDLINE"
