"""Channels: the ways to people, through apprise (e-mail, chat, pagers, webhooks).

An address is a secret: it holds passwords and tokens. Nothing of it leaves this module, and what
apprise says of it is not logged. apprise is an extra; it is imported when the first alert is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import SecretStr

from orchestrations.alert_text import Message
from worker.errors import UsageError

Why = Literal["not_set", "not_understood", "not_installed", "refused", "silent", "crashed"]
"""What befell a message that a channel did not take."""

WORDS: Mapping[Why, str] = {
    "not_set": "its address is not set: DESKFEED_ALERTS__<NAME>",
    "not_understood": "its address is none that apprise understands",
    "not_installed": "apprise is not installed: pip install 'deskfeed[alerts]'",
    "refused": "the service did not take the message, or could not be reached",
    "silent": "the service did not answer in time",
    "crashed": "apprise failed",
}
"""The same in words."""


def installed() -> bool:
    """Whether apprise is there."""
    return find_spec("apprise") is not None


def refuse_unsendable(channels: Collection[str]) -> None:
    """Raise `UsageError` when there are channels and nothing to reach them with."""
    if channels and not installed():
        raise UsageError(
            f"alerts cannot be sent: apprise is not installed, and these channels are set: "
            f"{', '.join(sorted(channels))}",
            code="alerts_unsendable",
        )


class Channels:
    """The channels that are set.

    Args:
        addresses: apprise's URL of each, by name.
        seconds: a message is taken within this time, or the channel counts as silent.
    """

    def __init__(self, addresses: Mapping[str, SecretStr], seconds: float) -> None:
        self._addresses = addresses
        self._seconds = seconds

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, in order."""
        return tuple(sorted(self._addresses))

    def send(self, channel: str, message: Message) -> Why | None:
        """Send a message; returns None when the channel took it, else what befell it."""
        address = self._addresses.get(channel)
        if address is None:
            return "not_set"
        if not installed():
            return "not_installed"
        try:
            return self._send(address.get_secret_value(), message)
        except Exception:  # noqa: BLE001 - whatever a service's plugin raises may quote its address
            return "crashed"

    def _send(self, address: str, message: Message) -> Why | None:
        from apprise import Apprise  # an extra, and slow to import

        service = Apprise.instantiate(address, asset=_asset())
        if service is None:
            return "not_understood"
        sender = Apprise(service)
        result: Any = sender.notify(
            title=message.title,
            body=message.body,
            notify_type=message.severity,
            body_format="text",
            timeout=self._seconds,
        )
        if result:
            return None
        return "silent" if result.status.name == "TIMEOUT" else "refused"


def _asset() -> Any:
    """Return how apprise shall behave: no retries of its own, nothing on disk, no redirects."""
    from apprise import AppriseAsset

    # Its lines name hosts and paths, and in a webhook's path stands its secret.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return AppriseAsset(
        app_id="Deskfeed",
        app_desc="Deskfeed alerts",
        default_service_retry=0,
        http_redirects=False,
        secure_logging=True,
        storage_mode="memory",
        allow_templates=False,
    )
