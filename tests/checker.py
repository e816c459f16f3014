"""The history checker: judges what the ledger and the sandbox tell, and says what was not kept.

It is the oracle of every test under faults. It shares no code with what it judges: what the ledger
says of a row is held against what the sandbox says it was sent and what it applied. Each finding is
a sentence that begins with the guarantee (docs/faults.md) it speaks of.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from history import History, Record, Sample, key_hash, post_keys, sent, user_keys

ENDED_RUN = {"succeeded", "finished_with_failures", "stopped", "failed", "inconsistent"}
ENDED_CHUNK = {"done", "split", "quarantined", "cancelled"}
SHORT_SECOND = 0.95
"""Where arrivals count among stamps: they are as late as the way and a thread make them."""

FINAL_EVENT = {f"chunk_{state}" for state in ENDED_CHUNK}


def check(history: History, *, exact: bool = False) -> list[str]:
    """Return what was not kept, as sentences; nothing when all was.

    Args:
        history: what to judge; the run must have ended.
        exact: there were no faults: each chunk was POSTed once.
    """
    return [finding for judge in JUDGES for finding in judge(history)] + (
        list(_one_post_each(history)) if exact else []
    )


# --- G1: every row has exactly one outcome ------------------------------------------------------


def _rows(h: History) -> Iterator[str]:
    counted = Counter(outcome["row"] for outcome in h.outcomes)
    for results in h.results.values():
        counted.update(row for row, _, _ in results)
    twice = sorted(row for row, times in counted.items() if times > 1)
    if twice:
        yield f"G1: rows {twice[:5]} have more than one outcome"
    wanted = h.run["rows_read"] - h.run["unchanged"]
    if len(counted) != wanted:
        yield f"G1: {wanted} rows were read, {len(counted)} have an outcome"
    last = h.run["rows_read"]
    if h.run["parent_run"] is None and not set(counted) <= set(range(1, last + 1)):
        yield f"G1: an outcome is of a row that is none of 1 to {last}"


def _sums(h: History) -> Iterator[str]:
    """What a chunk says of itself is what its rows say."""
    told = Counter(outcome["seq"] for outcome in h.outcomes)
    for seq, chunk in h.chunks.items():
        kinds = Counter(kind for _, kind, _ in h.results.get(seq, ()))
        for kind in ("created", "updated"):
            if chunk[kind] != kinds[kind]:
                yield f"G1: chunk {seq} counts {chunk[kind]} {kind}, its results {kinds[kind]}"
        rows = 0 if chunk["state"] == "split" else chunk["rows"]
        if kinds.total() + told[seq] != rows:
            yield f"G1: chunk {seq} has {rows} rows and {kinds.total() + told[seq]} outcomes"
        if chunk["state"] == "split":
            halves = [h.rows_sent(s) for s, c in h.chunks.items() if c["parent_seq"] == seq]
            if sum(halves) != chunk["rows"]:
                yield f"G1: the halves of chunk {seq} have {halves} rows of {chunk['rows']}"


def _ended(h: History) -> Iterator[str]:
    """The run ended, nothing of it is open, and its name is that of its rows."""
    state = h.run["state"]
    if state not in ENDED_RUN or state == "inconsistent":
        yield f"G1: the run is {state}"
    open_chunks = [seq for seq, c in h.chunks.items() if c["state"] not in ENDED_CHUNK]
    if open_chunks:
        yield f"G3: the run is {state}, its chunks {open_chunks[:5]} have not ended"
    bad = sum(outcome["kind"] in {"failed", "unconfirmed"} for outcome in h.outcomes)
    if state == "succeeded" and bad:
        yield f"G1: the run succeeded, {bad} of its rows did not"
    if state == "finished_with_failures" and not bad:
        yield "G1: the run has failures, none of its rows has"


# --- G2, G4: what was sent ----------------------------------------------------------------------


def _posts(h: History) -> Iterator[str]:
    for seq, chunk in h.chunks.items():
        posts = len(h.posts_by_chunk[seq])
        if posts > chunk["attempt"]:
            yield f"G2: chunk {seq} was POSTed {posts} times in {chunk['attempt']} attempts"
    for post in h.posts_by_chunk[0]:
        yield f"G2: the journal's request {post['seq']} is of no chunk of the run"


def _one_post_each(h: History) -> Iterator[str]:
    for seq, chunk in h.chunks.items():
        posts = len(h.posts_by_chunk[seq])
        if (posts, chunk["attempt"]) != (1, 1):
            yield f"G2: without faults chunk {seq} had {posts} POSTs, {chunk['attempt']} attempts"


def _people(h: History) -> Iterator[str]:
    external_ids = Counter(u["external_id"].lower() for u in h.users if u["external_id"])
    emails = Counter(one["value"] for u in h.users for one in u["identities"])
    several = [key for key, times in (external_ids + emails).items() if times > 1]
    if several:
        yield f"G2: {len(several)} external_ids or e-mails belong to more than one user"


def _keyed(h: History) -> Iterator[str]:
    for post in h.posts:
        if None in post_keys(post):
            yield f"G4: request {post['seq']} holds a row without external_id and e-mail"


# --- success only with proof --------------------------------------------------------------------


def _delivered(h: History) -> Iterator[str]:
    """Who was delivered is there, by a job of that chunk, with the values that were sent last."""
    for seq, results in h.results.items():
        jobs = {post["job_id"] for post in h.posts_by_chunk[seq]} - {None}
        last = {key: digest for post in h.posts_by_chunk[seq] for key, digest in sent(post)}
        for row, kind, user_id in results:
            user = h.users_by_id.get(user_id)
            if user is None:
                yield f"G2: row {row} is {kind} as a user whom the sandbox does not have"
            elif user["applied_by"] not in jobs:
                yield f"G2: row {row} is {kind}, no job of its chunk wrote the user"
            elif kind == "created" and user["created_by"] not in jobs:
                yield f"G2: row {row} is created, no job of its chunk made the user"
            elif not user_keys(user) & last.keys():
                yield f"G2: row {row} is {kind} as a user who was not in its chunk"
            else:
                yield from _values(h, row, user, last)


def _values(h: History, row: int, user: Record, last: Mapping[str | None, str]) -> Iterator[str]:
    sent = {last[key] for key in user_keys(user) if key in last}
    if user["digest"] not in sent:
        yield f"G2: row {row} is delivered, the sandbox has other values than were sent last"
    hashes = [key_hash(key, h.hash_key) for key in user_keys(user)]
    known = {h.delivered[one].hex() for one in hashes if one in h.delivered}
    if user["digest"] not in known:
        yield f"G2: row {row} is delivered, the ledger remembers other values for the person"


# --- G5: nothing goes back ----------------------------------------------------------------------


def _told(h: History) -> Iterator[str]:
    """Nothing is told of what has ended, and everything ends once."""
    ended: set[int | str] = set()
    for event in h.events:
        kind, seq = event["kind"], event["seq"]
        if "run" in ended and kind not in AFTER_THE_END:
            yield f"G5: {kind} after the run had ended"
        if seq in ended and kind != "rows_again":  # written with the end, for the rows that go on
            yield f"G5: {kind} after chunk {seq} had ended"
        if kind in FINAL_EVENT or kind == "run_ended":
            ended.add("run" if kind == "run_ended" else seq)
    if ended - {"run"} != {seq for seq, c in h.chunks.items() if c["state"] in ENDED_CHUNK}:
        yield "G5: the chunks that have ended are not those whose events say so"
    if [e["kind"] for e in h.events].count("run_ended") != (h.run["state"] in ENDED_RUN):
        yield "G5: the run did not end exactly once"
    if [e["kind"] for e in h.events].count("run_reported") > 1:
        yield "G5: it was told more than once that the run has ended"


def _rising(h: History) -> Iterator[str]:
    """Attempts and fences of a chunk only rise."""
    attempts: Counter[int] = Counter()
    fences: Counter[int] = Counter()
    for event in h.events:
        kind, seq, data = event["kind"], event["seq"], event["data"]
        if kind == "chunk_submitted":
            if data["attempt"] <= attempts[seq]:
                yield f"G5: attempt {data['attempt']} of chunk {seq} was accepted twice or late"
            attempts[seq] = data["attempt"]
        if "fence" in data:
            if data["fence"] < fences[seq]:
                yield f"G5: the fence of chunk {seq} fell to {data['fence']}"
            fences[seq] = data["fence"]


AFTER_THE_END: frozenset[str] = frozenset({"run_reported", "run_retried", "run_pruned", "alert"})
"""What may be told of a run that has ended."""


def _seen(h: History) -> Iterator[str]:
    """What was seen of the chunks while the run went on."""
    last: dict[int, Sample] = {}
    for sample in h.samples:
        before = last.get(sample.seq, sample)
        if sample.fence < before.fence:
            yield f"G5: the fence of chunk {sample.seq} was {before.fence}, then {sample.fence}"
        if before.state in ENDED_CHUNK and sample.state != before.state:
            yield f"G5: chunk {sample.seq} was {before.state}, then {sample.state}"
        last[sample.seq] = sample


# --- G6: limits ---------------------------------------------------------------------------------


def _users_a_second(h: History) -> Iterator[str]:
    budget = h.account["users_per_second"]
    stamps = [(stamp, users) for stamp, users, _ in h.stamps]
    most = peak(stamps, 1.0)
    if most > budget:
        yield f"G6: {most} users within a second of send stamps, the budget is {budget}"
    arrivals = [(post["at"], post["users"]) for post in h.unstamped]
    most = peak(sorted([*stamps, *arrivals]), SHORT_SECOND) if arrivals else 0
    if most > budget:
        yield f"G6: {most} users within a second, refused ones too, the budget is {budget}"


def _requests_a_minute(h: History) -> Iterator[str]:
    most = peak(sorted((entry["at"], 1) for entry in h.journal), 60.0)
    budget = h.account["requests_per_minute"]
    if most > budget:
        yield f"G6: {most} requests within a minute, the budget is {budget}"


def _jobs(h: History) -> Iterator[str]:
    """A job is in flight from its acceptance to the next thing that is told of its chunk."""
    cap, now = h.account["jobs_in_flight"], set()
    for event in h.events:
        if event["kind"] == "chunk_submitted":
            now.add(event["seq"])
            if len(now) > cap:
                yield f"G6: {len(now)} jobs in flight, the cap is {cap}"
                return
        elif event["kind"] in FINAL_EVENT | {"chunk_unclear"}:
            now.discard(event["seq"])


def peak(arrivals: Sequence[tuple[float, int]], seconds: float) -> int:
    """Return the most that arrived in any window of so many seconds; arrivals are sorted."""
    most = total = first = 0
    for at, count in arrivals:
        total += count
        while arrivals[first][0] <= at - seconds:
            total -= arrivals[first][1]
            first += 1
        most = max(most, total)
    return most


# --- G7: nobody's data --------------------------------------------------------------------------


def _private(h: History) -> Iterator[str]:
    people = {str(k).lower() for p in h.posts for k in (*p["external_ids"], *p["emails"]) if k}
    people = {person for person in people if len(person) > 4}
    told = [(f"event {e['kind']}", json.dumps(e["data"])) for e in h.events]
    told += [(f"the detail of row {o['row']}", o["detail"] or "") for o in h.outcomes]
    told += [("the run's error", h.run["error_message"] or "")]
    for place, words in told:
        if any(person in words.lower() for person in people):
            yield f"G7: {place} names a customer"


JUDGES = (
    _ended, _rows, _sums, _posts, _people, _keyed, _delivered, _told, _rising, _seen,
    _users_a_second, _requests_a_minute, _jobs, _private,
)  # fmt: skip
