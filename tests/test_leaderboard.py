"""The leaderboard suite: the harness itself, on a local task of the same shape."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tests.tinymodels import make_base, make_tokenizer
from tests.trainedruns import load_by_hand, make_run, make_setting
from training import leaderboard
from training.errors import TrainingError, TrainingInputError
from training.leaderboard import LEADERBOARD, SUITE, LeaderboardRecord, run_leaderboard

ROWS = [
    {
        "concept_set": f"벽지#풀#{number}번#바르다",
        "1": f"벽지에 풀을 {number}번 바른다.",
        "2": f"풀이 벽지를 {number}번 먹는다.",
        "3": f"바른 벽지가 {number}번 날아간다고 한다.",
        "4": f"풀을 {number}번.",
        "gold": number % 4 + 1,
    }
    for number in range(40)
]
EXAMPLES, ASKED = ROWS[:2], ROWS[2:]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base", "llama")


@pytest.fixture
def run(tmp_path: Path, base: Path) -> Path:
    return make_run(tmp_path / "run", base, make_setting())


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """KoCommonGEN's task as we have it, with rows of a file in place of the hub's."""
    for name, rows in (("train", EXAMPLES), ("test", ASKED)):
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    ours = resources.files("training").joinpath("tasks/ko_commongen_v2.yaml")
    path = tmp_path / "local.yaml"
    path.write_text(
        f"include: {ours}\n"
        "task: local_commongen\n"
        "dataset_path: json\n"
        "num_fewshot: 2\n"
        "dataset_kwargs:\n"
        f"  data_files: {{train: {tmp_path / 'train.jsonl'}, test: {tmp_path / 'test.jsonl'}}}\n",
        encoding="utf-8",
    )
    return path


def score(
    run: Path,
    *,
    base: Path,
    tasks: Sequence[str] | None,
    limit: int | None = None,
    out: Path | None = None,
) -> str:
    said: list[str] = []
    run_leaderboard(run, base=base, limit=limit, tasks=tasks, out=out, say=said.append)
    return "\n".join(said)


def accuracies_by_hand(base: Path, run: Path) -> tuple[float, float]:
    """Return how often the likeliest sentence is right, and the likeliest per character."""
    model = load_by_hand(base, run)
    tokenizer = make_tokenizer()

    def put(row: dict[str, object]) -> str:
        words = str(row["concept_set"]).replace("#", ", ")
        return "\n".join([f"낱말: {words}", *(f"{n}. {row[str(n)]}" for n in range(1, 5)), "정답:"])

    shown = "주어진 낱말로 만든 문장 넷 가운데 상식에 맞는 것을 고르세요.\n\n" + "".join(
        f"{put(row)} {row['gold']}. {row[str(row['gold'])]}\n\n" for row in EXAMPLES
    )
    right = right_by_length = 0
    for row in ASKED:
        prompt = tokenizer(shown + put(row), add_special_tokens=False)["input_ids"]
        sums, shares = [], []
        for number in range(1, 5):
            choice = f"{number}. {row[str(number)]}"
            ids = tokenizer(f"{shown}{put(row)} {choice}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            total = sum(float(logits[i - 1, ids[i]]) for i in range(len(prompt), len(ids)))
            sums.append(total)
            shares.append(total / len(choice))
        right += sums.index(max(sums)) + 1 == row["gold"]
        right_by_length += shares.index(max(shares)) + 1 == row["gold"]
    return right / len(ASKED), right_by_length / len(ASKED)


def test_a_task_is_scored_as_by_hand(run: Path, base: Path, task: Path) -> None:
    said = score(run, base=base, tasks=[str(task)])

    record = LeaderboardRecord.model_validate_json((run / LEADERBOARD).read_text("utf-8"))
    (found,) = record.scores
    _, expected = accuracies_by_hand(base, run)
    assert found.metric == "acc_norm"
    assert found.value == pytest.approx(expected)
    assert (found.task, found.title) == ("local_commongen", "local_commongen")
    assert (found.questions, found.shots) == (len(ASKED), 2)
    assert found.stderr is not None
    assert (record.system, record.limit) == ("run", None)
    assert said.startswith(f"local_commongen: {expected:.4f} ± ")
    assert not list(run.glob("*.cache*"))


def test_part_of_the_questions_is_said_to_be_no_leaderboards_figure(
    run: Path, base: Path, task: Path, tmp_path: Path
) -> None:
    out = tmp_path / "part.json"

    said = score(run, base=base, tasks=[str(task)], limit=3, out=out)

    assert "3문항만 물었으니 리더보드의 값이 아니에요" in said
    record = LeaderboardRecord.model_validate_json(out.read_text("utf-8"))
    assert record.limit == 3
    assert record.scores[0].questions == 3
    assert not (run / LEADERBOARD).exists()


def test_a_killed_command_asks_the_model_nothing_again(
    run: Path, base: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leaderboard, "describe_machine", die)
        with pytest.raises(KeyboardInterrupt):
            score(run, base=base, tasks=[str(task)])

    def ask(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(HFLM, "_loglikelihood_tokens", ask)
    assert "local_commongen" in score(run, base=base, tasks=[str(task)])


def test_the_five_are_tasks_that_the_harness_knows() -> None:
    known = TaskManager(include_path=str(resources.files("training").joinpath("tasks")))

    assert list(SUITE) == ["arc", "hellaswag", "mmlu", "truthfulqa", "commongen"]
    for benchmark in SUITE.values():
        assert benchmark.task in known.all_tasks


def test_without_a_hub_it_is_one_sentence(
    run: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    for tasks in (None, ["commongen"]):
        with pytest.raises(TrainingError, match=r"문항을 받을 수 없어요 .*모델 허브"):
            score(run, base=base, tasks=tasks)


def test_an_unknown_task_is_refused(run: Path, base: Path, tmp_path: Path) -> None:
    for name in ("sums", str(tmp_path / "none.yaml")):
        with pytest.raises(TrainingInputError, match="그런 과제가 없어요"):
            score(run, base=base, tasks=[name])
