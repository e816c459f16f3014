"""What the files of the catalog say: Orchestration, Destination, Source.

Pydantic stands here because files are an edge: people write them by hand. The models refuse what
they do not know, never guess a type (`strict`), and their sentences tell what to write instead.
`loader` adds file, line and key to these sentences. No message repeats a value that may be a
secret pasted into the wrong place.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from orchestrations.model import CatalogModel, refusal
from orchestrations.rules import MappingRules
from orchestrations.timetable import Schedule

MIN_USERS_PER_SECOND = 100
"""A chunk weighs up to 100 users and takes its permit whole; less could never give it."""

DATA_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
"""File name endings of a source's tables and how each is read; CSV and JSON may end in `.gz`."""

SECRET_KEYS = frozenset(
    {"email", "token", "api_token", "password", "secret", "client_id", "client_secret", "api_key"}
    | {"access_token", "oauth_token", "bearer_token", "refresh_token", "passwd", "private_key"}
)
"""Keys that are parts of a credential; none of them belongs into a file of the catalog."""

URL_KEYS = frozenset({"url", "uri", "dsn", "connection_string", "connection_url", "database_url"})
"""Keys under which people put the URL of a database, with its password, into a source."""

ACCESS_FILE = "access.yaml"
"""Who may do what; in the catalog folder, beside the orchestrations, and no orchestration."""

ALERTS_FILE = "alerts.yaml"
"""Who shall be told of what; likewise no orchestration."""

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of orchestrations, destinations and sources: the names of their files."""

CREDENTIAL_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOPBACK_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::([1-9][0-9]{0,4}))?")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PARAM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
VARIABLE_PATTERN = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_HTTPS_PORT = 443
_HTTP_PORT = 80


def _name(value: str) -> str:
    if not NAME_PATTERN.fullmatch(value):
        raise refusal(
            "a name is at most 64 lower-case letters, digits, '-' and '_', and starts with a "
            "letter or digit"
        )
    return value


def _description(value: str) -> str:
    if not value.strip():
        raise refusal("must not be blank: say what others will recognise it by")
    return value.strip()


def _query_file(value: str) -> str:
    path = PurePosixPath(value)
    if path.name != value or "\\" in value or path.suffix != ".sql" or value.startswith("."):
        raise refusal("must be the name of a .sql file beside this one, e.g. 'loyalty.sql'")
    return value


def _credential(value: str) -> str:
    if not CREDENTIAL_PATTERN.fullmatch(value):
        # The value is not repeated: it may be the secret itself.
        raise refusal(
            "must be the name of a credential: lower-case letters and digits, words joined by "
            "'_', e.g. 'socktown'"
        )
    return value


def _subdomain(value: str) -> str:
    if _SUBDOMAIN.fullmatch(value):
        return value
    label = value.strip().lower().removeprefix("https://").removeprefix("http://")
    label = label.split("/")[0].split(".")[0]
    hint = label if _SUBDOMAIN.fullmatch(label) else "socktown"
    raise refusal(f"subdomain must be the bare label, e.g. '{hint}'")


def _base_url(value: str) -> str:
    match = _LOOPBACK_URL.fullmatch(value)
    if match is None or int(match[1] or _HTTP_PORT) > 65535:
        raise refusal(
            "must be a loopback address and nothing else, e.g. 'http://127.0.0.1:8900'; for a "
            "Zendesk account use `subdomain`"
        )
    return value


def _table_name(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise refusal("a table's name is letters, digits and '_', and starts with a letter or '_'")
    return value


def _param_name(value: str) -> str:
    if not _PARAM.fullmatch(value):
        raise refusal("a parameter's name is letters, digits and '_', and starts with a letter")
    return value


def _variable_name(value: str) -> str:
    if not VARIABLE_PATTERN.fullmatch(value):
        # The value is not repeated: it may be the URL itself.
        raise refusal("must be the name of an environment variable, e.g. 'WAREHOUSE_URL'")
    return value


def data_format(path: str) -> str | None:
    """Return how a data file is read (`csv`, `parquet` or `json`), or None if it cannot be."""
    plain = PurePosixPath(path.removesuffix(".gz"))
    kind = DATA_SUFFIXES.get(plain.suffix)
    return None if kind == "parquet" and path.endswith(".gz") else kind


def _data_path(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or "://" in value:
        raise refusal("must be a path inside the catalog folder, e.g. 'data/customers.csv'")
    if any("**" in part and part != "**" for part in path.parts):
        raise refusal("`**` stands for folders and must be alone between slashes: 'data/**/*.csv'")
    if data_format(value) is None:
        known = ", ".join(DATA_SUFFIXES)
        raise refusal(f"must end in one of {known} (CSV and JSON also with .gz)")
    return value


def _as_tuple(value: Any) -> Any:
    """Let one path stand for a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_name)]
Description = Annotated[str, AfterValidator(_description)]
DataPath = Annotated[str, AfterValidator(_data_path)]
ParamName = Annotated[str, AfterValidator(_param_name)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
TableName = Annotated[str, AfterValidator(_table_name)]
DataPaths = Annotated[
    tuple[DataPath, ...],
    BeforeValidator(_as_tuple),
    Field(min_length=1),
    WithJsonSchema(
        {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1}, mode="validation"
    ),
]


class Thresholds(CatalogModel):
    """When a run must not go on.

    Attributes:
        fail_below: a result with fewer rows fails the run before anything is sent.
        fail_above: likewise with more rows; None for no bound.
        max_failed_percent: a larger share of failed rows stops the run, which fails; None for no
            bound.
    """

    fail_below: int = Field(default=1, ge=0)
    fail_above: int | None = Field(default=None, ge=0)
    max_failed_percent: float | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _bounds_agree(self) -> Thresholds:
        if self.fail_above is not None and self.fail_above < self.fail_below:
            raise refusal(
                f"must not be smaller than fail_below ({self.fail_below}): no result could pass",
                key="fail_above",
            )
        return self


class Orchestration(MappingRules):
    """A declared query + source + destination: `<name>.yaml`.

    The keys that say how a row becomes a profile are those of `MappingRules`.

    Attributes:
        name: the file's name without `.yaml`.
        description: what others recognise it by.
        status: only an `active` one can run.
        source: name of a file in `sources/`.
        query: name of the `.sql` file beside it.
        destination: name of a file in `destinations/`.
        params: the query's placeholders and their values; None has none and must be given.
        send: `all` rows of each result, or those that `changed` since Zendesk confirmed them.
        on_shared_email: what becomes of rows whose e-mail rows with other external_ids have too.
        schedule: when runs start by themselves; None: people and other schedulers start them.
        after: an orchestration whose runs this one follows, unless they failed.
        thresholds: when a run must not go on.
        share: of the account's permits, while several runs send to it: 3 gets three times what 1
            gets.
    """

    name: Name
    description: Description
    status: Literal["active", "draft"] = "active"
    source: Name
    query: Annotated[str, AfterValidator(_query_file)]
    destination: Name
    params: dict[ParamName, str | int | float | bool | None] = Field(default_factory=dict)
    send: Literal["all", "changed"] = "all"
    on_shared_email: Literal["fail_row", "drop_email"] = "fail_row"
    schedule: Schedule | None = None
    after: Name | None = None
    thresholds: Thresholds = Thresholds()
    share: float = Field(default=1.0, gt=0, le=100)

    @model_validator(mode="after")
    def _starts_in_one_way(self) -> Orchestration:
        if self.schedule is not None and self.after is not None:
            raise refusal("`schedule` says already when it starts; give one of the two", "after")
        open_ones = [name for name, value in self.params.items() if value is None]
        if open_ones and (self.schedule or self.after):
            raise refusal(
                f"{open_ones[0]!r} needs a value: a run that starts by `schedule` or `after` is "
                "given none",
                key="params",
            )
        return self


class Limits(CatalogModel):
    """How much of the account's limits Deskfeed may use.

    Attributes:
        users_per_second: users sent in any rolling second.
        requests_per_minute: requests, polls included, in any rolling minute.
        jobs_in_flight: Zendesk jobs of ours at a time; Zendesk allows 30, all clients together.
        reserve_percent: the share of the account's own requests per minute that is left to other
            integrations and to agents.
    """

    users_per_second: int = Field(default=100, gt=0)
    requests_per_minute: int = Field(default=400, gt=0)
    jobs_in_flight: int = Field(default=20, gt=0)
    reserve_percent: int = Field(default=10, ge=0, le=90)

    @field_validator("users_per_second")
    @classmethod
    def _holds_a_chunk(cls, value: int) -> int:
        if value < MIN_USERS_PER_SECOND:
            raise refusal(
                f"must be at least {MIN_USERS_PER_SECOND}: a chunk of 100 users is sent as one "
                "request and would never get its permit"
            )
        return value


class Destination(CatalogModel):
    """A Zendesk account and how to speak to it: `destinations/<name>.yaml`.

    Attributes:
        name: the file's name without `.yaml`.
        description: what others recognise it by.
        plugin: the kind of destination; `zendesk` is the only one.
        credential: name of the credential; its secrets stand in the environment.
        subdomain: `socktown` for socktown.zendesk.com; exactly one of this and `base_url`.
        base_url: a loopback address, for the sandbox.
        limits: of all destinations of one account the strictest holds.
        admin_only: only administrators may send to it.
        restrict_pii: people with restricted access to personal data may not send to it.
        allow_pii: columns that an orchestration marks as `pii` are sent to it.
    """

    name: Name
    description: Description
    plugin: Literal["zendesk"]
    credential: Annotated[str, AfterValidator(_credential)]
    subdomain: Annotated[str, AfterValidator(_subdomain)] | None = None
    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    limits: Limits = Limits()
    admin_only: bool = False
    restrict_pii: bool = False
    allow_pii: bool = False

    @model_validator(mode="after")
    def _one_address(self) -> Destination:
        if self.subdomain is None and self.base_url is None:
            raise refusal("is required (or `base_url` for the sandbox)", key="subdomain")
        if self.subdomain is not None and self.base_url is not None:
            raise refusal("give either `subdomain` or `base_url`, not both", key="base_url")
        return self

    @property
    def url(self) -> str:
        """Scheme and host of the account, without a slash at the end."""
        return self.base_url or f"https://{self.subdomain}.zendesk.com"

    @property
    def account(self) -> str:
        """What the limits belong to: the host, with its port when that is not 443."""
        parts = urlsplit(self.url)
        port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else _HTTP_PORT)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return host if port == _HTTPS_PORT else f"{host}:{port}"


class Source(CatalogModel):
    """Where rows come from: `sources/<name>.yaml`.

    Attributes:
        name: the file's name without `.yaml`.
        description: what others recognise it by; may be absent.
        type: `files`: CSV, Parquet and JSON files read by DuckDB; `database`: a SQLAlchemy URL.
        tables: of files: table name -> paths relative to the catalog folder, `*` and `**` allowed.
        url_env: of a database: the variable in which its URL stands.
        statement_timeout: of a database: seconds after which it ends a statement.
    """

    name: Name
    description: Description | None = None
    type: Literal["files", "database"]
    tables: dict[TableName, DataPaths] | None = Field(default=None, min_length=1)
    url_env: VariableName | None = None
    statement_timeout: int = Field(default=600, ge=1, le=86_400)

    @field_validator("tables")
    @classmethod
    def _names_differ(
        cls, value: dict[str, tuple[str, ...]] | None
    ) -> dict[str, tuple[str, ...]] | None:
        if value and len({name.lower() for name in value}) < len(value):
            raise refusal("two tables have the same name; SQL does not tell case apart")
        return value

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Source:
        needed, others = _KEYS_OF[self.type]
        if getattr(self, needed) is None:
            raise refusal(f"is required with `type: {self.type}`", key=needed)
        for key in others:
            if key in self.model_fields_set:
                raise refusal(f"has no meaning with `type: {self.type}`", key=key)
        return self


_KEYS_OF: dict[str, tuple[str, tuple[str, ...]]] = {
    "files": ("tables", ("url_env", "statement_timeout")),
    "database": ("url_env", ("tables",)),
}
"""What a source of a type must have, and must not."""
