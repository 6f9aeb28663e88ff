"""`deepbot adapters`: for those who bring a new adapter to the running servers."""

from pathlib import Path
from typing import Annotated

import typer

from bot import console

app = typer.Typer(
    name="adapters",
    help="새 어댑터를 멈추지 않고 시험하고, 올리고, 되돌립니다 (vLLM).",
    invoke_without_command=True,
)

Share = Annotated[int, typer.Option(metavar="몫", help="대화 100 가운데 몇", min=0, max=100)]


@app.callback()
def show(context: typer.Context) -> None:
    """새 어댑터를 멈추지 않고 시험하고, 올리고, 되돌립니다 (vLLM).

    뒤에 아무것도 없으면 서버들에 있는 것, 누가 무엇을 받는지, 지금까지의 시험을 보여 줍니다.
    """
    if context.invoked_subcommand:
        return
    from bot import rollout

    console.run(rollout.show(console.load_settings(), say=console.say))


@app.command("try")
def begin(
    name: Annotated[str, typer.Argument(metavar="이름", help="새 이름 (예: ko-2026-12)")],
    path: Annotated[
        Path, typer.Argument(metavar="경로", help="서버가 보는, 학습이나 어댑터의 폴더")
    ],
    share: Share = 10,
    force: Annotated[
        bool, typer.Option("--force", help="`deepbot gate`를 통과하지 않은 것도")
    ] = False,
) -> None:
    """어댑터를 모든 서버에 올리고 대화의 일부에만 씁니다. `deepbot gate`를 통과한 것만 됩니다."""
    from bot import rollout
    from training import gate, runs

    if not force:
        console.do(lambda: gate.require_passed(path))
    own = path / runs.ADAPTER
    # vLLM reads the adapter's own folder, never a run's.
    loaded = own if (own / "adapter_config.json").is_file() else path
    settings = console.load_settings()
    console.run(rollout.begin(settings, name, str(loaded), share, say=console.say))


@app.command("share")
def set_share(
    share: Annotated[int, typer.Argument(metavar="몫", help="대화 100 가운데 몇", min=0, max=100)],
) -> None:
    """시험 중인 어댑터의 몫을 바꿉니다. 늘려도 이미 받던 대화는 그대로입니다."""
    from bot import rollout

    console.run(rollout.set_share(console.load_settings(), share, say=console.say))


@app.command("promote")
def promote() -> None:
    """시험 중인 어댑터를 모두에게 씁니다. MODEL_ADAPTER보다 앞섭니다."""
    from bot import rollout

    console.run(rollout.promote(console.load_settings(), say=console.say))


@app.command("back")
def take_back() -> None:
    """시험을 끝내거나, 시험이 없으면 마지막에 올린 것을 되돌리고, 서버에서 내립니다."""
    from bot import rollout

    console.run(rollout.take_back(console.load_settings(), say=console.say))


@app.command("sync")
def sync() -> None:
    """서버들을 기록에 맞춥니다: 다시 켠 서버에는 올리고, 되돌린 것은 내립니다."""
    from bot import rollout

    console.run(rollout.sync(console.load_settings(), say=console.say))
