"""Settings from environment, `.env`, secret files, and what a running `deskfeed up` left behind.

Read by the shells only (command, Celery app, tasks); everything below them is handed values.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from worker.errors import UsageError
from worker.sealing import SpoolKeys, read_keys
from worker.times import time_span
from worker.zendesk.auth import ApiToken, OAuthClient, Secrets

CREDENTIAL_NAME = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"

UP_FILE = "up.env"
"""In the state folder: where `deskfeed up` says how to reach what it started (mode 0600)."""

SECRETS_DIR = "/run/secrets"
"""Where container engines mount secrets: one file a setting, named like the variable."""

SECRETS_DIR_VARIABLE = "DESKFEED_SECRETS_DIR"
"""Names another folder of secret files (systemd has one for each service)."""

LEAST_HASH_KEY_CHARS = 32
"""What `openssl rand -base64 32` makes has 44."""

LARGEST_SECRET_BYTES = 64 * 1024

_SECRET = (
    "DESKFEED_CREDENTIALS",
    "DESKFEED_SPOOL_KEY",
    "DESKFEED_HASH_KEY",
    "DESKFEED_ALERTS",
    "FLOWER_BASIC_AUTH",
)
"""A `.env` file that names one of these is nobody's but its owner's."""

_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


class Credential(BaseModel, hide_input_in_errors=True):
    """A way into Zendesk: e-mail and API token, or an OAuth client's id and secret."""

    email: str | None = None
    api_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None

    def basic_logins(self) -> list[str]:
        """Return the login as it goes over the wire, without the word before it."""
        if not (self.email and self.api_token):
            return []
        login = f"{self.email}/token:{self.api_token.get_secret_value()}"
        return [base64.b64encode(login.encode()).decode()]

    def secrets(self, name: str) -> Secrets:
        """Return the one way in that is set.

        Args:
            name: of the credential, for the sentences.

        Raises:
            UsageError: none is set, half of one, or both.
        """
        prefix = f"DESKFEED_CREDENTIALS__{name.upper()}__"
        token = bool(self.email or self.api_token)
        if token and (self.client_id or self.client_secret):
            raise UsageError(
                f"the credential {name!r} is two: set {prefix}EMAIL and {prefix}API_TOKEN, or "
                f"{prefix}CLIENT_ID and {prefix}CLIENT_SECRET, not some of both",
                code="credential_missing",
            )
        if self.email and self.api_token:
            return ApiToken(self.email, self.api_token)
        if self.client_id and self.client_secret:
            return OAuthClient(self.client_id, self.client_secret)
        pairs = (
            (("EMAIL", self.email), ("API_TOKEN", self.api_token))
            if token
            else (("CLIENT_ID", self.client_id), ("CLIENT_SECRET", self.client_secret))
        )
        missing = [prefix + part for part, value in pairs if not value]
        hint = "" if len(missing) == 1 else f" (nor {prefix}EMAIL and {prefix}API_TOKEN)"
        raise UsageError(
            f"the credential {name!r} is not complete: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set{hint}",
            code="credential_missing",
        )


class Retention(BaseModel, hide_input_in_errors=True):
    """How long things are kept, in seconds; written as a time span: `12h`, `30d`."""

    failed_payload: float = 7 * 86_400.0
    outcomes: float = 30 * 86_400.0
    events: float = 30 * 86_400.0
    runs: float = 400 * 86_400.0
    audit: float = 3_650 * 86_400.0

    @field_validator("failed_payload", "outcomes", "events", "runs", "audit", mode="before")
    @classmethod
    def _span(cls, value: object) -> float:
        seconds = time_span(str(value))
        if seconds is None:
            raise ValueError("a time span is written as 12h or 30d")
        return seconds


def secrets_dir() -> Path:
    """Return the folder of secret files; there need not be one."""
    return Path(os.environ.get(SECRETS_DIR_VARIABLE) or SECRETS_DIR)


def read_secret(path: Path) -> str | None:
    """Return what a secret file holds without the white space around it, or None."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_SECRET_BYTES:
            return None
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):  # not ours to read, or no text
        return None


class SecretFiles(EnvSettingsSource):
    """Secret files, read as if they were variables: so nested names work as they do there."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        folder = secrets_dir()
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        ours = [file for file in files if file.name.upper().startswith("DESKFEED_")]
        found = {file.name.lower(): read_secret(file) for file in ours}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """Every setting of Deskfeed; `docs/settings.md` tells each one."""

    model_config = SettingsConfigDict(
        env_prefix="DESKFEED_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  reads no nested names
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the one that counts most first."""
        return init_settings, env_settings, dotenv_settings, SecretFiles(settings_cls)

    redis_url: SecretStr | None = None
    ledger_url: SecretStr | None = None
    catalog: Path = Path("orchestrations/catalog")
    state_dir: Path = Path(".deskfeed")
    credentials: dict[str, Credential] = Field(default_factory=dict)
    concurrency: int = Field(default=8, ge=1, le=256)
    log_format: str = Field(default="console", pattern="^(console|json)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    time_scale: float = Field(default=1.0, gt=0, le=1)
    retention: Retention = Field(default_factory=Retention)
    spool_key: SecretStr | None = None
    hash_key: SecretStr | None = None

    @field_validator("spool_key")
    @classmethod
    def _spool_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().strip():
            read_keys(value.get_secret_value())  # its errors repeat nothing of it
            return value
        return None

    @field_validator("hash_key")
    @classmethod
    def _hash_key(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value is not None else ""
        if text and len(text) < LEAST_HASH_KEY_CHARS:
            raise ValueError(
                f"it has fewer than {LEAST_HASH_KEY_CHARS} characters; make one: "
                "openssl rand -base64 32"
            )
        return SecretStr(text) if text else None

    alerts: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("credentials")
    @classmethod
    def _names(cls, value: dict[str, Credential]) -> dict[str, Credential]:
        for name in value:
            if not re.fullmatch(CREDENTIAL_NAME, name):
                raise ValueError(f"a credential cannot be called {name!r}")
        return value

    @field_validator("alerts")
    @classmethod
    def _channels(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in value:
            if not re.fullmatch(CREDENTIAL_NAME, name):
                raise ValueError(f"a channel cannot be called {name!r}")
        return {name: address for name, address in value.items() if address.get_secret_value()}

    @property
    def ledger(self) -> str:
        """The ledger's SQLAlchemy URL; may hold a password."""
        if self.ledger_url is not None:
            return self.ledger_url.get_secret_value()
        return f"sqlite:///{self.state_dir.resolve() / 'ledger.db'}"

    @property
    def spool_keys(self) -> SpoolKeys:
        """The keys that encrypt rows in the ledger; none if none is set."""
        return read_keys(self.spool_key.get_secret_value()) if self.spool_key else SpoolKeys()

    @property
    def hash_key_bytes(self) -> bytes | None:
        """The key of the hashes by which people are known, or None for the ledger's own."""
        return self.hash_key.get_secret_value().encode() if self.hash_key else None

    def hidden(self) -> list[str]:
        """Return every secret of the settings, for the log to leave out."""
        given = [self.spool_key, self.hash_key, *self.alerts.values()]
        for credential in self.credentials.values():
            given += [credential.api_token, credential.client_secret]
        found = [one.get_secret_value() for one in given if one is not None]
        found += [quote(one, safe="") for one in found]
        found += [login for one in self.credentials.values() for login in one.basic_logins()]
        if self.spool_key is not None:
            each = self.spool_key.get_secret_value().split(",")
            found += [part.partition(":")[2] for part in each]
        for url in (self.redis_url, self.ledger_url):
            found += _password_of(url.get_secret_value()) if url is not None else []
        return found

    def redis(self) -> str:
        """Return the URL of Redis; may hold a password.

        Raises:
            UsageError: none is set and no `deskfeed up` is running here.
        """
        if self.redis_url is None:
            raise UsageError(
                "no Redis is known: DESKFEED_REDIS_URL is not set, and no `deskfeed up` runs with "
                f"the state folder {self.state_dir}",
                code="broker_unavailable",
                resolution="Start everything here with: deskfeed up --sandbox   "
                "(or set DESKFEED_REDIS_URL)",
            )
        url = self.redis_url.get_secret_value()
        if not _is_redis_url(url):
            raise UsageError(
                "DESKFEED_REDIS_URL is not of the form redis://[:PASSWORD@]HOST:PORT/0 (or rediss://)",
                code="broker_unavailable",
            )
        return url

    def credential(self, name: str) -> Secrets:
        """Return a credential.

        Raises:
            UsageError: it is not set, half of it, or two of them.
        """
        return self.credentials.get(name, Credential()).secrets(name)


def _password_of(url: str) -> list[str]:
    """Return the password of a URL, as it stands there and as it is meant."""
    try:
        password = urlsplit(url).password
    except ValueError:  # the port is not a number, as where a password has a slash
        return []
    return [password, unquote(password)] if password else []


def _is_redis_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False


def load_settings() -> Settings:
    """Read the settings now.

    Raises:
        UsageError: a value is wrong; names the variable, never the value.
    """
    try:
        _refuse_open_file(Path(".env"))
        left = Settings().state_dir / UP_FILE
        # What `deskfeed up` left comes first, so that whatever a person set overrides it.
        return Settings(_env_file=(left, ".env"))
    except ValidationError as error:
        problems = "; ".join(
            f"DESKFEED_{'__'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_context=False, include_url=False)
        )
        raise UsageError(f"settings: {problems}") from None


def _refuse_open_file(path: Path) -> None:
    """Raise `UsageError` for a file that holds secrets and that others can read."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077 and _holds_secrets(path):
            raise UsageError(
                f"{path} holds secrets and others can read it (mode {mode & 0o777:o})",
                code="secrets_readable",
            )
    except OSError:
        return  # there is none, or pydantic-settings will say what is wrong with it


def _holds_secrets(path: Path) -> bool:
    """Say whether a file of variables names a secret, in any case, or a URL with a password."""
    try:
        found = dotenv_values(path)
    except UnicodeDecodeError:
        return True  # nobody can say what it holds
    return any(
        name.upper().startswith(_SECRET) or _PASSWORD_IN_URL.search(value or "")
        for name, value in found.items()
    )


def variable(name: str) -> str | None:
    """Return a variable that the catalog names: from the environment, `.env` or a secret file."""
    found = os.environ.get(name) or dotenv_values(".env").get(name)
    if found:
        return found
    return read_secret(secrets_dir() / name)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()
