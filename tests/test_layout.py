"""Imports go down only: the model's side and the database know nothing of the bot."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_NOT = {
    "inference": {"bot", "db", "migrations", "tests", "training"},
    "training": {"bot", "db", "migrations", "tests"},
    "db": {"bot", "inference", "training", "tests"},
    "migrations": {"bot", "inference", "tests"},
    "bot": {"tests"},
    "bot/playground": {"db", "inference", "migrations", "tests"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_NOT)
def test_imports_go_down(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & MAY_NOT[package], path
