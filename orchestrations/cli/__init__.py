"""The `deskfeed` command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from orchestrations.cli import (
    alerts_verbs,
    audit_verb,
    catalog_verbs,
    completion,
    control_verbs,
    doctor_verb,
    explain_verb,
    forget_verb,
    limits_verbs,
    report_verb,
    run_verbs,
    schedule_verb,
    setup_verbs,
    trial_verbs,
    up_verb,
    upkeep_verbs,
)
from orchestrations.cli.output import EXIT_FAILED, EXIT_USAGE, fail, no_color, print_json, say_error
from worker.errors import DeskfeedError, UsageError
from worker.settings import settings


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(package_name="deskfeed")
@no_color()
def deskfeed() -> None:
    """Carry the rows of a query to Zendesk user records, and account for every row.

    \b
    First steps:
      deskfeed up --sandbox            everything on this machine, against a local stand-in
      deskfeed preview loyalty         what would be sent
      deskfeed run loyalty --wait      send it, and watch
      deskfeed failures last           every row that did not arrive, with its reason

    Settings come from the environment (DESKFEED_…), `.env` and secret files: docs/settings.md.
    """  # noqa: D301 - click reads \b as: leave this paragraph as it is
    from worker import logs

    # A person reads this terminal: our own sentences, and of the log only what went wrong.
    level = "ERROR" if settings().log_level == "INFO" else settings().log_level
    logs.configure(level, secrets=settings().hidden())


catalog_verbs.destinations.add_command(setup_verbs.destinations_add)

for _command in (
    setup_verbs.init,
    up_verb.up,
    catalog_verbs.check,
    trial_verbs.preview,
    catalog_verbs.destinations,
    setup_verbs.credentials,
    run_verbs.run,
    run_verbs.watch,
    run_verbs.runs_,
    run_verbs.show,
    run_verbs.failures,
    report_verb.report,
    control_verbs.pause,
    control_verbs.resume,
    control_verbs.stop,
    control_verbs.retry,
    upkeep_verbs.verify,
    upkeep_verbs.prune,
    limits_verbs.limits,
    schedule_verb.schedule,
    doctor_verb.doctor,
    explain_verb.explain,
    alerts_verbs.alerts,
    audit_verb.audit,
    forget_verb.forget,
):
    deskfeed.add_command(_command)

completion.complete(deskfeed)


_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def main() -> None:
    """Run the command; errors of any kind end in a sentence, never in a traceback of ours."""
    try:
        _run()
    except OSError as error:
        if error.filename is not None:
            fail(_of_a_file(error), as_json="--json" in sys.argv)
        if error.errno not in _NOT_WRITTEN:
            raise
        say_error(
            f"cannot write the output: {error.strerror}", "Send it where there is room for it."
        )
        with suppress(OSError, ValueError):  # else Python tries again at its end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)


def _of_a_file(error: OSError) -> DeskfeedError:
    """Return what nobody foresaw of a file or folder as an error that names it."""
    return DeskfeedError(
        f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}",
        resolution="Look whether it is there, whether you may read and write it, and whether its "
        "disk has room; then run the command again.",
    )


def _refuse_bytes(words: Sequence[str]) -> None:
    """Raise `UsageError` for an argument that is no text: nothing could be done or said with it.

    It is not repeated: it may be a person's.
    """
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            option = word if word.startswith("--") and "=" in word else (["", *words])[number - 1]
            name = option.partition("=")[0]
            known = name.startswith("--") and name.isascii()
            of = f", of {name}," if known else ""
            raise UsageError(
                f"argument {number}{of} is not UTF-8",
                resolution="Type it in UTF-8, which is what the terminal should be set to.",
            ) from None


def _run() -> None:
    as_json = "--json" in sys.argv
    try:
        _refuse_bytes(sys.argv[1:])
        code = deskfeed(prog_name="deskfeed", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        if as_json:
            print_json({"ok": False, "error": UsageError(error.format_message()).as_dict()})
        else:
            error.show()
        sys.exit(EXIT_USAGE)
    except DeskfeedError as error:
        fail(error, as_json=as_json)
