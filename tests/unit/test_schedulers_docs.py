"""What docs/schedulers.md gives people to copy is right in itself and true of the command."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from orchestrations.cli.run_verbs import run
from orchestrations.loader import load_catalog
from orchestrations.report import EXIT_CODES
from orchestrations.ticking import GOES_ON, GRACE_S
from worker.app import app
from worker.ledger.states import RunState
from worker.options import KEY_PREFIX, TICK_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "schedulers.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_is_python(code):
    ast.parse(code)


def test_the_keys_shown_are_keys_of_the_catalog(tmp_path):
    from world import write_catalog

    shown = [text for text in blocks("yaml") if "apiVersion" not in text]
    assert len(shown) == 2
    folder = write_catalog(tmp_path / "schedule", more=shown[0])
    (folder / "orders.yaml").write_text(
        (folder / "loyalty.yaml").read_text().replace(shown[0], shown[1])
    )
    catalog = load_catalog(folder)
    assert catalog.orchestration("loyalty").schedule.timezone == "America/Los_Angeles"
    assert catalog.orchestration("orders").after == "loyalty"


def test_the_cron_job_names_each_run_after_the_minute_that_it_is_for():
    [job] = [yaml.safe_load(text) for text in blocks("yaml") if "apiVersion" in text]
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    script = container["args"][0].replace("deskfeed", "echo")
    done = subprocess.run(
        [*container["command"], script], env={"JOB_NAME": "deskfeed-loyalty-29678430"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "run loyalty --key 29678430 --wait\n"


def test_every_option_given_to_run_is_one():
    options = {name for one in run.params if isinstance(one, click.Option) for name in one.opts}
    used = set(re.findall(r"deskfeed run [^`\n]*", PAGE))
    assert used
    for line in used:
        assert set(re.findall(r"(?<= )--[a-z-]+", line)) <= options, line


def test_every_percent_sign_of_the_crontab_is_escaped():
    (line,) = re.findall(r"^30 8 .*$", PAGE, re.MULTILINE)
    assert line.count("%") == line.count("\\%") == 3


def test_the_exit_codes_are_those_of_the_command():
    codes = {int(code) for code in re.findall(r"^\| (\d+):", PAGE, re.MULTILINE)}
    assert codes == {*EXIT_CODES.values(), 2, 130}


def test_the_client_has_the_settings_of_the_app():
    assert f'"global_keyprefix": "{KEY_PREFIX}"' in PAGE
    assert f'task_default_queue = "{app.conf.task_default_queue}"' in PAGE
    assert f'task_serializer = "{app.conf.task_serializer}"' in PAGE


def test_the_numbers_and_states_are_those_of_the_code():
    assert f"message every {TICK_SECONDS:g} seconds" in PAGE
    assert f"at most {GRACE_S / 60:g} minutes old" in PAGE
    after = PAGE.partition("### After another one")[2].partition("\n## ")[0]
    goes_on, ends = after.split("After one that", 1)
    for state in GOES_ON:
        assert f"`{state}`" in goes_on
    for state in (RunState.FAILED, RunState.STOPPED, RunState.INCONSISTENT):
        assert f"`{state}`" in ends
