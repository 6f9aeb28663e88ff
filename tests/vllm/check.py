"""Does all that serves a model work with the real vLLM? `make vllm-check`, or

    python -m tests.vllm.check [--venv FOLDER] [--work FOLDER]

On this processor, with a tiny Llama and SmolLM2: a figure here says nothing of a GPU or of LDCC.
Each check prints a line; the first that fails ends it with exit code 1. Takes 5 to 10 minutes and
4 GB of memory on two idle cores, and once the making of the environment.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

import httpx
from pydantic import SecretStr
from sqlalchemy import select

from bot import logs
from db.models import Answer
from inference import prompts
from inference.client import ChatMessage, ModelClient, ModelError, TimeLimits, Usage
from inference.knowledge import files, starter_path
from tests.modelserver import ModelServer
from tests.shop import open_shop
from tests.vllm import flags, systems
from tests.vllm.environment import make_environment
from tests.vllm.serving import KEY, Server, deepbot, serving
from tests.vllm.systems import System

AT_ONCE = 32
QUESTION = "도배 후 환기는 어떻게 하나요?"
_TOKENS = 64  # of an answer under load
_LONG = 3500  # which takes a tiny model seconds
_GUARDED = ("GET /v1/models", "POST /v1/chat/completions", "POST /v1/load_lora_adapter")
_OPEN = (
    *("GET /health", "GET /metrics", "GET /version", "POST /tokenize", "POST /invocations"),
    *("POST /adapters", "GET /load", "POST /pause", "POST /sleep", "GET /docs"),
)


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


async def check_rule(system: System, work: Path) -> str:
    """What has not passed the gate is not served; what has gets as far as to look for vLLM."""
    served, other = system.runs[0], system.runs[1]
    common = ("serve", str(system.recipe), "--model", str(system.base), "--gpu-memory", "24")
    codes = [
        (await deepbot(*common, "--adapter", str(each), "--vllm", "nowhere", work=work))[0]
        for each in (served, other)
    ]
    assert codes == [1, 2], codes
    return "관문을 지난 어댑터만 올린다 (지나지 않은 것은 종료 코드 2)"


async def check_gate(system: System, server: Server, work: Path) -> str:
    """The adapter passes, asked by its own name, and not under the name of the base."""
    adapter = system.runs[0]
    common = ("gate", str(adapter), "--url", server.url, "--base", str(system.base), "--model")
    code, output, errors = await deepbot(*common, adapter.name, work=work)
    assert code == 0, output + errors
    return "\n     ".join(["관문을 지났다", *output.splitlines()])


async def check_conversation(server: Server, adapter: str, work: Path) -> str:
    """A customer asks through Telegram, and the answer stored names the adapter."""
    database = work / "shop.db"
    database.unlink(missing_ok=True)
    async with open_shop(
        f"sqlite:///{database}",
        ModelServer(url=server.url),
        model_name="tiny",
        model_adapter=adapter,
        model_api_key=SecretStr(KEY),
        model_context=2048,
        answer_policy="model",
        model_first_token_s=600,
        model_total_s=1200,
        answer_check=False,  # a tiny model's words hold against no source
        speech="off",
        voice="off",
    ) as shop:
        await shop.customer(1001).send(QUESTION)
        async with asyncio.timeout(1200):
            while not (rows := await shop.rows(select(Answer).where(Answer.text.is_not(None)))):
                await asyncio.sleep(0.1)
    (stored,) = rows
    assert (stored.adapter, stored.model, stored.error) == (adapter, adapter, None), stored
    assert stored.prompt_tokens > 100
    return (
        f"텔레그램(놀이터)의 질문에 답이 갔고 저장됐다: 어댑터 {stored.adapter},"
        f" {stored.prompt_tokens}+{stored.completion_tokens}토큰"
    )


async def check_second(system: System, server: Server) -> str:
    """A second adapter comes into the running server, and answers in its own way."""
    first, second = (each.name for each in system.runs)
    wanted = {"lora_name": second, "lora_path": str(system.runs[1] / "adapter")}
    async with server.http() as http:
        before = time.monotonic()
        (await http.post("/v1/load_lora_adapter", json=wanted)).raise_for_status()
        took = time.monotonic() - before
        again = (await http.post("/v1/load_lora_adapter", json=wanted)).status_code
        names = [each["id"] for each in (await http.get("/v1/models")).json()["data"]]
        said = {name: (await ask(server, name, question(0)))[0] for name in names}
        unloaded = await http.post("/v1/unload_lora_adapter", json={"lora_name": second})
        unloaded.raise_for_status()
        gone = (await http.get("/v1/models")).json()["data"]
    assert names == ["tiny", first, second]
    assert len(set(said.values())) == 3, said
    assert [each["id"] for each in gone] == ["tiny", first]
    assert again == 400
    return (
        f"도는 서버에 둘째 어댑터를 {took:.1f}초에 올렸고 셋이 서로 다르게 답했다;"
        f" 같은 이름을 또 올리면 {again}; 내렸다"
    )


async def check_cancel(server: Server) -> str:
    """A customer's client hangs up, and the server stops writing."""
    written = await server.measure("generation_tokens_total")
    async with open_client(server, "tiny") as client:
        stream = client.stream(question(1), max_tokens=_LONG)
        await anext(stream)
        await stream.aclose()
    before = time.monotonic()
    async with asyncio.timeout(300):
        while await server.measure("num_requests_running"):
            await asyncio.sleep(0.05)
    took = time.monotonic() - before
    written = await server.measure("generation_tokens_total") - written
    assert written < _LONG / 2, written
    return (
        f"끊은 것을 서버가 알았다: {took:.1f}초 뒤 도는 질문 0, {_LONG}토큰 가운데"
        f" {written:.0f}개만 썼다"
    )


async def check_doors(server: Server) -> str:
    """Which doors the key guards, and which stand open whoever asks."""
    found: dict[str, int] = {}
    async with server.http(key="") as http:
        for door in (*_GUARDED, *_OPEN):
            method, path = door.split()
            asked = http.post(path, json={}) if method == "POST" else http.get(path)
            found[door] = (await asked).status_code
    assert [found[door] for door in _GUARDED] == [401] * len(_GUARDED)
    unguarded = ", ".join(f"{door} {found[door]}" for door in _OPEN)
    return f"키 없이는 /v1이 401; 열려 있거나(200, 400, 422) 없는(404) 문: {unguarded}"


async def check_router(router: Server, model: str) -> str:
    """Two servers share the questions; the key holds through the router."""
    workers = [Server.behind(router, number) for number in (1, 2)]
    before = [await each.measure("request_success_total") for each in workers]
    chats = [question(number) for number in range(AT_ONCE)]
    await asyncio.gather(*(ask(router, model, chat) for chat in chats))
    shares = [
        await each.measure("request_success_total") - was
        for each, was in zip(workers, before, strict=True)
    ]
    body = {"model": model, "messages": chats[0], "max_tokens": 1}
    async with router.http(key="") as http:
        refused = (await http.post("/v1/chat/completions", json=body)).status_code
        workers_shown = (await http.get("/list_workers")).status_code
    assert sum(shares) == AT_ONCE
    assert min(shares) > 0, shares
    assert refused == 401
    return (
        f"라우터가 {AT_ONCE}개의 질문을 {shares[0]:.0f}:{shares[1]:.0f}로 나눴다; 키 없이는"
        f" {refused}; 라우터의 GET /list_workers는 키 없이 {workers_shown}"
    )


async def check_load(server: Server, model: str, *, found: int) -> str:
    """Many customers ask at once, with so many entries found for each."""
    cached = await server.measure("prefix_cache_hits_total")
    queried = await server.measure("prefix_cache_queries_total")
    chats = [question(number, found) for number in range(AT_ONCE)]
    before = time.monotonic()
    done = await asyncio.gather(*(_timed(server, model, chat) for chat in chats))
    seconds = time.monotonic() - before
    tokens = sum(tokens for _, tokens in done)
    cached = await server.measure("prefix_cache_hits_total") - cached
    queried = await server.measure("prefix_cache_queries_total") - queried
    first = [first for first, _ in done]
    p50, p95 = statistics.median(first), statistics.quantiles(first, n=20)[-1]
    return (
        f"{AT_ONCE}명이 한꺼번에 {model}에: 첫 토큰 p50 {p50:.2f}초, p95 {p95:.2f}초,"
        f" {tokens:,}토큰을 {seconds:.1f}초에 ({tokens / seconds:.0f}토큰/초),"
        f" 읽은 {queried:,.0f}토큰 가운데 {cached / queried:.0%}는 읽어 둔 것"
    )


async def _timed(server: Server, model: str, chat: list[ChatMessage]) -> tuple[float, int]:
    before = time.monotonic()
    first = 0.0
    async with open_client(server, model) as client:
        async for part in client.stream(chat, max_tokens=_TOKENS):
            first = first or time.monotonic() - before
            usage = part
    assert isinstance(usage, Usage)
    return first, usage.completion_tokens or 0


async def ask(server: Server, model: str, chat: list[ChatMessage]) -> tuple[str, Usage]:
    """Return an answer and what it cost."""
    async with open_client(server, model) as client:
        *said, usage = [part async for part in client.stream(chat, max_tokens=_TOKENS)]
    assert isinstance(usage, Usage)
    return "".join(map(str, said)), usage


def open_client(server: Server, model: str) -> ModelClient:
    """Return the bot's client, with patience for a busy machine."""
    limits = TimeLimits(connect=60, first_token=600, total=1200)
    return ModelClient(server.url, model, api_key=KEY, limits=limits)


def question(number: int, found: int = 3) -> list[ChatMessage]:
    """Return a chat as the bot asks it, with so many entries found."""
    every = files.load(starter_path())
    entries = [every[(7 * number + each) % len(every)] for each in range(found)]
    return prompts.consultation(entries[0].questions[0], entries, context_tokens=2048)


async def check(venv: Path, work: Path) -> None:
    """Do all checks in their order; the first that fails raises."""
    programs = make_environment(venv, say)
    commands, routers = await asyncio.to_thread(flags.parse_snapshots, programs)
    say(f"ok   vLLM의 명령 {commands}개와 vllm-router의 {routers}개의 플래그를 그 판이 다 받는다")
    tiny = await asyncio.to_thread(systems.make_tiny, work / "tiny")
    small = await asyncio.to_thread(systems.make_small, work / "small")
    say(f"ok   어댑터를 학습했다: {', '.join(each.name for each in (*tiny.runs, *small.runs))}")
    for system in (tiny, small):
        adapter = system.runs[0]
        (adapter / "gate.json").unlink(missing_ok=True)
        asked = (str(system.recipe), "--adapter", str(adapter), "--model", str(system.base))
        async with serving(programs / "vllm", *asked, "--force", work=work) as server:
            say(f"ok   {server.ready}")
            say(f"ok   {await check_gate(system, server, work)}")
            if system is tiny:
                say(f"ok   {await check_rule(system, work)}")
                say(f"ok   {await check_conversation(server, adapter.name, work)}")
                say(f"ok   {await check_second(system, server)}")
                say(f"ok   {await check_cancel(server)}")
                say(f"ok   {await check_doors(server)}")
            # SmolLM2 reads Korean at three tokens a character, and a processor reads slowly.
            found = 3 if system is tiny else 1
            say(f"ok   {await check_load(server, adapter.name, found=found)}")
        say("ok   끝내라고 하니 서버와 그 엔진이 끝났다")
    asked = (str(tiny.recipe), "--adapter", str(tiny.runs[0]), "--model", str(tiny.base))
    replicas = ("--replicas", "2", "--router", str(programs / "vllm-router"))
    async with serving(programs / "vllm", *asked, *replicas, work=work) as router:  # not forced
        say(f"ok   {router.ready}")
        say(f"ok   {await check_router(router, tiny.runs[0].name)}")


def main() -> None:
    """Check, and end with 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".vllm-venv"))
    parser.add_argument("--work", type=Path, default=Path("var/vllm-check"))
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    logs.configure("console", level=logs.QUIET)
    try:
        asyncio.run(check(options.venv, work))
    except (AssertionError, TimeoutError, ModelError, httpx.HTTPError) as error:
        say(f"틀림: {type(error).__name__} {error} (기록: {work / 'vllm.log'})")
        sys.exit(1)


if __name__ == "__main__":
    main()
