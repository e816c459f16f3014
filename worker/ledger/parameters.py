"""The values of a run's parameters. They may name people, so they last as long as the run only.

In `runs.options` stand `params`, the values, sealed as rows are where the ledger is encrypted, and
`param_names`. The transaction that ends the run takes the values out. What stays is `param_check`:
a keyed hash, by which values that somebody gives to `verify` are known to be those of the run.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, select

from worker.ledger.schema import runs
from worker.ledger.secrecy import seal, unseal
from worker.ledger.spool import Damaged
from worker.sealing import name_of, place_of

_VALUES, _NAMES, _CHECK = "params", "param_names", "param_check"
_CHECKED = b"deskfeed parameters"

HOLDS_VALUES = runs.c.options.contains(f'"{_VALUES}":', autoescape=True)
"""Of runs whose values are still there; a text within the options has its quotes escaped."""


def as_written(
    connection: Connection, run_id: str, options: Mapping[str, Any], hash_key: bytes
) -> dict[str, Any]:
    """Return a new run's options as the ledger keeps them.

    Args:
        connection: of the transaction that writes them.
        run_id: whose they are.
        options: with the values in clear, if there are any.
        hash_key: the ledger's key of hashes.

    Raises:
        KeyMissing: the values must be sealed, and there is no key here.
    """
    values = options.get(_VALUES)
    if not values:
        return dict(options)
    blob, key = seal(connection, _place(run_id), orjson.dumps(values))
    kept = values if key is None else base64.b64encode(blob).decode()
    check = check_of(run_id, values, hash_key)
    return {**options, _VALUES: kept, _NAMES: sorted(values), _CHECK: check}


def values_of(connection: Connection, row: Row[Any]) -> dict[str, Any] | None:
    """Return the values that a run was started with; None when they are gone: it has ended.

    Raises:
        KeyMissing: the key that sealed them is not here.
        Damaged: they are not what was written, or their key is lost.
    """
    options = orjson.loads(row.options)
    kept = options.get(_VALUES)
    if isinstance(kept, str):
        kept = _opened(connection, row.run_id, kept)
    if kept is None:
        return None if _NAMES in options else {}
    return dict(kept)


def _opened(connection: Connection, run_id: str, kept: str) -> Mapping[str, Any]:
    """Return sealed values. A blob that is spoiled may bear no key's name, and pass for clear."""
    try:
        blob = base64.b64decode(kept, validate=True)
        values = orjson.loads(unseal(connection, _place(run_id), blob))
    except ValueError:  # also those of base64 and of orjson
        values = None
    if not isinstance(values, Mapping):
        raise Damaged("the parameters of a run cannot be read")
    return values


def without_values(options: str) -> str | None:
    """Return the options of a run that has ended, as JSON; None when no values are there."""
    found = orjson.loads(options)
    if _VALUES not in found:
        return None
    kept = found.pop(_VALUES)
    if isinstance(kept, dict):  # written by a version that kept no names beside them
        found.setdefault(_NAMES, sorted(kept))
    return orjson.dumps(found).decode()


def key_names(connection: Connection) -> Sequence[str | None]:
    """Return, for each run with values, the name of the key that sealed them; None: in clear."""
    found = []
    for options in connection.scalars(select(runs.c.options).where(HOLDS_VALUES)):
        kept = orjson.loads(options).get(_VALUES)
        if isinstance(kept, str):
            try:
                found.append(name_of(base64.b64decode(kept, validate=True)))
            except (binascii.Error, ValueError):
                continue  # spoiled: no key opens it
        elif kept:
            found.append(None)
    return found


def names_of(options: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the parameters that a run has."""
    kept = options.get(_VALUES)
    return tuple(options.get(_NAMES) or (sorted(kept) if isinstance(kept, dict) else ()))


def are_those(
    run_id: str, options: Mapping[str, Any], values: Mapping[str, Any], key: bytes
) -> bool:
    """Whether these are the values that a run was started with, as far as the ledger can tell."""
    check = options.get(_CHECK)
    return check is None or hmac.compare_digest(check, check_of(run_id, values, key))


def check_of(run_id: str, values: Mapping[str, Any], key: bytes) -> str:
    """Return a keyed hash of values; the same values of another run have another one."""
    text = orjson.dumps([run_id, values], option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key, _CHECKED + text, hashlib.sha256).hex()


def _place(run_id: str) -> bytes:
    return place_of("runs.options", run_id, 0)
