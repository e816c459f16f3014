"""What the database's errors mean: which pass by themselves, and the sentence for people.

The drivers' own words quote statements, values, addresses. None of them is repeated: what is said
comes from the tables here.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

SQLSTATES = {
    "08": "the connection to PostgreSQL was lost",
    "25P03": "PostgreSQL ended a transaction in which nothing happened for too long: this process "
    "stood still",
    "28": "PostgreSQL does not accept the user or the password",
    "3D": "PostgreSQL has no database of that name",
    "40P01": "two transactions waited for each other, PostgreSQL ended one",
    "40": "two transactions got in each other's way, PostgreSQL ended one",
    "42501": "the ledger's user may not do this: it must own the ledger's tables",
    "53100": "PostgreSQL's disk is full",
    "53300": "PostgreSQL has no connection left (max_connections)",
    "53": "PostgreSQL lacks memory or disk",
    "55P03": "another transaction held a lock for too long",
    "57014": "PostgreSQL ended a statement that took too long",
    "57": "PostgreSQL is being stopped or started",
}
"""By SQLSTATE or its beginning, the longer one first (postgresql.org, appendix A)."""

PHRASES = {
    "unable to open": "the ledger's file cannot be opened",
    "readonly": "the ledger's file may not be written (readonly)",
    "locked": "another process holds the ledger locked",
    "is full": "the ledger's disk is full",
    "no such table": "the ledger lacks a table (no such table)",
    "no such column": "the ledger lacks a column (no such column)",
    "malformed": "the ledger's file is damaged (malformed)",
    "not a database": "the ledger's file is not a database",
    "disk I/O error": "the ledger's disk does not work (I/O error)",
    "password authentication failed": SQLSTATES["28"],
    "no password supplied": "PostgreSQL wants a password",
    "does not exist": "PostgreSQL has no database or no user of that name",
    "too many clients": SQLSTATES["53300"],
    "remaining connection slots": SQLSTATES["53300"],
    "starting up": SQLSTATES["57"],
    "shutting down": SQLSTATES["57"],
    "could not translate host name": "the name of PostgreSQL's host is not known",
    "failed to resolve host": "the name of PostgreSQL's host is not known",
    "certificate": "PostgreSQL's TLS certificate is not accepted",
    "Connection refused": "nothing answers at PostgreSQL's address",
    "No such file": "nothing answers at PostgreSQL's socket",
    "timeout expired": "PostgreSQL does not answer",
    "connection failed": "PostgreSQL cannot be reached",
    "closed": SQLSTATES["08"],
    "connection": SQLSTATES["08"],
}
"""By words in the driver's message; an error without a SQLSTATE has nothing else to go by."""

PASSING = (
    SQLSTATES["08"],
    SQLSTATES["53300"],
    SQLSTATES["57"],
    PHRASES["locked"],
    PHRASES["Connection refused"],
    PHRASES["No such file"],
    PHRASES["timeout expired"],
    PHRASES["connection failed"],
)
"""What is over when the other writer has ended, or the server has been started again."""


def sentence(error: DBAPIError) -> str:
    """Return what happened in words that hold nothing of the statement and its values."""
    state = getattr(error.orig, "sqlstate", None) or ""
    for length in (5, 2):
        if state[:length] in SQLSTATES:
            return SQLSTATES[state[:length]]
    text = str(error.orig)
    if not state:
        for phrase, words in PHRASES.items():
            if phrase in text:
                return words
    return f"the database answered with {type(error.orig).__name__}"


def passes(error: DBAPIError) -> bool:
    """Whether the fault is likely over in a moment: locked, cut off, being restarted."""
    return sentence(error) in PASSING


def code(error: DBAPIError) -> str:
    """Return the code of the error that it becomes: whoever may mend it is told what to do."""
    return "ledger_locked" if is_locked(error) else "ledger_unavailable"


def is_locked(error: DBAPIError) -> bool:
    """Whether another process holds SQLite's lock."""
    return sentence(error) == PHRASES["locked"]
