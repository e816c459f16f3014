"""A database shows its rows to one SELECT, and takes nothing."""

from __future__ import annotations

import os
import re
import sqlite3
import tomllib
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import postgres
import pytest
from sqlalchemy import create_engine, text

from orchestrations.sources import BATCH_ROWS, open_source
from orchestrations.spec import Source
from worker.errors import RunError, UsageError

ROOT = Path(__file__).parents[2]
SECRET = "joe.miller"
TABLE = "CREATE TABLE people (id INTEGER, name VARCHAR(40), joined DATE)"
ROWS = f"INSERT INTO people VALUES (1, '{SECRET}', '2026-01-02'), (2, 'Ann', '2026-02-03')"


TAKEN = """CREATE FUNCTION taken(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    RAISE unique_violation USING MESSAGE = 'duplicate key: ' || name,
    DETAIL = 'Key (email)=(' || name || ') already exists.'; END $$"""
"""PostgreSQL's words about a row that is there already, which a query that only reads may meet."""


@pytest.fixture(scope="session")
def postgres_source():
    with postgres.database(f"warehouse_{os.getpid()}") as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(TABLE))
            connection.execute(text(ROWS))
            connection.execute(text("CREATE SEQUENCE numbers"))
            connection.execute(text(TAKEN))
        engine.dispose()
        yield url


@pytest.fixture
def url(backend, request, tmp_path):
    """The address of a database with two people, on each backend."""
    if backend == "postgres":
        return request.getfixturevalue("postgres_source")
    path = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(TABLE)
        connection.execute(ROWS)
    return f"sqlite:///{path}"


def opened(url, seconds=600, folder=None):
    declared = {"name": "s", "type": "database", "url_env": "WAREHOUSE_URL"}
    source = Source.model_validate({**declared, "statement_timeout": seconds})
    return open_source(source, folder, variable={"WAREHOUSE_URL": url}.get)


def rows(url, sql, **params):
    with opened(url) as source:
        return [row for batch in source.query(sql, params).batches for row in batch]


def failure(url, sql, seconds=600, **params):
    with pytest.raises(RunError) as caught, opened(url, seconds) as source:
        list(source.query(sql, params).batches)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert SECRET not in caught.value.message
    return caught.value


def test_a_query_returns_its_columns_and_rows(url):
    with opened(url) as source:
        result = source.query('SELECT name, id AS "user_fields.id" FROM people ORDER BY id')
        assert result.columns == ("name", "user_fields.id")
        assert list(result.batches) == [[(SECRET, 1), ("Ann", 2)]]


def test_parameters_are_bound_and_a_colon_is_a_colon(url):
    sql = "SELECT id, ':x' AS x, 'a%b' AS y FROM people WHERE name = $who"
    assert rows(url, sql, who=SECRET) == [(1, ":x", "a%b")]
    assert rows(url, sql, who="x' OR '1'='1") == []


def test_a_parameter_takes_the_type_of_its_place(url):
    assert rows(url, "SELECT id FROM people WHERE joined > $since", since="2026-01-31") == [(2,)]


def test_a_parameter_without_a_value_is_refused(url):
    assert "$who has no value" in failure(url, "SELECT $who").message


@pytest.mark.postgres
def test_rows_come_as_they_are_read_from_a_cursor_on_the_server(url, backend):
    with opened(url) as source:
        batches = source.query("SELECT generate_series(1, 5000000)").batches
        assert [len(next(batches)), len(next(batches))] == [BATCH_ROWS, BATCH_ROWS]
        batches.close()


@pytest.mark.postgres
def test_values_keep_their_types(url, backend):
    sql = "SELECT DATE '2026-01-02' a, 1.50::numeric(5,2) b, ARRAY['a','b'] c, true d, NULL e"
    assert rows(url, sql) == [(date(2026, 1, 2), Decimal("1.50"), ["a", "b"], True, None)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM people",
        "SELECT 1; DELETE FROM people",
        "SELECT 1; COMMIT; DELETE FROM people",
        "WITH gone AS (DELETE FROM people RETURNING id) SELECT * FROM gone",
        "SELECT * INTO copy FROM people",
        "ATTACH 'x.db' AS x",
        "PRAGMA query_only = OFF",
        "SET default_transaction_read_only = off",
        "EXPLAIN SELECT 1",
        "CREATE TABLE x (a INTEGER)",
        "",
        "SELECT nextval('numbers')",
        "SELECT load_extension('x')",
        "SELECT pg_read_file('/etc/hostname') FROM no_such_table",
    ],
)
def test_anything_but_one_select_is_refused_and_changes_nothing(url, sql):
    assert failure(url, sql).code == "query_failed"
    assert rows(url, "SELECT count(*) FROM people") == [(2,)]


@pytest.mark.postgres
def test_the_session_cannot_be_made_to_write(url, backend):
    for setting in ("default_transaction_read_only", "transaction_read_only"):
        sql = f"SELECT set_config('{setting}', 'off', false), nextval('numbers')"
        assert "SQLSTATE 25" in failure(url, sql).message


def test_an_error_in_the_query_itself_is_told_with_its_words(url):
    message = failure(url, "SELECT id,\n  nme\nFROM people").message
    assert "nme" in message


@pytest.mark.postgres
def test_an_error_in_the_query_names_its_line(url, backend):
    message = failure(url, "SELECT id,\n  nme\nFROM people").message
    assert message.endswith('column "nme" does not exist; line 2 of the query: nme')


@pytest.mark.postgres
def test_a_query_that_fails_midway_says_after_how_many_rows_and_quotes_no_value(url, backend):
    sql = (
        "SELECT CASE WHEN i < 5000 THEN '1' ELSE name END::integer "
        f"FROM people, generate_series(1, 6000) i WHERE name = '{SECRET}'"
    )
    error = failure(url, sql)
    assert "(after about 4,000 rows)" in error.message
    assert "SQLSTATE 22P02" in error.message


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("expression", "state"),
    [("taken(name)", "23505"), ("name::integer", "22P02"), ("name::date", "22007"),
     ("name::json", "22P02"), ("name::regclass", "3F000"), ("lpad(name, -1)::uuid", "22P02"),
     ("($who)::integer", "22P02"), ("($who)::regclass", "42P01"), ("nextval($who)", "42P01")],
)  # fmt: skip
def test_no_words_of_postgresql_quote_a_value(url, backend, expression, state):
    given = {"who": "miller"} if "$who" in expression else {}
    error = failure(url, f"SELECT {expression} FROM people WHERE id = 1", **given)
    assert not {"joe", "miller"} & {*re.findall(r"\w+", error.message)}
    assert f"SQLSTATE {state}" in error.message


@pytest.mark.postgres
@pytest.mark.parametrize("value", ["ab 12", "06 12 34", "al@b.co"])
@pytest.mark.parametrize("expression", ["($who)::regclass", "($who || '_x')::regclass",
                                        "nextval($who || $who)", "($who)::regtype"])  # fmt: skip
def test_no_words_of_postgresql_quote_a_short_value_or_what_is_made_of_it(
    url, backend, expression, value
):
    message = failure(url, f"SELECT {expression} FROM people", who=value).message
    assert value not in message
    assert "SQLSTATE " in message
    assert "its words may quote values" in message


@pytest.mark.parametrize("value", ["ab 12", "06 12 34", "al@b.co", "people", "nosuch", 5, None])
def test_words_that_are_the_same_for_every_value_are_repeated(url, value):
    for sql in ("SELECT nosuch FROM people WHERE name = $who",
                "SELECT id FROM nosuch WHERE name = $who"):  # fmt: skip
        message = failure(url, sql, who=value).message
        assert "nosuch" in message.partition("line 1 of the query")[0]
        assert "client of your own" not in message


@pytest.mark.parametrize("value", ["ab 12", "06 12 34", "al@b.co"])
def test_no_words_of_a_query_that_runs_quote_a_value(url, backend, value):
    sql = {
        "sqlite": "SELECT json_extract('{}', '$[[' || $who) FROM people",
        "postgres": "SELECT (name || $who)::integer FROM people",
    }
    assert value not in failure(url, sql[backend], who=value).message


def test_a_statement_that_takes_too_long_is_ended(url, backend):
    endless = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT max(i) FROM n",
        "postgres": "SELECT pg_sleep(60)",
    }
    error = failure(url, endless[backend], seconds=1)
    assert "longer than statement_timeout allows" in error.message


def test_two_columns_of_the_same_name_are_refused(url):
    assert failure(url, "SELECT id AS a, name AS a FROM people").code == "invalid_columns"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "WAREHOUSE_URL is not set"),
        ("", "WAREHOUSE_URL is not set"),
        ("me:secret@host", "is not a SQLAlchemy URL"),
        ("postgresql://me:secret@host:port/x", "is not a SQLAlchemy URL"),
        ("oracle://me:secret@host/x", "not supported; there are: bigquery,"),
        ("mysql+nosuchdriver://me:secret@host/x", "driver of WAREHOUSE_URL is not installed"),
    ],
)
def test_a_url_of_no_use_is_a_matter_of_configuration_and_is_not_repeated(url, words):
    with pytest.raises(UsageError, match=words) as caught, opened(url):
        pass
    assert "secret" not in caught.value.message
    assert caught.value.code == "source_not_set"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at-secret-all.db",
        "postgresql://me:secret@127.0.0.1:1/x?connect_timeout=1",
    ],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_address(url):
    words = "the database of WAREHOUSE_URL cannot be reached"
    with pytest.raises(RunError, match=words) as caught, opened(url):
        pass
    assert "secret" not in caught.value.message
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("kind", "packages"),
    [
        ("postgresql", "deskfeed[postgres]"),
        ("mysql", "deskfeed[mysql]"),
        ("mariadb", "deskfeed[mysql]"),
        ("snowflake", "snowflake-sqlalchemy"),
        ("bigquery", "sqlalchemy-bigquery"),
        ("redshift", "sqlalchemy-redshift redshift-connector"),
        ("databricks", "databricks-sqlalchemy"),
    ],
)
def test_a_missing_driver_names_what_the_table_of_the_docs_says(kind, packages):
    with (
        pytest.raises(UsageError) as caught,
        opened(f"{kind}+nosuchdriver://me:secret@host/x"),
    ):
        pass
    assert caught.value.resolution.replace("'", "") == f"Install it: pip install {packages}"
    (row,) = (
        line for line in (ROOT / "docs" / "catalog.md").read_text().splitlines()
        if line.startswith("| ") and f"`{kind}" in line and "://`" in line
    )  # fmt: skip
    assert all(f"`{package}`" in row for package in packages.split())


def test_every_extra_that_is_named_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    code = (ROOT / "orchestrations" / "sources" / "database.py").read_text()
    named = set(re.findall(r"deskfeed\[(\w+)\]", code))
    assert named == {"mysql", "postgres"}
    assert named <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nosuch FROM people", "unresolved_column"),
        ("SELECT id FROM nosuch", "query_failed"),
        ("SELECT id FROM people WHERE", "query_failed"),
    ],
)
def test_a_column_that_is_not_there_has_a_code_of_its_own(url, sql, code):
    assert failure(url, sql).code == code


@pytest.mark.postgres
@pytest.mark.parametrize(
    "sql",
    ["SELECT id FROM people WHERE name = 1", "SELECT CAST(name AS integer) FROM people"],
)
def test_types_that_do_not_go_together_have_a_code_of_their_own(url, backend, sql):
    assert failure(url, sql).code == "mismatched_datatype"
