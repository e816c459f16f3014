"""The Celery app, and the one place where the parts are put together.

Operators run it as `celery -A worker.app worker|beat|flower`. The parts (ledger, limiter, clients)
are built when a worker process first needs them, never at import: `beat` and `flower` need none.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NoReturn

import redis
import structlog
from celery import signals
from kombu import Queue
from kombu.exceptions import OperationalError

from worker import broker, exposition, flower_access, logs, messages, metrics, redaction
from worker.alive import FOLDER, AliveFile
from worker.clients import Clients
from worker.delivery import Context, Delivery
from worker.errors import DeskfeedError, UsageError
from worker.exposition import FOLDER_VARIABLE, Page, Shared
from worker.failpoints import reach
from worker.hints import Deliver, Finish, Hint, Plan, Poll, Tell
from worker.ledger import Ledger, open_ledger
from worker.ledger.ledger import Secrets
from worker.ledger.records import Target
from worker.limiter import Limiter, connect
from worker.liveness import Rounds
from worker.options import KEY_PREFIX, QUEUE, make_app
from worker.process import EXIT_REFUSED, CeleryConsumer, Process, leave_at_once
from worker.redis_server import refuse_unfit
from worker.settings import Settings, load_settings, settings
from worker.stopping import Stopping
from worker.sweeper import Background, Sweeper
from worker.times import Times
from worker.zendesk.client import ZendeskClient

log = structlog.get_logger(__name__)


def guard_flower(argv: Sequence[str]) -> None:
    """Where this process becomes Flower, see to it that nobody looks in without a login."""
    if not flower_access.is_flower(argv):
        return
    try:
        left = flower_access.guard(argv, os.environ, settings().state_dir)
    except UsageError as error:
        raise SystemExit(f"{error.message} {error.resolution}") from None
    if left is not None:
        sys.stderr.write(
            f"Flower: {flower_access.BASIC_AUTH} is not set; the login of this start is in {left}\n"
        )


broker.install()
guard_flower(sys.argv)
app = make_app(settings(), Times().scaled(settings().time_scale))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process works with, built once.

    Attributes:
        owner: names this process in claims, locks and heartbeats.
        shared: what its page of metrics tells of all workers.
    """

    owner: str
    times: Times
    ledger: Ledger
    limiter: Limiter
    delivery: Delivery
    sweeper: Sweeper
    shared: Shared


_building = threading.Lock()

stopping = Stopping()
"""Asked when this process is to end."""


@cache  # a forked child must not close what it inherits
def _parts(pid: int) -> Parts:
    config = settings()
    times = Times().scaled(config.time_scale)
    times.check()
    ledger = open_ledger(
        config.ledger,
        times,
        keep_failed=config.retention.failed_payload,
        secrets=Secrets(config.spool_keys, config.hash_key_bytes),
    )
    ledger.secrecy.begin()
    client = connect(config.redis())
    limiter = Limiter(
        client,
        probe_s=1.25 * times.post_deadline,
        on_cold_start=_note_cold_start,
    )
    owner = f"{socket.gethostname()}:{pid}:{secrets.token_hex(3)}"
    delivery = Delivery(
        Context(
            ledger=ledger,
            limiter=limiter,
            clients=Clients(config, times, _read_settings_anew),
            times=times,
            owner=owner,
            sleep=stopping.sleep,
            pause=time.sleep,  # a job's id is written whoever asks us to end
        )
    )
    return Parts(
        owner=owner,
        times=times,
        ledger=ledger,
        limiter=limiter,
        delivery=delivery,
        sweeper=Sweeper(ledger, delivery, times, owner),
        shared=Shared(ledger, limiter, client.ping, queued=partial(_queued, client)),
    )


def _read_settings_anew() -> Settings:
    """A credential that was changed meanwhile must not be seen in a log either."""
    found = load_settings()
    redaction.hide(found.hidden())
    return found


def _queued(client: redis.Redis) -> int:
    """Return how many messages wait in Redis for a worker."""
    return int(client.llen(f"{KEY_PREFIX}{QUEUE}"))


def _note_cold_start(account: str) -> None:
    metrics.note_cold_start(account)
    log.info("limiter_cold_start", account=account)


def parts() -> Parts:
    """Return this process' parts; a forked pool child builds its own."""
    with _building:
        return _parts(os.getpid())


def client_for(target: Target, config: Settings, times: Times) -> ZendeskClient:
    """Return a client of a destination with its credential.

    Raises:
        UsageError: the credential is not set.
    """
    secrets = config.credential(target.credential)
    return ZendeskClient(target.url, secrets, deadline_s=times.post_deadline)


# --- messages ---------------------------------------------------------------------------------


def enqueue(hint: Hint) -> None:
    """Put a hint on the broker.

    Raises:
        kombu.exceptions.OperationalError: Redis is away; the sweeper will send the hint again.
    """
    match hint:
        case Deliver(run_id, seq, seconds):
            _send("worker.deliver_chunk", f"{run_id}.{seq:06d}.deliver", seconds, run_id, seq)
        case Poll(run_id, seq, seconds):
            _send("worker.poll_job", f"{run_id}.{seq:06d}.poll", seconds, run_id, seq)
        case Plan(run_id):
            reach("run.created")
            _send("orchestrations.plan", f"{run_id}.plan", 0.0, run_id)
        case Finish(run_id):
            _send("orchestrations.finish", f"{run_id}.finish", 0.0, run_id)
            reach("finish.sent")
        case Tell(run_id):
            _send(ALERT_TASK, f"{run_id}.alert", 0.0, run_id)


def send_all(hints: Iterable[Hint]) -> None:
    """Enqueue hints; when Redis is away the sweeper does it later."""
    for hint in hints:
        try:
            enqueue(hint)
        except OperationalError as error:
            log.warning("broker_unavailable", reason=type(error).__name__)
            return


def _send(name: str, task_id: str, seconds: float, run_id: str, seq: int | None = None) -> None:
    kwargs: dict[str, Any] = {"v": messages.VERSION, "run_id": run_id}
    if seq is not None:
        kwargs["seq"] = seq
    # Each message has an id of its own, so that revoking one does not revoke a later one.
    app.send_task(
        name,
        kwargs=kwargs,
        task_id=f"{task_id}.{secrets.token_hex(2)}",
        countdown=seconds if seconds > 0 else None,
    )


# --- signals ----------------------------------------------------------------------------------


@signals.setup_logging.connect
def _on_setup_logging(**_: object) -> None:
    logs.configure(settings().log_level, settings().log_format, settings().hidden())


@signals.task_prerun.connect
def _on_task_prerun(task_id: str, task: Any, kwargs: dict[str, Any], **_: object) -> None:
    structlog.contextvars.clear_contextvars()
    # Whoever can write to Redis can put anything there: only what looks right is repeated.
    structlog.contextvars.bind_contextvars(
        task_id=task_id, task=task.name, **messages.names(kwargs)
    )


@signals.task_postrun.connect
def _on_task_postrun(**_: object) -> None:
    structlog.contextvars.clear_contextvars()


_process: Process | None = None
_page: Page | None = None

PROBE_TASK = "worker.probe"
PLAN_TASK = "orchestrations.plan"
ALERT_TASK = "orchestrations.alert"

_own_queue = Queue(f"deskfeed.self.{secrets.token_hex(8)}", no_declare=True)
"""Through it a worker sends itself messages: nobody else takes from it."""


@signals.worker_init.connect
def _on_worker_init(**_: object) -> None:
    from worker import control  # with it comes Celery's worker, which only a worker needs

    control.limit_commands()
    control.forget_foreign_tasks(app)
    try:
        if folder := os.environ.get(FOLDER_VARIABLE):
            exposition.make_folder(folder)  # before the pool's processes need it
    except UsageError as error:
        _give_up(error)


@signals.celeryd_after_setup.connect
def _on_after_setup(**_: object) -> None:
    app.amqp.queues.select_add(_own_queue)


@signals.worker_ready.connect
def _on_worker_ready(sender: Any, **_: object) -> None:
    global _page, _process  # noqa: PLW0603 - there is one of each
    try:
        mine = parts()
        refuse_unfit(connect(settings().redis()))
    except DeskfeedError as error:
        _give_up(error)
    rounds = Rounds()
    host = socket.gethostname()
    background = Background(
        mine.sweeper, mine.ledger, mine.times, mine.owner, host, send_all, rounds, leave_at_once
    )
    consumer = CeleryConsumer(
        celery=sender,
        client=connect(settings().redis()),
        send=_send_probe,
        queue_key=f"{KEY_PREFIX}{_own_queue.name}",
        patience=mine.times.visibility,
        long_tasks=frozenset({PLAN_TASK}),
    )
    alive = AliveFile(settings().state_dir / FOLDER)
    _process = Process(background, rounds, consumer, mine.times, stopping, alive)
    _process.start()
    _page = _serve(settings(), mine.shared, forks=_forks(sender))


def _give_up(error: DeskfeedError) -> NoReturn:
    log.critical("worker_cannot_work", reason=error.message, resolution=error.resolution)
    raise SystemExit(EXIT_REFUSED) from None


def _forks(consumer: Any) -> bool:
    """Whether the tasks run in other processes than this one."""
    return type(getattr(consumer, "pool", None)).__module__.endswith(".prefork")


def _serve(config: Settings, shared: Shared, *, forks: bool) -> Page | None:
    """Serve the page of metrics where the settings say; a worker works without it, too."""
    if config.metrics_port is None:
        return None
    folder = os.environ.get(FOLDER_VARIABLE)
    if forks and not folder:
        log.warning(
            "metrics_incomplete",
            reason="the pool's processes count each for itself, and the page shows none of it",
            resolution=f"Set {FOLDER_VARIABLE} to a folder of this worker, or use --pool threads.",
        )
    try:
        page = exposition.serve(config.metrics_host, config.metrics_port, shared, folder or None)
    except UsageError as error:
        log.warning("metrics_not_served", reason=error.message, resolution=error.resolution)
        return None
    log.info("metrics_served", host=config.metrics_host, port=page.port)
    return page


@signals.worker_process_init.connect
def _on_worker_process_init(**_: object) -> None:
    if _page is not None:
        _page.let_go()


def _send_probe() -> None:
    app.send_task(PROBE_TASK, queue=_own_queue)  # type: ignore[arg-type] # the stubs know names only


@signals.task_received.connect
def _on_task_received(**_: object) -> None:
    if _process is not None:
        _process.took()


@signals.worker_shutting_down.connect
def _on_worker_shutting_down(how: str, **_: object) -> None:
    if _process is not None:
        _process.ask_stop(now=how == "Cold")


@signals.worker_shutdown.connect
def _on_worker_shutdown(**_: object) -> None:
    if _page is not None:
        _page.close()
    if _process is not None:
        _process.stop()
