"""Every environment variable Azak reads, typed and described; the README's table is made from this class.

Belongs here: names, defaults and the rule that picks the mode. Does not belong here: opening anything. Settings are
read at the door (``resources`` and ``cli``) and handed inwards as plain values, so that nothing below depends on the
environment.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[1]

SANDBOX_PREFIXES = {
    "kis_base_url": "/kis",
    "kis_master_base_url": "/kis-master",
    "opendart_base_url": "/opendart/api",
    "krx_openapi_base_url": "/krx/svc/apis",
    "naver_base_url": "/naver",
    "hankyung_base_url": "/hankyung",
    "mk_base_url": "/mk",
    "reddit_base_url": "/reddit",
    "openai_base_url": "/openai/v1",
    "openrouter_base_url": "/openrouter/api/v1",
    "telegram_base_url": "/telegram",
}
"""Where the sandbox serves each upstream below its own address."""

KIS_PAPER_HOST = "openapivts.koreainvestment.com"
KIS_LIVE_RATE, KIS_PAPER_RATE = 15.0, 1 / 1.1
"""Calls a second. The broker allows 18 live and 1 on paper since 2026-04-20, and advises to stay below."""

SANDBOX_KEY = "sandbox"
"""The key every upstream of the sandbox is asked with; real keys never leave for it."""


ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?")
DEFAULT_PORTS = {"http": "80", "https": "443"}


def _canonical(scheme: str, host: str, port: str | None) -> str:
    return f"{scheme}://{host}" + (f":{port}" if port not in (None, DEFAULT_PORTS[scheme]) else "")


class Mode(StrEnum):
    """Which world the process works in."""

    SANDBOX = "sandbox"
    LIVE = "live"


class EmbedderName(StrEnum):
    """Which embedder turns text into vectors."""

    LOCAL = "local"
    KOSIMCSE = "kosimcse"
    OPENAI = "openai"


class FetchBodies(StrEnum):
    """Whether article pages are read, and how much of a text the operator says may be kept."""

    OFF = "off"
    EXCERPT = "excerpt"
    FULL = "full"


EmptyIsNone = Annotated[SecretStr | None, NoDecode]


class Settings(BaseSettings):
    """The environment, validated. Field names in capitals are the variables' names.

    Raises:
        pydantic.ValidationError: a value that cannot be read; the message names the variable.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    azak_home: Path = Field(
        Path(".azak"), description="Folder of everything Azak writes: PostgreSQL, index files, logs."
    )
    azak_mode: Mode | None = Field(
        None, description="`sandbox` or `live`; default: live only when both KIS keys are set."
    )
    azak_database_url: SecretStr | None = Field(
        None, description="A PostgreSQL 15 or newer of your own; default: the embedded server under AZAK_HOME."
    )
    azak_sandbox_url: str | None = Field(
        None, description="Address of a running sandbox; default: `azak` starts one where it needs it."
    )
    azak_ui_origins: str | None = Field(
        None,
        description="Addresses at which a proxy serves the UI, e.g. `https://azak.example.com`, separated by commas.",
    )
    azak_payload_days: int = Field(
        30,
        ge=0,
        description="Days (KST) for which the raw answers of the upstreams are kept under AZAK_HOME/payloads; 0: none.",
    )
    azak_embedder: EmbedderName = Field(
        EmbedderName.LOCAL, description="`local`, `kosimcse` (needs the torch extra) or `openai`."
    )
    azak_llm_budget_usd: float = Field(
        5.0, ge=0, description="Language-model spending of a KST day, in USD; then it stops."
    )
    azak_fetch_bodies: FetchBodies = Field(
        FetchBodies.OFF,
        description="Article pages: `off`, `excerpt` (500 characters) or `full`, if the publishers let you keep more.",
    )
    kis_app_key: EmptyIsNone = Field(None, description="Korea Investment & Securities application key.")
    kis_app_secret: EmptyIsNone = Field(None, description="Korea Investment & Securities application secret.")
    kis_base_url: str = Field("https://openapi.koreainvestment.com:9443", description="KIS REST host.")
    kis_calls_per_second: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="KIS calls a second; default: 15, or 1 in 1.1 s at the paper host; new customers: 2.5 for 3 days.",
    )
    kis_master_base_url: str = Field(
        "https://new.real.download.dws.co.kr/common/master", description="Folder of the KIS master files."
    )
    opendart_api_key: EmptyIsNone = Field(None, description="OpenDART key (40 characters).")
    opendart_base_url: str = Field("https://opendart.fss.or.kr/api", description="OpenDART host.")
    krx_openapi_key: EmptyIsNone = Field(None, description="KRX Open API key: the exchange's own prices.")
    krx_openapi_base_url: str = Field("https://data-dbg.krx.co.kr/svc/apis", description="KRX Open API host.")
    naver_client_id: EmptyIsNone = Field(None, description="Naver Search Open API client id.")
    naver_client_secret: EmptyIsNone = Field(None, description="Naver Search Open API client secret.")
    naver_base_url: str = Field("https://openapi.naver.com", description="Naver Open API host.")
    hankyung_base_url: str = Field("https://www.hankyung.com", description="Hankyung host: feeds and article pages.")
    mk_base_url: str = Field("https://www.mk.co.kr", description="Maeil Business (MK) host: feeds and article pages.")
    reddit_client_id: EmptyIsNone = Field(None, description="Reddit application id.")
    reddit_client_secret: EmptyIsNone = Field(None, description="Reddit application secret.")
    reddit_base_url: str = Field(
        "https://oauth.reddit.com", description="Reddit API host; one of your own also signs in."
    )
    openai_api_key: EmptyIsNone = Field(None, description="OpenAI key.")
    openai_base_url: str = Field(
        "https://api.openai.com/v1", description="OpenAI or a server that speaks its protocol."
    )
    openrouter_api_key: EmptyIsNone = Field(None, description="OpenRouter key.")
    openrouter_base_url: str = Field("https://openrouter.ai/api/v1", description="OpenRouter host.")
    telegram_bot_token: EmptyIsNone = Field(None, description="Telegram bot token.")
    telegram_chat_id: str | None = Field(None, description="Telegram chat that receives the alerts.")
    telegram_base_url: str = Field("https://api.telegram.org", description="Telegram Bot API host.")

    @model_validator(mode="before")
    @classmethod
    def _strip(cls, values: dict[str, object]) -> dict[str, object]:
        """A trailing newline from a secrets file is never part of a key; a blank variable is an unset one."""
        stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("azak_sandbox_url", *SANDBOX_PREFIXES)
    @classmethod
    def _checked_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parts = urlsplit(value)
                good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:  # a port or an IPv6 address that is none
                good = False
            if not good:
                raise ValueError("expected an address such as http://127.0.0.1:8900")
        return value

    @field_validator("azak_ui_origins")
    @classmethod
    def _canonical_origins(cls, value: str | None) -> str | None:
        """As a browser writes them: lower case, no path, and no port that is the scheme's own."""
        if value is None:
            return None
        found = [ORIGIN.fullmatch(part.strip().lower()) for part in value.split(",")]
        if not all(found):
            raise ValueError("expected origins such as https://azak.example.com, separated by commas")
        return ",".join(_canonical(*origin.group("scheme", "host", "port")) for origin in found if origin)

    @model_validator(mode="after")
    def _absolute_home(self) -> "Settings":
        # Children of `azak up` run in other folders; a relative home would mean another one there.
        object.__setattr__(self, "azak_home", self.azak_home.expanduser().resolve())
        return self

    @property
    def mode(self) -> Mode:
        """The mode asked for, else live exactly when both KIS keys are set."""
        if self.azak_mode is not None:
            return self.azak_mode
        return Mode.LIVE if self.kis_app_key and self.kis_app_secret else Mode.SANDBOX

    @property
    def ui_origins(self) -> tuple[str, ...]:
        """The origins that count as the UI's own, beside its own address on this machine."""
        return tuple(self.azak_ui_origins.split(",")) if self.azak_ui_origins else ()

    @property
    def kis_rate(self) -> float:
        """Calls a second that all of us together make to KIS."""
        if self.kis_calls_per_second is not None:
            return self.kis_calls_per_second
        return KIS_PAPER_RATE if urlsplit(self.kis_base_url).hostname == KIS_PAPER_HOST else KIS_LIVE_RATE

    def in_sandbox(self, url: str) -> "Settings":
        """These settings with every upstream, and every key, pointed at the sandbox at ``url``."""
        base = url.rstrip("/")
        upstreams = {field: base + prefix for field, prefix in SANDBOX_PREFIXES.items()}
        keys = {
            name: SecretStr(SANDBOX_KEY)
            for name in type(self).model_fields
            if name.endswith(("_key", "_secret", "_client_id", "_bot_token"))
        }
        # An account's limit is not the sandbox's.
        world = {"azak_mode": Mode.SANDBOX, "azak_sandbox_url": base, "kis_calls_per_second": None}
        return self.model_copy(update={**world, **upstreams, **keys})


def described() -> list[tuple[str, str, str]]:
    """Every variable as (name, default, description): for the README, ``azak doctor`` and their tests."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(getattr(field.default, "value", field.default))
        rows.append((name.upper(), default, field.description or ""))
    return rows
