"""`python -m worker.sandbox` as a process: banner, switches, signals, exit codes."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"
COMMAND = [sys.executable, "-m", "worker.sandbox"]


@contextmanager
def started(*arguments):
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        banner = process.stdout.readline() + process.stdout.readline()
        yield process, banner, int(re.search(r"http://127\.0\.0\.1:(\d+)", banner)[1])
    finally:
        process.kill()
        process.communicate()


def ask(port, method, target, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    answered = response.status, response.read()
    connection.close()
    return answered


def refused(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=180)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_nothing_more_to_say(number):
    with started() as (process, banner, port):
        assert "NOT Zendesk" in banner
        assert ask(port, "GET", "/")[0] == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (0, "", "")


def test_switches_and_the_configuration_file_reach_the_account(tmp_path):
    path = tmp_path / "sandbox.json"
    path.write_text(json.dumps({"settings": {"foreign_jobs": 2, "job_limit": 9}}))
    with started(
        "--config", str(path), "--seconds-per-user", "0", "--queue-seconds", "1.5",
        "--requests-per-minute", "10", "--users-per-second", "100", "--job-limit", "7",
        "--job-expiry-seconds", "60", "--import-disabled",
    ) as (_, _, port):  # fmt: skip
        settings = json.loads(ask(port, "GET", "/_sandbox/settings")[1])

    wanted = {
        "seconds_per_user": 0, "queue_seconds": 1.5, "requests_per_minute": 10,
        "users_per_second": 100, "job_limit": 7, "job_expiry_seconds": 60,
        "import_enabled": False, "foreign_jobs": 2,
    }  # fmt: skip
    assert {key: settings[key] for key in wanted} == wanted


def test_another_host_is_refused_in_one_sentence():
    ended = refused("--host", "0.0.0.0")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "127.0.0.1 only" in ended.stderr


def test_a_port_in_use_is_one_line_and_exit_code_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = refused("--port", str(port))

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"sandbox: port {port} is in use: stop what listens there, or choose another with --port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "99999"], "port"),
        (["--seconds-per-user", "-1"], "seconds_per_user"),
        (["--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(arguments, named):
    ended = refused(*arguments)

    assert ended.returncode == 2
    assert named in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_worked_example_of_the_docs_runs_as_it_is_printed(tmp_path):
    """The Python block of docs/sandbox.md runs, and prints the text block that follows it."""
    found = re.search(r"```python\n(.*?)```\n\n.*?```text\n(.*?)```", DOCS.read_text(), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(found[1])
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(script)],
        capture_output=True, text=True, timeout=60, cwd=DOCS.parents[1],
        env={"PYTHONPATH": str(DOCS.parents[1])},
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == found[2]
