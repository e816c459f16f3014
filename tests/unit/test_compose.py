"""compose.yaml, Dockerfile and .dockerignore hold what docs/deploy.md promises."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
from importlib.metadata import entry_points, version
from pathlib import Path

import compose_rules
import pytest
import yaml
from celery.bin.celery import celery as celery_command

from worker.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = sorted(SERVICES.keys() - {"redis", "postgres"})
DOCKERFILE = (ROOT / "Dockerfile").read_text()

SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|AUTH$|_KEY|_URL")
MAKE_SECRETS = ROOT / "deploy" / "make-secrets.sh"

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_every_process_of_up_is_a_service():
    assert SERVICES.keys() == {"redis", "postgres", "worker", "beat", "flower", "sandbox"}


def test_the_file_keeps_the_rules_of_compose():
    assert list(compose_rules.broken(COMPOSE)) == []


@pytest.mark.parametrize(
    ("service", "change", "said"),
    [
        ("worker", {"healtcheck": {}}, "unknown key 'healtcheck'"),
        ("worker", {"restart": "allways"}, "none of the policies"),
        ("worker", {"stop_grace_period": 40}, "no duration"),
        ("postgres", {"shm_size": "big"}, "no size"),
        ("beat", {"depends_on": {"reddis": {"condition": "service_healthy"}}}, "no service"),
        ("worker", {"depends_on": {"beat": {"condition": "service_healthy"}}}, "no healthcheck"),
        ("beat", {"depends_on": {"redis": {"condition": "healthy"}}}, "unknown condition"),
        ("redis", {"secrets": ["password"]}, "'password' is not declared"),
        ("redis", {"volumes": ["data:/data"]}, "'data' is not declared"),
        ("redis", {"volumes": ["redis:data"]}, "no absolute path"),
        ("worker", {"environment": {"A": True}}, "no text or number"),
        ("worker", {"healthcheck": {"test": ["python", "-m", "x"]}}, "begins with none of"),
        ("worker", {"healthcheck": {"test": ["CMD", "x"], "interval": "soon"}}, "no duration"),
        ("redis", {"command": ["sh", "-c", "cat $(file)"]}, "neither $$ nor a variable"),
        ("flower", {"ports": [5555]}, "the port 5555 is none"),
        ("sandbox", {"network_mode": "service:workers"}, "network of no service"),
        ("sandbox", {"ports": ["8900:8900"]}, "no ports"),
    ],
)
def test_a_mistake_against_the_rules_is_found(service, change, said):
    compose = copy.deepcopy(COMPOSE)
    compose["services"][service] |= change

    assert any(said in problem for problem in compose_rules.broken(compose))


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
def test_no_variable_holds_a_secret(name):
    for variable in SERVICES[name].get("environment", {}):
        assert not SECRET_NAME.search(variable) or variable.endswith("_FILE"), variable
    assert "env_file" not in SERVICES[name]


def test_the_file_holds_no_password_and_asks_for_none():
    text = (ROOT / "compose.yaml").read_text()

    assert re.findall(r"://[^\s/@]*:[^\s/@]*@", text) == []
    assert re.findall(r"(?<!\$)\$[\w{]", text) == []


@each_service
def test_no_secret_is_on_a_command_line(name):
    service = SERVICES[name]

    for word in (*service.get("command", ()), *service.get("entrypoint", ())):
        # What the shell puts in is not seen in the list of processes, an argument is.
        assert not re.search(r"(auth|password)[= ]\S*\$\$\(cat", word) or "export" in word


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the script makes of secrets."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run(["sh", MAKE_SECRETS, folder], check=True, capture_output=True)
    return folder


def test_the_script_makes_every_secret_and_no_other(made):
    assert {file.name for file in made.iterdir()} == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"


def test_secrets_are_behind_a_door_and_may_be_read_by_the_containers_users(made):
    assert made.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in made.iterdir()} == {0o444}


def test_a_secret_that_is_there_stays(made):
    before = {file.name: file.read_text() for file in made.iterdir()}

    subprocess.run(["sh", MAKE_SECRETS, made], check=True, capture_output=True)

    assert {file.name: file.read_text() for file in made.iterdir()} == before


def test_the_settings_read_what_the_script_made(made, monkeypatch, tmp_path):
    monkeypatch.setenv("DESKFEED_SECRETS_DIR", str(made))
    monkeypatch.chdir(tmp_path)

    found = load_settings()

    password = (made / "redis_password").read_text()
    assert found.redis() == f"redis://:{password}@redis:6379/0"
    assert found.ledger.endswith("@postgres:5432/deskfeed")
    assert found.credential("socktown").email == "admin@socktown.example"


def test_no_secret_is_committed():
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["worker", "beat", "flower"])
def test_celery_knows_the_command(name):
    command = SERVICES[name]["command"]
    words = command if command[0] == "celery" else command[-1].partition("exec ")[2].split()
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


def test_each_worker_has_a_state_folder_of_its_own():
    assert "/state" in SERVICES["worker"]["volumes"]
    assert "DESKFEED_STATE_DIR=/state" in DOCKERFILE


def test_a_worker_is_healthy_by_its_progress():
    assert SERVICES["worker"]["healthcheck"]["test"] == ["CMD", "python", "-m", "worker.health"]
    assert importlib.util.find_spec("worker.health")


def test_workers_can_be_more_than_one():
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()
    assert "worker@%h" in SERVICES["worker"]["command"]


def test_what_opens_something_is_known_to_those_who_need_it():
    known = {name: set(service.get("secrets", ())) for name, service in SERVICES.items()}

    for secret in ("LEDGER_URL", "SPOOL_KEY", "HASH_KEY", "CREDENTIALS"):
        assert [name for name in known if f"DESKFEED_{secret}" in known[name]] == ["worker"]
    assert known["beat"] == {"DESKFEED_REDIS_URL"}
    assert known["sandbox"] == set()
    assert [name for name in known if "postgres_password" in known[name]] == ["postgres"]


def test_a_stopping_worker_may_finish_what_it_does():
    assert SERVICES["worker"]["stop_grace_period"] == "40s"


def test_redis_reads_a_configuration_that_keeps_everything(tmp_path):
    word, flag, script = SERVICES["redis"]["entrypoint"]
    server = tmp_path / "valkey-server"
    server.write_text('#!/bin/sh\necho "arguments: $*"\nexec cat\n')
    server.chmod(0o755)
    (tmp_path / "redis_password").write_text("hunter2")

    said = subprocess.run(
        [word, flag, script.replace("$$", "$").replace("/run/secrets", str(tmp_path))],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
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
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [SERVICES["redis"]["image"], SERVICES["postgres"]["image"]]

    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?-", image), image


@each_of_ours
def test_our_image_carries_our_version(name):
    assert SERVICES[name]["image"] == f"deskfeed:{version('deskfeed')}"


def test_the_image_holds_the_pinned_versions_and_runs_without_privileges():
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]

    assert "-c constraints.txt '.[alerts,flower,postgres]'" in DOCKERFILE
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


def test_the_list_that_is_scaled_by_is_celerys_queue():
    from worker.app import app
    from worker.options import KEY_PREFIX

    text = (ROOT / "docs" / "operations.md").read_text()

    assert f'listName: "{KEY_PREFIX}{app.conf.task_default_queue}"' in text
    assert "python, -m, worker.health" in text
