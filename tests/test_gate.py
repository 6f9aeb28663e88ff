"""`deepbot gate` and `export`: what is served against what was trained, and the made faults."""

import asyncio
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner, Result

from bot.cli import app
from inference import prompts
from inference.embedded import EmbeddedServer
from inference.models import DEMO_MODEL, load_manifest
from tests.modelserver import ModelServer
from tests.tinymodels import make_base
from tests.tinytraining import make_data, make_recipe, make_setting_for, say, train
from tests.trainedruns import make_run, make_setting
from tests.vllmserver import VllmServer
from training import bases, encoding, export, recipe
from training.agreement import TOLERANCES, Followed, Step, compare
from training.errors import TrainingError, TrainingInputError
from training.finetune import Order
from training.gate import GATE, GateRecord, digest, read_gate, require_passed
from training.probes import ANSWER_TOKENS, make_probes
from training.reference import load_adapted
from training.runs import ADAPTER, open_run
from training.subjects import LlamaServer, open_server

TOLERANCE = TOLERANCES["bf16"]


@dataclass(frozen=True)
class Trained:
    """A base, and a run that has learnt over it."""

    base: Path
    run: Path


def sharpen(base: Path, seed: int) -> Path:
    """Give a random base sharp opinions, as a trained one has: else all of them say the same."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    for name, weight in model.named_parameters():
        if "proj" in name:
            weight.data = 0.08 * torch.randn_like(weight)
        if "lm_head" in name:
            weight.data *= 8
    model.save_pretrained(base)
    return base


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("world")
    base = sharpen(make_base(folder / "tiny-llama", "llama"), 0)
    (folder / "data").mkdir()
    setting = make_setting_for("qlora", "llama", max_length=1024, epochs=5, batch_size=1)
    data = make_data(folder / "data")
    train(Order(make_recipe(setting), "default", data, folder / "run", base, 12))
    return Trained(base, folder / "run")


@pytest.fixture
def run(world: Trained, tmp_path: Path) -> Path:
    """A copy of the run, which the gate writes to."""
    return shutil.copytree(world.run, tmp_path / "run")


def load(folder: Path) -> PreTrainedModel:
    """Load a model as a server would: in bf16, from its files."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return model


def load_adapter(base: Path, adapter: Path) -> PreTrainedModel:
    adapted: PreTrainedModel = PeftModel.from_pretrained(load(base), adapter).get_base_model()
    return adapted


def make_server(world: Trained) -> VllmServer:
    """A server that does everything right."""
    adapter = world.run / ADAPTER
    return VllmServer(
        AutoTokenizer.from_pretrained(adapter),
        load(world.base),
        {"ko": load_adapter(world.base, adapter)},
    )


def ask(run: Path, *arguments: object, base: Path) -> Result:
    line = ["gate", str(run), "--base", str(base), *map(str, arguments)]
    return CliRunner().invoke(app, line)


def one_line(result: Result) -> str:
    (line,) = [each for each in result.stderr.splitlines() if each.startswith("deepbot: ")]
    return line


def found(run: Path) -> GateRecord:
    record = read_gate(run)
    assert record is not None
    return record


def stages(record: GateRecord) -> dict[str, bool | None]:
    return {each.stage: each.passed for each in record.stages}


def test_a_good_adapter_passes_and_may_be_served(world: Trained, run: Path) -> None:
    with pytest.raises(TrainingInputError, match="관문을 지나지 않은"):
        require_passed(run)
    with make_server(world).serve() as server:
        address = server.url.replace("http://", "http://shop:secret@")
        result = ask(run, "--url", address, base=world.base)
    assert result.exit_code == 0, result.stderr
    assert "어댑터 (adapter): 같음" in result.stdout
    record = found(run)
    assert record.passed
    assert stages(record) == dict.fromkeys(("template", "tokenizer", "base", "adapter"), True)
    assert (record.model, record.failed, record.probes) == ("ko", None, 11)
    assert record.versions["server"] == "vllm-0.32.0-0"
    assert "secret" not in (run / GATE).read_text(encoding="utf-8") + result.output
    for each in record.stages[2:]:
        assert each.mean is not None
        assert 0 < each.mean < TOLERANCE.mean / 2
        assert each.answers == 1
    require_passed(run)
    require_passed(run / ADAPTER)
    assert {"base", "ko"} <= set(server.asked)


@pytest.fixture(scope="module")
def passed(world: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its gate's record."""
    run = shutil.copytree(world.run, tmp_path_factory.mktemp("passed") / "run")
    with make_server(world).serve() as server:
        result = ask(run, "--url", server.url, base=world.base)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.mark.parametrize("layout", ["run", "its adapter", "adapter alone"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_has_passed_may_be_tried_from_where_servers_have_it(
    layout: str,
    passed: Path,
    tmp_path: Path,
    database_url: str,
    model: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = loaded = passed / ADAPTER
    if layout == "run":
        given = passed
    if layout == "adapter alone":
        given = loaded = shutil.copytree(passed / ADAPTER, tmp_path / "adapters" / "ko-2026-12")
        shutil.copy(passed / GATE, given)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL_URL", model.url)
    line = ["adapters", "try", "ko-2026-12", str(given)]
    result = await asyncio.to_thread(CliRunner().invoke, app, line)
    assert result.exit_code == 0, result.stderr
    assert model.adapters == {"ko-2026-12": str(loaded)}
    assert (loaded / "adapter_config.json").is_file()  # where vLLM looks
    if layout == "adapter alone":
        cut_rank(loaded, 4)
        with pytest.raises(TrainingInputError, match="어댑터가 바뀌었어요"):
            require_passed(loaded)


def test_an_adapter_changed_after_the_gate_is_not_served(world: Trained, run: Path) -> None:
    with make_server(world).serve() as server:
        assert ask(run, "--url", server.url, base=world.base).exit_code == 0
    (run / ADAPTER / "README.md").write_text("a card is no part of it", encoding="utf-8")
    require_passed(run)
    recorded = ["gate", str(run), "--recorded"]  # what stands before a container's model
    assert CliRunner().invoke(app, recorded).exit_code == 0
    cut_rank(run / ADAPTER, 4)
    with pytest.raises(TrainingInputError, match="어댑터가 바뀌었어요"):
        require_passed(run)
    refused = CliRunner().invoke(app, recorded)
    assert refused.exit_code == 2
    assert "어댑터가 바뀌었어요" in one_line(refused)


def break_template(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    server.tokenizer.chat_template = prompts.TEMPLATES["original"]


def break_tokenizer(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    other = ByteLevelBPETokenizer()
    ends = ["<pad>", "<s>", "</s>"]
    other.train_from_iterator(["벽지 도배 상담"], vocab_size=300, special_tokens=ends)
    server.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=other._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    server.tokenizer.chat_template = prompts.TEMPLATES["sections"]


def break_base(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    other = sharpen(make_base(tmp_path / "other", "llama"), 1)
    server.base = load(other)
    server.adapters["ko"] = load_adapter(other, world.run / ADAPTER)


def enlarge_base(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    """Another base, which says tokens that ours does not have."""
    break_base(server, world, tmp_path)
    for model in (server.base, server.adapters["ko"]):
        model.resize_token_embeddings(model.config.vocab_size + 64, mean_resizing=False)
        rows = model.get_output_embeddings().weight.data
        rows[-64:] = 2 * rows[:64]


def break_adapter(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    cut = shutil.copytree(world.run / ADAPTER, tmp_path / "cut")
    cut_rank(cut, 4)
    server.adapters["ko"] = load_adapter(world.base, cut)


def forget_adapter(server: VllmServer, world: Trained, tmp_path: Path) -> None:
    server.adapters["ko"] = server.base


def cut_rank(adapter: Path, rank: int) -> None:
    """Keep the first `rank` of an adapter's directions, at the same strength."""
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings |= {"r": rank, "lora_alpha": settings["lora_alpha"] * rank // settings["r"]}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    path = adapter / "adapter_model.safetensors"
    cut = {
        name: (weight[:rank] if "lora_A" in name else weight[:, :rank]).contiguous()
        for name, weight in load_file(path).items()
    }
    save_file(cut, path)


Fault = Callable[[VllmServer, Trained, Path], None]


@pytest.mark.parametrize(
    ("fault", "stage", "said"),
    [
        (break_template, "template", "“짧은 질문”의 2번째 토큰부터 우리는 '### System"),
        (break_tokenizer, "tokenizer", "번째 토큰부터"),
        (break_base, "base", "허용"),
        (enlarge_base, "base", "허용"),
        (break_adapter, "adapter", "허용"),
        (forget_adapter, "adapter", "어댑터 없는 바탕 모델에 더 가까움"),
    ],
    ids=["template", "tokenizer", "base", "larger base", "rank cut", "no adapter"],
)
def test_a_fault_is_called_by_its_stage(
    fault: Fault, stage: str, said: str, world: Trained, run: Path, tmp_path: Path
) -> None:
    server = make_server(world)
    fault(server, world, tmp_path)
    with server.serve():
        result = ask(run, "--url", server.url, base=world.base)
    assert result.exit_code == 1
    assert f"({stage})" in one_line(result)
    assert said in one_line(result)
    record = found(run)
    assert record.failed == stage
    assert not record.passed
    order = list(stages(record))
    assert all(record.stages[place].passed for place in range(order.index(stage)))
    with pytest.raises(TrainingInputError, match="관문에서 떨어진"):
        require_passed(run)


def merge_into_nf4(world: Trained, out: Path) -> Path:
    """Merge as one should not: the base's weights are those that 4 bits have left."""
    quantised = AutoModelForCausalLM.from_pretrained(
        world.base,
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    merged = PeftModel.from_pretrained(quantised, world.run / ADAPTER).merge_and_unload()
    merged.dequantize().save_pretrained(out)
    AutoTokenizer.from_pretrained(world.run / ADAPTER).save_pretrained(out)
    return out


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")  # the fault itself
def test_a_merge_into_a_quantised_base_is_called_so(
    world: Trained, run: Path, tmp_path: Path
) -> None:
    wrong = merge_into_nf4(world, tmp_path / "wrong")
    with VllmServer(AutoTokenizer.from_pretrained(wrong), load(wrong)).serve() as server:
        served = ask(run, "--url", server.url, base=world.base)
    assert found(run).failed == "merge"
    folder = ask(run, "--merged", wrong, base=world.base)
    for result in (served, folder):
        assert result.exit_code == 1
        assert "병합 (merge)" in one_line(result)
        # Nothing says that the base is right where it cannot be asked.
        assert "바탕 모델 (base): 재지 않음" in result.stdout


def export_merged(run: Path, out: Path, base: Path) -> Result:
    return CliRunner().invoke(
        app, ["export", str(run), "--merge", "--out", str(out), "--base", str(base)]
    )


def test_an_export_is_the_adapted_model_and_passes(
    world: Trained, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "merged"
    result = export_merged(run, out, world.base)
    assert result.exit_code == 0, result.stderr
    assert not list(out.parent.glob(".*"))
    merged, parts = load(out), load_adapter(world.base, run / ADAPTER)
    assert not hasattr(merged.config, "quantization_config")
    ids = torch.arange(40, 80)[None]
    with torch.inference_mode():
        assert torch.allclose(merged(ids).logits, parts(ids).logits, atol=0.5, rtol=0.05)
        assert not torch.allclose(merged(ids).logits, load(world.base)(ids).logits, atol=1)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "라이선스" in card
    assert "대역 모델" in card
    record = GateRecord.model_validate_json((out / GATE).read_text(encoding="utf-8"))
    assert stages(record) == {"template": True, "tokenizer": True, "base": None, "merge": True}
    assert record.server == record.model == "merged"
    assert read_gate(run) is None  # the adapter itself was not asked

    assert ask(run, "--merged", out, base=world.base).exit_code == 0
    with VllmServer(AutoTokenizer.from_pretrained(out), merged).serve() as server:
        served = ask(run, "--url", server.url, "--json", base=world.base)
    assert served.exit_code == 0, served.stderr
    assert stages(GateRecord.model_validate_json(served.stdout))["merge"]
    with pytest.raises(TrainingInputError, match="병합한 모델로만"):
        require_passed(run)

    again = export_merged(run, out, world.base)
    assert again.exit_code == 2
    assert "이미 무엇이 있어요" in one_line(again)


def test_an_export_that_came_out_wrong_leaves_nothing(
    world: Trained, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*arguments: object, **named: object) -> PeftModel:
        model = load_adapted(open_run(run), world.base, say=say)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data *= 0.5
        return model

    monkeypatch.setattr(export, "load_adapted", spoil)
    result = export_merged(run, tmp_path / "out" / "merged", world.base)
    assert result.exit_code == 1
    assert "내보내지 않았어요: 병합" in one_line(result)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("what", ["quantised base", "whole model", "no merge", "other adapter"])
def test_what_cannot_be_exported_is_said(
    what: str, world: Trained, run: Path, tmp_path: Path
) -> None:
    base = world.base
    if what == "quantised base":
        base = shutil.copytree(world.base, tmp_path / "base")
        config = json.loads((base / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (base / "config.json").write_text(json.dumps(config))
    if what == "whole model":
        run = make_run(tmp_path / "full", base, make_setting(method="full", lora=None))
    if what == "other adapter":
        (run / ADAPTER / "adapter_model.safetensors").write_bytes(b"no weights")
    merge = [] if what == "no merge" else ["--merge"]
    out = tmp_path / "merged"
    line = ["export", str(run), *merge, "--out", str(out), "--base", str(base)]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2
    reason = {
        "quantised base": "양자화된 모델",
        "whole model": "합칠 것이 없어요",
        "no merge": "--merge",
        "other adapter": "파일이 깨졌어요",
    }
    assert reason[what] in one_line(result)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_whole_model_is_compared_as_one(world: Trained, tmp_path: Path) -> None:
    run = make_run(tmp_path / "full", world.base, make_setting(method="full", lora=None))
    own = run / "model"
    tokenizer = AutoTokenizer.from_pretrained(own)
    tokenizer.chat_template = prompts.TEMPLATES["sections"]
    with VllmServer(tokenizer, load(own)).serve() as server:
        result = ask(run, "--url", server.url, base=world.base)
    assert result.exit_code == 0, result.stderr
    assert list(stages(found(run))) == ["template", "tokenizer", "model"]
    require_passed(run)


def test_a_base_that_is_not_listed_is_not_passed_silently(world: Trained, run: Path) -> None:
    server = make_server(world)
    server.adapters["other"] = server.base
    with server.serve():
        unclear = ask(run, "--url", server.url, base=world.base)
        unknown = ask(run, "--url", server.url, "--model", "nobody", base=world.base)
    for result in (unclear, unknown):
        assert result.exit_code == 2
        assert "base, ko, other" in one_line(result)


def test_a_key_that_is_refused_is_said(
    world: Trained, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(world)
    server.api_key = "right"
    with server.serve():
        monkeypatch.setenv("MODEL_API_KEY", "wrong")
        refused = ask(run, "--url", server.url, base=world.base)
        assert refused.exit_code == 2
        assert "API 키" in one_line(refused)
        assert "wrong" not in refused.output
        monkeypatch.setenv("MODEL_API_KEY", "right")
        assert ask(run, "--url", server.url, base=world.base).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--url", "http://127.0.0.1:9", "--merged", "x"]])
def test_one_thing_is_compared(arguments: list[str], world: Trained, run: Path) -> None:
    result = ask(run, *arguments, base=world.base)
    assert result.exit_code == 2
    assert "--url과 --merged" in one_line(result)


def test_a_server_that_says_no_probabilities_passes_nothing(world: Trained, run: Path) -> None:
    server = make_server(world)
    server.says_logprobs = False
    with server.serve():
        result = ask(run, "--url", server.url, base=world.base)
    assert result.exit_code == 1
    assert "로그 확률을 주지 않아" in one_line(result)
    assert not (run / GATE).exists()


def test_an_address_that_is_none_is_said(world: Trained, run: Path) -> None:
    result = ask(run, "--url", "http://shop:secret@[::1", base=world.base)
    assert result.exit_code == 2
    assert "주소를 읽을 수 없어요" in one_line(result)
    assert "secret" not in result.output


def test_no_server_and_no_run_are_one_line(world: Trained, run: Path, tmp_path: Path) -> None:
    nobody = ask(run, "--url", "http://127.0.0.1:9/v1", base=world.base)
    assert nobody.exit_code == 1
    assert "닿지 못해요" in one_line(nobody)
    nothing = ask(tmp_path / "none", "--url", "http://127.0.0.1:9/v1", base=world.base)
    assert nothing.exit_code == 2
    assert not (run / GATE).exists()


async def test_another_kind_of_server_is_refused(model: ModelServer) -> None:
    with pytest.raises(TrainingInputError, match=r"vLLM이나 llama\.cpp"):
        await asyncio.to_thread(open_server, model.url, model=None, key=None, precision=None)


def test_a_broken_record_is_no_pass(run: Path) -> None:
    (run / GATE).write_text("{", encoding="utf-8")
    with pytest.raises(TrainingInputError, match="기록을 읽을 수 없어요"):
        require_passed(run)
    with pytest.raises(TrainingInputError, match="어댑터가 아니에요"):
        digest(run.parent)


@pytest.mark.parametrize("context", [700, 1024, 2048, 4096, 32_768])
def test_probes_leave_room_for_an_answer(context: int) -> None:
    def count(chat: object) -> int:
        return len(re.findall(r"[가-힣]|\w+|\S", str(chat)))

    probes = make_probes(context, count)
    assert all(count(probe.chat) + ANSWER_TOKENS <= context for probe in probes)
    assert len({probe.name for probe in probes}) == len(probes) >= 8
    longest = max(count(probe.chat) for probe in probes)
    assert longest > 0.7 * min(context, 4096)


values = st.floats(-20, 0)
answers = st.lists(
    st.lists(st.dictionaries(st.integers(0, 9), values, min_size=1), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@given(answers, st.floats(-5, 5))
def test_what_is_the_same_agrees_and_a_shift_is_measured(
    tops: list[list[dict[int, float]]], shift: float
) -> None:
    steps = [[Step(max(top, key=lambda t: top[t]), top) for top in each] for each in tops]

    def follow(step: Step) -> Followed:
        best = step.top[step.token]
        return Followed(step.token, best, {t: value + shift for t, value in step.top.items()})

    agreement = compare(steps, [[follow(step) for step in each] for each in steps], TOLERANCE)
    assert agreement.mean == pytest.approx(abs(shift))
    likeliest = max(value for each in tops for top in each for value in top.values())
    assert agreement.worst == pytest.approx(abs(shift) * math.exp(likeliest + max(shift, 0)))
    assert agreement.values == sum(len(top) for each in tops for top in each)


@pytest.mark.parametrize(
    ("lead", "same"), [(0.0, 1.0), (TOLERANCE.margin, 1.0), (TOLERANCE.margin + 0.01, 0.5)]
)
def test_only_a_clear_lead_makes_another_answer(lead: float, same: float) -> None:
    said = Step(1, {1: -1.0, 2: -1.0})
    agreed = Followed(1, -1.0, {1: -1.0, 2: -1.5})
    other = Followed(2, -1.0 + lead, {1: -1.0, 2: -1.0 + lead})
    agreement = compare([[said, said], [said]], [[agreed, agreed], [other]], TOLERANCE)
    assert agreement.answers == same
    assert agreement.other_probe == (None if same == 1 else 1)


def test_what_nobody_would_say_hardly_counts() -> None:
    said = Step(1, {1: -0.01, 2: -12.0})
    row = Followed(1, -0.01, {1: -0.01, 2: -18.0})
    agreement = compare([[said]], [[row]], TOLERANCE)
    assert agreement.mean < 1e-4
    assert agreement.worst < 1e-4


def test_without_probabilities_nothing_is_passed() -> None:
    with pytest.raises(TrainingError, match="로그 확률을 주지 않아"):
        compare([[Step(1, {})]], [[Followed(1, 0.0, {1: 0.0})]], TOLERANCE)


@pytest.fixture(scope="module")
def qwen() -> PreTrainedTokenizerBase:
    """The small model's tokenizer as training has it, from its GGUF."""
    model = load_manifest()[DEMO_MODEL]
    if not model.is_fetched():
        pytest.skip("the language model is not there: run `deepbot models fetch`")
    small = recipe.load("qwen-small")
    located = bases.locate(small.base, None, say=say)
    return bases.load_tokenizer(small.base, located, small.default)


@pytest.mark.model
async def test_the_embedded_server_reads_as_training_does(
    qwen: PreTrainedTokenizerBase,
) -> None:
    def look(server: EmbeddedServer) -> None:
        subject = open_server(server.url, model=None, key=server.api_key, precision=None)
        assert isinstance(subject, LlamaServer)
        assert (subject.precision, subject.context) == ("quantised", 2048)
        assert not subject.adapted
        probes = make_probes(subject.context, lambda chat: len(encoding.prompt_ids(chat, qwen)))
        for probe in probes:
            text = encoding.prompt_text(probe.chat, qwen)
            ours = encoding.text_ids(text, qwen)
            assert subject.text_ids(text) == ours
            assert subject.chat_ids(probe.chat) == ours
        steps = subject.answer(encoding.prompt_ids(probes[2].chat, qwen), adapter=True)
        assert re.search(r"[가-힣]{2}", str(qwen.decode([step.token for step in steps])))
        known = [step for step in steps if step.top]
        assert len(known) > len(steps) / 2  # half a character has no probability of its own
        assert all(max(step.top, key=step.top.__getitem__) == step.token for step in known)
        assert all(len(step.top) == 5 for step in known)
        subject.close()

    server = EmbeddedServer(load_manifest()[DEMO_MODEL].path())
    await server.start()
    try:
        await asyncio.to_thread(look, server)
    finally:
        await server.stop()
