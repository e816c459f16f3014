"""Codes of what Deskfeed runs on: ledger, Redis, processes."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

EXPLANATIONS = {
    "ledger_unavailable": Explanation(
        title="The ledger cannot be used",
        fault=Fault.DESKFEED,
        resolution="Check DESKFEED_LEDGER_URL and DESKFEED_STATE_DIR: the folder must be writable "
        "and its disk not full, PostgreSQL must run. Nothing is lost: workers go on once it "
        "answers.",
        causes=(
            "PostgreSQL is down, refuses the login, or has no connection left.",
            "The state folder is missing, not writable, or its disk is full.",
            "The URL is wrong.",
        ),
        steps=(
            "See what fails: settings, ledger, disk.",
            "With PostgreSQL: does it run, and does psql with the same URL work from this host?",
            "With SQLite: make room on the disk; the folder belongs to whoever runs Deskfeed.",
            "Workers go on by themselves.",
        ),
        command="deskfeed doctor",
    ),
    "ledger_locked": Explanation(
        title="Another process holds the ledger locked",
        fault=Fault.DESKFEED,
        resolution="Nothing is lost: everybody goes on once it lets go. If it lasts, a process "
        "stands still in the middle of a write: let it go on (kill -CONT PID) or end it. With "
        "PostgreSQL nobody can hold the others up like that.",
        causes=(
            (
                "A process was stopped (Ctrl-Z, a debugger, a frozen container) in the middle of a "
                "write."
            ),
            "A backup or another program has the SQLite file open for writing.",
            "The disk is so slow that one write takes half a minute.",
        ),
        steps=(
            "Find who has it open: lsof ledger.db in the state folder.",
            "Let that process go on (kill -CONT PID), or end it.",
            "If it happens again, use PostgreSQL (docs/deploy.md).",
        ),
        command="deskfeed doctor",
    ),
    "ledger_on_another_host": Explanation(
        title="The ledger is in use on another host",
        fault=Fault.CONFIGURATION,
        resolution="A SQLite file serves one host: two would damage it. For several hosts set "
        "DESKFEED_LEDGER_URL=postgresql+psycopg://USER@HOST/DATABASE. To move it to this host: "
        "stop everything on the other one, wait ten seconds, try again (docs/deploy.md).",
        causes=(
            "The state folder lies on a shared disk, and workers run on two hosts.",
            "Everything was moved to this host, and a process still runs on the old one.",
        ),
        steps=(
            "For one host: stop everything on the other one, wait ten seconds, try again.",
            "For several hosts: move the ledger to PostgreSQL (docs/deploy.md).",
        ),
        command="deskfeed doctor",
    ),
    "broker_unavailable": Explanation(
        title="Redis does not answer",
        fault=Fault.DESKFEED,
        resolution="Start it (deskfeed up) or correct DESKFEED_REDIS_URL. Nothing is lost: a run "
        "that is already in the ledger starts by itself once Redis and a worker are there.",
        causes=(
            "Redis is not running, or still loads its data.",
            (
                "DESKFEED_REDIS_URL names another host, port or password, or is not set and "
                "`deskfeed up` does not run here."
            ),
            "A firewall, or rediss:// (TLS) where redis:// is spoken.",
        ),
        steps=(
            "On one machine: deskfeed up starts Redis, worker and beat.",
            "With a Redis of your own: does redis-cli -u with the same URL answer PING from here?",
            "Nothing has to be started again: runs that are recorded go on by themselves.",
        ),
        command="deskfeed doctor",
    ),
    "redis_may_evict": Explanation(
        title="Redis may throw keys away",
        fault=Fault.CONFIGURATION,
        resolution="Set `maxmemory-policy noeviction` in its configuration (managed servers: in "
        "their parameter group). Full memory then refuses writes, which loses nothing.",
        causes=("The server is set up as a cache: with full memory it removes keys as it likes.",),
        steps=(
            "Set `maxmemory-policy noeviction`, and `appendonly yes`.",
            "Give Deskfeed a Redis of its own if others need a cache.",
            "Start the worker again.",
        ),
        command="deskfeed doctor",
    ),
    "port_taken": Explanation(
        title="A port is taken",
        fault=Fault.DESKFEED,
        resolution="End what listens there, or choose another port with the option named.",
        causes=(
            "Another `deskfeed up`, or a process that one left behind, listens there.",
            "Another program of this machine uses the port.",
        ),
        steps=(
            "Find out who it is: ss -ltnp (Linux), lsof -i -P (macOS).",
            "End it, or choose another port with the option that the message names.",
        ),
        command="deskfeed up --help",
    ),
    "already_up": Explanation(
        title="`deskfeed up` runs already",
        fault=Fault.NOBODY,
        resolution="Use it as it is, or end it (Ctrl-C in its terminal) and start again.",
        causes=("It runs in another terminal, with the same state folder.",),
        steps=(
            "Use it: all commands in this folder find it.",
            (
                "To start anew: Ctrl-C in its terminal. Another one beside it needs another "
                "DESKFEED_STATE_DIR."
            ),
        ),
        command="deskfeed doctor",
    ),
    "no_embedded_redis": Explanation(
        title="There is no embedded Redis for this machine",
        fault=Fault.DESKFEED,
        resolution="Start a Redis of your own (append-only, noeviction), set DESKFEED_REDIS_URL.",
        causes=("The embedded server is not built for this processor or operating system.",),
        steps=(
            "Install Redis or Valkey, with `appendonly yes` and `maxmemory-policy noeviction`.",
            "Set DESKFEED_REDIS_URL=redis://127.0.0.1:6379/0, then: deskfeed up",
        ),
        command="deskfeed up",
    ),
    "process_ended": Explanation(
        title="A process of `deskfeed up` ended",
        fault=Fault.DESKFEED,
        resolution="Its last lines tell why. Everything else was ended too, nothing is lost: start "
        "again.",
        causes=(
            "It was killed: too little memory, or somebody ended it.",
            "It could not go on: the last lines of its log say why.",
        ),
        steps=(
            "Read its last lines above.",
            "Start again: runs go on where they were.",
        ),
        command="deskfeed up",
    ),
    "process_silent": Explanation(
        title="A process of `deskfeed up` did not become ready",
        fault=Fault.DESKFEED,
        resolution="Its last lines may tell why; a busy machine may just need a second try.",
        causes=(
            "The machine is very busy, and the process has just not started yet.",
            "It waits for something that does not come: a disk, a name server.",
        ),
        steps=("Read its last lines above.", "Try again when the machine is less busy."),
        command="deskfeed up",
    ),
    "spool_key_missing": Explanation(
        title="A key that encrypts rows is not here",
        fault=Fault.CONFIGURATION,
        resolution="Add the key that is named to DESKFEED_SPOOL_KEY (any, if none is named) where "
        "this runs and start the workers again. Nothing is lost: its rows wait. Is it lost for "
        "good: docs/privacy.md.",
        causes=(
            "A host or a container was started without DESKFEED_SPOOL_KEY.",
            "A key was taken out of it while rows that it encrypted were still kept.",
        ),
        steps=(
            "Set DESKFEED_SPOOL_KEY as it is where the other workers run, old keys included.",
            "Start the workers here again; the rows that waited go on.",
            "Is the key lost for good, docs/privacy.md says how to give its rows up.",
        ),
        command="deskfeed doctor",
    ),
    "spool_key_wrong": Explanation(
        title="A key that encrypts rows was changed under its name",
        fault=Fault.CONFIGURATION,
        resolution="Set the key that had this name before in DESKFEED_SPOOL_KEY; give a new key a "
        "new name (docs/privacy.md).",
        causes=(
            "A key was replaced, and the new one was given the name of the old.",
            "Two hosts have different keys under one name.",
        ),
        steps=(
            "Give the old key its name back.",
            "Put the new key before it, under a name of its own.",
        ),
        command="deskfeed doctor",
    ),
    "hash_key_missing": Explanation(
        title="The key of the hashes of people is not set",
        fault=Fault.CONFIGURATION,
        resolution="Set DESKFEED_HASH_KEY to the key that the workers have. Is it lost: "
        "docs/privacy.md.",
        causes=("The ledger was begun with a DESKFEED_HASH_KEY, and here it is not set.",),
        steps=("Set DESKFEED_HASH_KEY as it is where the other workers run.", "Try again."),
        command="deskfeed doctor",
    ),
    "hash_key_changed": Explanation(
        title="The key of the hashes of people was changed",
        fault=Fault.CONFIGURATION,
        resolution="With another key everybody would be unknown. Set DESKFEED_HASH_KEY as it was "
        "before, or unset it if it never was. To change it all the same: docs/privacy.md.",
        causes=(
            "DESKFEED_HASH_KEY was given another value.",
            "It was set for a ledger that has always had a key of its own.",
        ),
        steps=(
            "Set it as it was, or unset it if it never was set.",
            "To change it on purpose, docs/privacy.md says what that costs and how it is done.",
        ),
        command="deskfeed doctor",
    ),
    "alerts_unsendable": Explanation(
        title="Alerts cannot be sent",
        fault=Fault.CONFIGURATION,
        resolution="Install it where workers run: pip install 'deskfeed[alerts]' (the image has "
        "it). Alerts wait in the ledger until then, for about two hours.",
        causes=("Channels are set, and the package apprise is not installed with the workers.",),
        steps=(
            "Install it where workers run: pip install 'deskfeed[alerts]'",
            "Start the workers again, then: deskfeed alerts test",
        ),
        command="deskfeed alerts test",
    ),
}
