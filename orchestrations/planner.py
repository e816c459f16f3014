"""`python -m orchestrations.planner RUN`: plans one run in a process of its own.

Planning is processor work; in a worker's process it would make permits late (the threads share one
interpreter). The worker's `orchestrations.plan` task starts this process and waits for it. When the
worker dies, this process' standard input ends, and so does this process: nothing is left behind.
SIGTERM and Ctrl-C, which often go to every process of a group, end it in the same way.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrations.field_cache import FieldCache
from orchestrations.leftovers import EXIT_GIVEN_BACK, EXIT_OVERTAKEN
from orchestrations.loader import catalog_for
from orchestrations.planning import Planner
from worker import logs
from worker.app import Parts, client_for, parts
from worker.delivery import Delivery, Ticket
from worker.errors import (
    DeskfeedError,
    LedgerError,
    LimiterUnavailable,
    NotSent,
    RunError,
    Superseded,
    Throttled,
    UsageError,
)
from worker.failpoints import reach
from worker.ledger.records import Limits, Run
from worker.log_context import of_process
from worker.settings import settings, variable
from worker.zendesk.replies import RateHeaders

log = structlog.get_logger(__name__)

EXIT_REFUSED = 1

MOST_PLANNERS = 5
"""So many planners of one run may be lost; then the run fails."""

PERMIT_PATIENCE_S = 60.0
"""How long pre-flight waits for a permit before planning is postponed."""

POSTPONED_S = 15.0
"""How long planning waits when Redis or the ledger does not answer."""


def main() -> int:
    """Plan the run named on the command line; returns the exit code."""
    logs.configure(settings().log_level, settings().log_format, settings().hidden())
    run_id = sys.argv[1]
    of_process(run_id=run_id)  # its threads, too: this process plans one run
    held = Held()
    asked = _listen(held)
    threading.Thread(target=_end_when_told, args=(held, asked), daemon=True).start()
    try:
        mine = parts()
    except UsageError as error:  # as when a key is missing: nothing was begun, and nothing fails
        log.critical("planner_cannot_work", reason=error.message, resolution=error.resolution)
        return EXIT_REFUSED
    run = mine.ledger.runs.claim_plan(run_id)
    if run is None:
        return 0  # somebody else plans it, or it is planned
    held.by = (mine, run)
    reach("plan.claimed")
    over = threading.Event()
    threading.Thread(target=_stay_alive, args=(mine, run, over), daemon=True).start()
    try:
        _plan_or_say_why(mine, run, held)
    except Superseded as error:
        log.warning("planning_superseded", reason=error.message)
    finally:
        over.set()
    return EXIT_GIVEN_BACK if held.asked else 0


def _plan_or_say_why(mine: Parts, run: Run, held: Held) -> None:
    try:
        _plan(mine, run)
    except Superseded:
        raise
    except Throttled as error:
        _postpone(mine, run, mine.delivery.permits.throttled(run.target.account, error), error)
    except (LimiterUnavailable, LedgerError) as error:
        _postpone(mine, run, POSTPONED_S * settings().time_scale, error)
    except DeskfeedError as error:
        if held.asked:  # whoever asked this process to end has ended its helpers, too
            _give_back(held)
            return
        log.error("run_failed", code=error.code, reason=error.message)
        mine.ledger.runs.fail_plan(run, error)


def _postpone(mine: Parts, run: Run, seconds: float, error: DeskfeedError) -> None:
    log.warning("planning_postponed", seconds=seconds, code=error.code, reason=error.message)
    mine.ledger.runs.postpone_plan(run, seconds)


def _plan(mine: Parts, run: Run) -> None:
    if run.plan_expiries >= MOST_PLANNERS:
        raise RunError(f"planning ended unexpectedly {MOST_PLANNERS} times", code="plan_crashed")
    config = settings()
    asking = Asking(mine.delivery, run.target.account)
    planner = Planner(
        ledger=mine.ledger,
        catalog=catalog_for(config.catalog, run.orchestration),
        probe=client_for(run.target, config, mine.times),
        permit=asking.permit,
        scratch=config.state_dir / "staging",
        cache=FieldCache(config.state_dir / "fields"),
        variable=variable,
        retry_after=mine.times.poll_again,
    )
    try:
        planner.plan(run)
        reach("plan.complete")
    except DeskfeedError as error:
        asking.failed(error)
        raise


def _stay_alive(mine: Parts, run: Run, over: threading.Event) -> None:
    """Renew the lease whatever takes its time: a query may think long before its first row.

    Where nothing is left to renew (the run is planned, taken over, or stopped) planning ends by
    itself at its next word with the ledger. One that stands in a query has none, and some queries
    end never: the process ends then, so that neither a core nor the worker's thread is kept.
    """
    beat = mine.times.lease / 4
    while not over.wait(beat):
        try:
            mine.ledger.runs.renew_plan(run.run_id, run.plan_fence)
        except Superseded as error:
            log.debug("planning_over", reason=error.message)
            if not over.wait(beat):
                log.warning("planning_cut_off", reason=error.message)
                os._exit(EXIT_OVERTAKEN)  # its staging files are removed by the worker
            return
        except LedgerError as error:
            log.warning("lease_not_renewed", reason=error.message)


class Asking:
    """Asks for leave to send the requests of pre-flight, and reports their answers.

    Args:
        delivery: where leave is given.
        account: the Zendesk host.
        declared: its limits after the catalog, where the ledger may not know it yet.
        patience_s: how long to wait for leave.
    """

    def __init__(
        self,
        delivery: Delivery,
        account: str,
        declared: Limits | None = None,
        patience_s: float = PERMIT_PATIENCE_S,
    ) -> None:
        self._delivery = delivery
        self._account = account
        self._declared = declared
        self._patience_s = patience_s
        self._open: Ticket | None = None

    def permit(self) -> Callable[[RateHeaders], None]:
        """Wait for leave to send one request; returns what to tell the headers of its answer.

        Raises:
            LimiterUnavailable: there was none for as long as there is patience.
        """
        self.failed(NotSent("the request before this one told nothing"))
        self._open = ticket = self._wait()

        def report(rate: RateHeaders) -> None:
            self._delivery.permits.answered(ticket, rate)
            self._open = None

        return report

    def _wait(self) -> Ticket:
        deadline = time.monotonic() + self._patience_s
        while True:
            answer = self._delivery.request_permit(self._account, self._declared)
            if isinstance(answer, Ticket):
                return answer
            if time.monotonic() + answer > deadline:
                raise LimiterUnavailable(
                    f"no request to {self._account} was allowed for {self._patience_s:g} s"
                )
            time.sleep(answer)

    def failed(self, error: DeskfeedError) -> None:
        """The request under way, if there is one, did not do what it should."""
        if self._open is not None:
            self._delivery.permits.failed(self._open, error)
            self._open = None


@dataclass
class Held:
    """The planning that this process has taken up, once it has, and whether it was asked to end."""

    by: tuple[Parts, Run] | None = None
    asked: bool = False


def _listen(held: Held) -> int:
    """Note SIGTERM and SIGINT; returns the end of a pipe that can be read as soon as one came.

    Python calls a handler between two steps of the main thread, which may stand in a query for
    minutes. The pipe is written to at once.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)  # as `set_wakeup_fd` wants it
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def note(*_: object) -> None:
        held.asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return told


def _end_when_told(held: Held, asked: int) -> None:
    """Give the planning back and end this process, once it is asked to or its worker has gone."""
    # The worker never writes to the pipe on standard input: its end is closed by its death, too.
    select.select([sys.stdin.fileno(), asked], [], [])
    held.asked = True
    try:
        _give_back(held)
    finally:
        os._exit(EXIT_GIVEN_BACK)


def _give_back(held: Held) -> None:
    """Leave the planning to another worker at once: nothing went wrong with it."""
    if held.by is None:
        return
    mine, run = held.by
    try:
        mine.ledger.runs.postpone_plan(run, 0.0)
    except LedgerError as error:  # it is planned, or the ledger is away: its lease will end
        log.debug("planning_not_given_back", reason=error.message)


if __name__ == "__main__":
    sys.exit(main())
