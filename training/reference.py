"""The gate's reference: the run's own model in transformers, its base never quantised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, PreTrainedModel

from training import bases, trained
from training.agreement import Followed, Step
from training.errors import TrainingError, TrainingInputError
from training.progress import Say
from training.runs import Run

_NEVER = -100.0  # nats: of a token that only the other model has


class Reference:
    """Follows answers token by token; one model in memory serves with the adapter and without."""

    def __init__(self, run: Run, base: Path | None, *, say: Say) -> None:
        self._model: PreTrainedModel | PeftModel
        if run.record.setting.method == "full":
            self._model = trained.load_run(run, base, say=say)[0]
        else:
            self._model = load_adapted(run, base, say=say).eval()

    def follow(
        self, prompt: Sequence[int], steps: Sequence[Step], *, adapter: bool
    ) -> list[Followed]:
        """Return what the model says at each step of an answer to a prompt's tokens."""
        with self._bare() if not adapter else nullcontext():
            rows = read_logprobs(self._model, prompt, [step.token for step in steps])
        found = []
        for step, row in zip(steps, rows, strict=True):
            best = int(row.argmax())
            wanted = {step.token, *step.top}
            said = {each: float(row[each]) if each < len(row) else _NEVER for each in wanted}
            found.append(Followed(best, float(row[best]), said))
        return found

    @contextmanager
    def other_kernels(self) -> Iterator[None]:
        """Compute attention by its plain formula, as exact and rounded elsewhere."""
        model = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.set_attn_implementation(before)

    @contextmanager
    def _bare(self) -> Iterator[None]:
        if not isinstance(self._model, PeftModel):
            raise AssertionError
        with self._model.disable_adapter():
            yield


def load_adapted(run: Run, base: Path | None, *, say: Say) -> PeftModel:
    """Load a run's adapter over its base in the run's precision, though it learnt over 4 bits.

    Raises `TrainingInputError` where the base that is there is quantised; `TrainingError`.
    """
    located = trained.locate_base(run, base, say=say)
    with bases.explained(located.shown):
        config = AutoConfig.from_pretrained(located.where, revision=located.revision)
    if getattr(config, "quantization_config", None):
        msg = (
            f"양자화된 모델이라 쓸 수 없어요. 양자화하지 않은 것을 --base로 주세요: {located.shown}"
        )
        raise TrainingInputError(msg)
    unquantised = run.record.setting.model_copy(update={"method": "lora"})
    model = bases.load_model(located, unquantised, trained.find_device())
    return trained.adapt(model, trained.find_own(run))


@contextmanager
def memory_explained() -> Iterator[None]:
    """Say in one sentence that a GPU has no room; a server beside it likes to take all of it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        msg = (
            "GPU 메모리가 모자라요. 서버가 GPU를 쓰고 있으면 CUDA_VISIBLE_DEVICES= 를 앞에 붙여"
            " CPU에서 견줄 수 있어요."
        )
        raise TrainingError(msg) from error


@torch.inference_mode()
def read_logprobs(
    model: PreTrainedModel | PeftModel, prompt: Sequence[int], answer: Sequence[int]
) -> torch.Tensor:
    """Return the log-probabilities at each token of an answer: (tokens, vocabulary) in float32."""
    ids = torch.tensor([[*prompt, *answer[:-1]]], device=model.device)
    ids = ids.clamp(max=model.config.vocab_size - 1)  # another model may have more tokens
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(answer)).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)
