"""`deskfeed report`: where the page goes, who can read it, what is not replaced."""

from __future__ import annotations

import json
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner
from storied import story
from world import write_catalog

from orchestrations.access import myself
from orchestrations.cli import opened, private_file, report_verb
from worker.settings import settings


@pytest.fixture
def shell(tmp_path, monkeypatch, sqlite_ledger, clock):
    """Return a function that runs the verb on a ledger with one run, in a folder of its own."""
    story(sqlite_ledger, clock)
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(sqlite_ledger))
    monkeypatch.setenv("DESKFEED_CATALOG", str(write_catalog(tmp_path / "catalog")))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    settings.cache_clear()
    yield lambda *args: CliRunner().invoke(report_verb.report, args)
    settings.cache_clear()


def files():
    return sorted(path.name for path in Path().iterdir())


def test_the_file_is_whole_and_only_its_owner_reads_it(shell):
    done = shell("last", "-o", "run.html")

    assert done.exit_code == 0, done.output
    assert "Finished with failures: 82 of 100 rows delivered" in done.output
    file = Path("run.html")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().rstrip().endswith("</html>")
    assert files() == ["run.html"]


def test_without_a_name_the_file_is_called_after_the_run(shell):
    shell("last")
    assert files() == ["df-1.html"]


def test_a_file_that_is_there_is_not_replaced_unless_forced(shell):
    Path("run.html").write_text("somebody's")

    refused = shell("last", "-o", "run.html")
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert Path("run.html").read_text() == "somebody's"

    assert shell("last", "-o", "run.html", "--force").exit_code == 0
    assert "<!doctype html>" in Path("run.html").read_text()
    assert stat.S_IMODE(Path("run.html").stat().st_mode) == 0o600
    assert files() == ["run.html"]


def test_a_link_is_not_followed(shell, tmp_path):
    Path("run.html").symlink_to(tmp_path / "elsewhere")

    assert shell("last", "-o", "run.html").exit_code == 2
    assert shell("last", "-o", "run.html", "--force").exit_code == 0
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_that_was_taken_meanwhile_is_not_replaced(shell, monkeypatch):
    monkeypatch.setattr(private_file.os.path, "lexists", lambda path: False)
    Path("run.html").write_text("somebody's")

    assert shell("last", "-o", "run.html").exit_code == 2
    assert Path("run.html").read_text() == "somebody's"
    assert files() == ["run.html"]


def test_a_folder_that_is_not_there_is_said(shell):
    done = shell("last", "-o", "nowhere/run.html")

    assert done.exit_code == 2
    assert "nowhere/run.html cannot be written: No such file or directory" in done.output


def test_standard_output(shell):
    done = shell("last", "-o", "-")

    assert done.output.startswith("<!doctype html>")
    assert files() == []
    both = shell("last", "-o", "-", "--json")
    assert both.exit_code == 2
    assert json.loads(both.output)["ok"] is False


def test_json_names_the_file(shell):
    told = json.loads(shell("last", "-o", "run.html", "--json").stdout)

    file = Path("run.html")
    assert told == {
        "ok": True, "run_id": "df-1", "path": str(file.absolute()), "bytes": file.stat().st_size,
        "state": "finished_with_failures", "ended": True, "masked": False,
    }  # fmt: skip


def test_whoever_is_restricted_gets_it_masked(shell, tmp_path):
    (tmp_path / "catalog" / "access.yaml").write_text(
        f"users:\n  {myself().name}: {{role: viewer, restrict_pii: true}}\n"
    )

    told = json.loads(shell("last", "-o", "run.html", "--json").stdout)

    assert told["masked"] is True
    page = Path("run.html").read_text()
    assert "•••" in page
    assert "example.com" not in page
