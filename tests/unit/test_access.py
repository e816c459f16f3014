"""Who may do what: every role against every verb, and who has which role."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from world import profiles, write_catalog

from orchestrations import access, runs, ticking
from orchestrations.access import SCHEDULER, VERBS, Principal, Rights, Role, load_access, myself
from orchestrations.cli import deskfeed, opened
from orchestrations.loader import load_catalog, read_catalog
from worker.errors import CatalogError, LedgerError, UsageError
from worker.ledger import schedules
from worker.profile import OutcomeKind, RejectedRow
from worker.settings import settings

TABLE = """
    verb              viewer user operator admin
    alerts list       yes    yes  yes      yes
    alerts test       no     no   yes      yes
    audit             no     no   yes      yes
    check             yes    yes  yes      yes
    credentials list  yes    yes  yes      yes
    destinations add  no     no   yes      yes
    destinations list yes    yes  yes      yes
    destinations test no     no   yes      yes
    doctor            yes    yes  yes      yes
    explain           yes    yes  yes      yes
    failures          yes    yes  yes      yes
    forget            no     no   no       yes
    init              yes    yes  yes      yes
    limits set        no     no   yes      yes
    limits show       yes    yes  yes      yes
    pause             no     no   yes      yes
    preview           no     yes  yes      yes
    prune             no     no   yes      yes
    report            yes    yes  yes      yes
    resume            no     no   yes      yes
    retry             no     yes  yes      yes
    run               no     yes  yes      yes
    runs              yes    yes  yes      yes
    schedule          yes    yes  yes      yes
    show              yes    yes  yes      yes
    stop              no     no   yes      yes
    up                no     no   yes      yes
    verify            no     yes  yes      yes
    watch             yes    yes  yes      yes
"""
ROLES = ("viewer", "user", "operator", "admin")
ROWS = [line.rsplit(maxsplit=4) for line in TABLE.strip().splitlines()[1:]]


def leaves(group, path=()):
    """Yield the names of the command's verbs."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name))


@pytest.fixture
def rules(tmp_path):
    """Return a function that writes access.yaml and reads it."""

    def write(text):
        (tmp_path / "access.yaml").write_text(text)
        return load_access(tmp_path)

    return write


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("verb", "answers"), [(row[0].strip(), row[1:]) for row in ROWS])
def test_each_role_may_use_these_verbs(rules, role, verb, answers):
    access = rules(f"users: {{ada: {role}}}\n")

    if answers[ROLES.index(role)] == "yes":
        assert access.require(Principal("ada"), verb).role is not None
    else:
        with pytest.raises(UsageError, match=f"ada may not {verb}: it needs the role") as caught:
            access.require(Principal("ada"), verb)
        assert caught.value.code == "access_denied"


def test_every_verb_of_the_command_has_its_role():
    assert {*leaves(deskfeed)} <= {*VERBS}
    assert sorted(VERBS) == sorted(row[0].strip() for row in ROWS)


def test_the_same_table_stands_in_the_docs(request):
    text = (request.config.rootpath / "docs" / "access.md").read_text()
    for verb, *answers in ROWS:
        shown = " | ".join("yes" if answer == "yes" else "" for answer in answers)
        assert f"| `{verb.strip()}` | {shown} |" in text


def test_without_a_file_everybody_has_every_right(tmp_path):
    access = load_access(tmp_path)
    assert access.rights(Principal("anybody")) == Rights(Role.ADMIN)
    assert access.rights(Principal(SCHEDULER)) == Rights(Role.ADMIN)


def test_with_a_file_whoever_it_does_not_name_may_do_nothing(rules):
    access = rules("users: {ada: admin}\n")
    assert access.rights(Principal("bob")).role is None
    assert access.rights(Principal(SCHEDULER)).role is None
    with pytest.raises(UsageError, match="bob has none"):
        access.require(Principal("bob"), "show")


@pytest.mark.parametrize(
    ("name", "groups", "rights"),
    [
        ("ada", {"data", "interns"}, Rights(Role.VIEWER)),
        ("bob", {"data"}, Rights(Role.OPERATOR)),
        ("bob", {"support", "data"}, Rights(Role.OPERATOR, restrict_pii=True)),
        ("bob", {"others"}, Rights(Role.USER, restrict_pii=True)),
        (SCHEDULER, {"data"}, Rights(Role.USER)),
    ],
)
def test_a_persons_own_entry_decides_then_the_groups_then_the_default(rules, name, groups, rights):
    access = rules(
        "users: {ada: viewer}\n"
        "groups: {data: operator, support: {role: viewer, restrict_pii: true}}\n"
        "default: {role: user, restrict_pii: true}\n"
        "scheduler: user\n"
    )
    assert access.rights(Principal(name, frozenset(groups))) == rights


def test_nobody_becomes_the_scheduler_by_their_name(rules):
    access = rules("users: {scheduler: admin}\nscheduler: viewer\n")
    assert access.rights(Principal(SCHEDULER)).role == Role.VIEWER


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users: {ada: root}\n", "access.yaml:1 users.ada"),
        ("user: {ada: admin}\n", "did you mean 'users'?"),
        ("users: {ada: {role: admin, pii: true}}\n", "unknown key"),
        ("users: [ada]\n", "must be a mapping"),
        ("users: {ada: admin\n", "access.yaml:"),
    ],
)
def test_a_wrong_file_gives_nobody_any_right_and_says_where(rules, text, said):
    with pytest.raises(CatalogError) as caught:
        rules(text)
    assert said in caught.value.message


def test_rules_that_a_link_points_to_must_be_there(tmp_path):
    (tmp_path / "access.yaml").symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(CatalogError, match="link to a file that is not there"):
        load_access(tmp_path)


def test_who_somebody_is_comes_from_the_system_and_not_from_the_environment(monkeypatch):
    real = myself()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    assert myself() == real


@pytest.mark.parametrize("name", [None, "scheduler"])
def test_who_has_no_name_or_that_of_the_scheduler_is_known_by_number(monkeypatch, name):
    def entry(_uid):
        if name is None:
            raise KeyError
        return SimpleNamespace(pw_name=name)

    monkeypatch.setattr(access.pwd, "getpwuid", entry)
    monkeypatch.setenv("LOGNAME", "ada")
    assert myself().name == f"uid-{os.getuid()}"


@pytest.fixture
def shell(tmp_path, monkeypatch, ledger):
    """Return a function that runs the command as a person that access.yaml may name."""
    write_catalog(tmp_path / "catalog")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", "catalog")
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(ledger))
    monkeypatch.setattr(opened, "myself", lambda: Principal("ada", frozenset({"desk"})))
    settings.cache_clear()
    yield lambda *args: CliRunner().invoke(deskfeed, args)
    settings.cache_clear()


def test_the_command_asks_before_it_does_anything(shell, tmp_path, ledger):
    (tmp_path / "catalog" / "access.yaml").write_text("users: {ada: viewer}\n")

    refused = shell("run", "loyalty", "--json")

    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"]["code"] == "access_denied"
    assert ledger.runs.newest(1) == []
    assert shell("runs").exit_code == 0


def test_a_destination_for_administrators_takes_nobody_elses_run(shell, tmp_path, ledger):
    file = tmp_path / "catalog" / "destinations" / "socktown.yaml"
    file.write_text(file.read_text() + "admin_only: true\n")
    (tmp_path / "catalog" / "access.yaml").write_text("groups: {desk: operator}\n")

    for words in (["run", "loyalty"], ["run", "loyalty", "--dry-run"], ["preview", "loyalty"]):
        refused = shell(*words, "--json")
        assert "for administrators only" in json.loads(refused.stdout)["error"]["message"]
    assert ledger.runs.newest(1) == []


def test_who_may_see_no_personal_data_may_not_send_it_where_it_is_restricted(shell, tmp_path):
    file = tmp_path / "catalog" / "destinations" / "socktown.yaml"
    file.write_text(file.read_text() + "restrict_pii: true\n")
    rules = "users: {ada: {role: user, restrict_pii: true}}\n"
    (tmp_path / "catalog" / "access.yaml").write_text(rules)

    refused = shell("run", "loyalty", "--json")
    assert "restricted access to personal data" in json.loads(refused.stdout)["error"]["message"]


def test_who_may_see_no_personal_data_sees_masks(shell, tmp_path, ledger, new_run):
    rules = "users: {ada: {role: user, restrict_pii: true}}\n"
    (tmp_path / "catalog" / "access.yaml").write_text(rules)
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    row = RejectedRow(1, OutcomeKind.FAILED, "missing_name", "name is empty", "C-1", "a@b.example")
    ledger.planning.add_rejected(run, 1, [row])

    shown = json.loads(shell("failures", "df-1", "--json").stdout)["failures"]
    assert [(item["external_id"], item["email"]) for item in shown] == [("•••", "•••")]
    previewed = shell("preview", "loyalty", "--json")
    assert "ada@example.com" not in previewed.output
    assert json.loads(previewed.stdout)["rows"][0]["user"] == {
        "verified": True, "skip_verify_email": True,
        "external_id": "•••", "name": "•••", "email": "•••",
    }  # fmt: skip
    assert "masked" in shell("failures", "df-1").output

    (tmp_path / "catalog" / "access.yaml").write_text("users: {ada: user}\n")
    shown = json.loads(shell("failures", "df-1", "--json").stdout)["failures"]
    assert shown[0]["external_id"] == "C-1"


@pytest.fixture
def lost(shell, tmp_path, monkeypatch, ledger, new_run):
    """As `shell`, of somebody whose DESKFEED_CATALOG names no folder; a row of a run failed."""
    monkeypatch.setenv("DESKFEED_CATALOG", "nowhere")
    settings.cache_clear()
    ledger.runs.start(new_run())
    run = ledger.runs.claim_plan("df-1")
    row = RejectedRow(1, OutcomeKind.FAILED, "missing_name", "name is empty", "C-1", "a@b.example")
    ledger.planning.add_rejected(run, 1, [row])
    ledger.planning.add_chunks(run, 2, [profiles(2, 3)])
    ledger.planning.complete(run)
    return shell


@pytest.mark.parametrize(
    "line", ["forget external_id C-1 --yes", "prune --digests", "prune --older-than 1d"]
)
def test_where_there_is_no_catalog_folder_nobody_takes_anything_away(lost, line):
    refused = lost(*line.split(), "--json")

    error = json.loads(refused.stdout)["error"]
    assert (refused.exit_code, error["code"]) == (2, "access_denied")
    assert "DESKFEED_CATALOG names no folder (nowhere); access.yaml lies there" in error["message"]
    assert "Set DESKFEED_CATALOG to the catalog's folder" in error["resolution"]


def test_where_there_is_no_catalog_folder_nobody_sees_people(lost):
    listed = lost("failures", "df-1", "--json")
    assert json.loads(listed.stdout)["failures"][0]["email"] == "•••"
    assert "masked: DESKFEED_CATALOG names no folder (nowhere)" in listed.stderr
    page = lost("report", "df-1", "-o", "-")
    assert (page.exit_code, "a@b.example" in page.stdout) == (0, False)


def test_where_there_is_no_catalog_folder_runs_can_be_looked_at_and_stopped(lost, ledger):
    looking = ("runs", "show df-1", "limits show", "audit", "explain access_denied")
    for line in (*looking, "pause df-1", "resume df-1", "stop df-1"):
        done = lost(*line.split())
        assert done.exit_code == 0, (line, done.output)
    assert ledger.runs.get("df-1").ends_as == "stopped"


def test_a_file_in_place_of_the_catalog_folder_is_no_folder(tmp_path):
    (tmp_path / "catalog").touch()
    assert load_access(tmp_path / "catalog").unknown


@pytest.fixture
def elsewhere(lost, tmp_path, monkeypatch, ledger, ledger_url):
    """As `lost`, of somebody who made a catalog folder of their own."""
    monkeypatch.setenv("DESKFEED_CATALOG", "mine")
    monkeypatch.setenv("DESKFEED_LEDGER_URL", ledger_url)
    (tmp_path / "mine").mkdir()
    settings.cache_clear()
    return lost


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite"])
def test_a_folder_of_ones_own_does_not_undo_the_rules_that_workers_read(
    elsewhere, tmp_path, ledger, ledger_url, monkeypatch, driver
):
    monkeypatch.setenv("DESKFEED_LEDGER_URL", ledger_url.replace("sqlite", driver, 1))
    settings.cache_clear()
    (tmp_path / "catalog" / "access.yaml").write_text("users: {eve: admin}\n")
    ticking.tick(ledger, read_catalog(tmp_path / "catalog"))

    refused = elsewhere("forget", "external_id", "C-1", "--yes", "--json")
    message = json.loads(refused.stdout)["error"]["message"]
    assert "the workers' catalog has an access.yaml, and DESKFEED_CATALOG here (mine)" in message
    listed = elsewhere("failures", "df-1", "--json")
    assert json.loads(listed.stdout)["failures"][0]["email"] == "•••"
    assert elsewhere("prune", "--digests").exit_code == 2
    assert elsewhere("stop", "df-1").exit_code == 0


def test_where_the_ledger_cannot_say_whether_there_are_rules_nothing_is_shown(
    elsewhere, monkeypatch
):
    def silent(_database):
        raise LedgerError("it does not answer", code="ledger_unavailable")

    monkeypatch.setattr(schedules, "has_rules", silent)
    for line in ("failures df-1", "forget external_id C-1 --yes", "report df-1 -o -"):
        refused = elsewhere(*line.split(), "--json")
        assert refused.exit_code != 0
        assert "a@b.example" not in refused.output


def test_rules_that_are_taken_away_hold_until_a_worker_has_looked(elsewhere, tmp_path, ledger):
    rules = tmp_path / "catalog" / "access.yaml"
    rules.write_text("users: [\n")  # broken ones are rules too
    ticking.tick(ledger, read_catalog(tmp_path / "catalog"))
    assert elsewhere("forget", "external_id", "C-1", "--dry-run").exit_code == 2
    rules.unlink()
    ticking.tick(ledger, read_catalog(tmp_path / "catalog"))
    assert elsewhere("forget", "external_id", "C-1", "--dry-run").exit_code == 0


def test_the_worker_asks_again_from_what_the_ledger_recorded(tmp_path, ledger):
    write_catalog(tmp_path)
    catalog = load_catalog(tmp_path)
    run, _ = runs.start(catalog, "loyalty", ledger=ledger, principal="ada", groups={"desk"})
    assert runs.principal_of(run) == Principal("ada", frozenset({"desk"}))

    (tmp_path / "access.yaml").write_text("groups: {desk: viewer}\n")
    with pytest.raises(UsageError, match="ada may not run"):
        runs.authorize(catalog, catalog.destinations["socktown"], runs.principal_of(run), "run")


def test_the_rules_are_no_orchestration(tmp_path):
    write_catalog(tmp_path)
    (tmp_path / "access.yaml").write_text("users: {ada: admin}\n")
    assert [*load_catalog(tmp_path).orchestrations] == ["loyalty"]


def commands_of(group, *names):
    """Yield each command that does something, with the words that name it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield (*names, name), command
            yield from commands_of(command, *names, name)
        else:
            yield (*names, name), command


def harmless(command):
    """Return the arguments that a command demands."""
    words = ["--description", "x"] if command.name == "add" else []  # else it would ask for it
    for param in command.params:
        if isinstance(param, click.Argument) and param.required:
            choices = getattr(param.type, "choices", ("x",))
            words += [str(next(iter(choices)))] * max(1, param.nargs)
    return words


COMMANDS = dict(commands_of(deskfeed))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_that_there_is_asks_for_a_role(shell, tmp_path, words):
    (tmp_path / "catalog" / "access.yaml").write_text("users: {eve: admin}\n")

    refused = shell(*words, *harmless(COMMANDS[words]), "--json")
    assert refused.exit_code == 2, refused.output
    assert json.loads(refused.stdout)["error"]["code"] == "access_denied"
