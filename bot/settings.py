"""Settings from the environment and `.env`: the only reader of either."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

AnswerPolicy = Literal["careful", "model"]


class Settings(BaseSettings):
    """Every setting; `.env.example` says the same with examples."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    telegram_token: SecretStr = Field(
        default=SecretStr(""), description="텔레그램 봇 토큰 (@BotFather)"
    )
    telegram_api_url: str = Field(
        default="https://api.telegram.org", description="Bot API 서버 (http는 이 컴퓨터 안에서만)"
    )
    model_url: str = Field(default="", description="OpenAI 호환 서버 (…/v1); 비우면 내장 CPU 모델")
    model_name: str = Field(default="ldcc-solar", description="모델 서버에 물을 모델 이름")
    model_adapter: str = Field(default="", description="LoRA 어댑터 이름; 있으면 이 이름으로 물음")
    model_api_key: SecretStr = Field(default=SecretStr(""), description="모델 서버의 키")
    model_context: int = Field(default=4096, ge=2048, description="모델의 문맥 길이 (토큰)")
    model_first_token_s: float = Field(
        default=60.0, gt=0, description="첫 토큰까지 기다릴 시간 (초)"
    )
    model_total_s: float = Field(default=180.0, gt=0, description="답변 하나에 쓸 시간 (초)")
    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///var/deepbot.db"),
        description="sqlite:///파일 또는 postgresql://…",
    )
    answer_policy: AnswerPolicy | None = Field(
        default=None,
        description="careful 또는 model; 비우면 내장 모델은 careful, MODEL_URL은 model",
    )
    answer_check: bool = Field(
        default=True, description="모델의 답을 찾은 자료와 맞춰 볼지 (on/off)"
    )
    knowledge: Path | None = Field(default=None, description="지식 파일 (CSV); 비우면 기본 지식")
    admins: Annotated[list[int], NoDecode] = Field(
        default_factory=list, description="관리자의 텔레그램 번호 (쉼표로)"
    )
    log_format: Literal["console", "json"] = Field(default="console", description="로그 형식")

    @field_validator("admins", mode="before")
    @classmethod
    def _split_admins(cls, value: Any) -> Any:  # noqa: ANN401 - what pydantic hands over
        return (
            [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("telegram_api_url", "model_url")
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

    @property
    def policy(self) -> AnswerPolicy:
        """The answer policy, with its default by the kind of model."""
        return self.answer_policy or ("model" if self.model_url else "careful")


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
