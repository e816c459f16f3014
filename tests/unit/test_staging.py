"""Every row of a result comes out once: in a chunk, rejected with its reason, or as unchanged."""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrations import helpers, staging
from orchestrations.helpers import Crew
from orchestrations.lines import Encoder
from orchestrations.mapping import Mapper
from orchestrations.sources import Result
from orchestrations.staging import Rules, stage
from worker.digests import digest, key_hash, mark
from worker.errors import RunError
from worker.ledger.spool import decode_profiles, payload_digest
from worker.profile import OutcomeKind, Profile

COLUMNS = ("external_id", "email", "name")
HASH_KEY = b"k" * 32


def result(rows, batch=3):
    batches = (rows[i : i + batch] for i in range(0, len(rows), batch))
    return Result(COLUMNS, iter(list(batches)))


def staged(folder, rows, *, ordered=True, on_shared_email="fail_row", hash_key=None, **options):
    encoder = Encoder(Mapper(COLUMNS), ranked=not ordered, hash_key=hash_key)
    rules = Rules(ordered=ordered, on_shared_email=on_shared_email)
    return stage(result(rows), encoder, folder, rules, **options)


def numbers(chunks):
    return [[profile.row for profile in chunk] for chunk in chunks]


def sent(found):
    return [row for chunk in numbers(found.chunks()) for row in chunk]


def reasons(found):
    return {row.row: row.code for row in found.rejected()}


def by_the_rules(rows, *, drop_email=False):
    """docs/catalog.md, "The same person twice", in memory: row -> None (sent) or its code."""
    valid = {
        number: (external_id and external_id.lower(), email and email.strip().lower())
        for number, (external_id, email, name) in enumerate(rows, start=1)
        if name and (external_id or email)
    }
    last = {external_id: number for number, (external_id, _) in valid.items() if external_id}
    verdicts = {n: "duplicate" if last.get(x, n) != n else None for n, (x, _) in valid.items()}
    people = {}
    for number, (_, email) in valid.items():
        if email and verdicts[number] is None:
            people.setdefault(email, []).append(number)
    for group in people.values():
        ids = [number for number in group if valid[number][0]]
        if len(ids) > 1:
            fails = [number for number in group if not (drop_email and number in ids)]
            verdicts.update(dict.fromkeys(fails, "shared_email"))
        else:
            verdicts.update(dict.fromkeys(group[:-1], "duplicate"))
    return verdicts


def test_the_last_row_of_an_external_id_wins_whatever_its_case(tmp_path):
    with staged(tmp_path, [("A1", None, "Old"), ("b", None, "Bo"), ("a1", None, "New")]) as rows:
        assert [p.user["name"] for chunk in rows.chunks() for p in chunk] == ["Bo", "New"]
        (duplicate,) = rows.rejected()
    assert duplicate.row == 1
    assert (duplicate.kind, duplicate.code) == (OutcomeKind.SKIPPED, "duplicate")
    assert (duplicate.external_id, duplicate.email) == ("A1", None)


def test_the_last_row_of_an_email_wins_where_no_other_external_id_is_involved(tmp_path):
    rows = [
        (None, "A@x.example", "1"), ("1", " a@X.example ", "2"),
        ("2", "b@x.example", "3"), (None, "b@x.example", "4"),
        (None, "c@x.example", "5"), (None, "C@x.example", "6"),
    ]  # fmt: skip
    with staged(tmp_path, rows) as found:
        assert sent(found) == [2, 4, 6]
        assert reasons(found) == {1: "duplicate", 3: "duplicate", 5: "duplicate"}


def test_nobody_knows_whose_an_email_is_that_several_external_ids_have(tmp_path):
    rows = [
        ("1", "A@x.example", "1"), ("2", " a@X.example ", "2"), (None, "a@x.example", "3"),
        ("3", "c@x.example", "4"),
    ]  # fmt: skip
    with staged(tmp_path, rows) as found:
        assert sent(found) == [4]
        assert reasons(found) == dict.fromkeys((1, 2, 3), "shared_email")
        assert {row.kind for row in found.rejected()} == {OutcomeKind.FAILED}
        assert found.failed == 3


def test_rows_with_an_external_id_may_go_without_the_email_that_they_share(tmp_path):
    rows = [("1", "a@x.example", "1"), ("2", "a@x.example", "2"), (None, "a@x.example", "3")]
    with staged(tmp_path, rows, on_shared_email="drop_email") as found:
        (chunk,) = found.chunks()
        assert [(p.row, p.external_id, p.email) for p in chunk] == [(1, "1", None), (2, "2", None)]
        assert reasons(found) == {3: "shared_email"}
        (packed,) = found.packed()
    assert decode_profiles(packed.blob) == chunk
    assert packed.digest == payload_digest(chunk)


def test_a_row_that_is_an_older_one_of_its_id_shares_no_email(tmp_path):
    chain = [("1", "x@x.example", "A"), ("2", "x@x.example", "B"), ("2", "y@x.example", "C")]
    with staged(tmp_path, chain) as found:
        assert sent(found) == [1, 3]
        assert reasons(found) == {2: "duplicate"}


def test_older_values_of_a_person_stay_behind_when_a_row_without_id_is_the_last(tmp_path):
    chain = [("1", "z@x.example", "A"), ("1", "x@x.example", "B"), (None, "x@x.example", "C")]
    with staged(tmp_path, chain) as found:
        assert sent(found) == [3]
        assert reasons(found) == {1: "duplicate", 2: "duplicate"}


def test_without_an_order_the_same_row_of_a_person_is_sent_whatever_the_order(tmp_path):
    rows = [("1", None, "Ada"), ("1", None, "Bea"), ("1", None, "Cid"), ("2", None, "Dan")]
    names = set()
    for turned in (rows, rows[::-1], rows[1:] + rows[:1]):
        with staged(tmp_path, turned, ordered=False) as found:
            names.add(tuple(sorted(p.user["name"] for (chunk) in found.chunks() for p in chunk)))
            assert found.ambiguous == 2
    assert len(names) == 1
    with staged(tmp_path, rows) as found:
        assert found.ambiguous == 0


def test_which_row_of_a_person_is_chosen_does_not_hang_on_whether_marks_are_needed(tmp_path):
    rows = [(str(i % 20), None, f"Name {i}") for i in range(60)]
    with staged(tmp_path, rows, ordered=False) as found:
        without_marks = sent(found)
    with staged(tmp_path, rows, ordered=False, hash_key=HASH_KEY) as found:
        assert sent(found) == without_marks


def test_a_rejected_row_drops_no_other(tmp_path):
    with staged(tmp_path, [("1", None, "Ada"), ("1", None, None)]) as rows:
        assert numbers(rows.chunks()) == [[1]]
        assert [(row.row, row.code, row.external_id) for row in rows.rejected()] == [
            (2, "missing_name", "1")
        ]


def test_an_external_id_that_looks_like_an_email_is_not_one(tmp_path):
    with staged(tmp_path, [("a@x.example", None, "A"), (None, "a@x.example", "B")]) as rows:
        assert numbers(rows.chunks()) == [[1, 2]]


def test_rejected_rows_come_in_row_order_with_the_duplicates_among_them(tmp_path):
    found = [("1", None, "A"), (None, None, "B"), ("1", None, "C"), ("2", "no", "D")]
    with staged(tmp_path, found) as rows:
        assert rows.rows_read == 4
        assert [(row.row, row.code) for row in rows.rejected()] == [
            (1, "duplicate"),
            (2, "missing_identifier"),
            (4, "invalid_value"),
        ]


def test_only_the_last_chunk_is_smaller(tmp_path):
    with staged(tmp_path, [(str(i), None, "Ada") for i in range(250)]) as rows:
        assert [len(chunk) for chunk in rows.chunks()] == [100, 100, 50]
        assert [len(chunk) for chunk in rows.chunks(size=125)] == [125, 125]


def test_a_chunk_is_cut_where_the_body_would_be_too_large(tmp_path):
    with staged(tmp_path, [(str(i), None, "é" * 500) for i in range(10)]) as rows:
        chunks = list(rows.chunks(max_body=4_000))
        bodies = [orjson.dumps({"users": [p.user for p in chunk]}) for chunk in chunks]
        assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
        exact = len(bodies[0])
        assert len(next(rows.chunks(max_body=exact))) == 3
        assert len(next(rows.chunks(max_body=exact - 1))) == 2
        assert numbers(rows.chunks(max_body=1)) == [[row] for row in range(1, 11)]


def test_chunks_hold_what_the_mapping_made(tmp_path):
    columns = ["name", "email", "user_fields.tags", "user_fields.n"]
    values = ("Zoë", "z@x.example", ["a", "b"], 2**60)
    expected = Mapper(columns).map(1, values)
    with stage(
        Result(tuple(columns), iter([[values]])), Encoder(Mapper(columns)), tmp_path
    ) as rows:
        assert list(rows.chunks()) == [(expected,)]
    assert isinstance(expected, Profile)


def test_an_empty_result_has_no_chunks(tmp_path):
    with staged(tmp_path, []) as rows:
        assert (rows.rows_read, list(rows.chunks()), list(rows.rejected())) == (0, [], [])


def test_progress_is_told_after_each_batch(tmp_path):
    told = []
    with staged(tmp_path, [(str(i), None, "A") for i in range(7)], progress=told.append):
        assert told == [3, 6, 7]


def test_the_files_are_for_their_owner_only_and_go_away(tmp_path):
    with staged(tmp_path / "new", [("1", None, "Ada")]):
        (own,) = (tmp_path / "new").iterdir()
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert list((tmp_path / "new").iterdir()) == []


def test_a_query_that_fails_on_the_way_leaves_no_files(tmp_path):
    def batches():
        yield [("1", None, "Ada")]
        raise RunError("the source broke")

    with pytest.raises(RunError, match="the source broke"):
        stage(Result(COLUMNS, batches()), Encoder(Mapper(COLUMNS)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_fails_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be staged on disk"):
        staged(tmp_path / "file", [("1", None, "Ada")])


def test_many_duplicates_are_found_among_many_rows(tmp_path):
    rows = [(f"c{i % 3_000}", f"u{i % 2_500}@x.example", "Ada") for i in range(9_000)]
    with staged(tmp_path, rows) as found:
        expected = by_the_rules(rows)
        assert sent(found) == [number for number in expected if expected[number] is None]
        assert reasons(found) == {n: code for n, code in expected.items() if code}


def confirmed(profiles):
    return [mark(key_hash(p.key, HASH_KEY), digest(p.user)) for p in profiles]


def test_rows_that_zendesk_has_exactly_like_this_are_not_sent_again(tmp_path):
    before = [("1", None, "Ada"), ("2", "b@x.example", "Bea"), (None, "c@x.example", "Cid")]
    with staged(tmp_path, before, hash_key=HASH_KEY) as found:
        marks = confirmed(p for chunk in found.chunks() for p in chunk)
    now = [("1", None, "Ada"), ("2", "b@x.example", "Beatrix"), (None, "C@x.example", "Cid")]
    with staged(tmp_path, now, hash_key=HASH_KEY) as found:
        found.drop_unchanged(marks)
        assert sent(found) == [2, 3]  # another case of the e-mail is another payload
        assert (found.unchanged, list(found.rejected())) == (1, [])


def test_a_duplicate_stays_one_though_zendesk_has_it_like_this(tmp_path):
    with staged(tmp_path, [("1", None, "Ada")], hash_key=HASH_KEY) as found:
        marks = confirmed(next(found.chunks()))
    with staged(tmp_path, [("1", None, "Ada"), ("1", None, "Bea")], hash_key=HASH_KEY) as found:
        found.drop_unchanged(marks)
        assert (sent(found), reasons(found), found.unchanged) == ([2], {1: "duplicate"}, 0)


def test_a_row_without_its_shared_email_is_compared_as_it_is_sent(tmp_path):
    rows = [("1", "a@x.example", "Ada"), ("2", "a@x.example", "Bea")]
    options = {"hash_key": HASH_KEY, "on_shared_email": "drop_email"}
    with staged(tmp_path, rows, **options) as found:
        marks = confirmed(next(found.chunks()))
    with staged(tmp_path, rows, **options) as found:
        found.drop_unchanged(marks[:1])
        assert (sent(found), found.unchanged) == ([2], 1)


# --- helper processes -----------------------------------------------------------------------------


@pytest.fixture
def helped(monkeypatch):
    """Helpers take over after six rows."""
    monkeypatch.setattr(staging, "INLINE_ROWS", 6)


def test_helpers_change_nothing_but_the_time_it_takes(tmp_path, helped, monkeypatch):
    rows = [(f"c{i % 50}", f"u{i % 40}@x", "Ada" if i % 7 else None) for i in range(100)]
    with staged(tmp_path, rows) as found:
        helped_chunks, helped_rejected = list(found.chunks()), list(found.rejected())
        assert len(list(found._folder.glob("rows-*"))) == 1 + staging.HELPERS
    monkeypatch.setattr(staging, "INLINE_ROWS", 1_000)
    with staged(tmp_path, rows) as alone:
        assert len(list(alone._folder.glob("rows-*"))) == 1
        assert helped_chunks == list(alone.chunks())
        assert helped_rejected == list(alone.rejected())
        assert alone.failed == found.failed


class Counts:
    """A mapping that leaves values out and counts them."""

    def __init__(self):
        self.dropped = Counter()

    def map(self, row, values):
        self.dropped["phone"] += 1
        return Profile(row, {"external_id": values[0], "name": "Ada"})


@pytest.mark.parametrize("rows", [3, 6, 100])
def test_what_a_mapping_left_out_is_counted_wherever_it_ran(tmp_path, helped, rows):
    encoder = Encoder(Counts())
    with stage(result([(str(i), None, "A") for i in range(rows)]), encoder, tmp_path) as found:
        assert found.dropped == {"phone": rows}


class Breaks:
    """A mapping with a defect."""

    def map(self, row, values):
        if row == 20:
            raise KeyError(values[0])
        return Profile(row, {"external_id": values[0], "name": "Ada"})


class Dies:
    """A mapping in a process that the system ends, for want of memory perhaps."""

    def map(self, row, values):
        if row == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return Profile(row, {"external_id": values[0], "name": "Ada"})


class Refuses:
    """A mapping that fails the run."""

    def map(self, row, values):
        if row == 20:
            raise RunError("the rules are wrong", code="invalid_columns")
        return Profile(row, {"external_id": values[0], "name": "Ada"})


@pytest.mark.parametrize(
    ("mapper", "code", "words"),
    [
        (Breaks(), "plan_crashed", "mapping failed: KeyError"),
        (Dies(), "plan_crashed", "exit code -9"),
        (Refuses(), "invalid_columns", "the rules are wrong"),
    ],
)
def test_a_helper_that_cannot_go_on_fails_the_run_and_says_why(
    tmp_path, helped, mapper, code, words
):
    rows = [(f"secret{i}", None, "Ada") for i in range(300)]
    with pytest.raises(RunError, match=words) as caught:
        stage(result(rows), Encoder(mapper), tmp_path)
    assert caught.value.code == code
    assert "secret" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_no_helper_outlives_a_query_that_fails(tmp_path, helped, monkeypatch):
    begun = []
    start = staging.Crew.__init__
    monkeypatch.setattr(
        staging.Crew, "__init__", lambda self, *a: (start(self, *a), begun.append(self))[0]
    )

    def batches():
        for first in range(0, 30, 3):
            yield [(str(first + i), None, "Ada") for i in range(3)]
        raise RunError("the source broke")

    with pytest.raises(RunError, match="the source broke"):
        stage(Result(COLUMNS, batches()), Encoder(Mapper(COLUMNS)), tmp_path)
    assert [helper._process.returncode is None for helper in begun[0]._helpers] == [False, False]


def test_a_helper_ends_when_its_reader_is_gone(tmp_path):
    with Crew(Encoder(Mapper(COLUMNS)), tmp_path, [1]) as crew:
        (helper,) = crew._helpers
        crew.write(1, [("1", None, "Ada")])
        helper._in.close()  # as the system does when the reader dies
        assert helper._process.wait(30) == 1


def test_a_helper_whose_reader_dies_in_the_middle_of_a_message_ends_without_a_word(tmp_path):
    batch = pickle.dumps((1, [["x" * 1000] * 100]), pickle.HIGHEST_PROTOCOL)
    command = [sys.executable, "-c", helpers._RUN]
    ended = subprocess.run(
        command, input=batch[:500], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60
    )

    assert (ended.returncode, ended.stderr) == (1, b"")


IDS = st.sampled_from([None, "a", "A", "b", "c", "d", "e", "f"])
EMAILS = st.sampled_from([None, "a@x", "A@X", "b@x", "c@x", "d@x", "e@x"])
ROWS = st.lists(st.tuples(IDS, EMAILS, st.sampled_from(["Ada", "Ada", "Bea", None])), max_size=30)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 7), st.integers(1, 400), st.booleans(), st.sampled_from([True, False]))
def test_the_chunks_joined_are_the_staged_rows_in_order_but_for_those_dropped(
    tmp_path_factory, rows, size, max_body, drop_email, ordered
):
    rule = "drop_email" if drop_email else "fail_row"
    folder = tmp_path_factory.getbasetemp()
    with staged(folder, rows, on_shared_email=rule, ordered=ordered) as found:
        chunks = list(found.chunks(size=size, max_body=max_body))
        packed = list(found.packed(size=size, max_body=max_body))
        rejected = [row.row for row in found.rejected()]
    joined = [profile for chunk in chunks for profile in chunk]
    leaving = [profile.row for profile in joined]
    assert leaving == sorted(leaving)
    assert rejected == sorted(rejected)
    assert sorted(leaving + rejected) == list(range(1, len(rows) + 1))
    assert all(0 < len(chunk) <= size for chunk in chunks)
    # No key twice in a run.
    ids = [p.external_id.lower() for p in joined if p.external_id]
    emails = [p.email.strip().lower() for p in joined if p.email]
    assert len(set(ids)) == len(ids)
    assert len(set(emails)) == len(emails)
    # What lies in the ledger is what was cut, and each row is what the mapping made of it.
    assert [decode_profiles(one.blob) for one in packed] == chunks
    assert [one.digest for one in packed] == [payload_digest(chunk) for chunk in chunks]
    for profile in joined:
        made = Mapper(COLUMNS).map(profile.row, rows[profile.row - 1]).user
        assert {**made, "email": None} == {**profile.user, "email": None}
    if ordered:
        expected = by_the_rules(rows, drop_email=drop_email)
        assert leaving == [number for number in expected if expected[number] is None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one, max_size=3),
    max_leaves=6,
)  # fmt: skip
USERS = st.dictionaries(st.sampled_from(["a", "b", "user_fields"]), JSON, max_size=3)


def same(one, other):
    """Equality of JSON: true is not 1, and 1.0 is not 1."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        other, option=orjson.OPT_SORT_KEYS
    )


@settings(max_examples=100, deadline=None)
@given(USERS, USERS)
def test_digests_are_equal_exactly_when_payloads_are(one, other):
    assert (digest(one) == digest(other)) == same(one, other)
    turned = dict(reversed(list(one.items())))
    assert digest(turned) == digest(one)
    assert digest(orjson.loads(orjson.dumps(one))) == digest(one)  # through the ledger and back
