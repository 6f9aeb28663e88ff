"""Settings from the environment, `.env` and files of secrets: the only reader of any."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from bot.errors import OperatorError
from bot.pacing import OVERALL

SECRETS = Path("/run/secrets")  # where Docker and Podman put a service's secrets, one a file

AnswerPolicy = Literal["careful", "model"]
SpeechEngine = Literal["local", "server", "google", "off"]
VoiceEngine = Literal["espeak", "server", "off"]


class Settings(BaseSettings):
    """Every setting; `.env.example` says the same with examples."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    telegram_token: SecretStr = Field(
        default=SecretStr(""), description="텔레그램 봇 토큰 (@BotFather)"
    )
    telegram_api_url: str = Field(
        default="https://api.telegram.org", description="Bot API 서버 (http는 이 컴퓨터 안에서만)"
    )
    telegram_calls_a_second: float = Field(
        default=OVERALL,
        gt=0,
        description="텔레그램에 1초에 부를 수 있는 횟수 (모든 프로세스를 합쳐)",
    )
    webhook_url: str = Field(
        default="", description="`deepbot bot --webhook`: 텔레그램이 부를 https 주소 (…/telegram)"
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="웹훅의 비밀 (영문, 숫자, _, -로 16자 이상)"
    )
    listen: str = Field(
        default="127.0.0.1:8081", description="웹훅, /healthz, /readyz, /metrics를 여는 주소:포트"
    )
    shutdown_s: float = Field(
        default=5.0, ge=0, description="끝낼 때 쓰고 있는 답변을 기다려 주는 시간 (초)"
    )
    model_url: str = Field(default="", description="OpenAI 호환 서버 (…/v1); 비우면 내장 CPU 모델")
    model_name: str = Field(default="ldcc-solar", description="모델 서버에 물을 모델 이름")
    model_adapter: str = Field(
        default="",
        description="LoRA 어댑터 이름; 있으면 이 이름으로 물음 (adapters promote로 올린 것이 앞섬)",
    )
    model_servers: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="어댑터를 올리고 내릴 vLLM 서버들 (…/v1, 쉼표로); 비우면 MODEL_URL",
    )
    model_api_key: SecretStr = Field(default=SecretStr(""), description="모델 서버의 키")
    model_context: int = Field(default=4096, ge=2048, description="모델의 문맥 길이 (토큰)")
    model_connect_s: float = Field(
        default=5.0, gt=0, description="모델 서버에 연결되기를 기다릴 시간 (초)"
    )
    model_first_token_s: float = Field(
        default=60.0, gt=0, description="첫 토큰까지 기다릴 시간 (초)"
    )
    model_total_s: float = Field(default=180.0, gt=0, description="답변 하나에 쓸 시간 (초)")
    model_at_once: int = Field(
        default=0, ge=0, description="모델에 동시에 묻는 수; 0이면 내장 모델은 2, MODEL_URL은 32"
    )
    model_queue: int = Field(default=100, ge=0, description="모델을 기다릴 수 있는 질문의 수")
    messages_a_minute: int = Field(
        default=40, ge=0, description="손님 한 분이 1분에 보낼 수 있는 메시지 수; 0이면 제한 없음"
    )
    tokens_a_day: int = Field(
        default=100_000,
        ge=0,
        description="손님 한 분이 하루에 쓸 수 있는 모델 토큰 수; 0이면 제한 없음",
    )
    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///var/deepbot.db"),
        description="sqlite:///파일 또는 postgresql://…",
    )
    answer_policy: AnswerPolicy | None = Field(
        default=None,
        description="careful 또는 model; 비우면 내장 모델은 careful, MODEL_URL은 model",
    )
    answer_check: bool = Field(
        default=True, description="모델의 답을 자료와 맞춰 보고 되풀이를 자를지 (on/off)"
    )
    knowledge: Path | None = Field(
        default=None, description="지식 파일 (CSV, XLSX, JSONL); 비우면 기본 지식"
    )
    embeddings_url: str = Field(
        default="", description="임베딩을 주는 OpenAI 호환 서버 (…/v1); 비우면 내장 E5"
    )
    embeddings_model: str = Field(default="", description="임베딩 서버에 물을 모델 이름")
    embeddings_api_key: SecretStr = Field(default=SecretStr(""), description="임베딩 서버의 키")
    embeddings_prefix: str = Field(
        default="", description="임베딩할 글 앞에 붙일 말 (모델이 원하면; E5는 “query: ”)"
    )
    speech: SpeechEngine = Field(
        default="local",
        description="음성 인식: local(이 컴퓨터), server(SPEECH_URL), google, off",
    )
    speech_model: str = Field(
        default="", description="음성 인식 모델의 폴더나 허브 이름; 비우면 딸려 오는 Whisper base"
    )
    speech_hotwords: str = Field(
        default="",
        max_length=200,
        description="내장 인식기에 미리 알려 줄 낱말; 비워 두는 편이 나았음 (docs/voice.md)",
    )
    speech_url: str = Field(default="", description="음성을 받아 적는 OpenAI 호환 서버 (…/v1)")
    speech_api_key: SecretStr = Field(default=SecretStr(""), description="음성 인식 서버의 키")
    speech_max_s: float = Field(
        default=180.0, gt=0, le=600, description="알아듣는 음성의 최대 길이 (초)"
    )
    speech_keep_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="음성 파일을 관리자용으로 두는 날 수; 0이면 두지 않음",
    )
    keep_days: int = Field(
        default=365,
        ge=0,
        le=36_500,
        description="마지막 말에서 이만큼 지난 대화를 지움 (날); 0이면 지우지 않음",
    )
    voice: VoiceEngine = Field(
        default="espeak", description="음성 답변: espeak(이 컴퓨터), server(VOICE_URL), off"
    )
    voice_url: str = Field(default="", description="글을 읽어 주는 OpenAI 호환 서버 (…/v1)")
    voice_model: str = Field(default="", description="음성 답변 서버에 물을 모델 이름")
    voice_name: str = Field(default="", description="음성 답변 서버의 목소리 이름")
    voice_api_key: SecretStr = Field(default=SecretStr(""), description="음성 답변 서버의 키")
    rates: Path | None = Field(
        default=None, description="견적의 단가 파일 (TOML); 비우면 기본 단가"
    )
    shop_name: str = Field(default="", max_length=40, description="견적서에 적을 가게 이름")
    shop_phone: str = Field(default="", max_length=40, description="견적서에 적을 가게 전화번호")
    shop_hours: str = Field(
        default="월-금 09:00-18:00, 토 09:00-13:00",
        description="사람이 답하는 시간 (한국 시각); 늘 답하면 “매일 00:00-24:00”",
    )
    admins: Annotated[list[int], NoDecode] = Field(
        default_factory=list,
        description="관리자의 텔레그램 번호 (쉼표로): 연락 요청을 받고, 관리 화면의 모든 일을 함",
    )
    reviewers: Annotated[list[int], NoDecode] = Field(
        default_factory=list,
        description="관리 화면에서 답을 검토하고 손님과 이야기할 수 있는 사람의 텔레그램 번호",
    )
    viewers: Annotated[list[int], NoDecode] = Field(
        default_factory=list, description="관리 화면을 볼 수만 있는 사람의 텔레그램 번호"
    )
    admin_listen: str = Field(
        default="127.0.0.1:8090", description="관리 화면이 열리는 주소:포트 (`deepbot admin`)"
    )
    admin_url: str = Field(
        default="",
        description="가게 사람들이 관리 화면을 여는 주소; 비우면 이 컴퓨터에서만 (http://ADMIN_LISTEN)",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="로그 형식")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # would warn where there is no folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where values come from, the first of them wins: secrets come last."""
        sources = (init_settings, env_settings, dotenv_settings)
        if not SECRETS.is_dir():
            return sources
        return *sources, SecretsSettingsSource(settings_cls, SECRETS)

    @field_validator("admins", "reviewers", "viewers", "model_servers", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 - what pydantic hands over
        return (
            [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator(
        *("telegram_api_url", "model_url", "webhook_url", "embeddings_url", "speech_url"),
        *("voice_url", "admin_url"),
    )
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
        except ValueError:  # its text holds the value
            parts = urlsplit("")
        if value and parts.scheme not in {"http", "https"}:
            msg = "http:// 또는 https:// 주소여야 해요"
            raise ValueError(msg) from None
        if parts.username or parts.password:
            msg = "주소에 비밀번호를 넣지 말고 키는 따로 설정해 주세요"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("model_servers")
    @classmethod
    def _check_servers(cls, value: list[str]) -> list[str]:
        return [cls._check_address(url.strip()) for url in value]

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value()
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{16,256}", secret):
            msg = "영문, 숫자, _, -로 16자 이상 256자 이하여야 해요"
            raise ValueError(msg)
        return value

    @field_validator("listen", "admin_listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            msg = "127.0.0.1:8081처럼 주소:포트여야 해요"
            raise ValueError(msg)
        return value

    @field_validator("shop_hours")
    @classmethod
    def _check_hours(cls, value: str) -> str:
        from bot import hours  # here: it waits for what `--help` need not wait for

        hours.parse(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        from sqlalchemy import make_url  # here: `--help` need not wait for it
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(value.get_secret_value())
        except (ArgumentError, ValueError):  # their text holds the password
            msg = "sqlite:///파일 또는 postgresql://… 주소여야 해요"
            raise ValueError(msg) from None
        return value

    @model_validator(mode="after")
    def _keep_token_off_the_wire(self) -> Self:
        parts = urlsplit(self.telegram_api_url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            msg = "TELEGRAM_API_URL: http 주소는 이 컴퓨터(127.0.0.1)에서만 쓸 수 있어요"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _keep_pages_off_the_wire(self) -> Self:
        parts = urlsplit(self.admin_url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            msg = "ADMIN_URL: http 주소는 이 컴퓨터(127.0.0.1)에서만 쓸 수 있어요 (https로)"
            raise ValueError(msg)
        if self.admin_url and (not parts.hostname or parts.path):
            msg = "ADMIN_URL: https://desk.example.kr처럼 호스트까지만 적어 주세요"
            raise ValueError(msg)
        host = self.admin_listen.rpartition(":")[0]
        if not self.admin_url and not is_loopback(host):
            msg = "ADMIN_LISTEN: 다른 컴퓨터에서 열려면 ADMIN_URL에 https 주소를 적어 주세요"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _have_speech_servers(self) -> Self:
        if self.speech == "server" and not self.speech_url:
            msg = "SPEECH=server에는 SPEECH_URL이 필요해요"
            raise ValueError(msg)
        if self.voice == "server" and not self.voice_url:
            msg = "VOICE=server에는 VOICE_URL이 필요해요"
            raise ValueError(msg)
        return self

    def require_webhook(self) -> None:
        """Raise `OperatorError` unless the webhook's settings are there and safe."""
        if not self.webhook_url or not self.webhook_secret.get_secret_value():
            msg = "웹훅에는 WEBHOOK_URL(https 주소)과 WEBHOOK_SECRET(16자 이상)이 모두 필요해요."
            raise OperatorError(msg)
        parts = urlsplit(self.webhook_url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            msg = "WEBHOOK_URL은 https 주소여야 해요."
            raise OperatorError(msg)

    @property
    def sqlite_path(self) -> str | None:
        """The database's file, None where it is no SQLite file."""
        from sqlalchemy import make_url

        url = make_url(self.database_url.get_secret_value())
        return url.database if url.get_backend_name() == "sqlite" else None

    @property
    def pages_url(self) -> str:
        """Where the shop's people find the pages."""
        return self.admin_url or f"http://{self.admin_listen}"

    @property
    def policy(self) -> AnswerPolicy:
        """The answer policy, with its default by the kind of model."""
        return self.answer_policy or ("model" if self.model_url else "careful")


def list_secrets() -> frozenset[str]:
    """Return the names under which the environment may hold a secret of ours."""
    fields = Settings.model_fields.items()
    return frozenset(name.upper() for name, field in fields if field.annotation is SecretStr)


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
