"""Parameters: declared in the file, given on the command line, bound by the database."""

from __future__ import annotations

import pytest
from world import write_catalog

from orchestrations import runs
from orchestrations.loader import load_catalog
from orchestrations.params import params_of, resolved
from orchestrations.reading import QueryReader
from orchestrations.runs import Options
from orchestrations.sources import no_variable
from worker.errors import UsageError

SQL = "SELECT id AS external_id, name FROM people WHERE id >= $from_id AND $on ORDER BY id"


@pytest.fixture
def catalog(tmp_path):
    folder = write_catalog(tmp_path / "catalog", sql=SQL)
    file = folder / "loyalty.yaml"
    file.write_text(file.read_text() + "params: {from_id: '1', on: true}\n")
    return load_catalog(folder)


def read(catalog, folder, **params):
    reader = QueryReader(catalog, no_variable, folder)
    with reader.rows(catalog.orchestration("loyalty"), Options(params=params)) as result:
        return [row[0] for batch in result.batches for row in batch]


def test_a_value_given_takes_the_place_of_the_declared_one(catalog, tmp_path):
    assert read(catalog, tmp_path) == ["1", "2"]
    assert read(catalog, tmp_path, from_id="2") == ["2"]
    assert read(catalog, tmp_path, on="false") == []


def test_a_value_is_never_part_of_the_query(catalog, tmp_path):
    assert read(catalog, tmp_path, from_id="0' OR '1'='1") == ["1", "2"]  # greater than "0"
    assert read(catalog, tmp_path, from_id="9' OR '1'='1") == []


def test_a_run_keeps_the_values_that_it_was_started_with(catalog, sqlite_ledger):
    options = Options(params={"from_id": "2"})
    run, _ = runs.start(catalog, "loyalty", ledger=sqlite_ledger, principal="t", options=options)
    assert sqlite_ledger.kept.params(run.run_id) == {"from_id": "2", "on": True}


def test_what_is_not_declared_or_has_no_value_starts_nothing(catalog, sqlite_ledger):
    with pytest.raises(UsageError, match="has no parameter 'id'; it declares: from_id, on"):
        runs.start(
            catalog, "loyalty", ledger=sqlite_ledger, principal="t",
            options=Options(params={"id": "1"}),
        )  # fmt: skip
    assert sqlite_ledger.runs.newest() == []


@pytest.mark.parametrize(
    ("declared", "given", "value"),
    [("x", "1", "1"), (None, "1", "1"), (1, "12", 12), (1.5, "2", 2.0), (False, "True", True)],
)
def test_a_value_given_becomes_what_the_declared_one_is(catalog, declared, given, value):
    spec = catalog.orchestration("loyalty").model_copy(update={"params": {"a": declared}})
    found = resolved(spec, {"a": given})["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("declared", "given"), [(1, "x"), (1, "1.5"), (True, "yes"), (1.5, "")])
def test_a_value_that_cannot_be_what_the_declared_one_is_is_refused(catalog, declared, given):
    spec = catalog.orchestration("loyalty").model_copy(update={"params": {"a": declared}})
    with pytest.raises(UsageError, match="the parameter a must be a"):
        resolved(spec, {"a": given})


def test_a_parameter_without_a_value_must_be_given(catalog):
    spec = catalog.orchestration("loyalty").model_copy(update={"params": {"a": None}})
    with pytest.raises(UsageError, match="needs a value for a") as caught:
        resolved(spec, {})
    assert caught.value.resolution == "Give it: --param a=VALUE"


def test_parameters_on_the_command_line_are_names_and_values():
    assert params_of(("a=1", "b=", "c=x=y")) == {"a": "1", "b": "", "c": "x=y"}
    for word in ("a", "=1"):
        with pytest.raises(UsageError, match="name=value"):
            params_of((word,))
