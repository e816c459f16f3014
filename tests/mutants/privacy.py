"""Promises about people's data: encryption, keys, forgetting, logs."""

from __future__ import annotations

from .mutant import mutant

FORGOTTEN = "worker/ledger/forgotten.py"
FORGETTING = "worker/ledger/forgetting.py"
CHUNKS = "worker/ledger/chunks.py"
OUTCOMES = "worker/ledger/outcomes.py"
RUNS = "worker/ledger/runs.py"
PLANNING = "worker/ledger/planning.py"
SECRECY = "worker/ledger/secrecy.py"
SEALING = "worker/sealing.py"
ENGINES = "worker/ledger/engines.py"
LOGS = "worker/logs.py"
REDACTION = "worker/redaction.py"

FORGET = "tests/unit/test_forgetting.py::test_"
SECRET = "tests/unit/test_ledger_secrecy.py::test_"
VALUES = "tests/unit/test_ledger_parameters.py::test_"
HUNT = "tests/unit/test_canaries_in_the_ledger.py::test_"

MUTANTS = [
    mutant(
        "a claim does not ask who is to be forgotten",
        CHUNKS,
        "        if profiles and (doomed := marked(",
        "        if not profiles and (doomed := marked(",
        FORGET + "who_slips_through_planning_is_stopped_at_the_claim",
        FORGET + "a_row_that_may_have_arrived_is_not_sent_again_and_is_unconfirmed",
    ),
    mutant(
        "the end of a chunk keeps rows of people who are to be forgotten",
        OUTCOMES,
        "        kept = [p for p in failed if p.row not in doomed]\n",
        "        kept = failed\n",
        FORGET + "a_row_with_zendesk_is_not_taken_back_and_nothing_of_it_is_kept",
    ),
    mutant(
        "the end of a chunk remembers people who are to be forgotten",
        OUTCOMES,
        "            (p for p in delivered if p.row not in doomed),\n",
        "            delivered,\n",
        FORGET + "a_delivered_row_that_was_with_zendesk_leaves_no_digest_and_no_id",
    ),
    mutant(
        "a worker that holds a forgotten row is not overtaken",
        FORGETTING,
        "            if chunk.state == ChunkState.CLAIMED:\n",
        "            if chunk.state == ChunkState.POLLING:\n",
        FORGET + "a_worker_that_held_the_row_is_overtaken_before_it_sends",
        FORGET + "a_row_that_is_not_sent_is_skipped_and_the_rest_can_be_sent",
    ),
    mutant(
        "a chunk that lost a row keeps its digest",
        FORGOTTEN,
        '        "digest": payload_digest(left),\n',
        "",
        FORGET + "a_row_that_is_not_sent_is_skipped_and_the_rest_can_be_sent",
    ),
    mutant(
        "a run that was planned meanwhile is not looked through",
        PLANNING,
        "        self._forgetting.apply(run.run_id)\n",
        "",
        FORGET + "a_run_that_is_being_planned_does_not_send_the_person",
    ),
    mutant(
        "a mark is lifted while a run that began before it goes on",
        FORGETTING,
        "            runs.c.state.not_in(RUN_ENDED), runs.c.created_at <= forgotten.c.at\n",
        "            runs.c.state.in_(RUN_ENDED), runs.c.created_at <= forgotten.c.at\n",
        FORGET + "a_mark_stays_for_as_long_as_a_run_that_began_before_it_goes_on",
    ),
    mutant(
        "a blob is not bound to its place",
        SEALING,
        'return f"\\0{column}\\0{run_id}\\0{seq}".encode()',
        'return b""',
        "tests/unit/test_sealing.py::test_a_blob_that_was_taken_elsewhere_is_not_opened",
        SECRET + "a_blob_that_was_swapped_for_another_is_not_sent",
    ),
    mutant(
        "a missing key counts as damage",
        SEALING,
        "            raise missing(name)\n",
        "            raise Spoiled\n",
        SECRET + "a_chunk_whose_key_is_not_here_waits_and_loses_nothing",
    ),
    mutant(
        "who lacks the key writes in clear",
        SECRECY,
        "    if not is_encrypted(connection):\n",
        "    if not spool_keys_of(connection):\n",
        SECRET + "nobody_writes_in_clear_into_an_encrypted_ledger",
    ),
    mutant(
        "rows are never sealed",
        SECRECY,
        "    return keys.seal(blob, place), keys.first\n",
        "    return blob, keys.first\n",
        SECRET + "every_blob_with_values_is_sealed",
        HUNT + "values_of_other_rows_are_in_kept_rows_only_and_sealed_with_a_key",
    ),
    mutant(
        "what is removed lingers in the file",
        ENGINES,
        '        cursor.execute("PRAGMA secure_delete=ON")\n',
        '        cursor.execute("PRAGMA secure_delete=OFF")\n',
        HUNT + "removed_rows_do_not_linger_in_free_pages_or_the_log",
    ),
    mutant(
        "the words of every error are logged",
        REDACTION,
        '    return f"{full}: {LEFT_OUT}" if error.args else full\n',
        '    return f"{full}: {error}"\n',
        "tests/unit/test_logs.py::test_of_errors_that_may_quote_values_only_the_type_is_kept",
    ),
    mutant(
        "errors that nobody caught go past the log",
        LOGS,
        "        threading.excepthook = _uncaught_in_thread\n",
        "        pass\n",
        "tests/unit/test_logs.py::test_nothing_that_goes_wrong_prints_a_value",
    ),
    mutant(
        "the end of a run leaves the values of its parameters",
        RUNS,
        "            options = parameters.without_values(row.options)\n",
        "            options = None\n",
        VALUES + "however_a_run_ends_the_values_of_its_parameters_are_gone",
    ),
]
