"""The images, and every command of the containers, outside of containers."""

import os
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from bot.cli import app
from inference import prompts
from tests.containers import DEPLOY, EVERYTHING, ONCE, ROOT, Service, compose, program

SNAPSHOTS = ROOT / "tests" / "snapshots" / "serve"


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    found: dict[str, Service] = compose(*EVERYTHING)["services"]
    return found


# Commands


def test_our_commands_are_known(services: dict[str, Service]) -> None:
    images = ("deepbot:", "deepbot-train:")
    ours = {name: each for name, each in services.items() if each["image"].startswith(images)}
    assert set(ours) == {"demo", "bot", "webhook", "admin", *ONCE}
    for name, service in ours.items():
        result = CliRunner().invoke(app, [*service["command"], "--help"])
        assert result.exit_code == 0, (name, result.output)


def test_vllm_is_started_as_serve_says(services: dict[str, Service]) -> None:
    flags = _flags(_words("ldcc-solar-24", "vllm serve"))
    for name in ("vllm-0", "vllm-1"):
        first, *words = services[name]["command"]
        assert first == "serve"
        ours = _flags(words)
        for where in ("--host", "--port", "--chat-template", "--lora-modules"):
            assert ours.pop(where), where
            flags.pop(where, None)
        assert ours == flags, name


def test_the_router_is_started_as_serve_says(services: dict[str, Service]) -> None:
    ours, theirs = _flags(services["router"]["command"]), _flags(_words("replicas", "vllm-router"))
    assert ours.pop("--worker-urls") == ["http://vllm-0:8000", "http://vllm-1:8000"]
    for where in ("--host", "--port", "--worker-urls"):
        ours.pop(where, None)
        theirs.pop(where)
    assert ours == theirs


def _words(snapshot: str, program_: str) -> list[str]:
    """Return the arguments of the first such command that `deepbot serve` printed."""
    text = (SNAPSHOTS / f"{snapshot}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in text.splitlines() if f"{program_} " in line)
    return line.partition(f"{program_} ")[2].split()


def _flags(words: list[str]) -> dict[str, list[str]]:
    """Return what stands after each flag; what stands before the first under an empty name."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            found[name] = []
        else:
            found[name].append(word)
    return found


def test_the_chat_template_is_the_one_that_was_trained_with() -> None:
    recipe = tomllib.loads((ROOT / "training/recipes/ldcc-solar.toml").read_text(encoding="utf-8"))
    template = prompts.TEMPLATES[recipe["default"]["template"]]
    assert (DEPLOY / "sections.jinja").read_text(encoding="utf-8") == template


def test_vllm_gets_its_key_and_its_arguments(services: dict[str, Service], tmp_path: Path) -> None:
    secret, said = tmp_path / "model_api_key", tmp_path / "said"
    secret.write_text("key\n")
    vllm = tmp_path / "vllm"
    vllm.write_text(f'#!/bin/sh\nprintf "%s\\n" "$VLLM_API_KEY" "$@" > {said}\n')
    vllm.chmod(0o755)
    shell, flag, script, zeroth = services["vllm-0"]["entrypoint"]
    script = script.replace("$$", "$").replace("/run/secrets/model_api_key", str(secret))
    arguments = ["serve", "LDCC/LDCC-SOLAR-10.7B", "a b"]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([shell, flag, script, zeroth, *arguments], env=environment, check=True)
    assert said.read_text().splitlines() == ["key", *arguments]
    secret.unlink()
    said.unlink()
    result = subprocess.run([shell, flag, script, zeroth, *arguments], env=environment, check=False)
    assert result.returncode != 0
    assert not said.exists()  # never without its key


def python_checks() -> list[list[str]]:
    image = re.search(r"^    CMD (\[\"python\".+\])$", (ROOT / "Dockerfile").read_text(), re.M)
    assert image
    services = compose(*EVERYTHING)["services"].values()
    tests = [service["healthcheck"].get("test", []) for service in services]
    found = {tuple(test[1:]) for test in tests if "python" in "".join(test[1:2])}
    found.add(tuple(eval(image[1])))  # noqa: S307 - a list of strings out of our own file
    return sorted(map(list, found))


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        known = self.path in {"/health", "/healthz", "/readyz"}
        self.send_response(self.status if known else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_health_checks_pass_where_it_is_healthy_and_nowhere_else() -> None:
    checks = python_checks()
    assert len(checks) >= 6
    server = HTTPServer(("127.0.0.1", 0), _Health)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        for _program, flag, script in checks:
            moved = re.sub(r":(8\d\d\d)/", f":{server.server_port}/", script)
            assert moved != script
            for status, code in ((200, 0), (503, 1)):
                _Health.status = status
                command = [sys.executable, flag, moved]
                result = subprocess.run(command, capture_output=True, check=False)
                assert result.returncode == code, script
    finally:
        server.shutdown()
        server.server_close()


def test_a_late_backup_is_unhealthy(services: dict[str, Service], tmp_path: Path) -> None:
    kind, script = services["backup"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    script = script.replace("$$", "$").replace("/backups", str(tmp_path))
    environment = {"PATH": os.environ["PATH"], "BACKUP_HOURS": "24"}

    def is_healthy() -> bool:
        done = subprocess.run(["sh", "-c", script], env=environment, check=False)
        return done.returncode == 0

    assert not is_healthy()
    dump = tmp_path / "deepbot-20260101T000000Z.dump"
    dump.touch()
    assert is_healthy()
    late = dump.stat().st_mtime - 26.5 * 3600
    os.utime(dump, (late, late))
    assert not is_healthy()


# The image


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    done = subprocess.run(
        [program("hadolint"), "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_image_is_of_the_projects_version_and_knows_its_stages(
    services: dict[str, Service],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"deepbot-{project['version']}-py3-none-any.whl" in dockerfile
    stages = set(re.findall(r"^FROM .+ AS (\w+)$", dockerfile, re.M))
    built = {each["build"]["target"] for each in services.values() if "build" in each}
    assert built == {"bot", "train", "router"}
    assert built <= stages
    for service in services.values():
        if "build" in service:
            assert service["image"].endswith(f":{project['version']}")


def test_the_build_gets_what_it_copies_and_nothing_private() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        word
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M)
        for word in words.split()
    }
    assert copied == allowed
    for name in allowed:
        assert (ROOT / name).exists(), name
    assert not allowed & {".env", "var", ".git", "tests"}


def test_the_routers_packages_are_exact() -> None:
    lines = (DEPLOY / "router.txt").read_text(encoding="utf-8").split()
    assert "vllm-router==0.1.17" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


# What is mounted


def test_everything_that_is_mounted_is_there_and_may_be_read() -> None:
    for name, config in compose(*EVERYTHING)["configs"].items():
        path = Path(config["file"])
        assert path.is_relative_to(DEPLOY), name
        assert path.stat().st_mode & 0o004, name  # by the users of the containers


def test_caddy_finds_nothing_to_mend() -> None:
    for path in DEPLOY.rglob("*Caddyfile"):
        done = subprocess.run(
            [program("caddy"), "fmt", "--diff", str(path)], capture_output=True, check=False
        )
        assert done.returncode == 0, (path, done.stdout)
