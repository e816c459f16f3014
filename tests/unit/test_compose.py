"""compose.yaml, Dockerfile and .dockerignore hold what docs/deploy.md promises."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import yaml
from celery.bin.celery import celery as celery_command

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = sorted(SERVICES.keys() - {"redis"})
DOCKERFILE = (ROOT / "Dockerfile").read_text()

SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|AUTH|_KEY|_URL")
FROM_OUTSIDE = re.compile(r"\$\{\w+:\?[^}]+\}")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_every_process_of_up_is_a_service():
    assert SERVICES.keys() == {"redis", "worker", "beat", "flower", "sandbox"}


@each_service
def test_a_service_comes_back_after_a_crash(name):
    assert SERVICES[name]["restart"] == "unless-stopped"


@each_service
def test_a_service_has_a_healthcheck_or_a_reason_for_none(name):
    service = SERVICES[name]

    assert ("healthcheck" in service) != ("x-no-healthcheck" in service)
    assert service.get("healthcheck", {}).get("test") or service.get("x-no-healthcheck")


@each_service
def test_a_service_can_do_little_harm(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert "privileged" not in service
    assert int(service["user"].split(":")[0]) > 0


@each_service
def test_a_port_is_open_on_loopback_only(name):
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:")


def test_nothing_but_flower_is_open_to_the_host():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["flower"]


@each_service
def test_a_secret_comes_from_outside_and_its_absence_is_an_error(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET_NAME.search(variable):
            assert FROM_OUTSIDE.search(value), variable


def test_no_address_holds_a_written_password():
    text = (ROOT / "compose.yaml").read_text()

    assert re.findall(r"://[^\s/@$]*:(?!\$\{\w+:\?)[^\s/@]*@", text) == []
    assert re.findall(r"\$\{\w+\}|\$\{\w+:-[^}]*\}|(?<!\$)\$\w+", text) == []


@each_service
def test_no_secret_is_on_a_command_line(name):
    service = SERVICES[name]

    assert not FROM_OUTSIDE.search(str(service.get("command", "")))
    assert not FROM_OUTSIDE.search(str(service.get("entrypoint", "")))


@pytest.mark.parametrize("name", ["worker", "beat", "flower"])
def test_celery_knows_the_command(name):
    words = SERVICES[name]["command"]
    known = set(celery_command.commands) | {
        point.name for point in entry_points(group="celery.commands")
    }

    assert words[:4] == ["celery", "-A", "worker.app", name]
    assert name in known
    assert importlib.util.find_spec("worker.app")


def test_the_sandbox_is_a_program_and_only_of_the_demo():
    service = SERVICES["sandbox"]

    assert service["command"][:3] == ["python", "-m", "worker.sandbox"]
    assert importlib.util.find_spec("worker.sandbox.__main__")
    assert service["profiles"] == ["demo"]
    assert [name for name, one in SERVICES.items() if "profiles" in one] == ["sandbox"]


def test_the_demos_destination_reaches_the_sandbox_on_the_workers_loopback():
    sandbox = SERVICES["sandbox"]
    catalog = ROOT / "orchestrations" / "catalog"
    destination = yaml.safe_load((catalog / "destinations" / "socktown.yaml").read_text())

    assert sandbox["network_mode"] == "service:worker"
    assert destination["base_url"] == f"http://127.0.0.1:{sandbox['command'][-1]}"


def test_worker_and_beat_share_the_ledger_on_a_named_volume():
    for name in ("worker", "beat"):
        assert "state:/state" in SERVICES[name]["volumes"]
    assert "state" in COMPOSE["volumes"]
    assert "DESKFEED_STATE_DIR=/state" in DOCKERFILE


def test_only_the_worker_gets_the_credentials():
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["worker"]


def test_a_stopping_worker_may_finish_what_it_does():
    assert SERVICES["worker"]["stop_grace_period"] == "40s"


def test_redis_reads_a_configuration_that_keeps_everything(tmp_path):
    word, flag, script = SERVICES["redis"]["entrypoint"]
    server = tmp_path / "valkey-server"
    server.write_text('#!/bin/sh\necho "arguments: $*"\nexec cat\n')
    server.chmod(0o755)

    said = subprocess.run(
        [word, flag, script.replace("$$", "$")],  # as compose does
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "REDISCLI_AUTH": "hunter2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert said == [
        "arguments: -",
        "requirepass hunter2",
        "dir /data",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
    ]


def test_images_are_pinned_to_a_version():
    images = [*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE), SERVICES["redis"]["image"]]

    assert len(images) == 3
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+-", image), image


@each_of_ours
def test_our_image_carries_our_version(name):
    assert SERVICES[name]["image"] == f"deskfeed:{version('deskfeed')}"


def test_the_image_holds_the_pinned_versions_and_runs_without_privileges():
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]

    assert "-c constraints.txt '.[flower,postgres]'" in DOCKERFILE
    assert "\nUSER 10001:10001\n" in last_stage
    assert {SERVICES[name]["user"] for name in OURS} == {"10001:10001"}


def test_everything_that_the_image_copies_exists_and_is_let_in():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        word.removeprefix("./").split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]

    assert {"pyproject.toml", "constraints.txt", "worker", "orchestrations"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignore
    assert "*" in ignore
    assert "**/.env" in ignore
