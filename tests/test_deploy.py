"""The images and the Compose file, as far as they can be judged where no engine runs."""

import os
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from bot.cli import app
from bot.settings import Settings
from inference import prompts
from tests.containers import DEPLOY, ROOT, compose, program

Service = dict[str, Any]

EVERYTHING = ("demo", "shop", "tls", "scale", "tools")
SECRETS = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
OUR_IMAGES = ("deepbot:", "deepbot-router:")
SNAPSHOTS = ROOT / "tests" / "snapshots" / "serve"


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    found: dict[str, Service] = compose(*EVERYTHING)["services"]
    return found


# The file


def test_the_file_is_what_the_specification_says() -> None:
    subprocess.run(
        [
            program("check-jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")),
        ],
        check=True,
    )


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ((), set()),
        (("demo",), {"models", "demo", "demo-door"}),
        (
            ("shop",),
            {"models", "postgres", "backup", "bot", "admin", "vllm-0", "model-shop"},
        ),
        (
            ("shop", "tls"),
            {"models", "postgres", "backup", "bot", "admin", "vllm-0", "model-shop"}
            | {"proxy-pages"},
        ),
        (
            ("scale",),
            {"models", "postgres", "backup", "webhook", "admin", "vllm-0", "vllm-1", "router"}
            | {"model-scale", "proxy"},
        ),
        (("tools",), {"postgres", "tools"}),
    ],
)
def test_a_profile_is_complete(profiles: tuple[str, ...], expected: set[str]) -> None:
    # Compose itself refuses a profile whose services need one that is not in it.
    assert set(compose(*profiles)["services"]) == expected


def test_every_image_is_named_by_an_exact_tag(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?[\w.-]*", service["image"]), name
        assert ("build" in service) == service["image"].startswith(OUR_IMAGES), name


def test_every_service_has_as_few_rights_as_it_can(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        is_caddy = service["image"].startswith("caddy:")
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if is_caddy else []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        user, _, group = service["user"].partition(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert not service.get("privileged"), name
        assert service.get("network_mode", "").removeprefix("service:") in {"", "demo"}, name


def test_every_service_has_limits_logs_that_end_and_a_health(services: dict[str, Service]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["logging"]["options"] == {"max-file": "5", "max-size": "10m"}, name
        once = name in {"models", "tools"}
        assert service["restart"] == ("no" if once else "unless-stopped"), name
        assert bool(service["healthcheck"].get("disable")) == once, name


def test_start_order_waits_for_health(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            is_once = services[needed]["restart"] == "no"
            expected = "service_completed_successfully" if is_once else "service_healthy"
            assert how["condition"] == expected, (name, needed)


def test_only_the_proxies_are_open_to_the_outside(services: dict[str, Service]) -> None:
    opened = {
        (name, port.get("host_ip", ""), port["published"])
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    assert opened == {
        ("demo", "127.0.0.1", "8765"),
        ("demo", "127.0.0.1", "8766"),
        ("admin", "127.0.0.1", "8090"),
        ("proxy-pages", "", "80"),
        ("proxy-pages", "", "443"),
        ("proxy", "", "80"),
        ("proxy", "", "443"),
    }


def test_vllm_and_postgres_are_reached_by_those_alone_who_need_them() -> None:
    model = compose(*EVERYTHING)
    internal = {name for name, network in model["networks"].items() if network.get("internal")}
    assert internal == {"database", "model", "cards"}
    by_network = {
        network: {
            name
            for name, service in model["services"].items()
            if network in service.get("networks", {})
        }
        for network in internal
    }
    assert by_network == {
        "database": {"postgres", "backup", "bot", "webhook", "admin", "tools"},
        "model": {"bot", "webhook", "tools", "model-shop", "model-scale"},
        "cards": {"vllm-0", "vllm-1", "router", "model-shop", "model-scale", "tools"},
    }
    for name in ("vllm-0", "vllm-1", "router", "postgres", "backup"):
        assert set(model["services"][name]["networks"]) <= internal, name


# Settings and secrets


def test_every_setting_reaches_the_bot(services: dict[str, Service]) -> None:
    given = {name.lower() for name in services["webhook"]["environment"]}
    by_file = {secret["source"] for secret in services["webhook"]["secrets"]}
    # Keys of servers that few shops have: docs/deploy.md says how to add their files.
    rare = {"embeddings_api_key", "speech_api_key", "voice_api_key"}
    # What a server of the admin pages needs, and no bot.
    elsewhere = {"admin_listen"}
    assert given | by_file | rare | elsewhere >= set(Settings.model_fields)
    assert given - set(Settings.model_fields) <= {"model_servers"}
    assert by_file <= SECRETS


def test_no_secret_is_in_a_containers_environment() -> None:
    hidden = "hunter2-is-no-password"
    names = {name.upper() for name in SECRETS} | {"POSTGRES_PASSWORD", "PGPASSWORD"}
    names |= {"VLLM_API_KEY", "HF_TOKEN"}
    model = compose(*EVERYTHING, **dict.fromkeys(names, hidden))
    assert hidden not in str(model)
    for name, service in model["services"].items():
        assert not names & set(service.get("environment", {})), name


def test_what_a_shop_sets_is_passed_on() -> None:
    values = {"SHOP_NAME": "도배명가 $1", "ADMINS": "7,8", "ADMIN_URL": "https://desk.example.kr"}
    services = compose(*EVERYTHING, **values, WEBHOOK_HOST="bot.example.kr")["services"]
    for name in ("bot", "webhook", "admin", "tools"):
        environment = services[name]["environment"]
        # `$$` is how Compose writes a `$` that is meant.
        shown = {key: environment[key].replace("$$", "$") for key in values}
        assert shown == values, name
    url = services["webhook"]["environment"]["WEBHOOK_URL"]
    assert url == "https://bot.example.kr/telegram"


@pytest.mark.parametrize("name", ["bot", "webhook", "admin", "tools"])
def test_the_settings_of_a_container_are_accepted(
    services: dict[str, Service], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bot.settings.SECRETS", tmp_path / "secrets")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "database_url").write_text("postgresql://deepbot:x@postgres/deepbot\n")
    for key, value in services[name]["environment"].items():
        if value is not None:
            monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.sqlite_path is None
    assert settings.log_format == "json"


# Commands


def test_our_commands_are_known(services: dict[str, Service]) -> None:
    ours = {name: each for name, each in services.items() if each["image"].startswith("deepbot:")}
    assert set(ours) == {"models", "demo", "bot", "webhook", "admin", "tools"}
    for name, service in ours.items():
        result = CliRunner().invoke(app, [*service["command"], "--help"])
        assert result.exit_code == 0, (name, result.output)


def test_vllm_is_started_as_serve_says(services: dict[str, Service]) -> None:
    snapshot = SNAPSHOTS / "ldcc-solar-24.txt"
    if not snapshot.exists():
        pytest.skip("deepbot serve is not there yet")
    flags = _flags(_words(snapshot.read_text(encoding="utf-8")))
    for name in ("vllm-0", "vllm-1"):
        ours = _flags(services[name]["command"])
        for where in ("--host", "--port", "--chat-template", "--lora-modules"):
            assert ours.pop(where), where
            flags.pop(where, None)
        assert ours == flags, name


def _words(text: str) -> list[str]:
    """Return the words of the one `vllm serve` command in a text."""
    joined = text.replace("\\\n", " ")
    (line,) = (line for line in joined.splitlines() if "vllm serve" in line)
    words = line.replace("'", "").split()
    return words[words.index("serve") :]


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
    assert built == {"bot", "router"}
    assert built | {"train"} <= stages
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
