"""What `deepbot serve` does: it says the commands and why, then runs them."""

import asyncio
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bot import console
from bot.errors import BadInputError, OperatorError
from bot.settings import Settings, is_loopback
from inference import embedded, models, vllm, vllm_server
from inference.fitting import GIB, UTILIZATION, Precision, UnservableError
from inference.vllm import Order, Plan
from inference.vllm_server import Programs
from training import agreement, gate, serving
from training import recipe as recipes
from training.runs import RUN, open_run

Say = Callable[[str], None]

FOLDER = Path("var/serving")  # where the chat template goes
_SHORTEST_CONTEXT = 2048  # with which the bot asks
_INSTALL = (
    "vLLM을 찾지 못했어요. 따로 둔 환경에 설치하고(python3 -m venv vllm &&"
    " vllm/bin/pip install vllm==0.32.0) --vllm vllm/bin/vllm으로 알려 주세요."
)
_INSTALL_ROUTER = (
    "vllm-router를 찾지 못했어요. vLLM의 환경에 설치하고(vllm/bin/pip install vllm-router==0.1.17)"
    " --router vllm/bin/vllm-router로 알려 주세요."
)


@dataclass(frozen=True, slots=True)
class Parallel:
    """Over how many GPUs."""

    replicas: int
    tensor: int
    data: int
    ray: bool


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the operator wants it; None: as we think best."""

    name: str | None
    gpu_gb: float | None
    precision: Precision | None
    context: int | None
    speculative: bool
    parallel: Parallel
    host: str
    port: int


def serve_recipe(
    name: str,
    adapter: Path | None,
    model: Path | None,
    wishes: Wishes,
    *,
    key: str,
    programs: Programs,
    dry_run: bool,
    force: bool,
    say: Say,
) -> None:
    """Say how a recipe is served and, unless it is a dry run, serve it until told to end.

    Raises `BadInputError`, `OperatorError`, `TrainingInputError`.
    """
    recipe = recipes.load(name)
    try:
        ready = serving.prepare(recipe, adapter, model, name=wishes.name, planned=dry_run)
        if wishes.name and not ready.adapters:
            msg = "--name은 어댑터의 이름이라, 어댑터를 올릴 때만 써요 (--adapter)."
            raise BadInputError(msg)
        order = Order(
            recipe.name,
            ready.base,
            ready.template,
            wishes.gpu_gb or _ask_card(),
            ready.adapters,
            wishes.precision,
            wishes.context,
            speculative=wishes.speculative,
            replicas=wishes.parallel.replicas,
            tensor_parallel=wishes.parallel.tensor,
            data_parallel=wishes.parallel.data,
            ray=wishes.parallel.ray,
            host=wishes.host,
            port=wishes.port,
        )
        plan = vllm.plan(order, folder=FOLDER)
    except UnservableError as error:
        raise BadInputError(str(error)) from error
    precision: agreement.Precision = "bf16" if plan.precision == "bf16" else "quantised"
    if not dry_run and not force:
        if adapter:
            gate.require_passed(adapter, precision=precision)
        elif model:
            gate.require_merged(model, precision=precision)
    for line in describe(recipe.title, order, plan):
        say(line)
    if force and not dry_run:
        for line in _next(order, plan, adapter, model, precision):
            say(line)
    if not dry_run:
        _serve(plan, key, programs, say)


async def serve_embedded(
    settings: Settings, run: Path | None, port: int, *, dry_run: bool, force: bool, say: Say
) -> None:
    """Serve the embedded model until cancelled, with the adapter of a run or the shipped one.

    A dry run says what would be started.
    Raises `OperatorError`, `TrainingInputError`, `TrainingError`.
    """
    model = models.load_manifest()[models.DEMO_MODEL]
    if dry_run:
        say(
            f"# 내장 모델 {model.path().stem}, 어댑터 {run or embedded.TUNED.stem}, 이 프로세서에서"
        )
        say(f"# 봇의 설정: MODEL_URL=http://127.0.0.1:{port}/v1 MODEL_NAME={model.path().stem}")
        return
    if not model.is_fetched():
        msg = "내장 모델이 아직 없어요. 먼저 `deepbot models fetch`로 받아 주세요."
        raise OperatorError(msg)
    key = settings.model_api_key.get_secret_value()
    adapter = await asyncio.to_thread(_convert, run, force) if run else embedded.TUNED
    server = embedded.EmbeddedServer(model.path(), adapter=adapter, port=port, api_key=key)
    try:
        await server.start()
        say(
            f"준비됐어요: {server.url} (모델 {model.path().stem}, 어댑터 {run or adapter.stem})"
            "  (끝내기: Ctrl-C)"
        )
        say("키: MODEL_API_KEY에 적힌 것" if key else f"키 (지금만 보여요): {server.api_key}")
        await asyncio.Event().wait()
    except embedded.EmbeddedServerError as error:
        msg = f"{error} ({port}번 포트를 다른 프로그램이 쓰고 있으면 --port로 바꿔 주세요)"
        raise OperatorError(msg) from error
    finally:
        await server.stop()


def _convert(run: Path, force: bool) -> Path:
    """Return a run's adapter as llama.cpp reads it, written where it is not there yet."""
    from training.ggufadapter import write_gguf

    if not force:
        gate.require_passed(run, precision="quantised")  # as the model's file is
    path = run / f"adapter-{gate.digest(run)[:12]}.gguf"
    if not path.exists():
        write_gguf(open_run(run), path)
    return path


def describe(title: str, order: Order, plan: Plan) -> Iterator[str]:
    """Yield the commands as a shell takes them, with why; the key stays a variable."""
    memory, cards = plan.memory, order.tensor_parallel
    parts = [f"무게 {memory.weights / GIB:.1f} GiB({plan.precision or '줄인 그대로'})"]
    if order.adapters:
        parts.append(f"어댑터 {memory.adapters / GIB:.1f} GiB")
    parts.append(f"KV 캐시 {memory.cache / GIB:.1f} GiB")
    yield f"# {title}: {order.base.where}"
    yield f"# GPU {order.gpu_gb:g} GB{f' × {cards}' if cards > 1 else ''}: {', '.join(parts)}"
    yield f"# 문맥 {plan.context:,}토큰을 꽉 채운 질문 {memory.contexts:,}개가 함께 들어가요."
    if plan.precision in {"fp8", "4bit"} and not order.precision:
        whole = order.base.shape.weight_bytes("bf16") / cards / GIB
        yield f"# bf16은 무게만 {whole:.1f} GiB라 질문을 담을 자리가 모자라요."
    if plan.context < _SHORTEST_CONTEXT:
        yield f"# 봇은 {_SHORTEST_CONTEXT:,}토큰부터 물어요: 이 모델은 긴 질문에 답하지 못해요."
    if plan.precision == "4bit":
        yield "# bitsandbytes는 따로 설치해요: pip install vllm-bnb-plugin (vLLM의 환경에)"
    if plan.template:
        yield f"# 대화 틀은 실행할 때 {plan.template}에 적어요."
    if not is_loopback(order.host):
        yield f"# {order.host}: 키 없이 열리는 길이 있어요 (/invocations, /adapters …)."
        yield "#   밖에서는 /v1만 지나게 앞에서 막아 주세요 (docs/serving.md)."
    for server in plan.servers:
        settings = {"VLLM_API_KEY": '"${MODEL_API_KEY:?}"', **server.environment}
        yield ""
        yield " ".join(f"{name}={value}" for name, value in settings.items()) + " \\"
        yield f"  vllm {_shell(server.arguments)}"
    if plan.router:
        yield ""
        yield f"vllm-router {_shell(plan.router.arguments)}"
    yield ""
    yield f"# 봇의 설정: MODEL_URL=http://{order.host}:{order.port}/v1 MODEL_NAME={order.name}"
    adapter = f"MODEL_ADAPTER={order.adapters[0].name} " if order.adapters else ""
    yield f"#   {adapter}MODEL_CONTEXT={max(plan.context, _SHORTEST_CONTEXT)}"


def _next(
    order: Order,
    plan: Plan,
    adapter: Path | None,
    model: Path | None,
    precision: agreement.Precision,
) -> Iterator[str]:
    """Yield the gate's command for what is served without it."""
    run, merged = _find_run(adapter), adapter is None
    options = ["--url", f"{plan.servers[0].root}/v1"]
    options += ["--model", order.adapters[0].name if order.adapters else order.name]
    if model and not merged and order.base.stored_bytes is None:
        options += ["--base", str(model)]
    if precision == "quantised":
        options += ["--precision", precision]
    # The run is read in bf16 beside the server, which leaves a tenth of its card.
    left = order.gpu_gb * GIB * (1 - UTILIZATION)
    full = order.base.shape.weight_bytes("bf16") > left / 2
    line = f"deepbot gate {shlex.quote(str(run)) if run else '학습'} {shlex.join(options)}"
    line = f"CUDA_VISIBLE_DEVICES= {line}" if full else line
    yield ""
    yield "# 관문을 지나지 않고 올려요. 준비되면 다른 창에서 재 주세요:"
    yield f"#   {line}" if run else f"#   {line}  (학습: 그 학습의 폴더)"
    if merged:
        yield f"#   cp 학습/{gate.GATE} {shlex.quote(str(model))}"


def _find_run(adapter: Path | None) -> Path | None:
    """Return the run to which a folder belongs; None where it has left it."""
    folders = (adapter, adapter.resolve().parent) if adapter else ()
    return next((each for each in folders if (each / RUN).is_file()), None)


def _shell(arguments: tuple[str, ...]) -> str:
    """Return arguments as a shell takes them, a flag a line."""
    lines: list[str] = []
    for argument in arguments:
        quoted = shlex.quote(argument)
        if argument.startswith("--"):
            lines.append(quoted)
        elif lines:
            lines[-1] += f" {quoted}"
        else:
            lines.append(quoted)
    return " \\\n    ".join(lines)


def _ask_card() -> float:
    """Return the gigabytes of this machine's smallest GPU. Raises `BadInputError`."""
    smi = shutil.which("nvidia-smi")
    query = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    found = (
        subprocess.run([smi, *query], capture_output=True, text=True, check=False).stdout  # noqa: S603
        if smi
        else ""
    )
    sizes = [int(line) for line in found.split() if line.isdecimal()]
    if not sizes:
        msg = "이 컴퓨터의 GPU를 알 수 없어요. --gpu-memory로 카드의 메모리(GB)를 알려 주세요."
        raise BadInputError(msg)
    return round(min(sizes) / 1024)


def _serve(plan: Plan, key: str, programs: Programs, say: Say) -> None:
    if not key:
        msg = "MODEL_API_KEY가 없어요. 긴 비밀을 .env에 적어 주세요 (예: openssl rand -hex 32)."
        raise BadInputError(msg)
    vllm_, router = shutil.which(programs.vllm), shutil.which(programs.router)
    if vllm_ is None:
        raise OperatorError(_INSTALL)
    if router is None and plan.router:
        raise OperatorError(_INSTALL_ROUTER)
    found = replace(programs, vllm=vllm_, router=router or "")

    async def run() -> None:
        try:
            await vllm_server.serve(plan, programs=found, key=key, say=say)
        except vllm_server.VllmError as error:
            raise OperatorError(str(error)) from error

    console.serve(run())
