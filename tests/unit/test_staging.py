"""Every row of a result comes out once: in a chunk, or rejected with its reason."""

from __future__ import annotations

import stat

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrations.mapping import Mapper
from orchestrations.sources import Result
from orchestrations.staging import stage
from worker.errors import RunError
from worker.profile import OutcomeKind, Profile

COLUMNS = ("external_id", "email", "name")


def result(rows, batch=3):
    batches = (rows[i : i + batch] for i in range(0, len(rows), batch))
    return Result(COLUMNS, iter(list(batches)))


def staged(folder, rows, **options):
    return stage(result(rows), Mapper(COLUMNS), folder, **options)


def numbers(chunks):
    return [[profile.row for profile in chunk] for chunk in chunks]


def kept_by_the_rule(rows):
    """The rule of docs/catalog.md, in memory: from the last row back, each key is taken once."""
    taken, kept = set(), set()
    for number, (external_id, email, name) in reversed(list(enumerate(rows, start=1))):
        keys = set()
        if external_id:
            keys.add(("id", external_id.lower()))
        if email:
            keys.add(("email", email.strip().lower()))
        if name and keys and not keys & taken:
            taken |= keys
            kept.add(number)
    return kept


def test_the_last_row_of_an_external_id_wins_whatever_its_case(tmp_path):
    with staged(tmp_path, [("A1", None, "Old"), ("b", None, "Bo"), ("a1", None, "New")]) as rows:
        assert [p.user["name"] for chunk in rows.chunks() for p in chunk] == ["Bo", "New"]
        (duplicate,) = rows.rejected()
    assert duplicate.row == 1
    assert (duplicate.kind, duplicate.code) == (OutcomeKind.SKIPPED, "duplicate")
    assert (duplicate.external_id, duplicate.email) == ("A1", None)


def test_the_last_row_of_an_email_wins_whatever_the_external_id(tmp_path):
    with staged(tmp_path, [("1", "A@x.example", "Old"), ("2", " a@X.example ", "New")]) as rows:
        assert numbers(rows.chunks()) == [[2]]
        assert [row.row for row in rows.rejected()] == [1]


def test_a_dropped_row_drops_no_other(tmp_path):
    chain = [("1", "x@x.example", "A"), ("2", "x@x.example", "B"), ("2", "y@x.example", "C")]
    with staged(tmp_path, chain) as rows:
        assert numbers(rows.chunks()) == [[1, 3]]
        assert [row.row for row in rows.rejected()] == [2]


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
    with stage(Result(tuple(columns), iter([[values]])), Mapper(columns), tmp_path) as rows:
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
        stage(Result(COLUMNS, batches()), Mapper(COLUMNS), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_fails_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be staged on disk"):
        staged(tmp_path / "file", [("1", None, "Ada")])


def test_many_duplicates_are_found_across_batches_of_the_join(tmp_path):
    rows = [(f"c{i % 3_000}", f"u{i % 2_500}@x.example", "Ada") for i in range(9_000)]
    with staged(tmp_path, rows) as found:
        kept = {profile.row for chunk in found.chunks() for profile in chunk}
        assert kept == kept_by_the_rule(rows)
        assert {row.row for row in found.rejected()} == set(range(1, 9_001)) - kept


IDS = st.sampled_from([None, "a", "A", "b", "c", "d", "e", "f"])
EMAILS = st.sampled_from([None, "a@x", "A@X", "b@x", "c@x", "d@x", "e@x"])
ROWS = st.lists(st.tuples(IDS, EMAILS, st.sampled_from(["Ada", "Ada", "Ada", None])), max_size=30)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 7), st.integers(1, 400))
def test_chunks_and_rejected_rows_are_all_rows_once(tmp_path_factory, rows, size, max_body):
    with staged(tmp_path_factory.getbasetemp(), rows) as found:
        chunks = numbers(found.chunks(size=size, max_body=max_body))
        rejected = [row.row for row in found.rejected()]
    sent = [row for chunk in chunks for row in chunk]
    assert sent == sorted(sent)
    assert rejected == sorted(rejected)
    assert sorted(sent + rejected) == list(range(1, len(rows) + 1))
    assert set(sent) == kept_by_the_rule(rows)
    assert all(0 < len(chunk) <= size for chunk in chunks)
