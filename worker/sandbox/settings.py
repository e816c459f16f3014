"""What can be adjusted while the sandbox runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


class Misconfigured(ValueError):
    """What somebody wrote for the sandbox cannot be understood; the text tells them why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The account's limits and the pace of its jobs. None of them is a secret.

    Attributes:
        seconds_per_user: work of a job per user; 0 makes jobs instant. Recorded traffic shows
            about 0.1 for jobs of 100 users.
        queue_seconds: time a job stays queued before it works.
        requests_per_minute: the account's limit for all API requests, in a rolling minute.
        users_per_second: bulk upserts are refused above this many users in a rolling second; None
            does not enforce it. An assumption: no source of Zendesk's own states such a limit.
        job_limit: most jobs that may be queued or working at once.
        foreign_jobs: of these, how many other clients of the account hold.
        job_expiry_seconds: a job is forgotten so long after its creation.
        clock_shift: seconds that expiry of jobs and tokens is ahead of the clock.
        import_enabled: False refuses bulk upserts with 403, as accounts do by default.
        api_tokens_enabled: False refuses every API token with 401, as after Zendesk removes them.
        create_organizations: whether an unknown `organization.name` makes an organization; else
            the row fails. Which of the two Zendesk does is not documented.
        max_body_bytes: larger request bodies are refused with 413.
        token_seconds: life of an OAuth token that asked for no `expires_in`.
        max_name_chars: a longer name fails its row; as for the two below, the true limit is not
            documented.
        max_key_chars: likewise for `external_id` and `email`.
        max_text_chars: likewise for every other text.
        keep_journal: most entries that the journal holds; the oldest go first.
    """

    seconds_per_user: float = 0.1
    queue_seconds: float = 0.0
    requests_per_minute: int = 700
    users_per_second: int | None = None
    job_limit: int = 30
    foreign_jobs: int = 0
    job_expiry_seconds: float = 86_400.0
    clock_shift: float = 0.0
    import_enabled: bool = True
    api_tokens_enabled: bool = True
    create_organizations: bool = True
    max_body_bytes: int = 5_000_000
    token_seconds: int = 1800
    max_name_chars: int = 255
    max_key_chars: int = 255
    max_text_chars: int = 65_535
    keep_journal: int = 100_000

    def patched(self, changes: Mapping[str, Any]) -> Settings:
        """Return the settings with `changes`.

        Raises:
            Misconfigured: a name is unknown, or a value has the wrong type or sign.
        """
        kinds = {field.name: str(field.type) for field in fields(self)}
        for name, value in changes.items():
            if name not in kinds:
                raise Misconfigured(f"unknown setting {name!r}; there are: {', '.join(kinds)}")
            _check(name, kinds[name], value)
        return replace(self, **changes)

    def document(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


def _check(name: str, kind: str, value: Any) -> None:
    if value is None and kind.endswith("| None"):
        return
    if kind == "bool":
        if not isinstance(value, bool):
            raise Misconfigured(f"setting {name!r} must be true or false")
        return
    whole = kind.startswith("int")
    wanted = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not math.isfinite(value):
        raise Misconfigured(f"setting {name!r} must be a {'whole ' if whole else ''}number")
    if value < 0:
        raise Misconfigured(f"setting {name!r} must not be negative")
