"""Commands that a document shows, executed one after the other in one process, as a person would.

`python session.py` reads a list of commands (each a list of words, with what is typed in) as JSON
from standard input, and prints one object a command: {words, code, out, err}. One process, because
starting Python for each of them takes longer than the commands.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


def commands(text: str) -> list[str]:
    """Return the lines that begin with a prompt in the `console` blocks of a document."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def words_of(line: str) -> list[str]:
    """Return the words of a line, without its comment."""
    return shlex.split(line, comments=True)


def execute(
    lines: list[str], folder: Path, environment: dict[str, str], *, typed: dict[str, str]
) -> list[dict[str, Any]]:
    """Execute lines that begin with `deskfeed` or `export`.

    Args:
        lines: as they are typed.
        folder: where.
        environment: all variables.
        typed: a word of a line -> what is typed in when it is executed.
    """
    steps = [
        {"words": words_of(line), "typed": next((typed[w] for w in typed if w in line), "")}
        for line in lines
    ]
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(steps),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _execute_one(words: list[str], typed: str) -> dict[str, Any]:
    from orchestrations.cli import main
    from worker.settings import settings

    settings.cache_clear()
    out, err = io.StringIO(), io.StringIO()
    sys.argv, sys.stdin, code = words, io.StringIO(typed), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return {"words": words, "code": code, "out": out.getvalue(), "err": err.getvalue()}


def _main() -> None:
    for step in json.load(sys.stdin):
        words = step["words"]
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            os.environ[name] = value
            continue
        assert words[0] == "deskfeed", words
        sys.__stdout__.write(json.dumps(_execute_one(words, step["typed"])) + "\n")


if __name__ == "__main__":
    _main()
