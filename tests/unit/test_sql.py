"""What can be said of a query without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from orchestrations.sql import (
    describes,
    is_one_select,
    is_ordered,
    placeholders,
    tokens,
    with_colons,
)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t ORDER BY a",
        "select a from t order -- why\n by a limit 5;",
        "WITH x AS (SELECT 1) SELECT * FROM x ORDER BY ALL",
        "SELECT a FROM t UNION SELECT b FROM u ORDER /* x */ BY 1",
    ],
)
def test_a_query_with_an_order_of_its_own_is_ordered(sql):
    assert is_ordered(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "SELECT row_number() OVER (ORDER BY a) FROM t",
        "SELECT * FROM (SELECT a FROM t ORDER BY a)",
        "SELECT 'ORDER BY a' FROM t -- ORDER BY a",
        'SELECT a AS "ORDER BY" FROM t /* ORDER BY a */',
        "SELECT $$ ORDER BY $$, e'\\' ORDER BY '",
        "SELECT order_by FROM t",
    ],
)
def test_an_order_inside_of_something_does_not_order_the_query(sql):
    assert not is_ordered(sql)


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "-- why\nwith x as (select 1) select * from x;;", "(SELECT 1)", "SELECT ';'"],
)
def test_one_statement_that_reads_is_one_select(sql):
    assert is_one_select(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "", "-- SELECT 1", "DELETE FROM t", "SELECT 1; DROP TABLE t", "SELECT 1;;SELECT 2",
        "COPY t TO 'x'", "SET x = 1", "SELECT $$;$$; COMMIT", "EXPLAIN SELECT 1", "VALUES (1)",
    ],
)  # fmt: skip
def test_anything_else_is_not(sql):
    assert not is_one_select(sql)


def test_placeholders_are_found_where_they_are_and_nowhere_else():
    sql = "SELECT $a, $b, $a FROM t WHERE x = '$c' AND y = $$ $d $$ -- $e\n AND z$f = $1 AND ?"
    assert placeholders(sql) == ["a", "b", "1", "?"]


@pytest.mark.parametrize("sql", ["DESCRIBE t", "desc t", "-- x\nSummarize t", "(SHOW TABLES)"])
def test_what_asks_about_tables_is_no_query_of_rows(sql):
    assert describes(sql)
    assert not describes(f"SELECT * FROM ({sql})")
    assert not describes("FROM show SELECT describe")


def test_a_query_for_sqlalchemy_has_its_own_placeholders_and_every_other_colon():
    sql = "SELECT a::int, ':no', '12:30', x[1:2] FROM t WHERE b > $since"
    statement = text(with_colons(sql))
    assert set(statement._bindparams) == {"since"}
    compiled = str(statement.compile())
    assert compiled == sql.replace("$since", ":since")


@given(st.text(alphabet="aAoOrRdDeEbByY $'\"`;:?-/*()\\\n\x00é1", max_size=40))
def test_the_pieces_are_the_whole_and_no_text_is_too_strange(sql):
    assert "".join(token.text for token in tokens(sql)) == sql
    is_ordered(sql)
    is_one_select(sql)
    assert len(placeholders(sql)) <= len(sql)
