"""The Compose file: what it comes to, by Compose itself; rights, limits, networks, settings."""

import re
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.settings import Settings
from tests.containers import EVERYTHING, ONCE, OUR_IMAGES, ROOT, Service, compose, program

SECRETS = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}


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
            {"models", "postgres", "backup", "bot", "admin", "vllm-0", "gate", "model-shop"},
        ),
        (
            ("shop", "tls"),
            {"models", "postgres", "backup", "bot", "admin", "vllm-0", "gate", "model-shop"}
            | {"proxy-pages"},
        ),
        (
            ("scale",),
            {"models", "postgres", "backup", "webhook", "admin", "vllm-0", "vllm-1", "router"}
            | {"gate", "model-scale", "proxy"},
        ),
        (("tools",), {"postgres", "tools", "trainer"}),
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
        assert service.get("network_mode") in {None, "none", "service:demo"}, name


def test_every_service_has_limits_logs_that_end_and_a_health(services: dict[str, Service]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["logging"]["options"] == {"max-file": "5", "max-size": "10m"}, name
        once = name in ONCE
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
        "cards": {"vllm-0", "vllm-1", "router", "model-shop", "model-scale", "tools", "trainer"},
    }
    for name in ("vllm-0", "vllm-1", "router", "postgres", "backup", "trainer"):
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
    assert given <= set(Settings.model_fields)
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
