"""A PostgreSQL for the tests: the one that a variable names, one started here, or none.

DESKFEED_TEST_POSTGRES_URL   postgresql+psycopg://… of a server that lets its user create databases
DESKFEED_TEST_POSTGRES       `required`: without PostgreSQL the tests fail; `all`: so they do,
                             and run on it wherever they have a ledger; `off`: leave it out
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from worker.ledger import schema

URL, WANTED = "DESKFEED_TEST_POSTGRES_URL", "DESKFEED_TEST_POSTGRES"

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""No power will be cut in a test."""

HOMES = "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin"

_START = """\
import ctypes, os, sys
user, group = int(sys.argv[1]), int(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 3)  # PR_SET_PDEATHSIG: SIGQUIT once the tests' process is gone
os.execv(sys.argv[3], sys.argv[3:])
"""
# Started as whoever runs the tests, because an interpreter in a home is not everybody's.

PATIENCE_S = 60.0


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, the newest if there are several."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    for pattern in HOMES:
        folders += sorted(Path("/").glob(pattern[1:]), reverse=True)
    ready = (f for f in folders if (f / "initdb").exists() and (f / "postgres").exists())
    return next(ready, None)


class Server:
    """A server in a folder of its own, reached over a socket in it. Owned by this process."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="deskfeed-pg-"))
        self.url = f"postgresql+psycopg://deskfeed@/postgres?host={self.folder}"
        self._user, self._group = _unprivileged()
        os.chown(self.folder, self._user, self._group)
        self._initdb()
        self.start()

    def _command(self, program: str, *words: str) -> list[str]:
        who = str(self._user), str(self._group)
        return [sys.executable, "-S", "-c", _START, *who, str(self._binaries / program), *words]

    def _initdb(self) -> None:
        command = self._command(
            "initdb", "--pgdata", str(self.folder / "data"), "--username", "deskfeed",
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = self._command(
            "postgres", "-D", str(self.folder / "data"), "-k", str(self.folder),
            "-c", "listen_addresses=", "-c", "max_connections=200",
            *(f"--{name}={value}" for name, value in FAST.items()),
        )  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        while not _answers(self.url):
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.exit(f"PostgreSQL does not start: {self.log()}", returncode=1)
            time.sleep(0.05)

    def log(self) -> str:
        """Return its last words."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it at once, as a crash of its machine would end every connection."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)

    def end(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _unprivileged() -> tuple[int, int]:
    """Return the user and group to run it as: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    somebody = names.get("postgres") or names["nobody"]
    return somebody.pw_uid, somebody.pw_gid


def _answers(url: str) -> bool:
    try:
        with _admin(url) as connection:
            return connection.scalar(text("SELECT 1")) == 1
    except OperationalError:
        return False


@contextmanager
def _admin(url: str):
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def offer() -> tuple[Server | None, str]:
    """Put a server into the environment if there can be one; return it and what to tell."""
    wanted = os.environ.get(WANTED, "")
    if os.environ.get(URL):
        return None, f"SQLite and PostgreSQL ({URL})"
    if wanted == "off":
        return None, f"SQLite only, because {WANTED}=off"
    binaries = find_binaries()
    if binaries is None:
        if wanted in ("required", "all"):
            pytest.exit(f"{WANTED}={wanted}, and no initdb was found; set {URL}", returncode=1)
        return None, "SQLite only: PostgreSQL is not installed (Debian: apt-get install postgresql)"
    server = Server(binaries)
    os.environ[URL] = server.url
    return server, f"SQLite and PostgreSQL ({binaries})"


@contextmanager
def database(name: str):
    """A database of one's own on the server: its URL, and dropped in the end."""
    admin = os.environ[URL]
    with _admin(admin) as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
    try:
        yield make_url(admin).set(database=name).render_as_string(hide_password=False)
    finally:
        with _admin(admin) as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def empty(connection) -> None:
    """Remove every row; deleting few rows is quicker than truncating many tables."""
    for table in reversed(schema.metadata.sorted_tables):
        connection.execute(table.delete())
