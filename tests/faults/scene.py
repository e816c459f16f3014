"""A scene: a stage with a worker that survives, one that does not, and somebody who watches."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
from celery import Celery
from checker import ENDED_CHUNK, ENDED_RUN
from faults import survivor
from history import Sample
from kombu.exceptions import OperationalError
from sqlalchemy import text
from stage import ROOT, Stage, make_stage, until

from worker.failpoints import FOLDER_VARIABLE, VARIABLE, reached
from worker.ledger import Ledger
from worker.times import Times

LIMITS = "{{users_per_second: {}, requests_per_minute: 3000, jobs_in_flight: 20}}"

QUEUE = "deskfeed"
LOOK_S = 0.04


class Watch:
    """Looks at the chunks of a run again and again, as anybody may who can read the ledger."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self.samples: list[Sample] = []
        self._ledger, self._run_id = ledger, run_id
        self._over = threading.Event()
        self._blind: Exception | None = None
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking.

        Raises:
            LedgerError: it could not look on to the end; nothing can be said of what it missed.
        """
        self._over.set()
        self._thread.join()
        if self._blind is not None:
            raise self._blind

    def _look_on(self) -> None:
        try:
            while not self._over.wait(LOOK_S):
                self._look()
        except Exception as error:  # noqa: BLE001 - told by whoever ends the watch
            self._blind = error

    def _look(self) -> None:
        chunks = "SELECT seq, state, fence, looks, not_before, owner FROM chunks WHERE run_id = :r"
        run = "SELECT 0, state, plan_fence, 0, NULL, NULL FROM runs WHERE run_id = :r"
        with self._ledger.database.read() as connection:
            rows = connection.execute(text(f"{chunks} UNION ALL {run}"), {"r": self._run_id})
            now = time.time()
            self.samples.extend(Sample(now, *row) for row in rows)


@dataclass
class Scene:
    """What a fault is played on; used for many faults one after the other.

    Attributes:
        run_id: of the run that the fault befalls.
        fault_at: epoch seconds of the fault, or of the first of several.
        injected: how often it befell.
        count_in_the_end: tells how often a rule of the sandbox acted, when all is over.
        rows: of the run.
        asked: whether the victim was asked to end.
        leaves: whether it has to end with 0 when it is asked to in the end.
        gives_back: whether its planner was asked to end, and has to leave the run to others.
    """

    stage: Stage
    ledger: Ledger
    times: Times
    run_id: str = ""
    fault_at: float = 0.0
    injected: int = 0
    rows: int = 0
    watch: Watch | None = None
    victim: subprocess.Popen | None = None
    asked: bool = False
    gives_back: bool = False
    leaves: bool = False
    points: Path = Path()
    count_in_the_end: Callable[[], int] | None = None
    _played: int = 0
    _resting: bool = False
    _celery: Celery = field(init=False)

    def __post_init__(self) -> None:
        self._celery = Celery(broker=self.stage.redis.url)
        self._celery.conf.broker_transport_options = {"global_keyprefix": "deskfeed:"}
        self._celery.conf.task_ignore_result = True
        self.stage.start_worker(program=[str(Path(survivor.__file__))])
        self._survivor = f"worker0@{socket.gethostname()}"

    # --- before ---------------------------------------------------------------------------------

    def begin(self, rows: int, users_per_second: int) -> None:
        """Set everything as it was; the survivor works."""
        sandbox = self.stage.sandbox
        pace = sandbox.account.settings.seconds_per_user
        sandbox.reset()
        sandbox.configure(seconds_per_user=pace, requests_per_minute=100_000)
        self.stage.roads.redis.calm()
        self.stage.roads.zendesk.calm()
        people = "".join(f"C-{n:05d},Person {n},p{n:05d}@example.com\n" for n in range(1, rows + 1))
        self.stage.use_catalog(
            rows=f"id,name,mail\n{people}", limits=LIMITS.format(users_per_second)
        )
        self.rows, self.injected, self.fault_at, self.victim = rows, 0, 0.0, None
        self.asked = self.leaves = self.gives_back = False
        self.count_in_the_end = None
        self._played += 1
        self.points = self.stage.folder / f"points{self._played}"
        self.points.mkdir()
        self.wake()

    def rest(self) -> None:
        """Let the survivor take no messages; what it has it finishes, and it still sweeps."""
        if not self._resting:
            self._ask("cancel_consumer")
            self._resting = True

    def wake(self) -> None:
        if self._resting:
            self._ask("add_consumer")
            self._resting = False

    def _ask(self, what: str) -> None:
        act = getattr(self._celery.control, what)

        def done() -> bool:
            with suppress(redis.ConnectionError, OperationalError):  # left over from a dead Redis
                replies = act(QUEUE, destination=[self._survivor], reply=True, timeout=2)
                return any("ok" in told for reply in replies for told in reply.values())
            return False

        until(done, f"the survivor to {what}")

    def start_victim(self, failpoints: str, *words: str, once: bool = True) -> subprocess.Popen:
        environment = {VARIABLE: failpoints}
        if once:
            environment[FOLDER_VARIABLE] = str(self.points)
        self.victim = self.stage.start_worker(*words, **environment)
        return self.victim

    def start_run(self) -> None:
        self.watch_run(self.stage.json("run", "loyalty")["run_id"])

    def start_run_with(self, failpoints: str) -> subprocess.Popen:
        """Start a run by a command that something befalls; returns the command."""
        environment = {VARIABLE: failpoints, FOLDER_VARIABLE: str(self.points)}
        command = subprocess.Popen(
            [sys.executable, "-m", "orchestrations", "run", "loyalty", "--json"],
            cwd=ROOT, env={**self.stage.environment, **environment}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.stage.workers.append(command)
        return command

    def watch_run(self, run_id: str | None = None) -> None:
        self.run_id = run_id or self.ledger.runs.newest(1)[0].run_id
        self.watch = Watch(self.ledger, self.run_id)

    # --- while ----------------------------------------------------------------------------------

    def befell(self, at: float | None = None, times: int = 1) -> None:
        """Take note of the fault, now or at a time."""
        self.fault_at = self.fault_at or at or time.time()
        self.injected += times

    def until_reached(self, name: str) -> int:
        """Wait until a failpoint acts; returns the process."""
        until(lambda: reached(self.points, name), f"failpoint {name}; {self.logs()}")
        pid, at = reached(self.points, name)
        self.befell(at)
        return pid

    def until_posts(self, count: int) -> None:
        until(
            lambda: self.stage.sandbox.stats()["posts"] >= count or self.state() in ENDED_RUN,
            f"POST {count}",
        )

    def state(self) -> str:
        run = self.ledger.runs.get(self.run_id)
        return str(run.state) if run else "none"

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stage.redis.url)

    def send(self, task: str, seq: int) -> None:
        """Deliver a message once more."""
        kwargs = {"v": 1, "run_id": self.run_id, "seq": seq}
        self._celery.send_task(task, kwargs=kwargs, queue=QUEUE)

    def redeliver_older_than(self, seconds: float) -> None:
        """Do what another program on this Redis does whose visibility timeout is shorter."""
        with self._celery.connection() as connection:
            channel = connection.channel()
            channel.visibility_timeout = channel.qos.visibility_timeout = seconds
            channel.unacked_restore_limit = None
            channel.qos.restore_visible(num=100)

    # --- after ----------------------------------------------------------------------------------

    def until_ended(self, patience: float) -> None:
        until(lambda: self.state() in ENDED_RUN, f"the run's end; {self.logs()}", patience)

    def until_told(self) -> None:
        """Wait until somebody has told of the run's end; a message that was lost is sent again."""
        until(self._is_told, f"a report of the run's end; {self.logs()}")

    def _is_told(self) -> bool:
        return bool(self.ledger.views.events(self.run_id, "run_reported"))

    def told_after(self) -> float | None:
        """Seconds from the fault until somebody had told of the run's end."""
        told = self.ledger.views.events(self.run_id, "run_reported")
        return max(0.0, told[0].at - self.fault_at) if told else None

    def dismiss_victim(self) -> int | None:
        """End the victim as a deploy does, if it lives; returns its exit code."""
        if self.victim is None:
            return None
        if self.victim.poll() is None:
            self.victim.send_signal(signal.SIGCONT)
            if not self.asked:  # a second time it would end at once
                self.victim.send_signal(signal.SIGTERM)
        return self.victim.wait(60)

    def logs(self) -> str:
        """The last words of every worker."""
        words = []
        for number in range(len(self.stage.workers)):
            path = self.stage.folder / f"worker{number}.log"
            if path.exists():
                words.append(f"worker{number}: ...{path.read_text(errors='replace')[-2500:]}")
        return "\n".join([words[0], words[-1]] if len(words) > 1 else words)


@contextmanager
def make_scene(folder: Path, *, time_scale: float = 0.1, pace: float = 0.005) -> Iterator[Scene]:
    """Set a scene in a folder that is there."""
    with make_stage(folder, seconds_per_user=pace, time_scale=time_scale, roads=True) as stage:
        (folder / "state").mkdir(exist_ok=True)
        with stage.ledger() as ledger:
            yield from _set(stage, ledger, Times().scaled(time_scale))


def _set(stage: Stage, ledger: Ledger, times: Times) -> Iterator[Scene]:
    scene = Scene(stage, ledger, times)
    try:
        yield scene
    finally:
        if scene.watch is not None:
            scene.watch.end()


def go_on(pid: int) -> None:
    """Let a stopped process go on, if it is still there."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def recovery(samples: Sequence[Sample], fault_at: float) -> float | None:
    """Return the seconds until the last of what was under way at the fault went on.

    A chunk has gone on when a worker claims it, looks at its job, or takes it a step further.
    Settling is not counted. None: nothing was under way, or nothing was seen of it.
    """
    before = {s.seq: s for s in reversed(samples) if s.at >= fault_at}
    waits = [
        _seconds(one, [s for s in samples if s.seq == one.seq and s.at > one.at], fault_at)
        for one in _under_way(before)
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _under_way(before: dict[int, Sample]) -> list[Sample]:
    chunks = [s for seq, s in before.items() if seq and s.state not in ENDED_CHUNK]
    out = [s for s in chunks if s.state != "planned"]
    if out:
        return out
    run = before.get(0)
    planning = [run] if run is not None and run.state in {"planned", "planning"} else []
    return planning or chunks[:1]


def _seconds(before: Sample, after: list[Sample], fault_at: float) -> float | None:
    settling = 0.0
    for earlier, sample in zip([before, *after], after, strict=False):
        if earlier.state == "ambiguous":
            settling += max(0.0, min(sample.at, earlier.not_before or 0.0) - earlier.at)
        if _went_on(before, sample):
            return max(0.0, sample.at - fault_at - settling)
    return None


def _went_on(before: Sample, sample: Sample) -> bool:
    if sample.seq == 0:
        return sample.fence > before.fence or sample.state not in {"planned", "planning"}
    raised = sample.fence - before.fence
    taken = raised > 1 or (raised == 1 and sample.state not in {"queued", "ambiguous"})
    further = sample.state != before.state and sample.state in {"submitting", "polling"}
    looked = sample.looks > before.looks and sample.state == "polling"
    return taken or further or looked or sample.state in ENDED_CHUNK
