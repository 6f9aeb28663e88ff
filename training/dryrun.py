"""What a run would do, before a GPU is paid for: samples with the loss mask, memory, steps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from training import bases, memory
from training.encoding import IGNORED, Encoded
from training.errors import TrainingError
from training.finetune import Prepared, prepare_data
from training.progress import Say
from training.recipe import Base, Recipe, Setting, Variant
from training.trainer import count_steps, steps_per_epoch

_SAMPLES = 2
_PARTS = {
    "weights": "모델",
    "trained": "학습하는 것과 그 기울기, 옵티마이저",
    "checkpoints": "층마다 남기는 입력",
    "layer": "한 층의 중간값",
    "mask": "어텐션 마스크",
    "head": "어휘 위의 확률",
    "unpacked": "4비트에서 푼 행렬",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be trained; without data only the memory can be told."""

    recipe: Recipe
    variant: Variant
    data: Path | None
    base: Path | None
    max_steps: int | None


def show_plan(plan: Plan, gpus_gb: Sequence[float], *, say: Say) -> None:
    """Print what a run would do; without data or the base at hand, what the recipe alone tells."""
    setting = plan.recipe.setting(plan.variant)
    screen = Console(highlight=False)
    screen.print(Text(f"{plan.recipe.title} {plan.variant}: {describe(setting)}\n"))
    if plan.data is None:
        screen.print("--data를 주면 예와 걸음 수도 보여 드려요.")
    else:
        try:
            located = bases.locate(plan.recipe.base, plan.base, say=say)
            tokenizer = bases.load_tokenizer(plan.recipe.base, located, setting)
        except TrainingError as error:
            screen.print(Text(f"토크나이저가 없어 예와 걸음 수는 보여 드릴 수 없어요. {error}"))
        else:
            prepared = prepare_data(plan.data, setting, tokenizer)
            for each in prepared.train[:_SAMPLES]:
                screen.print(render_sample(each, tokenizer))
            screen.print(Text(count(prepared, setting, plan.max_steps)))
    screen.print(render_memory(plan.recipe.base, setting, gpus_gb))


def count(prepared: Prepared, setting: Setting, max_steps: int | None) -> str:
    """Return how much there is to learn, and in how many steps."""
    rows = prepared.rows
    truncated = sum(each.truncated for each in prepared.train)
    steps = count_steps(len(rows.dataset), setting, max_steps)
    an_epoch = steps_per_epoch(len(rows.dataset), setting)
    return (
        f"학습 {len(prepared.train):,}개, 검증 {len(prepared.validation):,}개"
        f" (길어서 자른 것 {truncated:,}개). 토큰 {rows.tokens:,}개,"
        f" 배우는 토큰 {rows.learnt:,}개, 모델이 읽는 토큰 {rows.cells:,}개"
        f" (배우는 것 {rows.learnt / rows.cells:.0%}).\n"
        f"한 에포크 {an_epoch:,}걸음, 모두 {steps:,}걸음 ({steps / an_epoch:.1f}에포크).\n"
    )


def describe(setting: Setting) -> str:
    """Return a setting in a line."""
    lora = setting.lora
    rank = f" r{lora.rank} α{lora.alpha}" if lora else ""
    return (
        f"{setting.method}{rank}, {setting.batching} {setting.batch_size}×{setting.max_length}"
        f"×{setting.accumulation}, lr {setting.learning_rate:g}, {setting.precision},"
        f" {setting.optimizer}, loss={setting.loss}"
    )


def render_sample(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return an example token by token: green ones are learnt, dim ones only read."""
    text = Text()
    for shown, learnt in split_tokens(encoded, tokenizer):
        text.append(shown.replace("\n", "⏎\n"), style="green" if learnt else "dim")
        text.append("│", style="dim")
    text.append(f"\n(토큰 {len(encoded.ids)}개, 배우는 것 {encoded.learnt}개)\n", style="bold")
    return text


def split_tokens(
    encoded: Encoded, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, bool]]:
    """Yield the tokens as text, and whether each is learnt; parts of one letter come together."""
    waiting: list[int] = []
    for token, label in zip(encoded.ids, encoded.labels, strict=True):
        waiting.append(token)
        shown = str(tokenizer.decode(waiting))
        if not shown.endswith("\ufffd"):
            yield shown, label != IGNORED
            waiting = []


def render_memory(base: Base, setting: Setting, gpus_gb: Sequence[float]) -> Table:
    """Return the memory that the setting needs, and the batch that fits each card."""
    found = memory.estimate(base, setting)
    table = Table(title="GPU 메모리 어림", title_justify="left")
    table.add_column("무엇")
    table.add_column("GiB", justify="right")
    for name, size in asdict(found).items():
        table.add_row(_PARTS[name], f"{size / memory.GIB:.2f}")
    table.add_row("가장 많을 때", f"{found.peak / memory.GIB:.2f}")
    table.add_row("카드에 있어야 할 것", f"{found.total / memory.GIB:.2f}", style="bold")
    for size in gpus_gb:
        fitting = memory.largest_batch(base, setting, size * memory.CARD_GB)
        answer = f"batch_size {fitting}까지" if fitting else "들어가지 않음"
        table.add_row(f"{size:g} GB 카드", answer)
    return table
