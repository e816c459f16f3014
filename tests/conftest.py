"""Fixtures for all tests: a ledger of one's own on each database, a run ready to send.

Tests that take `ledger` run on SQLite. Those of the ledger itself, and of the use-cases that write
most of it, run on PostgreSQL as well, where there is one: the conformance suite of the two.
With DESKFEED_TEST_POSTGRES=all every test does.
"""

from __future__ import annotations

import os
import shutil
from types import MappingProxyType

import browser
import postgres
import pytest
import structlog
from sqlalchemy import create_engine
from world import LIMITS, TARGET, Clock, profiles

from worker.ledger import open_ledger
from worker.ledger.records import NewRun
from worker.times import Times

CONFORMANCE = (
    "test_ledger", "test_alerts", "test_forgetting", "test_audit", "test_planning", "test_retrying",
    "test_ticking", "test_unclear", "test_sweeper", "test_run_report",
)  # fmt: skip
"""Modules, by the beginning of their names, whose tests run on both databases."""

LONG = frozenset({
    "test_alerts", "test_attacker", "test_canaries", "test_compose_set", "test_credentials",
    "test_docs_sessions", "test_encrypted", "test_errors", "test_flower", "test_handover",
    "test_liveness", "test_metrics_page", "test_operator_verbs", "test_schedulers",
    "test_shipped_redis", "test_stopped_planning", "test_unclear_rows", "test_up_everything",
    "test_values_in_errors", "test_versions", "test_workers",
})  # fmt: skip
"""Modules outside the unit tests that start processes by the hundred: `make test-long`, and so
`.ci/run`, plays them. `make test` keeps one journey of each kind: run, loss, fault, and demo."""


@pytest.fixture(autouse=True)
def _logs_as_they_were():
    """What a command or a worker makes of the logs of its process is not for the next test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def times():
    return Times()


def pytest_configure(config):
    if hasattr(config, "workerinput") or config.option.collectonly:
        return  # the process that leads them has done it
    config.browsers = browser.offer()
    server, config.ledgers = postgres.offer()
    if server is not None:
        config.add_cleanup(server.end)


def pytest_report_header(config):
    if not hasattr(config, "ledgers"):
        return None
    return [f"ledger tests: {config.ledgers}", f"browser tests: {config.browsers}"]


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("postgres")
        both = _conforms(metafunc.module.__name__.rpartition(".")[2])
        backends = ["sqlite", "postgres"] if both else ["sqlite"]
        metafunc.parametrize("backend", ["postgres"] if only else backends)


def _conforms(module):
    known = module == "test_delivery" or module.startswith(CONFORMANCE)
    return known or os.environ.get(postgres.WANTED) == "all"


def pytest_collection_modifyitems(config, items):
    """Leave out what needs PostgreSQL or a browser where there is none; the header said so."""
    for item in items:
        if item.path.stem in LONG and "unit" not in item.path.parts:
            item.add_marker("long")
    without = {
        item
        for item in items
        if (_backend(item) == "postgres" and not os.environ.get(postgres.URL))
        or (item.get_closest_marker("chromium") and not browser.find())
    }
    if without:
        config.hook.pytest_deselected(items=[item for item in items if item in without])
        items[:] = [item for item in items if item not in without]
    items[:] = mixed(items)


def mixed(items):
    """Return the tests file by file, those that wait for processes spread among the others.

    Processes that run tests side by side take file after file: so some wait while others compute.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if not {"unit", "simulation"} & {*path.parts}]
    others = [path for path in files if path not in waiting]
    every = max(1, len(others) // (len(waiting) + 1))
    order = []
    for number, path in enumerate(waiting):
        order += [path, *others[number * every : (number + 1) * every]]
    order += others[len(waiting) * every :]
    return [item for path in order for item in files[path]]


def _backend(item):
    return item.callspec.params.get("backend") if hasattr(item, "callspec") else None


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; of a module, because its event loop is in the way of others' loops."""
    with browser.launched() as launched:
        yield launched


@pytest.fixture(scope="session")
def postgres_url():
    """A PostgreSQL ledger that the tests of this process have to themselves, one at a time."""
    with postgres.database(f"deskfeed_{os.getpid()}") as url:
        open_ledger(url).close()  # makes the tables
        yield url


@pytest.fixture(scope="session")
def _cleaner(postgres_url):
    engine = create_engine(postgres_url, pool_pre_ping=True)  # a test may have cut it
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _empty_file(tmp_path_factory):
    """An empty ledger on SQLite, to copy: making its tables takes ten times as long."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    open_ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def ledger_url(backend, request, tmp_path):
    """The address of an empty ledger."""
    if backend == "sqlite":
        shutil.copyfile(request.getfixturevalue("_empty_file"), tmp_path / "ledger.db")
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    cleaner = request.getfixturevalue("_cleaner")
    yield request.getfixturevalue("postgres_url")
    with cleaner.begin() as connection:
        postgres.empty(connection)


@pytest.fixture
def ledger(ledger_url, clock, times):
    """A ledger on the database of the test's turn, with a clock that only moves when told to."""
    opened = open_ledger(ledger_url, times, clock)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_url(tmp_path):
    """For what is so on SQLite only."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def sqlite_ledger(sqlite_url, clock, times, _empty_file, tmp_path):
    shutil.copyfile(_empty_file, tmp_path / "ledger.db")
    opened = open_ledger(sqlite_url, times, clock)
    yield opened
    opened.close()


@pytest.fixture
def new_run():
    def make(
        run_id="df-1",
        orchestration="loyalty",
        key=None,
        target=TARGET,
        limits=LIMITS,
        options=MappingProxyType({}),
    ):
        return NewRun(run_id, orchestration, key or run_id, target, limits, options, "tester")

    return make


@pytest.fixture
def sending(ledger, new_run):
    """Return a function that records a run with chunks of the given sizes, ready to send."""

    def make(*sizes: int, run_id: str = "df-1", orchestration: str = "loyalty", **kwargs):
        ledger.runs.start(new_run(run_id, orchestration, **kwargs))
        run = ledger.runs.claim_plan(run_id)
        row = 1
        for seq, size in enumerate(sizes, start=1):
            ledger.planning.add_chunks(run, seq, [profiles(row, size)])
            row += size
        ledger.planning.complete(run)
        return ledger.runs.get(run_id)

    return make
