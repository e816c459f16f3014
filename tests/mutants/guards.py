"""Mutants of what keeps attackers and mistakes out."""

from __future__ import annotations

from .mutant import mutant

APP = "worker/app.py"
BROKER = "worker/broker.py"
COLUMNS = "orchestrations/columns.py"
CONTROL = "worker/control.py"
FLOWER = "worker/flower_access.py"
LOADER = "orchestrations/loader.py"
MAPPING = "orchestrations/mapping.py"
OPENED = "orchestrations/cli/opened.py"
RETRYING = "orchestrations/retrying.py"
TASKS = "orchestrations/tasks.py"

PII = "tests/unit/test_pii.py::test_"
MESSAGES = "tests/unit/test_hostile_messages.py::test_"
FILES = "tests/unit/test_hostile_files.py::test_"
ACCESS = "tests/unit/test_access.py::test_"
LOGIN = "tests/unit/test_flower_access.py::test_"

MUTANTS = [
    mutant(
        "columns marked as personal data are sent everywhere",
        COLUMNS,
        "withheld = frozenset() if allow_pii else frozenset(rules.pii)",
        "withheld: frozenset[str] = frozenset()",
        PII + "what_is_marked_is_not_sent_and_is_named",
    ),
    mutant(
        "a default takes the place of a withheld column",
        MAPPING,
        "                if target in withheld:\n                    continue\n",
        "",
        PII + "neither_default_nor_constant_nor_null_takes_the_place_of_what_is_withheld",
    ),
    mutant(
        "a retry sends of the kept rows what may not be sent now",
        RETRYING,
        "    if not withheld:\n        return profile\n",
        "    return profile\n",
        PII + "kept_rows_that_would_name_nobody_are_not_sent",
    ),
    mutant(
        "a worker obeys every remote-control command",
        CONTROL,
        "        Panel.data.pop(name, None)\n",
        "",
        MESSAGES + "a_worker_obeys_no_command_that_changes_it",
    ),
    mutant(
        "a message of any size is taken apart",
        BROKER,
        "    if len(text) > MOST_BYTES:\n        raise TooLarge\n",
        "",
        MESSAGES + "what_is_larger_than_any_message_is_not_even_taken_apart",
    ),
    mutant(
        "a message may wait for years",
        BROKER,
        "request.eta > datetime.now(UTC) + LONGEST_WAIT",
        "request.eta > datetime.max.replace(tzinfo=UTC)",
        MESSAGES + "what_would_be_held_for_years_is_no_message",
    ),
    mutant(
        "Flower without a login is open",
        FLOWER,
        "    environment[BASIC_AUTH] = login\n",
        "",
        LOGIN + "without_a_login_one_is_made_up_and_left_for_its_owner_only",
    ),
    mutant(
        "a query may be a link to a file of secrets",
        LOADER,
        "    if not path.resolve().is_relative_to(path.parent.resolve()):\n"
        '        return "", f"{path.name!r} leads out of the catalog folder"\n',
        "",
        FILES + "a_query_that_is_a_link_to_secrets_is_not_read",
    ),
    mutant(
        "a message may take the place of a scheduled run",
        TASKS,
        "    if key and is_reserved(key):\n",
        "    if asked.key and is_reserved(asked.key):\n",
        MESSAGES + "nor_does_one_by_its_own_id",
    ),
    mutant(
        "a catalog folder without rules makes everybody an administrator",
        OPENED,
        "    if access.everybody and verb in ASKS_THE_LEDGER and _ledger_knows_rules():\n",
        "    if False and _ledger_knows_rules():\n",
        ACCESS + "a_folder_of_ones_own_does_not_undo_the_rules_that_workers_read",
    ),
]
