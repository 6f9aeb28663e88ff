"""`deepbot serve`: the vLLM commands of each recipe and card, what is refused, what is said."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bot import cli
from inference import fitting, models, prompts, vllm, vllm_server
from inference.client import ChatMessage, ModelClient
from inference.fitting import GIB, Shape
from tests.processes import run, started
from tests.runs import make_record
from training import gate, recipe, runs
from training.errors import TrainingInputError

SNAPSHOTS = Path(__file__).parent / "snapshots" / "serve"
KEY = "sk-never-shown-0123456789"
LLAMAS = ("ldcc-solar", "edentns-datavortexs")
SERVED = {
    **{f"{name}-{gb}": (name, "--adapter", "runs/shop", "--gpu-memory", str(gb))
       for name in (*LLAMAS, "qwen-small") for gb in (24, 48, 80)},
    **{f"{name}-{gb}": (name, "--model", "merged", "--gpu-memory", str(gb))
       for name in ("kakao-kogpt", "kykim-gpt3-small") for gb in (24, 48, 80)},
    **{f"skt-kogpt2-{gb}": ("skt-kogpt2", "--adapter", "runs/shop", "--gpu-memory", str(gb))
       for gb in (24, 48, 80)},
    "ldcc-solar-16": ("ldcc-solar", "--adapter", "runs/shop", "--gpu-memory", "16"),
    "replicas": ("ldcc-solar", "--adapter", "runs/shop", "--gpu-memory", "24", "--replicas", "3"),
    "tensor-parallel": (
        *("ldcc-solar", "--adapter", "runs/shop", "--gpu-memory", "24"),
        *("--tensor-parallel", "2", "--replicas", "2", "--host", "0.0.0.0", "--port", "9000"),  # noqa: S104
    ),
    "data-parallel": (
        *("ldcc-solar", "--adapter", "runs/shop", "--gpu-memory", "48"),
        *("--data-parallel", "2", "--ray", "--name", "shop-2", "--speculative"),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_logging: None) -> None:
    """In a folder of its own, with a key, without a GPU and without vLLM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_API_KEY", KEY)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """A gate that lets nothing pass, and what it was asked about."""
    asked: list[tuple[Path, str]] = []

    def require_passed(adapter: Path, *, precision: str) -> None:
        asked.append((adapter, precision))
        msg = "관문을 지나지 않은 어댑터예요."
        raise TrainingInputError(msg)

    monkeypatch.setattr(gate, "require_passed", require_passed)
    return asked


def serve(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["serve", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: str, code: int = 2) -> str:
    """Return the one line with which a command ends."""
    found, output, errors = serve(*arguments)
    assert found == code
    (line,) = errors.splitlines()
    assert line.startswith("deepbot: ")
    assert KEY not in output + errors
    return line


def make_run(folder: Path, name: str = "ldcc-solar", *, base: str | None = None) -> Path:
    """Leave a run's record and an adapter's settings, without weights."""
    record = make_record(name, base=base or recipe.load(name).base.repository)
    (folder / runs.ADAPTER).mkdir(parents=True)
    runs.write_record(folder, record)
    write_adapter(folder / runs.ADAPTER, 16)
    return folder


def write_adapter(folder: Path, rank: int, **more: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **more}))


def write_model(folder: Path, name: str = "ldcc-solar", **more: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**recipe.load(name).base.config, **more}))
    return folder


def flag(output: str, name: str) -> str | None:
    found = [line.split() for line in output.splitlines() if line.split()[:1] == [name]]
    return found[0][1] if found else None


# The commands


@pytest.mark.parametrize("name", SERVED)
def test_the_commands_are_those_of_the_snapshot(name: str) -> None:
    """`UPDATE_SNAPSHOTS=1` writes them anew; read the difference before it is committed."""
    code, output, errors = serve(*SERVED[name], "--dry-run")
    assert (code, errors) == (0, "")
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(output, encoding="utf-8")
    assert output == path.read_text(encoding="utf-8")
    assert KEY not in output


def test_every_recipe_has_its_snapshots() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(SERVED)
    for name in recipe.names():
        assert {f"{name}-{gb}" for gb in (24, 48, 80)} <= set(SERVED)


def test_nothing_is_written_by_a_dry_run(tmp_path: Path) -> None:
    serve(*SERVED["ldcc-solar-24"], "--dry-run")
    assert list(tmp_path.iterdir()) == []


# What is on the card


@pytest.mark.parametrize("name", recipe.names())
def test_the_weights_are_those_of_the_model_itself(name: str) -> None:
    from training import memory

    base = recipe.load(name).base
    shape, counted = Shape.of(base.config), memory.measure_shape(base)
    assert shape.matrices == counted.layer_matrices
    assert shape.weight_bytes("bf16") == pytest.approx(2 * counted.parameters, rel=0.002)


def test_ldcc_takes_what_its_publisher_says() -> None:
    shape = Shape.of(recipe.load("ldcc-solar").base.config)
    assert shape.weight_bytes("bf16") / GIB == pytest.approx(20.2, abs=0.1)
    assert shape.token_bytes == 192 * 1024


@given(
    gpu=st.floats(min_value=1, max_value=200),
    context=st.integers(512, 32_768),
    cards=st.sampled_from([1, 2, 4]),
    wished=st.sampled_from([None, *fitting.PRECISIONS]),
)
def test_what_is_served_always_fits(
    gpu: float, context: int, cards: int, wished: fitting.Precision | None
) -> None:
    shape = Shape.of(recipe.load("ldcc-solar").base.config)
    need = fitting.Need(shape, context, shape.adapter_bytes(16) * 2)
    try:
        precision, memory = fitting.fit(need, gpu, cards=cards, precision=wished)
    except fitting.UnservableError:
        return
    assert memory.weights + memory.adapters + memory.cache < gpu * GIB * fitting.UTILIZATION
    assert memory.contexts * context * shape.token_bytes <= memory.cache * cards
    assert precision == wished if wished else memory.contexts >= 4


@given(gpu=st.floats(min_value=12, max_value=200), context=st.integers(512, 4096))
def test_what_is_answered_at_once_has_room_for_the_usual_question(gpu: float, context: int) -> None:
    shape = Shape.of(recipe.load("ldcc-solar").base.config)
    order = vllm.Order("x", vllm.Base("x", shape), "own", gpu, context=context)
    try:
        plan = vllm.plan(order, folder=Path())
    except fitting.UnservableError:
        return
    arguments = plan.servers[0].arguments
    at_once = int(arguments[arguments.index("--max-num-seqs") + 1])
    tokens = plan.memory.cache / shape.token_bytes
    assert at_once * min(context, 860) <= tokens
    assert at_once == 256 or (at_once + 1) * 860 > tokens - context


def test_guesses_fit_a_step() -> None:
    """vLLM 0.32 does not start with adapters and more guesses than a step holds."""
    output = serve(*SERVED["qwen-small-24"], "--speculative", "--dry-run")[1]
    assert int(flag(output, "--max-num-seqs") or 0) * (8 + 1) <= 2048


def test_a_wished_precision_is_taken_or_refused() -> None:
    wished = ("ldcc-solar", "--adapter", "x", "--dry-run", "--gpu-memory")
    assert flag(serve(*wished, "80", "--precision", "fp8")[1], "--quantization") == (
        "fp8_per_channel"
    )
    assert "GPU 메모리 24 GB" in refused(*wished, "24", "--precision", "bf16")


def test_a_model_that_comes_quantised_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "awq", quantization_config={"quant_method": "awq"})
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(6 * GIB)  # a hole in a file takes no disk
    code, output, _ = serve(
        *("ldcc-solar", "--adapter", "x", "--model", "awq", "--gpu-memory", "16", "--dry-run")
    )
    assert code == 0
    assert "무게 6.0 GiB(줄인 그대로)" in output
    assert flag(output, "--quantization") is None
    assert flag(output, "--tokenizer-revision") is None  # the folder has its own
    wished = ("ldcc-solar", "--adapter", "x", "--model", "awq", "--gpu-memory", "16", "--dry-run")
    assert "--precision" in refused(*wished, "--precision", "fp8")


def test_the_card_is_asked_where_it_is_not_told(tmp_path: Path) -> None:
    assert "--gpu-memory" in refused("ldcc-solar", "--adapter", "x", "--dry-run")
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 81559\necho 46068\n")
    smi.chmod(0o755)
    output = serve("ldcc-solar", "--adapter", "x", "--dry-run")[1]
    assert "# GPU 45 GB" in output  # the smaller of two


# What is served of a run


def test_a_run_is_served_as_it_was_trained(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "shop-7")
    record = make_record("ldcc-solar", variant="original")
    runs.write_record(folder, record)
    write_adapter(folder / runs.ADAPTER, 8, rank_pattern={"q_proj": 24})
    for path in ("shop-7", "shop-7/adapter"):
        output = serve("ldcc-solar", "--adapter", path, "--gpu-memory", "80", "--dry-run")[1]
        assert flag(output, "--lora-modules") == "shop-7=shop-7/adapter"
        assert flag(output, "--max-lora-rank") == "32"  # 24 is none that vLLM takes
        assert flag(output, "--chat-template") == "var/serving/original.jinja"


def test_a_stand_in_needs_its_own_base(tmp_path: Path) -> None:
    make_run(tmp_path / "shop", base="random-llama")
    wished = ("ldcc-solar", "--adapter", "shop", "--gpu-memory", "24", "--dry-run")
    assert "random-llama" in refused(*wished)
    write_model(tmp_path / "random-llama")
    output = serve(*wished, "--model", "random-llama")[1]
    assert "vllm serve random-llama" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ldcc-solar",), "--adapter"),
        (("no-such-recipe", "--adapter", "x", "--dry-run"), "레시피"),
        (("kykim-gpt3-small", "--adapter", "x", "--dry-run"), "deepbot export"),
        (("kakao-kogpt", "--adapter", "x", "--dry-run"), "--merge"),
        (("ldcc-solar", "--adapter", "x"), "run.json"),
        (("ldcc-solar", "--model", "x"), "config.json"),
        (("ldcc-solar", "--adapter", "x", "--name", "ldcc-solar", "--dry-run"), "이름"),
        (("ldcc-solar", "--adapter", "x", "--name", "a b", "--dry-run"), "이름"),
        (("ldcc-solar", "--adapter", "a,b/x", "--dry-run"), "쉼표"),
        (("ldcc-solar", "--adapter", "x", "--tensor-parallel", "5", "--dry-run"), "32"),
        (("kykim-gpt3-small", "--adapter", "shop"), "LDCC"),
        (("ldcc-solar", "--adapter", "wide", "--dry-run"), "1024"),
        (("ldcc-solar", "--adapter", "broken", "--dry-run"), "adapter_config.json"),
        (("ldcc-solar", "--model", "broken", "--dry-run"), "config.json"),
        (("ldcc-solar", "--model", "x", "--name", "shop", "--dry-run"), "--name"),
        (("skt-kogpt2", "--adapter", "x", "--name", "shop", "--dry-run"), "--name"),
        (("skt-kogpt2", "--adapter", "x", "--model", "x", "--dry-run"), "--model"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    make_run(tmp_path / "shop")
    write_adapter(tmp_path / "wide", 1024)
    write_adapter(tmp_path / "broken", 8)
    (tmp_path / "broken" / "adapter_config.json").write_text('{"r": "eight"')
    assert said in refused(*arguments, "--gpu-memory", "24")


# The gate


def test_an_adapter_without_a_passed_gate_is_not_served(
    tmp_path: Path, asked: list[tuple[Path, str]]
) -> None:
    make_run(tmp_path / "shop")
    wished = ("ldcc-solar", "--adapter", "shop", "--gpu-memory", "24")
    assert "관문" in refused(*wished)
    assert asked == [(Path("shop"), "quantised")]  # 24 GB hold LDCC in fp8


@pytest.mark.parametrize("option", ["--dry-run", "--force"])
def test_the_gate_is_not_asked(tmp_path: Path, asked: list[tuple[Path, str]], option: str) -> None:
    make_run(tmp_path / "shop")
    code, output, errors = serve("ldcc-solar", "--adapter", "shop", "--gpu-memory", "24", option)
    assert asked == []
    assert "vllm serve LDCC" in output
    # Forced it goes on, to where no vLLM is found.
    assert (code, "vllm==0.32.0" in errors) == ((0, False) if option == "--dry-run" else (1, True))


def write_gate(folder: Path, adapter_digest: str, stage: gate.Stage, **more: object) -> None:
    record: dict[str, object] = {
        "passed": True,
        "failed": None,
        "stages": [{"stage": stage, "passed": True, "why": ""}],
        "probes": 11,
        "precision": "bf16",
        "server": "merged",
        "model": "merged",
        "adapter_digest": adapter_digest,
        "base": "LDCC/LDCC-SOLAR-10.7B",
        "versions": {},
        "measured": "2026-11-26T00:00:00+00:00",
    }
    (folder / gate.GATE).write_text(json.dumps({**record, **more}))


# What has passed goes on, to where no vLLM is found.
PASSED = "vllm==0.32.0"


def test_a_record_counts_for_its_precision_only(tmp_path: Path) -> None:
    shop = make_run(tmp_path / "shop")
    wished = ("ldcc-solar", "--adapter", "shop", "--gpu-memory")
    write_gate(shop, gate.digest(shop), "adapter")
    assert PASSED in refused(*wished, "48", code=1)
    assert "--precision quantised" in refused(*wished, "24")
    recorded = ["gate", "shop", "--recorded", "--precision"]
    runner = CliRunner()
    codes = [runner.invoke(cli.app, [*recorded, each]).exit_code for each in ("bf16", "quantised")]
    assert codes == [0, 2]
    write_gate(shop, gate.digest(shop), "adapter", precision="quantised")
    assert PASSED in refused(*wished, "24", code=1)
    assert "--precision bf16" in refused(*wished, "48")


def test_a_merged_model_needs_its_own_record(tmp_path: Path) -> None:
    merged = write_model(tmp_path / "merged")
    wished = ("ldcc-solar", "--model", "merged", "--gpu-memory", "48")
    assert "관문" in refused(*wished)
    assert PASSED in refused(*wished, "--force", code=1)
    write_gate(merged, "of the adapter", "adapter")
    assert "관문" in refused(*wished)  # it is the record of an adapter
    write_gate(merged, "of the adapter", "merge", passed=False, failed="merge")
    assert "병합" in refused(*wished)
    write_gate(merged, "of the adapter", "merge")
    assert PASSED in refused(*wished, code=1)
    assert "quantised" in refused(*wished, "--precision", "fp8")
    # What is merged in already is not put on top of it once more.
    make_run(tmp_path / "shop")
    assert "이미" in refused(*wished, "--adapter", "shop", "--force")


@pytest.mark.parametrize(
    ("file", "text", "flagged"),
    [
        ("chat_template.jinja", "{{ messages }}", None),
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}', None),
        ("tokenizer_config.json", "{}", "var/serving/sections.jinja"),
    ],
)
def test_a_models_own_template_wins(
    tmp_path: Path, file: str, text: str, flagged: str | None
) -> None:
    (write_model(tmp_path / "merged") / file).write_text(text)
    output = serve("ldcc-solar", "--model", "merged", "--gpu-memory", "48", "--dry-run")[1]
    assert flag(output, "--chat-template") == flagged


def test_what_is_forced_is_told_its_gate(tmp_path: Path) -> None:
    make_run(tmp_path / "shop")
    wished = ("ldcc-solar", "--adapter", "shop/adapter", "--force", "--gpu-memory")
    command = "gate " + str(tmp_path / "shop") + " --url http://127.0.0.1:8000/v1 --model shop"
    lines = serve(*wished, "24", "--host", "0.0.0.0")[1].splitlines()  # noqa: S104
    assert f"#   CUDA_VISIBLE_DEVICES= deepbot {command} --precision quantised" in lines
    assert f"#   CUDA_VISIBLE_DEVICES= deepbot {command}" in serve(*wished, "80")[1].splitlines()
    # A router would answer with any of its servers.
    lines = serve(*wished, "80", "--replicas", "2")[1].splitlines()
    assert f"#   CUDA_VISIBLE_DEVICES= deepbot {command}".replace("8000", "8001") in lines
    write_model(tmp_path / "merged")
    output = serve("ldcc-solar", "--model", "merged", "--force", "--gpu-memory", "80")[1]
    assert "deepbot gate 학습 --url http://127.0.0.1:8000/v1 --model ldcc-solar" in output
    assert "cp 학습/gate.json merged" in output
    assert "deepbot gate" not in serve(*wished, "24", "--dry-run")[1]


def test_without_a_key_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "shop")
    monkeypatch.delenv("MODEL_API_KEY")
    arguments = ("ldcc-solar", "--adapter", "shop", "--gpu-memory", "24", "--force")
    assert "MODEL_API_KEY" in refused(*arguments)


# Running

# vLLM's server as far as it is asked; as ordered it dies at once, or of the first question.
FAKE = r"""
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = sys.argv[1:]
key = os.environ["VLLM_API_KEY"]
assert key not in " ".join(arguments)
value = lambda flag: arguments[arguments.index(flag) + 1]
adapter = value("--lora-modules").split("=")[0]
asked = []
with open("started.jsonl", "a") as log:
    template = open(value("--chat-template")).read()
    print(json.dumps([os.getpid(), arguments, template, sorted(os.environ)]), file=log)
if os.environ["FAKE"] == "dead":
    sys.exit(3)

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def say(self, text, kind="application/json", status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        names = [value("--served-model-name"), adapter]
        models = [{"id": name, "max_model_len": 4096} for name in names]
        match self.path:
            case "/health": self.say("")
            case "/version": self.say('{"version": "0.32.0"}')
            case "/metrics":
                self.say('vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0\n')
            case "/v1/models" if self.headers["Authorization"] == f"Bearer {key}":
                self.say(json.dumps({"data": models}))
            case _: self.say("", status=401)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if os.environ["FAKE"] == "deadly":
            os._exit(4)
        if os.path.exists("mute"):
            return self.say("", status=500)
        with open("asked.jsonl", "a") as log:
            print(json.dumps(body), file=log)
        chunk = json.dumps({"choices": [{"delta": {"content": "네"}}]})
        self.say(f"data: {chunk}\n\ndata: [DONE]\n\n", "text/event-stream")

server = ThreadingHTTPServer(("127.0.0.1", int(value("--port"))), Handler)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server.serve_forever()
"""


# vllm-router as far as it is asked.
FAKE_ROUTER = r"""
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = sys.argv[1:]
with open("routers.jsonl", "a") as log:
    print(json.dumps([os.getpid(), arguments, sorted(os.environ)]), file=log)

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

port = int(arguments[arguments.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def write_program(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def program(tmp_path: Path) -> str:
    return write_program(tmp_path / "fake-vllm", FAKE)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port(count: int = 1) -> int:
    """Return a port that is free, as are the next after it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        try:
            for each in range(port, port + count):
                socket.create_server(("127.0.0.1", each)).close()
        except (OSError, OverflowError):
            continue
        return port


def arguments_for(tmp_path: Path, program: str, port: int) -> tuple[str, ...]:
    make_run(tmp_path / "shop")
    return (
        *("serve", "ldcc-solar", "--adapter", "shop", "--gpu-memory", "24", "--force"),
        *("--vllm", program, "--port", str(port)),
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_it_serves_until_told_to_end(tmp_path: Path, program: str) -> None:
    port = free_port()
    changes = {"MODEL_API_KEY": KEY, "FAKE": "well", "TELEGRAM_TOKEN": "1:secret"}
    arguments = arguments_for(tmp_path, program, port)
    async with started(*arguments, cwd=tmp_path, **changes) as process:
        assert process.stdout is not None
        printed = ""
        async with asyncio.timeout(30):
            while "준비됐어요" not in printed:
                line = await process.stdout.readline()
                assert line, printed
                printed += line.decode()
        assert f"http://127.0.0.1:{port}/v1 (vLLM 0.32.0, 모델 ldcc-solar, shop, 문맥" in printed
        assert "KV 캐시 1,600토큰" in printed

        # Each name was asked what every question begins with.
        asked = lines(tmp_path / "asked.jsonl")
        assert [body["model"] for body in asked] == ["ldcc-solar", "shop"]
        assert all(body["messages"][0]["content"] == prompts.SYSTEM for body in asked)
        ((pid, _, template, names),) = lines(tmp_path / "started.jsonl")
        assert template == prompts.TEMPLATES["sections"]

        # One that dies comes back.
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(lines(tmp_path / "asked.jsonl")) == 4)
        second = lines(tmp_path / "started.jsonl")[1][0]
        process.send_signal(signal.SIGTERM)
        rest, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert KEY not in printed + rest.decode() + errors.decode()
    assert not is_alive(second)
    assert "VLLM_API_KEY" in names
    assert not {"TELEGRAM_TOKEN", "MODEL_API_KEY"} & set(names)


async def until_said(process: asyncio.subprocess.Process, words: str) -> str:
    """Read what a command says until it has said this."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(40):
        while words not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
    return said


async def test_replicas_stand_behind_a_router(tmp_path: Path, program: str) -> None:
    port = free_port(3)
    router = write_program(tmp_path / "fake-router", FAKE_ROUTER)
    changes = {"MODEL_API_KEY": KEY, "FAKE": "well", "telegram_token": "1:secret"}
    arguments = (*arguments_for(tmp_path, program, port), "--replicas", "2", "--router", router)
    async with started(*arguments, cwd=tmp_path, **changes) as process:
        said = await until_said(process, "vllm-router, 서버 2개")
        asked = lines(tmp_path / "asked.jsonl")
        ((pid, flags, names),) = lines(tmp_path / "routers.jsonl")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(lines(tmp_path / "routers.jsonl")) == 2)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)
    pids = [
        each[0] for name in ("started", "routers") for each in lines(tmp_path / f"{name}.jsonl")
    ]
    assert len(pids) == 4
    assert not any(map(is_alive, pids))
    assert f"준비됐어요: http://127.0.0.1:{port}/v1" in said
    assert len(asked) == 4  # both servers are ready before it
    urls = [f"http://127.0.0.1:{port + each}" for each in (1, 2)]
    assert flags[flags.index("--worker-urls") + 1 :][:2] == urls
    assert not {"MODEL_API_KEY", "VLLM_API_KEY", "telegram_token"} & set(names)


def test_without_a_router_replicas_are_not_started(tmp_path: Path, program: str) -> None:
    arguments = arguments_for(tmp_path, program, free_port())[1:]
    line = refused(*arguments, "--replicas", "2", code=1)
    assert "vllm-router==" in line
    assert "--router" in line
    assert not (tmp_path / "started.jsonl").exists()


@pytest.mark.parametrize("place", [0, 1], ids=["of the router", "of a server"])
def test_what_listens_already_does_not_pass_for_ours(
    tmp_path: Path, program: str, place: int
) -> None:
    port = free_port(3)
    router = write_program(tmp_path / "fake-router", FAKE_ROUTER)
    arguments = arguments_for(tmp_path, program, port)[1:]
    with socket.create_server(("127.0.0.1", port + place)):
        line = refused(*arguments, "--replicas", "2", "--router", router, code=1)
    assert f":{port + place}" in line
    assert "--port" in line
    assert not (tmp_path / "routers.jsonl").exists()


async def test_a_restart_that_fails_is_tried_again(
    tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_server, "_RESTART_PAUSE_S", 0.1)
    monkeypatch.setenv("FAKE", "well")
    base = vllm.Base("x", Shape.of(recipe.load("ldcc-solar").base.config))
    order = vllm.Order(
        *("x", base, "sections", 80), (vllm.Adapter("shop", "x", 8),), port=free_port()
    )
    programs = vllm_server.Programs(program, "", frozenset())
    said: list[str] = []
    plan = vllm.plan(order, folder=tmp_path)
    work = vllm_server.serve(plan, programs=programs, key=KEY, say=said.append)
    task = asyncio.create_task(work)
    try:
        await until(lambda: bool(said))
        (tmp_path / "mute").touch()  # it lives and is healthy, and answers nothing
        os.kill(lines(tmp_path / "started.jsonl")[0][0], signal.SIGKILL)
        await until(lambda: len(lines(tmp_path / "started.jsonl")) == 3)
        (tmp_path / "mute").unlink()
        await until(lambda: len(lines(tmp_path / "asked.jsonl")) == 4)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not any(is_alive(each[0]) for each in lines(tmp_path / "started.jsonl"))


@pytest.mark.parametrize(
    ("fault", "said"), [("dead", "시작하지 못하고"), ("deadly", "첫 질문에 답하지 못했어요")]
)
async def test_a_server_that_does_not_come_up_is_said(
    tmp_path: Path, program: str, fault: str, said: str
) -> None:
    arguments = arguments_for(tmp_path, program, free_port())
    code, output, errors = await run(*arguments, cwd=tmp_path, MODEL_API_KEY=KEY, FAKE=fault)
    assert code == 1
    assert said in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert KEY not in output + errors


# The embedded one


def test_a_dry_run_of_the_embedded_one_starts_nothing() -> None:
    code, output, errors = serve("embedded", "--port", "8123", "--adapter", "shop", "--dry-run")
    assert (code, errors) == (0, "")
    assert "http://127.0.0.1:8123/v1" in output
    assert "어댑터 shop" in output


def test_what_does_not_apply_to_the_embedded_one_is_refused() -> None:
    line = refused("embedded", "--host", "0.0.0.0", "--precision", "fp8", "--ray", "--dry-run")  # noqa: S104
    assert line.endswith(": --precision, --ray, --host")


@pytest.mark.model
@pytest.mark.parametrize("key", [KEY, ""], ids=["given", "made"])
async def test_serve_embedded_answers_a_chat(tmp_path: Path, key: str) -> None:
    if not models.load_manifest()[models.DEMO_MODEL].is_fetched():
        pytest.skip("the language model is not there: run `deepbot models fetch`")
    port = free_port()
    arguments = ("serve", "embedded", "--port", str(port))
    async with started(*arguments, cwd=tmp_path, MODEL_API_KEY=key) as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            ready = (await process.stdout.readline()).decode()
            shown = (await process.stdout.readline()).decode().split()[-1]
        assert f"http://127.0.0.1:{port}/v1" in ready
        assert KEY not in ready + shown
        name = models.load_manifest()[models.DEMO_MODEL].path().stem
        chat: list[ChatMessage] = [{"role": "user", "content": "안녕하세요?"}]
        url = f"http://127.0.0.1:{port}/v1"
        async with ModelClient(url, name, api_key=key or shown) as client:
            parts = [part async for part in client.stream(chat, max_tokens=8)]
        assert "".join(part for part in parts if isinstance(part, str))
        async with ModelClient(url, name, api_key="wrong") as client:
            assert not await client.ready()

        code, _, errors = await run("serve", "embedded", "--port", str(port), cwd=tmp_path)
        assert code == 1
        assert "--port" in errors.splitlines()[-1]
