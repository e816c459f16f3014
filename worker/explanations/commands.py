"""Codes of commands, the catalog and access: nothing was started."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

EXPLANATIONS = {
    "usage": Explanation(
        title="Wrong use",
        fault=Fault.CONFIGURATION,
        resolution="Correct the command and run it again.",
        causes=(
            "An option or argument is missing, misspelt, or does not go with another one.",
            "A setting (environment, .env, secret file) has a value that cannot be.",
        ),
        steps=(
            "Read the message: it names the option, the argument or the variable.",
            "See how the command is used: any command with --help.",
            "Settings and their values stand in docs/settings.md.",
        ),
        command="deskfeed --help",
    ),
    "catalog_error": Explanation(
        title="The catalog has a mistake",
        fault=Fault.CONFIGURATION,
        resolution="Correct the file at the line named, then: deskfeed check",
        causes=(
            "A key is misspelt, missing, or has a value of another kind.",
            "A file names an orchestration, source or destination that is not there.",
            "DESKFEED_CATALOG leads to another folder than you think.",
        ),
        steps=(
            "Open the file at the line that the message names, and correct the key there.",
            "Every key stands in docs/catalog.md; with docs/schemas an editor completes them.",
            "Check again: every file is read, every query runs.",
        ),
        command="deskfeed check",
    ),
    "orchestration_not_found": Explanation(
        title="No such orchestration",
        fault=Fault.CONFIGURATION,
        resolution="See what the catalog holds: deskfeed check",
        causes=(
            "The name is misspelt; it is the name of the file, without .yaml.",
            "DESKFEED_CATALOG leads to another folder, or this command was started in another one.",
            "The file was renamed or removed, and a schedule still asks for the old name.",
        ),
        steps=(
            "See which names there are.",
            "If none is yours, look where DESKFEED_CATALOG leads.",
        ),
        command="deskfeed check --offline",
    ),
    "destination_not_found": Explanation(
        title="No such destination",
        fault=Fault.CONFIGURATION,
        resolution="See what the catalog holds: deskfeed destinations list",
        causes=(
            "The name is misspelt; it is that of a file in the catalog's folder destinations.",
            "DESKFEED_CATALOG leads to another folder.",
        ),
        steps=(
            "See which destinations there are.",
            "To make a new one: deskfeed destinations add NAME",
        ),
        command="deskfeed destinations list",
    ),
    "run_not_found": Explanation(
        title="No such run",
        fault=Fault.CONFIGURATION,
        resolution="See the runs there are: deskfeed runs",
        causes=(
            "The id is misspelt or cut off; the whole id is needed, or `last`.",
            "This command reads another ledger than the one where the run is.",
            "The run ended so long ago that it was removed (DESKFEED_RETENTION__RUNS).",
        ),
        steps=(
            "Look the id up among the runs.",
            (
                "If none are there, compare DESKFEED_LEDGER_URL and DESKFEED_STATE_DIR with those "
                "of the workers."
            ),
        ),
        command="deskfeed runs",
    ),
    "draft_query": Explanation(
        title="The orchestration is a draft",
        fault=Fault.CONFIGURATION,
        resolution="Set `status: active` in its file once it is ready.",
        causes=("Its file says `status: draft`, so that nobody sends it by mistake.",),
        steps=(
            "Look at what it would send: deskfeed preview ORCHESTRATION",
            "Set `status: active` in its file.",
            "Try it with a few rows: deskfeed run ORCHESTRATION --sample 10 --wait",
        ),
        command="deskfeed preview ORCHESTRATION",
    ),
    "credential_missing": Explanation(
        title="The credential is not set",
        fault=Fault.CONFIGURATION,
        resolution="Set the environment variables named (or put them in .env), then: "
        "deskfeed destinations test NAME",
        causes=(
            (
                "The destination names a credential whose variables are not set where this command "
                "or worker runs."
            ),
            "Only one half is set: e-mail without API token, client id without secret.",
            "The process was started in another folder, so that it read another .env or none.",
            "A value is blank, or the e-mail ends in /token (Deskfeed adds that itself).",
        ),
        steps=(
            "See what is set and what is missing; no value is shown.",
            "Set the variables that the message names: docs/credentials.md says where.",
            "Do the same on every host with workers.",
            "Test it: deskfeed destinations test NAME",
        ),
        command="deskfeed credentials list",
    ),
    "access_denied": Explanation(
        title="Not yours to do",
        fault=Fault.CONFIGURATION,
        resolution="Ask somebody with the role, or whoever keeps access.yaml in the catalog "
        "folder.",
        causes=(
            "By access.yaml you, or your groups, have a lower role than the verb needs.",
            "The destination is `admin_only`, or `restrict_pii` keeps you from sending to it.",
            "The run was started by a schedule, and `scheduler:` in access.yaml may not start it.",
            "DESKFEED_CATALOG names no folder here, or one without the access.yaml of the workers.",
        ),
        steps=(
            "Look where DESKFEED_CATALOG leads; let it be the catalog folder of the workers.",
            ("See in docs/access.md which role the verb needs; `id` says who you are here."),
            "Ask somebody who has it, or whoever keeps access.yaml.",
        ),
        command="id",
    ),
    "secrets_readable": Explanation(
        title="Others can read a file with secrets",
        fault=Fault.CONFIGURATION,
        resolution="Take their rights away (chmod 600 .env), then try again.",
        causes=(
            (
                "The file was made by an editor, an unpacked archive or a copy, with everybody's "
                "rights."
            ),
        ),
        steps=(
            "Make it readable for its owner only: chmod 600 and the file's name.",
            (
                "If others use this machine, take the secrets in it as known to them: make new "
                "ones (docs/credentials.md)."
            ),
        ),
        command="chmod 600 .env",
    ),
    "already_active": Explanation(
        title="A run of this orchestration is still active",
        fault=Fault.CONFIGURATION,
        resolution="Wait for it (deskfeed watch RUN) or stop it, then start again.",
        causes=(
            "The run before takes longer than the time until the next one.",
            "It is paused, and waits for somebody to mend its destination.",
            "No worker is there to carry it on.",
        ),
        steps=(
            "See which run it is and how it stands: deskfeed runs",
            "If it is paused, mend what it names, then: deskfeed resume RUN",
            "If it stands still, look for workers: deskfeed doctor",
            "If it is not wanted any more: deskfeed stop RUN",
        ),
        command="deskfeed runs",
    ),
    "wrong_state": Explanation(
        title="The run is not in a state for this",
        fault=Fault.CONFIGURATION,
        resolution="See how it stands: deskfeed show RUN",
        causes=(
            "The run has ended: an ended run cannot be paused, resumed or stopped.",
            "The run has not ended: only an ended run can be retried or verified.",
            "Somebody else has just done it.",
        ),
        steps=(
            "See how it stands.",
            "Rows that did not arrive go again as a new run: deskfeed retry RUN",
        ),
        command="deskfeed show RUN",
    ),
    "rows_gone": Explanation(
        title="The rows to retry are no longer kept",
        fault=Fault.CONFIGURATION,
        resolution="Run the orchestration again: deskfeed run ORCHESTRATION",
        causes=(
            (
                "Rows that did not arrive are kept for 7 days "
                "(DESKFEED_RETENTION__FAILED_PAYLOAD), and that time is over."
            ),
        ),
        steps=("Run the orchestration again: it sends what its query returns now.",),
        command="deskfeed run ORCHESTRATION",
    ),
    "nothing_to_retry": Explanation(
        title="The run has no row that can be sent again",
        fault=Fault.NOBODY,
        resolution="See what became of its rows: deskfeed show RUN",
        causes=(
            "Every row was delivered or rightly skipped.",
            (
                "The rows that failed were refused before sending: they go with the next run, once "
                "the source is mended."
            ),
            "Another retry has them already.",
        ),
        steps=(
            "See what became of the rows.",
            "Mend refused rows in the source, then: deskfeed run ORCHESTRATION",
        ),
        command="deskfeed show RUN",
    ),
    "not_verified": Explanation(
        title="Nothing could be compared with Zendesk",
        fault=Fault.CONFIGURATION,
        resolution="Run the orchestration again, then: deskfeed verify last",
        causes=(
            "The run delivered no row.",
            "Zendesk's ids of the rows are no longer kept (DESKFEED_RETENTION__OUTCOMES).",
            "The source changed meanwhile, so nobody knows what was sent.",
        ),
        steps=("Run the orchestration again.", "Verify that run soon after its end."),
        command="deskfeed verify last",
    ),
}
