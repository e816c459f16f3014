"""What each code means to people: a title, and what to do now.

docs/errors.md shows this table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code means to the person who meets it.

    Attributes:
        title: a few words, the same wherever the code is shown.
        resolution: what to do now, as an instruction.
    """

    title: str
    resolution: str


EXPLANATIONS: dict[str, Explanation] = {
    # --- configuration: nothing was started -------------------------------------------------
    "usage": Explanation("Wrong use", "Correct the command and run it again."),
    "catalog_error": Explanation(
        "The catalog has a mistake", "Correct the file at the line named, then: deskfeed check"
    ),
    "orchestration_not_found": Explanation(
        "No such orchestration", "See what the catalog holds: deskfeed check"
    ),
    "destination_not_found": Explanation(
        "No such destination", "See what the catalog holds: deskfeed check"
    ),
    "run_not_found": Explanation("No such run", "See the runs there are: deskfeed runs"),
    "draft_query": Explanation(
        "The orchestration is a draft", "Set `status: active` in its file once it is ready."
    ),
    "credential_missing": Explanation(
        "The credential is not set",
        "Set the environment variables named (or put them in .env), then: "
        "deskfeed destinations test NAME",
    ),
    "access_denied": Explanation(
        "Not yours to do",
        "Ask somebody with the role, or whoever keeps access.yaml in the catalog folder.",
    ),
    "secrets_readable": Explanation(
        "Others can read a file with secrets",
        "Take their rights away (chmod 600 .env), then try again.",
    ),
    "alerts_unsendable": Explanation(
        "Alerts cannot be sent",
        "Install it where workers run: pip install 'deskfeed[alerts]' (the image has it). Alerts "
        "wait in the ledger until then, for about two hours.",
    ),
    "already_active": Explanation(
        "A run of this orchestration is still active",
        "Wait for it (deskfeed watch RUN) or stop it, then start again.",
    ),
    "wrong_state": Explanation(
        "The run is not in a state for this", "See how it stands: deskfeed show RUN"
    ),
    "rows_gone": Explanation(
        "The rows to retry are no longer kept",
        "Run the orchestration again: deskfeed run ORCHESTRATION",
    ),
    "nothing_to_retry": Explanation(
        "The run has no row that can be sent again",
        "See what became of its rows: deskfeed show RUN",
    ),
    "not_verified": Explanation(
        "Nothing could be compared with Zendesk",
        "Run the orchestration again, then: deskfeed verify last",
    ),
    "ledger_unavailable": Explanation(
        "The ledger cannot be used",
        "Check DESKFEED_LEDGER_URL and DESKFEED_STATE_DIR: the folder must be writable and its "
        "disk not full, PostgreSQL must run. Nothing is lost: workers go on once it answers.",
    ),
    "ledger_locked": Explanation(
        "Another process holds the ledger locked",
        "Nothing is lost: everybody goes on once it lets go. If it lasts, a process stands still "
        "in the middle of a write: let it go on (kill -CONT PID) or end it. With PostgreSQL "
        "nobody can hold the others up like that.",
    ),
    "ledger_on_another_host": Explanation(
        "The ledger is in use on another host",
        "A SQLite file serves one host: two would damage it. For several hosts set "
        "DESKFEED_LEDGER_URL=postgresql+psycopg://USER@HOST/NAME. To move it to this host: stop "
        "everything on the other one, wait ten seconds, try again (docs/deploy.md).",
    ),
    "broker_unavailable": Explanation(
        "Redis does not answer",
        "Start it (deskfeed up) or correct DESKFEED_REDIS_URL. Nothing is lost: a run that is "
        "already in the ledger starts by itself once Redis and a worker are there.",
    ),
    "redis_may_evict": Explanation(
        "Redis may throw keys away",
        "Set `maxmemory-policy noeviction` in its configuration (managed servers: in their "
        "parameter group). Full memory then refuses writes, which loses nothing.",
    ),
    "port_taken": Explanation(
        "A port is taken", "End what listens there, or choose another port with the option named."
    ),
    "already_up": Explanation(
        "`deskfeed up` runs already",
        "Use it as it is, or end it (Ctrl-C in its terminal) and start again.",
    ),
    "no_embedded_redis": Explanation(
        "There is no embedded Redis for this machine",
        "Start a Redis of your own (append-only, noeviction) and set DESKFEED_REDIS_URL.",
    ),
    "process_ended": Explanation(
        "A process of `deskfeed up` ended",
        "Its last lines tell why. Everything else was ended too, nothing is lost: start again.",
    ),
    "process_silent": Explanation(
        "A process of `deskfeed up` did not become ready",
        "Its last lines may tell why; a busy machine may just need a second try.",
    ),
    # --- the run fails before anything is sent ----------------------------------------------
    "query_failed": Explanation(
        "The query failed", "Correct the query or its source, then start the run again."
    ),
    "source_not_set": Explanation(
        "The source's database is not known",
        "Set the variable that `url_env:` names in the environment, in .env or as a secret file.",
    ),
    "missing_required_field": Explanation(
        "A required column is missing",
        "Add the column to the query (or rename one with AS), then start the run again.",
    ),
    "invalid_columns": Explanation(
        "The query's columns cannot be mapped",
        "Rename or remove the columns named in the query, then start the run again.",
    ),
    "unknown_user_field": Explanation(
        "Zendesk has no such user field",
        "Make or activate the field in Zendesk (Admin Center, People, User fields), or correct the "
        "name in the query or the orchestration, then start the run again.",
    ),
    "threshold_exceeded": Explanation(
        "A threshold was exceeded",
        "Look at the query's result (deskfeed preview); if it is right, change `thresholds:` in "
        "the orchestration and start again.",
    ),
    "plan_crashed": Explanation(
        "Planning ended unexpectedly several times",
        "Look at the worker's log for the cause (memory, disk), then start the run again.",
    ),
    # --- the destination: a person must act -------------------------------------------------
    "invalid_credentials": Explanation(
        "Zendesk does not accept the credential",
        "Check the credential: e-mail and API token (a token may have been deleted or "
        "deactivated), or the OAuth client's id and secret, then: deskfeed destinations test NAME",
    ),
    "anonymous_login": Explanation(
        "Zendesk takes us for an anonymous visitor",
        "The credential is wrong although Zendesk answered 200. Check e-mail and API token, then: "
        "deskfeed destinations test NAME",
    ),
    "missing_scope": Explanation(
        "The OAuth client may do too little",
        "In Zendesk's Admin Center give the OAuth client the scopes users:read and users:write (or "
        "read and write), then: deskfeed destinations test NAME",
    ),
    "login_not_allowed": Explanation(
        "The credential's user may not write users",
        "Use the credential of an administrator, or of an agent whose role may edit end users.",
    ),
    "authorization_error": Explanation(
        "Zendesk refuses the operation (403)",
        "Most often bulk user import is not enabled for the account: its owner asks Zendesk "
        "Support to enable it. Else the credential's user lacks the right to edit users.",
    ),
    "subdomain_not_found": Explanation(
        "No Zendesk account answers under this subdomain",
        "Correct `subdomain:` in the destination's file: the bare label before .zendesk.com.",
    ),
    "destination_unavailable": Explanation(
        "Zendesk cannot be reached",
        "Check the network, and status.zendesk.com; then: deskfeed destinations test NAME",
    ),
    "tls_error": Explanation(
        "The TLS certificate of the destination is not valid",
        "Something between this machine and Zendesk answers in its place. Find out what; "
        "Deskfeed never switches the check off.",
    ),
    "unexpected_redirect": Explanation(
        "The destination answers with a redirect",
        "Deskfeed never follows one with customer data. Check `subdomain:` (a renamed account "
        "redirects to its new name).",
    ),
    "unexpected_answer": Explanation(
        "Zendesk answers in a way nobody expects",
        "See the message and status.zendesk.com; once it is mended, resume the run.",
    ),
    "chunks_refused": Explanation(
        "Zendesk refuses whole chunks, one after the other",
        "What Zendesk says is about all rows, not about one: see the message, correct the query or "
        "the account's settings, then: deskfeed resume RUN (or stop it, and run the corrected "
        "query).",
    ),
    "wrong_host": Explanation(
        "A request would have gone to another host",
        "Nothing was sent. Correct `subdomain:` or `base_url:` in the destination's file.",
    ),
    "credential_renewed": Explanation(
        "The credential was changed", "Nothing to do: the new one is used from now on."
    ),
    # --- one request ------------------------------------------------------------------------
    "rate_limited": Explanation(
        "Zendesk asks to wait", "Nothing to do: the whole account waits as long as Zendesk asks."
    ),
    "too_many_jobs": Explanation(
        "Zendesk has as many background jobs as it allows",
        "Nothing to do: Deskfeed waits for a free job.",
    ),
    "unclear_answer": Explanation(
        "Nobody can say whether Zendesk got this chunk",
        "Nothing to do: it is sent again; every row has a key, so nobody is created twice.",
    ),
    "chunk_refused": Explanation(
        "Zendesk refused the request as a whole",
        "Nothing to do: the chunk is split to find the row at fault.",
    ),
    "job_failed": Explanation(
        "Zendesk's background job failed", "Start the run again for the rows named."
    ),
    "limiter_unavailable": Explanation(
        "Redis does not answer, so nothing may be sent",
        "Start Redis again. Nothing is lost, nothing is sent without the rate limit.",
    ),
    "superseded": Explanation("Somebody else went on with this", "Nothing to do."),
    # --- rows -------------------------------------------------------------------------------
    "missing_name": Explanation("The row has no name", "Give the row a name in the source."),
    "missing_identifier": Explanation(
        "The row has neither external_id nor e-mail",
        "Give the row one of them in the source; without, Zendesk would make a new user each time.",
    ),
    "invalid_value": Explanation(
        "A value cannot be sent", "Correct the value of the column named in the source."
    ),
    "row_too_large": Explanation(
        "The row is too large to send", "Shorten the long values of this row in the source."
    ),
    "staff_member": Explanation(
        "The row is an agent or admin of the account",
        "Take the person out of the query. If staff should be overwritten by it: `allow_staff: "
        "true` in the orchestration.",
    ),
    "tags_not_read": Explanation(
        "The tags that people have could not be read",
        "Look whether Zendesk answers (deskfeed destinations test NAME), then: deskfeed retry RUN. "
        "`tags: replace` in the orchestration needs no reading.",
    ),
    "missing_external_id": Explanation(
        "`tags: add` needs an external_id",
        "Give the row an external_id in the source, or set `tags: replace` in the orchestration.",
    ),
    "duplicate": Explanation(
        "Another row of the result is the same person",
        "Nothing to do: the last row was sent. Which one that is, ORDER BY in the query says.",
    ),
    "shared_email": Explanation(
        "Several external_ids have this e-mail",
        "Say in the source whose address it is, or let these rows go without it: "
        "`on_shared_email: drop_email` in the orchestration's file.",
    ),
    "newer_run": Explanation(
        "A later run has taken care of this person",
        "Nothing to do: older values are not sent over newer ones.",
    ),
    "rejected_by_zendesk": Explanation(
        "Zendesk refused the row", "Correct what Zendesk names, then start the run again."
    ),
    "unconfirmed": Explanation(
        "The row was sent, and Zendesk never said what became of it",
        "Send it again, twice is harmless: deskfeed retry RUN",
    ),
    "row_conflict": Explanation(
        "Zendesk was busy with the same person",
        "Another job held the row, twice if the run was not stopped before. Start the run again "
        "once nothing else writes to the account.",
    ),
    "cancelled": Explanation(
        "The run was stopped before this row was sent", "Send it: deskfeed retry RUN"
    ),
    "quarantined": Explanation(
        "Workers died on this chunk again and again",
        "Look at the workers' logs; the chunk's rows were not delivered.",
    ),
    "payload_changed": Explanation(
        "Rows in the ledger are not those that were planned",
        "The ledger's file was damaged or edited, or a backup was restored. Nothing of it is sent: "
        "stop the run (deskfeed stop RUN), check the disk, and start it again.",
    ),
}


def explain(code: str) -> Explanation:
    """Return the title and the resolution of an error or outcome code."""
    return EXPLANATIONS[code]
