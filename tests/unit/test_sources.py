"""A source shows the query its declared files and nothing else."""

from __future__ import annotations

import gzip
import re
from datetime import date

import duckdb
import pytest

from orchestrations.sources import BATCH_ROWS, files, open_source
from orchestrations.spec import Source
from worker.errors import RunError

SECRET = "joe.miller"


def source(**tables):
    return Source.model_validate({"name": "s", "type": "files", "tables": tables})


@pytest.fixture
def folder(tmp_path):
    catalog = tmp_path / "catalog"
    (catalog / "data").mkdir(parents=True)
    (catalog / "data" / "people.csv").write_text(
        f"id,name,points,note\n007,{SECRET},12,\n# 8,Ann,x,\n9,Bob,3,\n"
    )
    (catalog / "data" / "other.csv").write_text("a\n1\n")
    (tmp_path / "outside.csv").write_text("a\n1\n")
    return catalog


def rows(folder, sql, **tables):
    with open_source(source(**(tables or {"people": "data/people.csv"})), folder) as opened:
        return [row for batch in opened.query(sql).batches for row in batch]


def failure(folder, sql, **tables):
    with pytest.raises(RunError) as caught:
        rows(folder, sql, **tables)
    # A traceback must not print DuckDB's own error, which quotes values.
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_csv_columns_are_text_exactly_as_they_stand_in_the_file(folder):
    assert rows(folder, "SELECT * FROM people") == [
        ("007", SECRET, "12", None),
        ("# 8", "Ann", "x", None),
        ("9", "Bob", "3", None),
    ]


def test_try_cast_of_a_csv_column_gives_null_where_it_cannot_be_read(folder):
    found = rows(folder, "SELECT TRY_CAST(points AS INTEGER) FROM people")
    assert found == [(12,), (None,), (3,)]


def test_json_and_parquet_keep_their_types(folder):
    (folder / "a.jsonl").write_text('{"id": 1, "tags": ["x", "y"]}\n{"id": 2}\n')
    target = folder / "b.parquet"
    duckdb.connect().execute(f"COPY (SELECT DATE '2026-01-02' AS day) TO '{target}'")
    assert rows(folder, "SELECT id, tags FROM j", j="a.jsonl") == [(1, ["x", "y"]), (2, None)]
    assert rows(folder, "SELECT day FROM p", p="b.parquet") == [(date(2026, 1, 2),)]


def test_compressed_and_tab_separated_files_are_read(folder):
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    (folder / "a.tsv").write_text("a\tb\n1,5\t2\n")
    assert rows(folder, "SELECT a, b FROM z", z="a.csv.gz") == [("1", "2")]
    assert rows(folder, "SELECT a, b FROM t", t="a.tsv") == [("1,5", "2")]


def test_several_files_of_a_table_are_matched_by_column_name(folder):
    (folder / "x1.csv").write_text("a,b\n1,2\n")
    (folder / "x2.csv").write_text("b,a\n4,3\n")
    assert sorted(rows(folder, "SELECT a, b FROM x", x="x*.csv")) == [("1", "2"), ("3", "4")]
    assert len(rows(folder, "SELECT a FROM x", x=["x1.csv", "x2.csv"])) == 2


def test_a_result_names_its_columns_and_comes_in_bounded_batches(folder):
    with open_source(source(people="data/people.csv"), folder) as opened:
        result = opened.query(
            f'SELECT i AS n, 1 AS "user_fields.a" FROM range({2 * BATCH_ROWS + 1}) t(i)'
        )
        assert result.columns == ("n", "user_fields.a")
        batches = list(result.batches)
    assert [len(batch) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert [row[0] for batch in batches for row in batch] == list(range(2 * BATCH_ROWS + 1))


def test_a_second_query_does_not_disturb_the_first(folder):
    with open_source(source(people="data/people.csv"), folder) as opened:
        first = opened.query("SELECT i FROM range(10000) t(i)")
        head = next(first.batches)
        assert list(opened.query("SELECT 1 AS one").batches) == [[(1,)]]
        rest = [row for batch in first.batches for row in batch]
    assert len(head) + len(rest) == 10_000


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{data}/other.csv')",
        "SELECT * FROM '{data}/other.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_blob('{data}/../../outside.csv')",
        "SELECT * FROM glob('{data}/*')",
        "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
        "SELECT * FROM sniff_csv('{data}/other.csv')",
        "SELECT getenv('HOME')",
        "SELECT * FROM read_json('{data}/other.csv')",
        "SELECT * FROM query('SELECT 1') , read_text('{data}/other.csv')",
        "SELECT * FROM query_table('{data}/other.csv')",
        "SELECT * FROM read_text('https://127.0.0.1:1/x')",
        "SELECT * FROM read_csv('s3://bucket/x.csv')",
        "SELECT * FROM parquet_metadata('{data}/other.parquet')",
        "SELECT * FROM duckdb_secrets(), read_blob('/proc/self/environ')",
        "SELECT * FROM sqlite_scan('{data}/x.db', 't')",
        "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 't')",
        "SELECT * FROM read_duckdb('{data}/x.db')",
    ],
)
def test_a_query_reads_only_the_declared_files(folder, sql):
    assert failure(folder, sql.format(data=folder / "data")).code == "query_failed"


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{data}/new.csv'",
        "COPY (SELECT 1) TO '{data}/people.csv'",
        "WITH x AS (COPY (SELECT 1) TO '{data}/people.csv') SELECT 1",
        "WITH x AS (INSERT INTO people VALUES (1)) SELECT 1",
        "CREATE TABLE t AS SELECT 1",
        "ATTACH '{data}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "PRAGMA version",
        "CALL pragma_version()",
        "EXPORT DATABASE '{data}/x'",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{data}/new.csv'",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{data}/new.csv'",
        "FORCE INSTALL httpfs",
        "LOAD '{data}/people.csv'",
        "RESET threads",
        "SET GLOBAL enable_external_access = true",
        "SET VARIABLE x = 1",
        "PRAGMA database_list",
        "PRAGMA enable_external_access",
        "IMPORT DATABASE '{data}'",
        "CHECKPOINT",
        "USE memory",
        "CREATE SECRET s (TYPE s3)",
        "CREATE OR REPLACE VIEW people AS SELECT 1",
        "DROP VIEW people",
        "PREPARE p AS SELECT 1",
        "SELECT $1",
        "SELECT ?",
        "SELECT $undeclared",
        "",
        "-- nothing",
        "SELEC 1",
        "DESCRIBE people",
        "desc people",
        "-- what\nSUMMARIZE people",
        "(SHOW TABLES)",
    ],
)
def test_anything_but_one_select_is_refused_and_changes_no_file(folder, sql):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert failure(folder, sql.format(data=folder / "data")).code == "query_failed"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("sql", ["DESCRIBE people", "SUMMARIZE people", "SHOW TABLES"])
def test_what_asks_about_tables_is_told_that_it_is_no_select(folder, sql):
    assert "exactly one SELECT" in failure(folder, sql).message


def test_variables_of_python_are_no_tables_and_the_settings_are_locked(folder):
    settings = (
        "current_setting('python_enable_replacements'), current_setting('lock_configuration')"
    )
    assert rows(folder, f"SELECT {settings}") == [(False, True)]


def test_a_select_may_end_with_a_semicolon_and_have_comments(folder):
    assert rows(folder, "-- why\nWITH a AS (SELECT 1 AS n) SELECT n FROM a; -- end\n") == [(1,)]


def test_a_path_through_a_symbolic_link_out_of_the_catalog_is_refused(folder):
    (folder / "link.csv").symlink_to(folder.parent / "outside.csv")
    error = failure(folder, "SELECT 1", t="link.csv")
    assert "leads out of the catalog folder" in error.message


def test_a_symbolic_link_inside_the_catalog_is_followed(folder):
    (folder / "link.csv").symlink_to(folder / "data" / "other.csv")
    assert rows(folder, "SELECT a FROM t", t="link.csv") == [("1",)]


def test_two_stars_find_files_in_all_folders(folder):
    assert len(rows(folder, "SELECT 1 FROM t", t="**/other.csv")) == 1


def test_a_missing_file_names_table_and_pattern(folder):
    error = failure(folder, "SELECT 1", people="data/nobody.csv")
    assert error.message == (
        "table 'people': no file matches 'data/nobody.csv' in the catalog folder"
    )


def test_a_csv_with_another_separator_is_not_taken_for_one_column(folder):
    (folder / "semi.csv").write_text("id;name\n1;Ann\n")
    assert "separated by commas" in failure(folder, "SELECT 1", t="semi.csv").message


def test_a_second_csv_with_another_separator_is_named(folder):
    (folder / "semi.csv").write_text("id;name\n1;Ann\n")
    error = failure(folder, "SELECT 1", t=["data/people.csv", "semi.csv"])
    assert "table 't', file semi.csv: " in error.message
    assert "separated by commas" in error.message


LONG = "1,Ann\n" * 30_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"id,name\n1,Ann\n{SECRET}\n2,Bob\n", "line 3: it has 1 cell, the header has 2"),
        (f"id,name\n1,Ann,{SECRET}\n2,Bob\n", "line 2: it has 3 cells, the header has 2"),
        (f"id,name\n{LONG}{SECRET}\n", "line 30002: it has 1 cell, the header has 2"),
        (f"id,name\n{LONG}1,Ann,{SECRET}\n", "line 30002: it has 3 cells, the header has 2"),
        ("# of today\nid,name\n1,Ann\n2,Bob\n", "nothing may stand above it"),
    ],
)
def test_a_csv_row_that_does_not_fit_the_header_is_told_with_its_place_and_not_quoted(
    folder, text, words
):
    (folder / "bad.csv").write_text(text)
    error = failure(folder, "SELECT * FROM t", t=["data/other.csv", "bad.csv"])
    assert SECRET not in error.message
    assert "table 't', file bad.csv, line" in error.message
    assert words in error.message
    assert error.code == "query_failed"


@pytest.mark.parametrize(
    ("form", "line"), [("{}", "line 25001"), ("[{}]", "line")], ids=["lines", "array"]
)
def test_a_json_value_of_a_later_type_is_told_with_its_place_and_the_remedy(folder, form, line):
    objects = [f'{{"id": {n}}}' for n in range(25_000)] + [f'{{"id": "{SECRET}"}}']
    (folder / "late.json").write_text(form.format((",\n" if "[" in form else "\n").join(objects)))
    error = failure(folder, "SELECT * FROM t", t="late.json")
    assert f"table 't', file late.json, {line}" in error.message
    assert "one type from its first rows on" in error.message
    assert SECRET not in error.message


def test_a_json_column_of_several_types_is_refused_and_the_advice_helps(folder):
    (folder / "mixed.json").write_text(
        '[{"external_id": 1, "l": [1, "a"]}, {"external_id": "A2", "l": null}]'
    )
    for column, advice in (
        ("external_id", "external_id->>'$' AS external_id"),
        ("l", "list_transform(l, lambda v: v->>'$') AS l"),
    ):
        error = failure(folder, f"SELECT {column} FROM t", t="mixed.json")
        assert error.code == "invalid_columns"
        assert f"column '{column}' of the result is JSON" in error.message
        assert "list_transform(x, lambda v: v->>'$')" in error.message
        assert rows(folder, f"SELECT {advice} FROM t", t="mixed.json") == (
            [("1",), ("A2",)] if column == "external_id" else [(["1", "a"],), (None,)]
        )


@pytest.mark.parametrize("header", ["id,name,id", "id,ID", '"id",id'])
def test_a_csv_header_that_holds_a_name_twice_is_refused_by_name(folder, header):
    (folder / "twice.csv.gz").write_bytes(gzip.compress(f"{header}\n1,2,3\n".encode()))
    error = failure(folder, "SELECT 1", t="twice.csv.gz")
    assert "table 't', file twice.csv.gz: " in error.message
    assert "'id'" in error.message


@pytest.mark.parametrize(
    "row", ["1,Joe,joe@example.com", "1;Joe;joe@example.com", "joe@example.com,a,joe@example.com",
            "1,Joe,+1 415 555 0100"],
)  # fmt: skip
def test_a_csv_file_without_a_header_is_refused_before_its_first_row_is_taken_for_names(
    folder, row
):
    (folder / "bare.csv").write_text(f"{row}\n")
    error = failure(folder, "SELECT id FROM t", t="bare.csv")
    assert "line 1 is to be the header" in error.message
    assert "joe" not in error.message.lower()
    assert "415" not in error.message


@pytest.mark.parametrize("header", ["id,@name", "id,2026", "id,e-mail (home)", "id,+/-", "id,a@b"])
def test_odd_names_of_columns_are_names(folder, header):
    (folder / "odd.csv").write_text(f"{header}\n1,2\n")
    assert rows(folder, "SELECT id FROM t", t="odd.csv") == [("1",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT struct_extract({'a': 1}, $who) FROM people",
        "SELECT * FROM query($who)",
        "SELECT * FROM query_table($who)",
        "SELECT current_setting($who)",
        "SELECT date_part($who, DATE '2026-01-01')",
        "SELECT * FROM range($who)",
        "SELECT id FROM people LIMIT $who",
    ],
)
def test_no_error_quotes_the_value_of_a_parameter(folder, sql):
    with (
        pytest.raises(RunError) as caught,
        open_source(source(people="data/people.csv"), folder) as opened,
    ):
        list(opened.query(sql, {"who": "joe.miller@example.com"}).batches)
    assert not {"joe", "miller", "example"} & {*re.findall(r"\w+", caught.value.message)}


@pytest.mark.parametrize(
    ("sql", "value", "canary"),
    [
        ("SELECT COLUMNS($who) FROM people", "al@b.co", "al@b"),
        ("SELECT id, struct_extract({'x': 1}, $who) FROM people", "ab 12", "ab 12"),
        ("SELECT struct_extract({'x': 1}, $who) FROM people", "06 12 34", "06 12"),
        ("SELECT COLUMNS($who || '_x') FROM people", "hildegard", "hildegard"),
        ("SELECT struct_extract({'x': 1}, $who || $who) FROM people", "hil", "hil"),
        ("SELECT json_extract('{}', '$[[' || $who) FROM people", "q@r", "q@r"),
        ("SELECT * FROM read_csv($who)", "q@r", "q@r"),
        ("SELECT struct_extract(row(1, 2), $who) FROM people", 7311, "7311"),
    ],
)
def test_no_error_quotes_a_short_value_of_a_parameter_or_what_is_made_of_it(
    folder, sql, value, canary
):
    with (
        pytest.raises(RunError) as caught,
        open_source(source(people="data/people.csv"), folder) as opened,
    ):
        list(opened.query(sql, {"who": value}).batches)
    assert canary not in caught.value.message
    assert "run the query with these values in a client of your own" in caught.value.message


@pytest.mark.parametrize("value", ["al@b.co", "nme", "~", None, True, 0, 1.5])
@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nme, $who AS x FROM people", 'Candidate bindings: "name"'),
        ("SELECT id FROM peeple WHERE id = $who", 'Did you mean "people"'),
        ("SELECT id FROM people WHERE nosuch($who)", "Function with name nosuch does not exist"),
    ],
)
def test_words_that_are_the_same_for_every_value_are_repeated(folder, sql, words, value):
    with (
        pytest.raises(RunError) as caught,
        open_source(source(people="data/people.csv"), folder) as opened,
    ):
        opened.query(sql, {"who": value})
    assert words in caught.value.message


def test_no_column_is_called_after_the_value_of_a_parameter(folder):
    (folder / "data" / "kinds.csv").write_text("id,kind\n1,gold\n2,ada\n")
    pivot = "SELECT * FROM (PIVOT kinds ON kind IN ($who{}) USING count(*))"
    with open_source(source(kinds="data/kinds.csv"), folder) as opened:
        with pytest.raises(RunError, match="columns after values of its parameters") as caught:
            opened.query(pivot.format(""), {"who": "ada"})
        assert caught.value.code == "invalid_columns"
        assert "ada" not in caught.value.message
        named = opened.query(pivot.format(" AS chosen"), {"who": "ada"})
        assert named.columns == ("id", "chosen")


def test_with_parameters_a_mistake_in_the_query_is_told_all_the_same(folder):
    with (
        pytest.raises(RunError) as caught,
        open_source(source(people="data/people.csv"), folder) as opened,
    ):
        opened.query("SELECT nme FROM people WHERE id > $low", {"low": "100"})
    assert 'Candidate bindings: "name"' in caught.value.message


def test_columns_without_a_name_may_stand_twice(folder):
    (folder / "empty.csv").write_text("id,,\n1,,\n")
    assert rows(folder, "SELECT id FROM t", t="empty.csv") == [("1",)]


def test_names_of_folders_are_no_columns(folder):
    (folder / "id=9").mkdir()
    (folder / "id=9" / "a.csv").write_text("id,b\n007,x\n")
    (folder / "id=9" / "a.jsonl").write_text('{"b": "x"}\n')
    target = folder / "id=9" / "a.parquet"
    duckdb.connect().execute(f"COPY (SELECT '007' AS id) TO '{target}'")
    assert rows(folder, "SELECT * FROM t", t="id=9/a.csv") == [("007", "x")]
    assert rows(folder, "SELECT * FROM t", t="id=9/a.jsonl") == [("x",)]
    assert rows(folder, "SELECT * FROM t", t="id=9/a.parquet") == [("007",)]


def test_a_csv_that_is_not_utf8_is_told_as_such(folder):
    (folder / "latin.csv").write_bytes(b"id,name\n1,J\xf6rg joe.miller\n")
    error = failure(folder, "SELECT * FROM t", t="latin.csv")
    assert "Invalid unicode" in error.message
    assert SECRET not in error.message


@pytest.mark.parametrize(
    "expression",
    [
        "CAST(name AS INTEGER)",
        "name::DATE",
        "name::DECIMAL(5,2)",
        "name::UUID",
        "name::JSON",
        "name::ENUM('a')",
        "name::INTEGER[]",
        "name::TIMESTAMP",
        "error('mail ' || name)",
        "strptime(name, '%Y')",
        "json_extract(name, '$.a')",
        "regexp_matches('a', name || '(')",
        "date_part(name, DATE '2026-01-01')",
        "name::BOOLEAN",
        "error(chr(10) || chr(10) || 'LINE 1: ' || name)",
        "error('x to INTEGER' || name)",
    ],
)
def test_no_error_quotes_a_value_of_a_row(folder, expression):
    error = failure(folder, f"SELECT\n  {expression} AS x\nFROM people")
    assert error.code in ("query_failed", "mismatched_datatype")
    assert "joe" not in error.message
    assert "miller" not in error.message


def test_a_conversion_error_names_the_type_and_the_line_of_the_query(folder):
    error = failure(folder, "SELECT\n  CAST(points AS INTEGER) AS x\nFROM people")
    assert error.message == (
        "Conversion Error: a value cannot be converted to INT32; "
        "line 2 of the query: CAST(points AS INTEGER) AS x"
    )


def test_an_error_in_the_query_itself_keeps_duckdbs_words(folder):
    error = failure(folder, "SELECT nme FROM people")
    assert 'Referenced column "nme" not found' in error.message
    assert '"name"' in error.message
    assert "\n" not in error.message


def test_two_columns_of_the_same_name_are_refused(folder):
    error = failure(folder, "SELECT id AS a, name AS a FROM people")
    assert error.code == "invalid_columns"
    assert "'a'" in error.message


def test_a_query_that_fails_midway_says_after_how_many_rows(folder):
    # DuckDB reads ahead by a buffer; rows so wide fill it long before the one with the error.
    sql = (
        "SELECT CAST(CASE WHEN i < 19000 THEN '1' ELSE (SELECT name FROM people WHERE name = '"
        + SECRET
        + "') END AS INTEGER), repeat('x', 2000) FROM range(20000) r(i)"
    )
    error = failure(folder, sql)
    assert re.search(r"\(after about [1-9][0-9]*,000 rows\)$", error.message)
    assert "line 1 of the query" in error.message


def test_what_does_not_fit_into_memory_fails_the_query_with_words_about_memory(folder):
    sql = "SELECT list(i) AS l FROM range(50000000) t(i)"
    declared = source(people="data/people.csv")
    with (
        files.open_files(declared, folder, memory_limit="30MB") as opened,
        pytest.raises(RunError, match="Out of Memory"),
    ):
        list(opened.query(sql).batches)


def test_a_sort_larger_than_memory_goes_to_the_scratch_folder(folder, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    declared = source(people="data/people.csv")
    sql = "SELECT hash(i) AS h, repeat('x', 100) AS x FROM range(800000) t(i) ORDER BY h"
    with files.open_files(declared, folder, memory_limit="60MB", scratch=scratch) as opened:
        assert sum(len(batch) for batch in opened.query(sql).batches) == 800_000
    with (
        files.open_files(declared, folder, memory_limit="60MB") as opened,
        pytest.raises(RunError, match="Out of Memory"),
    ):
        list(opened.query(sql).batches)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nosuch FROM people", "unresolved_column"),
        ("SELECT people.nosuch FROM people", "unresolved_column"),
        ("SELECT id FROM people ORDER BY nosuch", "unresolved_column"),
        ("SELECT * EXCLUDE (nosuch) FROM people", "unresolved_column"),
        ("SELECT id FROM people WHERE id + DATE '2026-01-01' = 1", "mismatched_datatype"),
        ("SELECT sum(id) FROM people", "mismatched_datatype"),
        ("SELECT CAST('x' || id AS INTEGER) FROM people", "mismatched_datatype"),
        ("SELECT id FROM nosuch", "query_failed"),
        ("SELECT id FROM people WHERE", "query_failed"),
    ],
)
def test_a_query_that_fails_says_by_its_code_what_kind_of_mistake_it_is(folder, sql, code):
    assert failure(folder, sql).code == code
