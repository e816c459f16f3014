"""Mutants of delivery: sending without leave, silence about answers, job slots, refusals."""

from __future__ import annotations

from .mutant import mutant

PERMITS = "worker/delivery/permits.py"
SUBMIT = "worker/delivery/submit.py"
POLL = "worker/delivery/poll.py"
CONTEXT = "worker/delivery/context.py"
PLANNER = "orchestrations/planner.py"
CHUNKS = "worker/ledger/chunks.py"
LIMITS = "worker/ledger/limits.py"
POLLING = "worker/ledger/polling.py"

SENDS = "tests/unit/test_delivery.py::test_"
REPORTS = "tests/unit/test_delivery_reports.py::test_"
ASKS = "tests/unit/test_planner_permits.py::test_"
HOLDS = "tests/unit/test_ledger_limits.py::test_"

VOIDED = SENDS + "a_pause_between_permit_and_send_voids_the_permit"
POST_PROBES = REPORTS + "the_answer_to_a_post_that_was_a_probe_opens_the_gate"
POLL_PROBES = REPORTS + "the_answer_to_a_look_that_was_a_probe_opens_the_gate"
NO_ANSWER = REPORTS + "what_is_no_answer_to_a_probe_is_followed_by_another"
REFUSED = REPORTS + "a_refusal_is_an_answer_to_a_probe"
OTHERS = REPORTS + "headers_of_a_post_leave_others_their_part"
TWO_REQUESTS = ASKS + "each_request_is_reported_before_the_next_one_is_asked_for"

LEAVE = [
    mutant(
        "a chunk is sent without confirming its permit",
        SUBMIT,
        "self._permits.redeem(account, booked, users, run_id, claim.share)",
        "Ticket(account, booked.permit, booked.slot_us, False)",
        VOIDED,
    ),
    mutant(
        "a look is sent without confirming its permit",
        PERMITS,
        "return self.redeem(account, answer, users=0) or RETRY_S",
        "return Ticket(account, answer.permit, answer.slot_us, False)",
        REPORTS + "a_look_whose_permit_was_voided_is_not_sent",
    ),
    mutant(
        "a voided permit is sent under",
        PERMITS,
        "                    metrics.PERMITS_VOIDED.labels(account.account, why).inc()\n"
        "                    return None",
        "                    return self._granted(account, booked, users, Go(0, 0.0))",
        VOIDED,
    ),
    mutant(
        "a booking that was moved is sent at its old slot",
        PERMITS,
        "                    self.sleep(wait_s)\n",
        "                    return self._granted(account, booked, users, Go(0, 0.0))\n",
        REPORTS + "a_booking_that_was_moved_is_slept_for_until_its_new_slot",
    ),
    mutant(
        "a booking that moves for ever is waited for for ever",
        PERMITS,
        "case NotYet(wait_s) if slept + wait_s > 2 * self.times.slept_slot:",
        "case NotYet(wait_s) if False:",
        REPORTS + "a_booking_that_moves_again_and_again_is_given_back",
    ),
    mutant(
        "leave that Redis did not give is taken for leave",
        PERMITS,
        '                log.warning("limiter_unavailable", reason=error.message)\n'
        "                return None",
        "                return self._granted(account, booked, users, Go(0, 0.0))",
        SENDS + "redis_lost_between_permit_and_send_sends_nothing",
    ),
    mutant(
        "a silent Redis is taken for leave to book",
        SUBMIT,
        '            return self._give_back(claim, self._in.times.unreachable, "limiter")',
        "            booked = Booked(claim.run_id, 0.0, 0)",
        SENDS + "without_redis_nothing_is_sent",
    ),
    mutant(
        "a booking that is not used is kept",
        SUBMIT,
        "            if not taken:\n",
        "            if taken is None:\n",
        SENDS + "a_run_paused_while_its_chunk_waits_for_the_slot_sends_nothing",
    ),
    mutant(
        "two sendings of a chunk share a permit",
        SUBMIT,
        'f"{claim.run_id}:{claim.seq}:{claim.fence}"',
        'f"{claim.run_id}:{claim.seq}"',
        SENDS + "an_unclear_post_settles_and_goes_again",
    ),
    mutant(
        "two chunks share a permit",
        SUBMIT,
        'f"{claim.run_id}:{claim.seq}:{claim.fence}"',
        'f"{claim.run_id}:{claim.fence}"',
        REPORTS + "two_chunks_are_sent_under_two_permits",
    ),
    mutant(
        "the limiter does not learn whose chunk it is",
        SUBMIT,
        "return self._permits.book(account, permit, users, claim.run_id, claim.share)",
        'return self._permits.book(account, permit, users, "", claim.share)',
        REPORTS + "the_limiter_is_told_the_run_its_share_and_its_users",
    ),
    mutant(
        "the limiter does not learn the run's share",
        SUBMIT,
        "return self._permits.book(account, permit, users, claim.run_id, claim.share)",
        "return self._permits.book(account, permit, users, claim.run_id, 1.0)",
        REPORTS + "the_limiter_is_told_the_run_its_share_and_its_users",
    ),
    mutant(
        "a run does not ask for its next turn",
        SUBMIT,
        'run_id = claim.run_id if claim.more else ""',
        'run_id = ""',
        REPORTS + "a_run_with_another_chunk_asks_for_its_next_turn",
    ),
    mutant(
        "a chunk weighs one user",
        SUBMIT,
        '        permit = f"{claim.run_id}:{claim.seq}:{claim.fence}"\n'
        "        users = len(claim.profiles)\n",
        '        permit = f"{claim.run_id}:{claim.seq}:{claim.fence}"\n        users = 1\n',
        REPORTS + "the_limiter_is_told_the_run_its_share_and_its_users",
    ),
]

ANSWERS = [
    mutant(
        "the answer to a POST is not reported",
        SUBMIT,
        "        self._permits.answered(ticket, job.rate)\n",
        "",
        POST_PROBES,
    ),
    mutant(
        "a POST that failed is not reported",
        SUBMIT,
        "            self._permits.failed(ticket, error)\n",
        "",
        REPORTS + "a_post_that_told_nothing_is_followed_by_another_probe_at_once",
        REPORTS + "a_post_that_is_refused_opens_the_gate",
    ),
    mutant(
        "the answer to a look is not reported",
        POLL,
        "        self._in.permits.answered(ticket, statuses.rate)\n",
        "",
        POLL_PROBES,
    ),
    mutant(
        "a look that failed is not reported",
        POLL,
        "            self._in.permits.failed(ticket, error)\n",
        "",
        REPORTS + "a_look_that_failed_is_followed_by_another_probe_at_once",
    ),
    mutant(
        "the answers to pre-flight are not reported",
        PLANNER,
        "            self._delivery.permits.answered(ticket, rate)\n",
        "",
        TWO_REQUESTS,
    ),
    mutant(
        "a request of pre-flight that failed is not reported",
        PLANNER,
        "            self._delivery.permits.failed(self._open, error)\n",
        "",
        ASKS + "a_request_that_failed_lets_the_next_one_probe",
    ),
    mutant(
        "planning that fails leaves its probe open",
        PLANNER,
        "        asking.failed(error)\n",
        "",
        ASKS + "planning_that_fails_reports_its_request",
    ),
    mutant(
        "a request that pre-flight gave up blocks the next one",
        PLANNER,
        '        self.failed(NotSent("the request before this one told nothing"))\n',
        "",
        ASKS + "a_request_that_told_nothing_is_given_up_with_the_next_one",
    ),
    mutant(
        "probes without headers are not reported",
        PERMITS,
        "if ticket.probe or tells_something(rate, ticket):",
        "if tells_something(rate, ticket):",
        POST_PROBES,
        POLL_PROBES,
    ),
    mutant(
        "headers are reported for probes only",
        PERMITS,
        "if ticket.probe or tells_something(rate, ticket):",
        "if ticket.probe:",
        REPORTS + "headers_of_a_post_leave_others_their_part",
    ),
    mutant(
        "a probe that failed is not reported",
        PERMITS,
        "        if ticket.probe:\n            # A refusal",
        "        if False:\n            # A refusal",
        NO_ANSWER,
    ),
    mutant(
        "a refusal is no answer to a probe",
        PERMITS,
        "isinstance(error, Refused)\n",
        "False\n",
        REFUSED,
    ),
    mutant(
        "a 401 is no answer to a probe",
        PERMITS,
        "error.code not in NEVER_ANSWERED)",
        "error.code in NEVER_ANSWERED)",
        REFUSED,
    ),
    mutant(
        "a rate limit opens the gate",
        PERMITS,
        'isinstance(error, Throttled) and error.scope != "account"',
        "isinstance(error, Throttled)",
        NO_ANSWER,
    ),
    mutant(
        "silence is an answer to a probe",
        PERMITS,
        "self._observe(ticket, NO_HEADERS, answered=seen)",
        "self._observe(ticket, NO_HEADERS, answered=True)",
        NO_ANSWER,
    ),
    mutant(
        "delivery leaves others no part of the requests",
        PERMITS,
        "reserve_percent=ticket.account.limits.reserve_percent,",
        "reserve_percent=0,",
        OTHERS,
    ),
    mutant(
        "headers that leave others their part only are held back",
        PERMITS,
        "math.ceil((rate.limit or 0) * limits.reserve_percent / 100)",
        "0",
        REPORTS + "what_is_left_to_others_makes_headers_worth_telling",
    ),
    mutant(
        "the declared reserve_percent is lost on its way",
        LIMITS,
        "row.jobs_in_flight, row.reserve_percent",
        "row.jobs_in_flight, 0",
        OTHERS,
    ),
]

THROTTLED = [
    mutant(
        "too many jobs pause the account",
        PERMITS,
        'if error.scope == "account":',
        'if error.scope != "chunk":',
        SENDS + "too_many_jobs_waits_without_pausing_the_account",
    ),
    mutant(
        "a limit on one user pauses the account",
        PERMITS,
        'if error.scope == "account":',
        'if error.scope != "jobs":',
        SENDS + "a_limit_on_one_user_cools_only_this_chunk",
    ),
    mutant(
        "a 429 pauses this chunk only",
        PERMITS,
        'if error.scope == "account":',
        "if False:",
        SENDS + "too_many_requests_pauses_the_whole_account",
    ),
    mutant(
        "Retry-After: 0 is taken for none",
        PERMITS,
        "if asked is None else asked)",
        "if not asked else asked)",
        REPORTS + "a_retry_after_of_nothing_is_a_second",
    ),
    mutant(
        "after Retry-After: 0 requests go at once",
        PERMITS,
        "LEAST_THROTTLE_S = 1.0",
        "LEAST_THROTTLE_S = 0.0",
        REPORTS + "a_retry_after_of_nothing_is_a_second",
    ),
    mutant(
        "planning has a patience of its own",
        PLANNER,
        "mine.delivery.permits.throttled(run.target.account, error), error)",
        "error.retry_after_seconds or 15.0, error)",
        ASKS + "a_429_to_pre_flight_waits_as_any_other_429",
    ),
    mutant(
        "headers are reported though they tell nothing new",
        PERMITS,
        "    if left <= 0 or cap is None:\n",
        "    if True:\n        return True\n    if left <= 0 or cap is None:\n",
        REPORTS + "headers_that_tell_of_no_others_are_not_worth_a_call",
    ),
    mutant(
        "a 429 without Retry-After pauses nothing",
        PERMITS,
        "THROTTLE_S[error.scope] if asked",
        "0.0 if asked",
        REPORTS + "a_429_that_tells_no_time_pauses_by_our_own_measure",
    ),
    mutant(
        "a 429 to a look pauses nothing",
        POLL,
        "seconds = self._in.permits.throttled(account, error)",
        "seconds = 4.0",
        SENDS + "a_throttled_look_pauses_the_account",
    ),
    mutant(
        "too many jobs lower no cap",
        SUBMIT,
        'if error.scope == "jobs":',
        'if error.scope == "none":',
        REPORTS + "too_many_jobs_lower_the_cap_to_what_is_in_flight",
    ),
    mutant(
        "the chunk that was refused counts as a job",
        POLLING,
        "max(1, count_jobs(connection, account, now) - 1)",
        "max(1, count_jobs(connection, account, now))",
        HOLDS + "the_refused_chunk_does_not_count_for_the_job_cap",
    ),
    mutant(
        "a job cap may be zero",
        POLLING,
        "max(1, count_jobs(connection, account, now) - 1)",
        "count_jobs(connection, account, now) - 1",
        HOLDS + "one_job_is_always_allowed",
    ),
    mutant(
        "a lowered job cap does not hold",
        LIMITS,
        "jobs_cap=row.jobs_cap if capped else None,",
        "jobs_cap=None,",
        HOLDS + "the_refused_chunk_does_not_count_for_the_job_cap",
        HOLDS + "the_job_cap_is_over_after_its_time",
    ),
    mutant(
        "a lowered job cap holds for ever",
        LIMITS,
        "row.jobs_cap is not None and row.jobs_cap_until > now",
        "row.jobs_cap is not None",
        HOLDS + "the_job_cap_is_over_after_its_time",
    ),
]

JOB_SLOTS = [
    mutant(
        "the free job slot is not looked for when the POST is about to leave",
        CHUNKS,
        "if self._free_slots(connection, claim.target.account, lock=True) <= 0:",
        "if False:",
        HOLDS + "job_slots_honour_a_lowered_limit",
        REPORTS + "a_job_slot_taken_meanwhile_is_noticed_before_the_post",
    ),
    mutant(
        "a permit is booked although no job slot is free",
        SUBMIT,
        "if self._chunks.free_job_slots(account.account) <= 0:",
        "if False:",
        REPORTS + "without_a_free_job_slot_no_permit_is_asked_for",
    ),
    mutant(
        "one job more than allowed",
        CHUNKS,
        "if self._free_slots(connection, claim.target.account, lock=True) <= 0:",
        "if self._free_slots(connection, claim.target.account, lock=True) < 0:",
        HOLDS + "job_slots_honour_a_lowered_limit",
    ),
    mutant(
        "job slots are not counted in the ledger",
        CHUNKS,
        "return cap - count_jobs(connection, account, now)",
        "return cap",
        SENDS + "without_a_free_job_slot_nothing_is_sent",
    ),
    mutant(
        "a chunk that may have arrived holds no job slot",
        LIMITS,
        "chunks.c.state == ChunkState.AMBIGUOUS, chunks.c.not_before <= now",
        "chunks.c.state == ChunkState.AMBIGUOUS, chunks.c.not_before > 0",
        HOLDS + "jobs_in_flight_are_those_that_may_hold_a_slot",
    ),
]

MUTANTS = [*LEAVE, *ANSWERS, *THROTTLED, *JOB_SLOTS]
