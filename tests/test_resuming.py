"""Runs that are killed, go on, share a folder or a machine."""

import asyncio
import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.processes import environment, run, started
from tests.tinymodels import Architecture
from tests.tinytraining import (
    TARGETS,
    make_bases,
    make_data,
    make_recipe,
    make_setting_for,
    make_toml,
    say,
    train,
)
from training import finetune, runs
from training import recipe as recipes
from training.errors import TrainingError, TrainingInputError
from training.finetune import Order
from training.recipe import Lora
from training.runs import open_run
from training.trainer import Trainer


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


async def test_a_killed_run_goes_on_to_the_same_losses(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1, learning_rate=1e-3)
    lora = Lora(rank=8, alpha=16, dropout=0.2, targets=TARGETS["llama"])  # chance must go on too
    recipe = make_toml(
        make_recipe(setting.model_copy(update={"lora": lora})), tmp_path / "tiny.toml"
    )
    words = [
        *("train", str(recipe), "--data", str(data), "--base", str(bases["llama"])),
        *("--max-steps", "30", "--out"),
    ]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    train(Order(recipes.load(str(recipe)), "default", data, tmp_path / "whole", bases["llama"], 30))
    killed = tmp_path / "killed"
    for step, how in ((6, signal.SIGINT), (12, signal.SIGKILL)):
        state = killed / runs.CHECKPOINTS / f"checkpoint-{step}" / "trainer_state.json"
        async with started(*words, str(killed), cwd=tmp_path, **quiet) as process:
            async with asyncio.timeout(60):
                while not state.exists():
                    await asyncio.sleep(0.01)
            process.send_signal(how)
            _, complaint = await process.communicate()
        assert not (killed / runs.RUN).exists()
        assert process.returncode == (130 if how is signal.SIGINT else -how)
        assert ("멈췄어요" in complaint.decode()) is (how is signal.SIGINT)
        assert "Traceback" not in complaint.decode()
    code, output, errors = await run(*words, str(killed), cwd=tmp_path, **quiet)
    assert code == 0, errors
    assert "이어서" in errors
    assert "끝났어요" in output
    whole, resumed = (
        [(e.step, e.loss or e.validation_loss) for e in open_run(folder).metrics()]
        for folder in (tmp_path / "whole", killed)
    )
    assert [step for step, _ in resumed] == [step for step, _ in whole]
    seconds = [each.seconds for each in open_run(killed).metrics()]
    assert seconds == sorted(seconds)
    assert [loss for _, loss in resumed] == pytest.approx([loss for _, loss in whole], rel=1e-5)
    first, second = (
        load_file(folder / runs.ADAPTER / "adapter_model.safetensors")
        for folder in (tmp_path / "whole", killed)
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name])


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        (9, {}),  # an epoch
        (10, {}),
        (40, {"learning_rate": 0.3, "patience": 1, "validations_per_epoch": 9}),  # stops before
    ],
)
def test_a_run_killed_before_it_was_saved_is_saved_and_trains_no_more(
    steps: int,
    changes: dict[str, object],
    bases: dict[Architecture, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = make_setting_for("lora", "llama", **{"batch_size": 1, **changes})
    recipe = make_recipe(setting)
    whole = train(Order(recipe, "default", data, tmp_path / "whole", bases["llama"], steps))
    order = Order(recipe, "default", data, tmp_path / "killed", bases["llama"], steps)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "_save", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    began = json.loads((order.out / "started.json").read_text("utf-8"))["started"]
    resumed = train(order)
    assert resumed.record.started == began
    assert resumed.record.totals.steps == whole.record.totals.steps
    assert resumed.record.totals.stopped_early is (steps == 40)
    assert resumed.record.totals.tokens_per_second > 0
    first, second = (
        load_file(each.folder / runs.ADAPTER / "adapter_model.safetensors")
        for each in (whole, resumed)
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name])


def test_what_a_kill_left_half_written_is_passed_over(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1)
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 10)

    def die(trainer: Trainer, *_: object) -> None:
        if trainer.state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_scaler", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    with (order.out / runs.METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step":6,"epo')
    assert (order.out / runs.CHECKPOINTS / "checkpoint-6" / "adapter_model.safetensors").exists()
    said: list[str] = []
    finetune.train(order, say=said.append)
    assert any("checkpoint-4" in line for line in said)
    steps = [each.step for each in open_run(order.out).metrics() if each.loss is not None]
    assert steps == list(range(1, 11))


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    assert [e.step for e in train(order).metrics() if e.validation_loss] == [0, 1, 2]


def test_a_killed_run_goes_on_with_its_own_setting_only_and_in_one_process(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)
    other = replace(order, seed=1)
    killed_at = 1

    def die(trainer: Trainer, *_: object) -> None:
        if trainer.state.global_step == killed_at:
            with pytest.raises(TrainingInputError, match="돌고 있어요"):
                finetune.train(other, say=say)
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_scaler", die)
    for each in (other, order):  # before the first checkpoint nothing is lost with the old setting
        with pytest.raises(KeyboardInterrupt):
            finetune.train(each, say=say)
    killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        finetune.train(order, say=say)
    with pytest.raises(TrainingInputError, match="다른 설정"):
        finetune.train(other, say=say)
    killed_at = 3
    assert train(order).record.totals.steps == 2


def test_folders_of_other_runs_are_left_alone(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)
    train(order)
    with pytest.raises(TrainingInputError, match="이미 끝난"):
        finetune.train(order, say=say)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("일기")
    with pytest.raises(TrainingInputError, match="빈 폴더"):
        finetune.train(Order(order.recipe, "default", data, full, order.base, 2), say=say)


def test_a_full_disk_is_said(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(make_setting_for("lora", "llama"))
    order = Order(recipe, "default", data, tmp_path / "run", bases["llama"], 2)

    def fail(*_: object) -> None:
        msg = "unexpected pos 6784 vs 6676"  # torch's words for it
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_optimizer_and_scheduler", fail)
        with pytest.raises(RuntimeError, match="unexpected pos"):
            finetune.train(order, say=say)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(TrainingError, match="디스크"):
            finetune.train(order, say=say)
    assert train(order).record.totals.steps == 2


def test_nothing_is_left_where_nothing_was_trained(data: Path, tmp_path: Path) -> None:
    recipe = make_recipe(make_setting_for("lora", "llama"))
    out = tmp_path / "run"
    with pytest.raises(TrainingInputError):
        finetune.train(Order(recipe, "default", data, out, tmp_path / "none"), say=say)
    assert not out.exists()


async def test_several_processes_learn_as_one_and_write_once(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1, learning_rate=1e-3)
    recipe = make_recipe(setting)
    path = make_toml(recipe, tmp_path / "tiny.toml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--standalone", "-m", "bot.cli", "train", str(path), "--data", str(data)),
        *("--base", str(bases["llama"]), "--max-steps", "3", "--out", str(tmp_path / "two")),
        env=environment(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert output.decode().count("끝났어요") == 1
    doubled = make_recipe(setting.model_copy(update={"batch_size": 2}))
    one = train(Order(doubled, "default", data, tmp_path / "one", bases["llama"], 3))
    two = open_run(tmp_path / "two")
    losses = [[each.loss or each.validation_loss for each in run.metrics()] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert two.record.totals.epochs == one.record.totals.epochs  # two rows a step, both
    assert two.record.totals.tokens == one.record.totals.tokens
