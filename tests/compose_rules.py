"""The rules of the compose specification that compose.yaml must keep, in own words.

After https://github.com/compose-spec/compose-spec (05-services.md, 09-secrets.md,
12-interpolation.md), as of 2026-11. Only what ours says is known here; whatever else it says is a
mistake. Each rule yields sentences on what breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TOP = {"name", "services", "volumes", "networks", "secrets", "configs"}

SERVICE = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "env_file", "environment", "expose",
    "healthcheck", "image", "logging", "network_mode", "ports", "profiles", "read_only", "restart",
    "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip

HEALTH = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}

RESTARTS = re.compile(r"no|always|on-failure(:\d+)?|unless-stopped")
DURATION = re.compile(r"(?:\d+h)?(?:\d+m)?(?:\d+s)?(?:\d+ms)?(?:\d+us)?")
SIZE = re.compile(r"\d+(b|k|kb|m|mb|g|gb)")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")
PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+:)?(\d+(-\d+)?:)?\d+(-\d+)?(/tcp|/udp)?")
INTERPOLATED = re.compile(r"\$(?:\$|\{[A-Za-z_]\w*(?:(?::?[-?+])[^}]*)?\}|[A-Za-z_]\w*)")
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def broken(compose: dict[str, Any]) -> Iterator[str]:
    """Yield what a compose file breaks."""
    yield from _unknown("the file", compose, TOP)
    for name, service in compose["services"].items():
        for problem in _service(service, compose):
            yield f"{name}: {problem}"
    for name, secret in compose.get("secrets", {}).items():
        if not NAME.fullmatch(name) or len({"file", "environment", "external"} & set(secret)) != 1:
            yield f"secret {name}: needs a name that is one, and one source"
    for text in _texts(compose):
        if "$" in INTERPOLATED.sub("", text):
            yield f"a $ that is neither $$ nor a variable: {text!r}"


def _unknown(where: str, given: dict[str, Any], known: set[str]) -> Iterator[str]:
    for key in given:
        if key not in known and not key.startswith("x-"):
            yield f"{where}: unknown key {key!r}"


def _service(service: dict[str, Any], compose: dict[str, Any]) -> Iterator[str]:
    yield from _unknown("service", service, SERVICE)
    if not {"image", "build"} & set(service):
        yield "neither image nor build"
    if not RESTARTS.fullmatch(service.get("restart", "no")):
        yield "restart is none of the policies"
    if not _is_duration(service.get("stop_grace_period", "10s")):
        yield "stop_grace_period is no duration"
    if "shm_size" in service and not SIZE.fullmatch(service["shm_size"]):
        yield "shm_size is no size"
    yield from _health(service.get("healthcheck", {}))
    yield from _references(service, compose)
    yield from _doors(service)
    for variable, value in service.get("environment", {}).items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            yield f"the variable {variable} is no text or number (true must be quoted)"


def _health(check: dict[str, Any]) -> Iterator[str]:
    yield from _unknown("healthcheck", check, HEALTH)
    for key in ("interval", "timeout", "start_period", "start_interval"):
        if key in check and not _is_duration(check[key]):
            yield f"healthcheck: {key} is no duration"
    test = check.get("test", ["NONE"])
    if isinstance(test, list):
        if test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            yield "healthcheck: the test begins with none of CMD, CMD-SHELL, NONE"
        if test[0] == "CMD-SHELL" and len(test) != 2:
            yield "healthcheck: CMD-SHELL takes one text"
        if not all(isinstance(word, str) for word in test):
            yield "healthcheck: a word of the test is no text"
    if not isinstance(check.get("retries", 1), int):
        yield "healthcheck: retries is no number"


def _references(service: dict[str, Any], compose: dict[str, Any]) -> Iterator[str]:
    yield from _needs(service.get("depends_on", {}), compose["services"])
    mode = service.get("network_mode", "")
    if mode.startswith("service:") and mode.partition(":")[2] not in compose["services"]:
        yield f"shares the network of no service: {mode}"
    for secret in service.get("secrets", ()):
        if secret not in compose.get("secrets", {}):
            yield f"the secret {secret!r} is not declared"
    for volume in service.get("volumes", ()):
        source, colon, _target = volume.partition(":")
        if colon and NAME.fullmatch(source) and source not in compose.get("volumes", {}):
            yield f"the volume {source!r} is not declared"


def _needs(needed: Any, services: dict[str, Any]) -> Iterator[str]:
    for name in needed:
        if name not in services:
            yield f"depends on {name!r}, which is no service"
    for name, how in needed.items() if isinstance(needed, dict) else ():
        if how["condition"] not in CONDITIONS:
            yield f"depends on {name!r} under an unknown condition"
        if how["condition"] == "service_healthy" and "healthcheck" not in services.get(name, {}):
            yield f"waits for the health of {name!r}, which has no healthcheck"


def _doors(service: dict[str, Any]) -> Iterator[str]:
    for port in (*service.get("ports", ()), *service.get("expose", ())):
        if not isinstance(port, str) or not PORT.fullmatch(port):
            yield f"the port {port!r} is none, or was read as a number in base 60"
    if "network_mode" in service and {"ports", "networks"} & set(service):
        yield "a service with network_mode has no ports or networks of its own"
    for mount in (*service.get("volumes", ()), *service.get("tmpfs", ())):
        source, _, target = mount.partition(":")
        if not source.startswith("/") and not target.startswith("/"):
            yield f"mounted at no absolute path: {mount}"


def _is_duration(text: Any) -> bool:
    return isinstance(text, str) and text != "" and bool(DURATION.fullmatch(text))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
