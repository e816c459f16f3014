"""The page that Prometheus reads: what this worker counted, and what all workers share.

What is counted is this worker's own (`worker.metrics`). What is shared is read when somebody asks:
the use of the budgets and the gate from the limiter; limits, jobs and who waits from the ledger.
Each source has a time of its own to answer, and one that does not takes nothing from the page but
its own part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, get_args
from wsgiref.simple_server import WSGIServer

import redis
import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from worker.errors import DeskfeedError, UsageError
from worker.ledger import Ledger
from worker.ledger.records import AccountView
from worker.ledger.vitals import Vitals, look
from worker.limiter import Limiter, State
from worker.limiter.answers import Gate
from worker.limiter.limiter import CEILING
from worker.metrics import REGISTRY

log = structlog.get_logger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of a worker leave what they count. prometheus_client reads it when it is
imported, so it counts from the environment only, never from `.env`."""

SOURCE_S = 4.0
"""A source that has not answered by then counts as silent. There are two, one after the other:
together below the 10 s after which Prometheus gives up a page."""

ACCOUNT = ("account",)

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "deskfeed_redis_up": ("Whether Redis answers the limiter.", ()),
    "deskfeed_ledger_up": ("Whether the ledger answers.", ()),
    "deskfeed_limiter_users": ("Users sent in the second that ends now.", ACCOUNT),
    "deskfeed_limiter_users_budget": ("Users per second at most, as it holds now.", ACCOUNT),
    "deskfeed_limiter_users_ceiling": (
        "Users per second that can be sent at most for long: the budget less the guard's share.",
        ACCOUNT,
    ),
    "deskfeed_limiter_requests": ("Requests sent in the minute that ends now.", ACCOUNT),
    "deskfeed_limiter_requests_budget": (
        "Requests per minute at most, as it holds now.",
        ACCOUNT,
    ),
    "deskfeed_limiter_requests_cap": (
        "Requests per minute that others leave to us; absent while headers tell nothing.",
        ACCOUNT,
    ),
    "deskfeed_limiter_closed_seconds": ("For how much longer nothing goes.", ACCOUNT),
    "deskfeed_limiter_gate": ("1 for what the gate does now, 0 for the rest.", ("account", "gate")),
    "deskfeed_jobs_in_flight": ("Zendesk jobs of ours that are queued or running.", ACCOUNT),
    "deskfeed_jobs_in_flight_cap": ("Jobs of ours at most, as it holds now.", ACCOUNT),
    "deskfeed_chunks_waiting": ("Chunks given back, by what they wait for.", ("account", "why")),
    "deskfeed_chunks_open": ("Chunks of active runs, by state.", ("account", "state")),
    "deskfeed_chunks_quarantined": ("Chunks given up, of the last day's runs.", ACCOUNT),
    "deskfeed_rows_unconfirmed": (
        "Rows of which nobody can say what became, of the last day's runs.",
        ("orchestration",),
    ),
    "deskfeed_runs_active": ("Runs that have not ended, by state.", ("state",)),
    "deskfeed_runs_ended": ("Runs that ended within the last day, by how.", ("state",)),
    "deskfeed_runs_paused": (
        "Runs that their destination paused: a person must mend something.",
        ("destination", "code"),
    ),
    "deskfeed_run_age_seconds": ("Since the active run was started.", ("orchestration",)),
    "deskfeed_workers_alive": ("Worker processes heard of lately.", ()),
    "deskfeed_backlog_late": ("Chunks and runs that should be on their way and are not.", ()),
    "deskfeed_backlog_late_seconds": ("How late the latest of them is.", ()),
    "deskfeed_tick_age_seconds": ("Since beat's last tick was worked on.", ()),
    "deskfeed_queue_messages": ("Messages that no worker has taken yet.", ()),
    "deskfeed_alerts_waiting": ("Alerts that are still to be sent.", ()),
    "deskfeed_alerts_given_up": ("Alerts that a channel did not take, of the last day.", ()),
}
"""Everything that is read when somebody asks: name, help, labels."""

_T = TypeVar("_T")


class Shared:
    """Collects what all workers share, at the moment it is asked for.

    Args:
        ledger: the record of truth.
        limiter: the rate limit.
        ping: raises a `redis.RedisError` when Redis does not answer.
        queued: asks Redis how many messages wait for a worker; None: that is not told.
        source_s: how long a source may take.
    """

    def __init__(
        self,
        ledger: Ledger,
        limiter: Limiter,
        ping: Callable[[], object],
        source_s: float = SOURCE_S,
        queued: Callable[[], int] | None = None,
    ) -> None:
        self._ledger = ledger
        self._limiter = limiter
        self._ping = ping
        self._queued = queued
        self._ledger_source: _Source[_FromLedger] = _Source("ledger", source_s)
        self._redis_source: _Source[_FromRedis] = _Source("redis", source_s)
        self._known: tuple[str, ...] = ()

    def describe(self) -> Iterable[Metric]:
        """Return every gauge there can be, without values."""
        return _Sheet().families()

    def collect(self) -> Iterable[Metric]:
        """Ask ledger and limiter; returns what they answered in time."""
        sheet = _Sheet()
        told = self._ledger_source.answer(self._ask_ledger)
        sheet.put("deskfeed_ledger_up", told is not None)
        if told is not None:  # while the ledger is silent, its accounts of the last time
            self._known = tuple(view.account for view in told.views)
            _put_ledger(sheet, told)
        accounts = self._known
        found = self._redis_source.answer(lambda: self._ask_redis(accounts))
        sheet.put("deskfeed_redis_up", found is not None)
        if found is not None:
            _put_redis(sheet, found)
        return sheet.families()

    def _ask_ledger(self) -> _FromLedger:
        views = self._ledger.views
        found = [views.account(account) for account in views.accounts()]
        return _FromLedger(
            views=[view for view in found if view is not None],
            vitals=look(self._ledger.database),
            workers=len(self._ledger.recovery.living_workers()),
        )

    def _ask_redis(self, accounts: Sequence[str]) -> _FromRedis:
        self._ping()  # also where there is no account yet
        return _FromRedis(
            uses={account: self._limiter.state(account) for account in accounts},
            queued=None if self._queued is None else self._queued(),
        )


@dataclass(frozen=True, slots=True)
class _FromLedger:
    views: Sequence[AccountView]
    vitals: Vitals
    workers: int


@dataclass(frozen=True, slots=True)
class _FromRedis:
    uses: Mapping[str, State]
    queued: int | None


class _Sheet:
    """One page of gauges, being filled in."""

    def __init__(self) -> None:
        self._families = {
            name: GaugeMetricFamily(name, text, labels=labels)
            for name, (text, labels) in GAUGES.items()
        }

    def put(self, name: str, value: float, *labels: str) -> None:
        self._families[name].add_metric(labels, value)

    def families(self) -> list[Metric]:
        return list(self._families.values())


def _put_ledger(sheet: _Sheet, told: _FromLedger) -> None:
    for view in told.views:
        _put_view(sheet, view)
    sheet.put("deskfeed_workers_alive", told.workers)
    _put_vitals(sheet, told.vitals)


def _put_vitals(sheet: _Sheet, vitals: Vitals) -> None:
    groups: dict[str, Mapping[str, float] | Mapping[tuple[str, str], int]] = {
        "deskfeed_runs_active": vitals.active,
        "deskfeed_runs_ended": vitals.ended,
        "deskfeed_run_age_seconds": vitals.ages,
        "deskfeed_runs_paused": vitals.paused,
        "deskfeed_chunks_open": vitals.open_chunks,
        "deskfeed_chunks_quarantined": vitals.quarantined,
        "deskfeed_rows_unconfirmed": vitals.unconfirmed,
    }
    for name, values in groups.items():
        for label, value in values.items():
            sheet.put(name, value, *((label,) if isinstance(label, str) else label))
    sheet.put("deskfeed_backlog_late", vitals.late)
    sheet.put("deskfeed_backlog_late_seconds", vitals.late_seconds)
    sheet.put("deskfeed_alerts_waiting", vitals.alerts_waiting)
    sheet.put("deskfeed_alerts_given_up", vitals.alerts_given_up)
    if vitals.beat_silent_seconds is not None:
        sheet.put("deskfeed_tick_age_seconds", vitals.beat_silent_seconds)


def _put_redis(sheet: _Sheet, found: _FromRedis) -> None:
    for account, use in found.uses.items():
        _put_use(sheet, account, use)
    if found.queued is not None:
        sheet.put("deskfeed_queue_messages", found.queued)


def _put_view(sheet: _Sheet, view: AccountView) -> None:
    limits, account = view.standing.limits, view.account
    users = limits.users_per_second
    sheet.put("deskfeed_limiter_users_budget", users, account)
    sheet.put("deskfeed_limiter_users_ceiling", users * CEILING, account)
    sheet.put("deskfeed_limiter_requests_budget", limits.requests_per_minute, account)
    sheet.put("deskfeed_jobs_in_flight", view.jobs, account)
    sheet.put("deskfeed_jobs_in_flight_cap", limits.jobs_in_flight, account)
    waiting: dict[str, int] = {}
    for one in view.waiting:
        waiting[one.why] = waiting.get(one.why, 0) + one.chunks
    for why, chunks in waiting.items():
        sheet.put("deskfeed_chunks_waiting", chunks, account, why)


def _put_use(sheet: _Sheet, account: str, use: State) -> None:
    sheet.put("deskfeed_limiter_users", use.users, account)
    sheet.put("deskfeed_limiter_requests", use.requests, account)
    sheet.put("deskfeed_limiter_closed_seconds", use.paused_s, account)
    if use.requests_cap is not None:
        sheet.put("deskfeed_limiter_requests_cap", use.requests_cap, account)
    for gate in get_args(Gate):
        sheet.put("deskfeed_limiter_gate", gate == use.gate, account, gate)


class _Source(Generic[_T]):
    """Asks a source in a thread of its own, and waits for the answer no longer than it may take.

    While a question hangs it is not asked again, whoever reads the page: else each page would leave
    one more thread and one more connection behind, until delivery has none left.

    Args:
        name: for the log.
        seconds: how long an answer is waited for.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked: Future[_T | None] | None = None

    def answer(self, ask: Callable[[], _T]) -> _T | None:
        """Return what a source answers, or None when it fails or takes too long."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(
                    target=self._ask, args=(ask, self._asked), name=self._name, daemon=True
                ).start()
            asked = self._asked
        try:
            return asked.result(self._seconds)
        except TimeoutError:
            log.warning("metrics_source_silent", source=self._name, seconds=self._seconds)
            return None

    def _ask(self, ask: Callable[[], _T], asked: Future[_T | None]) -> None:
        answer = None
        try:
            answer = ask()
        except (DeskfeedError, redis.RedisError) as error:
            log.warning("metrics_source_failed", source=self._name, reason=type(error).__name__)
        except Exception:  # the page goes on without this source, whatever befell it
            log.exception("metrics_source_failed", source=self._name)
        asked.set_result(answer)


class Written:
    """Collects what the processes of a worker left in a folder, added up.

    Args:
        folder: where; see `make_folder`.
    """

    def __init__(self, folder: str) -> None:
        self._files = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Read all files; a page that meets a file being made goes without what is counted."""
        try:
            return list(self._files.collect())  # type: ignore[no-untyped-call]
        except Exception:  # what is shared is shown all the same
            log.exception("metrics_files_unreadable")
            return []


def make_folder(folder: str) -> None:
    """Make the folder in which processes leave what they count.

    Raises:
        UsageError: it cannot be made or written; every request would fail where it is counted.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / f".writable-{threading.get_native_id()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"the folder {folder!r} for what processes count cannot be written: {error.strerror}",
            resolution=f"Let {FOLDER_VARIABLE} name a folder that the worker may write, "
            "or unset it.",
        ) from None


class Page:
    """A page that is served over HTTP until it is closed.

    Args:
        server: listens already.
        thread: serves.
    """

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port on which it is served."""
        return self._server.server_port

    def close(self) -> None:
        """Serve no longer, and free the port."""
        self._server.shutdown()
        self._thread.join(timeout=SOURCE_S)
        self._server.server_close()

    def let_go(self) -> None:
        """Leave the port to the parent: a forked child that held it would outlive it."""
        self._server.socket.close()


def serve(host: str, port: int, shared: Shared, folder: str | None = None) -> Page:
    """Serve the page; any path shows it.

    Args:
        host: where to listen.
        port: likewise; 0: any that is free.
        shared: what all workers share.
        folder: where the processes of this worker leave what they count; None: it is one process.

    Raises:
        UsageError: one cannot listen there.
    """
    page = CollectorRegistry(support_collectors_without_names=True)
    counted: Collector = REGISTRY if folder is None else Written(folder)
    page.register(counted)
    page.register(shared)
    try:
        server, thread = start_http_server(port, host, page)
    except OSError as error:
        raise UsageError(
            f"the page of metrics cannot be served on port {port} of {host}: {error.strerror}",
            code="port_taken",
            resolution="End what listens there, or choose another with DESKFEED_METRICS_PORT (each "
            "worker needs a port of its own) and DESKFEED_METRICS_HOST.",
        ) from None
    return Page(server, thread)
