"""Rows that hold no padding and repeat no prompt teach what the texts teach one by one."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel, TrainerCallback

from tests.tinymodels import VOCABULARY, Architecture, make_base, make_tokenizer
from tests.trainedruns import make_setting
from training.batches import Collator, adds_mask, build_rows, find_prefix
from training.encoding import IGNORED, Encoded
from training.loss import measure_loss, sum_losses
from training.recorder import Recorder
from training.trainer import build_trainer

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=7)
PAD = 0


def make_text(chance: torch.Generator, shared: list[int], asked: int, answered: int) -> Encoded:
    own = torch.randint(3, VOCABULARY, (asked + answered,), generator=chance).tolist()
    ids = [*shared, *own]
    start = len(shared) + asked
    return Encoded(ids, [IGNORED] * start + ids[start:], truncated=False)


def make_texts(lengths: list[int], shared: int = 20, seed: int = 0) -> list[Encoded]:
    chance = torch.Generator().manual_seed(seed)
    prompt = torch.randint(3, VOCABULARY, (shared,), generator=chance).tolist()
    return [make_text(chance, prompt, 3, length) for length in lengths]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gptj"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedModel:
    architecture: Architecture = request.param
    folder = make_base(tmp_path_factory.mktemp(architecture), architecture)
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder)
    chance = torch.Generator().manual_seed(1)
    for weight in found.parameters():  # as made it knows nothing: all tokens alike
        weight.data += 0.2 * torch.randn(weight.shape, generator=chance)
    found.eval()
    return found


def one_by_one(model: PreTrainedModel, texts: list[Encoded]) -> torch.Tensor:
    """The sum of the losses by hand: each text alone, nothing padded."""
    total = torch.zeros(())
    for text in texts:
        logits = model(input_ids=torch.tensor([text.ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor(text.labels[1:])
        total = total + cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total


def as_batch(model: PreTrainedModel, texts: list[Encoded], batching: str) -> torch.Tensor:
    setting = make_setting(batching=batching, max_length=128)
    rows = build_rows(texts, setting, PAD)
    collate = Collator(rows.prefix, PAD, adds_mask(model))
    return sum_losses(model, collate(list(rows.dataset)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(lengths=LENGTHS)
@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_a_batch_has_the_losses_of_its_texts(
    model: PreTrainedModel, batching: str, lengths: list[int]
) -> None:
    texts = make_texts(lengths)
    torch.testing.assert_close(
        as_batch(model, texts, batching), one_by_one(model, texts), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_no_text_is_told_from_the_one_before_it(model: PreTrainedModel, batching: str) -> None:
    texts = [Encoded(each.ids, each.ids, truncated=False) for each in make_texts([30, 5, 44])]
    torch.testing.assert_close(
        as_batch(model, texts, batching), one_by_one(model, texts), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_and_their_gradients(model: PreTrainedModel, batching: str) -> None:
    texts = make_texts([30, 5, 44, 17, 2])
    gradients = []
    for loss in (as_batch(model, texts, batching), one_by_one(model, texts)):
        model.zero_grad()
        torch.autograd.backward(loss)
        gradients.append(
            [each.grad.clone() for each in model.parameters() if each.grad is not None]
        )
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-3)


class Gradients(TrainerCallback):
    """Keeps the gradients of a step."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, *_: object, model: PreTrainedModel, **__: object) -> None:  # type: ignore[override]
        self.found = read_gradients(model)


def read_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1, "accumulation": 4},
        {"batch_size": 2, "accumulation": 2, "gradient_checkpointing": True},
        {"batch_size": 3, "accumulation": 4, "batching": "padded"},
    ],
)
def test_a_step_has_the_gradients_of_the_mean_over_all_its_tokens(
    model: PreTrainedModel, changes: dict[str, object], tmp_path: Path
) -> None:
    setting = make_setting(**{"method": "full", "lora": None, "max_length": 128, **changes})
    texts = make_texts([30, 5, 44, 17, 2, 60, 60, 9, 25, 40])
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rows = build_rows(texts, setting, PAD)
    torch.autograd.backward(one_by_one(model, texts) / rows.learnt)
    expected = read_gradients(model)
    model.zero_grad()
    recorder = Recorder(tmp_path, resumed_step=None, main=False)
    trainer = build_trainer(
        *(model, make_tokenizer(), rows, texts[:1], setting),
        out=tmp_path,
        recorder=recorder,
        max_steps=1,
    )
    trainer.args.max_grad_norm = 0.0
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    assert model.is_activation_checkpointing is setting.gradient_checkpointing
    assert len(rows.dataset) <= setting.batch_size * setting.accumulation  # one step holds all
    assert expected
    for name, each in expected.items():
        torch.testing.assert_close(gradients.found[name], each, rtol=1e-3, atol=1e-5)


def test_the_measured_loss_is_the_mean_over_tokens(model: PreTrainedModel) -> None:
    texts = make_texts([30, 5, 44, 17, 2, 60, 60, 60])
    found = measure_loss(model, texts, PAD)
    tokens = sum(each.learnt for each in texts)
    assert found.tokens == tokens
    assert found.mean == pytest.approx(one_by_one(model, texts).item() / tokens, rel=1e-4)


@given(lengths=LENGTHS, shared=st.integers(0, 40))
def test_rows_hold_every_text_once(lengths: list[int], shared: int) -> None:
    texts = make_texts(lengths, shared)
    rows = build_rows(texts, make_setting(max_length=128), PAD)
    start = len(rows.prefix)
    held: list[list[int]] = []
    for row in rows.dataset:
        assert start + len(row["input_ids"]) <= 128
        begin = 0
        for size in row["seq_lengths"]:
            held.append([*rows.prefix, *row["input_ids"][begin : begin + size]])
            begin += size
        assert begin == len(row["input_ids"])
    assert sorted(held) == sorted(each.ids for each in texts)
    assert rows.tokens == sum(len(each.ids) for each in texts)
    assert rows.learnt == sum(each.learnt for each in texts)
    assert rows.cells <= rows.tokens


def test_the_prefix_ends_where_a_loss_begins() -> None:
    alike = Encoded([5, 6, 7, 8], [IGNORED, IGNORED, IGNORED, 8], truncated=False)
    assert find_prefix([alike, alike]) == [5, 6]  # 7 is what 8 is told from
    assert find_prefix([Encoded([5, 6], [5, 6], truncated=False)] * 2) == []


def test_the_first_teams_rows_are_mostly_padding(tmp_path: Path) -> None:
    texts = make_texts([40] * 10)
    ours = build_rows(texts, make_setting(max_length=512), PAD)
    theirs = build_rows(texts, make_setting(max_length=512, batching="padded"), PAD)
    assert theirs.cells == 512 * 10
    assert ours.cells < 512
    assert ours.learnt == theirs.learnt
