"""A running sandbox: the account behind a lock, and a listener in front of it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from worker.sandbox.api import answer, refuse
from worker.sandbox.clock import Clock, steady_clock
from worker.sandbox.config import Config, load_config
from worker.sandbox.control import answer_control, user_document
from worker.sandbox.faults import Rule
from worker.sandbox.listener import LOOPBACK, Listener
from worker.sandbox.messages import Request, Response, error_response
from worker.sandbox.state import CANONICAL_URL, Account


class Sandbox:
    """A running sandbox: `with Sandbox(port=0, seconds_per_user=0.0) as sandbox: …`.

    All methods may be called from any thread. What they return is JSON-like: dicts, lists, texts,
    numbers; `docs/sandbox.md` names the keys.

    Args:
        port: to listen on at 127.0.0.1; 0 takes a free one.
        config: what the account is made of: a `Config`, or the path of a configuration file.
        clock: returns epoch seconds; for tests that move the time themselves.
        verbose: logs each request to stderr: method, path, status, and nothing of a customer.
        settings: see `settings.Settings`, such as `seconds_per_user=0.0`.

    Raises:
        Misconfigured: a setting or the configuration is wrong.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        config: Config | Path | None = None,
        clock: Clock | None = None,
        verbose: bool = False,
        **settings: Any,
    ) -> None:
        loaded = load_config(config) if isinstance(config, Path) else config or Config()
        self._clock = clock or steady_clock()
        self.account = Account(loaded.with_settings(settings), self._clock())
        self._port = port
        self._verbose = verbose
        self._lock = Lock()
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. After `stop` it listens on the same port again, with everything it knew.

        Raises:
            OSError: the port is taken, or may not be used.
        """
        if self._listener is not None:
            raise RuntimeError("the sandbox has been started already")
        self._listener = Listener(self._port, self)
        self._port = int(self._listener.server_address[1])
        self._listener.begin()

    def stop(self) -> None:
        """Close every connection, answered or not, and end every thread."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Its address, such as `http://127.0.0.1:8900`."""
        return f"http://{LOOPBACK}:{self._port}"

    def now(self) -> float:
        """Return the sandbox's time in epoch seconds."""
        return self._clock()

    @property
    def max_body_bytes(self) -> int:
        """The largest request body that is taken."""
        return self.account.settings.max_body_bytes

    def pick_fault(self, request: Request) -> Rule | None:
        """Return the fault rule that acts on a request."""
        with self._lock:
            return self.account.faults.pick(request)

    def answer(self, request: Request, rule: Rule | None) -> Response | None:
        """Answer an API request as the account does; None if `rule` wants silence."""
        with self._lock:
            try:
                return answer(self.account, request, self.now(), rule)
            except Exception as error:  # noqa: BLE001 - a bug of ours must not look like a lost link
                self.account.bugs += 1
                frames = "".join(traceback.format_tb(error.__traceback__))
                sys.stderr.write(f"sandbox: a bug: {type(error).__name__}\n{frames}")
                return error_response(500, "SandboxBug", f"{type(error).__name__}; see its stderr")

    def refuse(self, request: Request, refusal: Response) -> Response:
        """Write a request whose body cannot be taken into the journal; return its answer."""
        with self._lock:
            return refuse(self.account, request, self.now(), refusal)

    def control(self, request: Request) -> Response:
        """Answer a request for the sandbox itself."""
        with self._lock:
            return answer_control(self.account, request, self.now())

    def note(self, method: str, target: str, response: Response | None) -> None:
        """Log an answered request, if that is wanted; the query is left out, as it holds keys."""
        if self._verbose:
            status = response.status if response else "no answer"
            sys.stderr.write(f"sandbox: {method} {target.partition('?')[0]} {status}\n")

    def stats(self) -> dict[str, Any]:
        """Return sums over everything since the start or the last reset."""
        with self._lock:
            return self.account.stats(self.now())

    def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the journal's entries after the one with `seq` `since`."""
        with self._lock:
            return [entry.document() for entry in self.account.journal.since(since)]

    def users(self, *, seeded: bool = False) -> list[dict[str, Any]]:
        """Return everybody whom upserts created, in that order.

        Args:
            seeded: True adds the logins and whoever else was there at first.
        """
        with self._lock:
            return [user_document(user) for user in self.account.users(self.now(), seeded=seeded)]

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job that can be found, as the API shows it."""
        with self._lock:
            now = self.now()
            self.account.advance(now)
            return [job.document(now, CANONICAL_URL) for job in self.account.jobs.listed()]

    def add_fault(self, spec: Mapping[str, Any]) -> int:
        """Add a fault rule and return its id.

        Raises:
            Misconfigured: the rule cannot be understood.
        """
        with self._lock:
            return self.account.add_fault(spec).id

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules in force, with how often they saw and hit a request."""
        with self._lock:
            return [rule.document() for rule in self.account.faults.rules]

    def clear_faults(self) -> None:
        """Remove every rule. What they have done already stays: a stuck job stays stuck."""
        with self._lock:
            self.account.faults.clear()

    def configure(self, **changes: Any) -> None:
        """Change settings.

        Raises:
            Misconfigured: a setting is unknown or its value wrong.
        """
        with self._lock:
            self.account.change_settings(changes, self.now())

    def revoke_tokens(self) -> int:
        """Revoke every OAuth token that is out, and return how many there were."""
        with self._lock:
            return self.account.logins.revoke_all()

    def add_foreign_requests(self, count: int) -> None:
        """Count requests of the account's other clients against its limit, as of now."""
        with self._lock:
            self.account.requests.add_foreign(self.now(), count)

    def reset(self) -> None:
        """Return to the configuration: users, jobs, tokens, faults, settings and the journal."""
        with self._lock:
            self.account.reset(self.now())
