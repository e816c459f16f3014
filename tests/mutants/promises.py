"""Mutants of the promises: nothing lost, nothing invented, nothing counted or told twice."""

from __future__ import annotations

from .mutant import Edit, Mutant, mutant

CHILDREN = "worker/ledger/children.py"
CHUNKS = "worker/ledger/chunks.py"
CLIENT = "worker/zendesk/client.py"
CONSEQUENCES = "worker/zendesk/consequences.py"
DATABASE = "worker/ledger/database.py"
ENGINES = "worker/ledger/engines.py"
MATCHING = "worker/zendesk/matching.py"
OPTIONS = "worker/options.py"
OUTCOMES = "worker/ledger/outcomes.py"
PLANNING = "worker/ledger/planning.py"
POLL = "worker/delivery/poll.py"
POLLING = "worker/ledger/polling.py"
RECOVERY = "worker/ledger/recovery.py"
REPLIES = "worker/zendesk/replies.py"
RUNS = "worker/ledger/runs.py"
SUBMIT = "worker/delivery/submit.py"
SUMS = "worker/ledger/sums.py"

APPS = "tests/unit/test_app.py::test_"
CHUNK = "tests/unit/test_ledger_chunks.py::test_"
RUN = "tests/unit/test_ledger_runs.py::test_"
SENDS = "tests/unit/test_delivery.py::test_"
TOLD = "tests/unit/test_ledger_reports.py::test_"
LOCKED = "tests/unit/test_ledger_faults.py::test_"

FENCES = [
    mutant(
        "the fence is not looked at before a POST",
        CHUNKS,
        "                chunks.c.fence == claim.fence,\n",
        "",
        CHUNK + "a_worker_overtaken_by_another_one_cannot_submit",
    ),
    mutant(
        "the fence is not looked at before an outcome",
        OUTCOMES,
        "                chunks.c.fence == end.fence,\n",
        "",
        CHUNK + "a_stale_worker_cannot_write",
    ),
    mutant(
        "a claim raises no fence",
        CHUNKS,
        "fence=chunks.c.fence + 1,",
        "fence=chunks.c.fence,",
        CHUNK + "a_worker_overtaken_by_another_one_cannot_submit",
        CHUNK + "a_worker_whose_lease_expired_cannot_submit",
    ),
    Mutant(
        "the sweeper takes a chunk from whoever has it now",
        (
            Edit(RECOVERY, "                chunks.c.fence == row.fence,\n", ""),
            Edit(
                RECOVERY,
                "chunks.c.wake_at <= now,\n            )\n            .values(fence=",
                "\n            )\n            .values(fence=",
            ),
        ),
        (CHUNK + "a_sweeper_that_was_slow_takes_nothing_from_the_next_worker",),
    ),
    mutant(
        "the sweeper takes a chunk and raises no fence",
        RECOVERY,
        "fence=chunks.c.fence + 1, owner=None",
        "owner=None",
        CHUNK + "a_worker_whose_lease_expired_cannot_submit",
    ),
]

ORDER = [
    mutant(
        "a message is acknowledged before its work is in the ledger",
        OPTIONS,
        '"task_acks_late": True,',
        '"task_acks_late": False,',
        APPS + "a_message_is_acknowledged_when_its_work_is_in_the_ledger",
    ),
    Mutant(
        "the intent is written after the POST",
        (
            Edit(
                SUBMIT,
                "        if not self._submitting(claim, booked):\n"
                '            return self._give_back(claim, JOB_SLOT_RETRY_S, "job_slot")\n'
                '        reach("submitting.committed")\n',
                "",
            ),
            Edit(
                SUBMIT,
                '            reach("post.after")\n',
                "            self._chunks.submitting(claim)\n",
            ),
        ),
        (SENDS + "the_intent_is_in_the_ledger_when_the_post_leaves",),
    ),
    mutant(
        "a digest is written when a chunk is submitted",
        CHUNKS,
        "Confirmed(connection, *people).forget(claim.profiles)\n",
        "Confirmed(connection, *people).remember(claim.profiles)\n",
        CHUNK + "a_digest_is_written_with_the_confirmed_outcome_and_removed_before_the_next_post",
    ),
    Mutant(
        "a payload is deleted before the outcome is written",
        (
            Edit(
                OUTCOMES,
                "        end = _End(run_id, seq, fence, tuple(leaves), ends)\n",
                "        end = _End(run_id, seq, fence, tuple(leaves), ends)\n"
                "        with self._db.write() as connection:\n"
                "            self._early = load_profiles(connection, run_id, seq)\n"
                "            remove_profiles(connection, run_id, seq)\n",
            ),
            Edit(
                OUTCOMES,
                "        profiles = load_profiles(connection, end.run_id, end.seq)\n        if [",
                "        profiles = self._early\n        if [",
            ),
        ),
        (CHUNK + "a_result_that_comes_too_late_leaves_the_rows_to_be_sent",),
    ),
]

COUNTS = [
    Mutant(
        "delivered rows are counted up with each result",
        (
            Edit(
                OUTCOMES,
                "        end = _End(run_id, seq, fence, tuple(leaves), ends)\n",
                "        end = _End(run_id, seq, fence, tuple(leaves), ends)\n"
                "        with self._db.write() as connection:\n"
                "            connection.execute(update(chunks).where(chunks.c.seq == seq).values(\n"
                "                created=chunks.c.created\n"
                "                + sum(o.kind == OutcomeKind.CREATED for o in found)))\n",
            ),
            Edit(
                OUTCOMES,
                "                created=sum(o.kind == OutcomeKind.CREATED for o in final),\n",
                "",
            ),
        ),
        (CHUNK + "a_second_result_of_the_same_job_is_dropped",),
    ),
    mutant(
        "what a dead planner counted is counted on",
        PLANNING,
        ", rows_read=0, unchanged=0)",
        ")",
        RUN + "planning_anew_removes_what_the_dead_planner_left",
    ),
    mutant(
        "the rows of a chunk that was split count beside those of its halves",
        SUMS,
        "chunks.c.state.not_in(CHUNK_ENDED)",
        'chunks.c.state.not_in(CHUNK_ENDED - {"split"})',
        CHUNK + "a_refused_chunk_is_split_into_halves_that_replace_it",
    ),
    mutant(
        "rows of a refused chunk have outcomes beside those of its halves",
        CHILDREN,
        "claim.profiles[:middle], claim.profiles[middle:]",
        "claim.profiles, claim.profiles[middle:]",
        CHUNK + "a_refused_chunk_is_split_into_halves_that_replace_it",
    ),
    mutant(
        "a wait counts towards quarantine",
        CHUNKS,
        "self._leave(claim, ChunkState.CLAIMED, seconds, why, message=message, **extra)",
        "self._leave(claim, ChunkState.CLAIMED, seconds, why, message=message, "
        "expiries=chunks.c.expiries + 1, **extra)",
        CHUNK + "waits_between_crashes_do_not_count_towards_quarantine",
    ),
    mutant(
        "a wait between them makes crashes forgotten",
        CHUNKS,
        "self._leave(claim, ChunkState.CLAIMED, seconds, why, message=message, **extra)",
        "self._leave(claim, ChunkState.CLAIMED, seconds, why, message=message, "
        "expiries=0, **extra)",
        CHUNK + "a_wait_between_them_makes_no_crash_forgotten",
    ),
]

ANSWERS = [
    mutant(
        "results count by position whatever their number",
        MATCHING,
        "    if len(items) != rows:\n        return []\n",
        "",
        "tests/unit/test_zendesk_matching.py::"
        "test_results_without_names_count_by_position_only_in_a_list_of_full_length",
    ),
    mutant(
        "a redirect is followed",
        CLIENT,
        "        try:\n            body = bytearray()\n",
        "        if response.is_redirect:\n"
        "            where = requests.compat.urljoin(request.url, response.headers['location'])\n"
        "            request.prepare_url(where, None)\n"
        "            return self._exchange(request, current)\n"
        "        try:\n            body = bytearray()\n",
        "tests/integration/test_zendesk_client.py::test_a_redirect_is_never_followed",
    ),
    mutant(
        "a job is guessed where Zendesk names none",
        REPLIES,
        '        raise unclear("Zendesk\'s answer names no job", posted=True)\n',
        '        job_id = "V3-0"\n',
        "tests/unit/test_zendesk_replies.py::test_200_without_a_jobs_id_is_ambiguous",
    ),
    mutant(
        "404 is a success",
        CONSEQUENCES,
        "if 200 <= answer.status < 300:",
        "if 200 <= answer.status < 300 or answer.status == 404:",
        "tests/unit/test_zendesk_consequences.py::test_what_follows_from_the_answer_to_a_post",
    ),
    mutant(
        "an error that names a job is a success",
        CONSEQUENCES,
        "if 200 <= answer.status < 300:",
        'if 200 <= answer.status < 300 or (answer.document or {}).get("job_status"):',
        "tests/unit/test_zendesk_consequences.py::test_a_body_like_a_success_makes_no_success",
    ),
    mutant(
        "a failure that passes by itself is final the first time",
        POLL,
        "again = worth_again(outcomes)",
        "again: frozenset[int] = frozenset()",
        "tests/unit/test_delivery_again.py::test_a_row_in_conflict_is_sent_again_in_a_last_chunk",
    ),
]

TURNS = [
    mutant(
        "a look does not move the poll's lease",
        POLLING,
        "                    poll_at=lease,\n                    ready_at=lease,\n",
        "",
        CHUNK + "one_look_takes_all_due_jobs_of_the_account_and_no_second_look_takes_them",
    ),
    mutant(
        "a chunk that waits does not see that its run is paused",
        CHUNKS,
        ".where(_this(run_id, seq), ready, run_is(run_id, RunState.SENDING))",
        ".where(_this(run_id, seq), ready)",
        RUN + "a_chunk_that_waits_is_not_claimed_while_its_run_is_paused",
    ),
    mutant(
        "a claimed chunk does not see that its run is paused",
        CHUNKS,
        "                run_is(claim.run_id, RunState.SENDING),\n",
        "",
        RUN + "a_claimed_chunk_of_a_paused_run_is_not_submitted",
    ),
    mutant(
        "resume does not compare the rows with what was planned",
        RUNS,
        "check_snapshot(self._db, run_id)",
        "pass",
        "tests/unit/test_ledger_digest.py::test_resume_refuses_a_run_whose_rows_changed",
    ),
    mutant(
        "stop cancels chunks that have ended",
        OUTCOMES,
        "chunks.c.state.in_(MAY_BE_SENT),\n                    runs.c.state",
        "chunks.c.state.in_((*MAY_BE_SENT, ChunkState.DONE)),\n                    runs.c.state",
        RUN + "stop_changes_nothing_of_what_has_ended",
    ),
    mutant(
        "stop changes how a run has ended",
        RUNS,
        "active = (RunState.PLANNED, ",
        "active = (RunState.SUCCEEDED, RunState.PLANNED, ",
        RUN + "an_ended_run_cannot_be_stopped_paused_or_resumed",
    ),
]

LOCKS = [
    mutant(
        "SQLite does not wait for another writer",
        ENGINES,
        "PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
        "PRAGMA busy_timeout=0",
        LOCKED + "sqlite_itself_waits_for_other_writers",
    ),
    mutant(
        "a transaction that finds the ledger locked is not begun again",
        DATABASE,
        "if not passes(error) or time.monotonic() + pause > end:",
        "if True:",
        LOCKED + "a_write_waits_for_another_process_to_end_its_own",
    ),
    mutant(
        "SQLite writes no log ahead",
        ENGINES,
        "PRAGMA journal_mode=WAL",
        "PRAGMA journal_mode=DELETE",
        LOCKED + "readers_do_not_wait_for_a_writer",
        "tests/unit/test_ledger_database.py::"
        "test_sqlite_commits_survive_a_power_cut_and_readers_do_not_wait",
    ),
]

REPORTS = [
    mutant(
        "a run is told of as often as its message comes",
        "orchestrations/tasks.py",
        "if not parts().ledger.reports.take(message.run_id):",
        "if False:",
        TOLD + "a_run_whose_message_comes_twice_is_told_of_once",
    ),
    mutant(
        "a report can be taken twice",
        "worker/ledger/reports.py",
        "runs.c.reported_at.is_(None),\n                )\n",
        "\n                )\n",
        TOLD + "of_many_who_want_to_tell_one_does",
    ),
    mutant(
        "a run that goes on is told of",
        "worker/ledger/reports.py",
        "                    runs.c.state.in_(RUN_ENDED),\n",
        "",
        TOLD + "a_run_that_goes_on_is_not_told_of",
    ),
    mutant(
        "nobody tells of a run whose message was lost",
        RUNS,
        "wake_at=now + self._times.overdue,  # by then",
        "wake_at=None,  # by then",
        TOLD + "what_nobody_told_in_time_is_sent_again_until_somebody_does",
    ),
]

MUTANTS = [*FENCES, *ORDER, *COUNTS, *ANSWERS, *TURNS, *LOCKS, *REPORTS]
