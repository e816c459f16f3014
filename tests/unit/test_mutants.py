"""The list of mutants fits the code, and the runner tells a dead mutant from a broken one."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from mutants import every
from mutants.mutant import OutOfDate, mutant
from mutants.runner import ROOT, Run, named_tests, verdict


@pytest.mark.parametrize("one", every.MUTANTS, ids=lambda one: one.name)
def test_every_old_text_stands_in_the_code_exactly_once(one):
    assert one.changed(ROOT)


def test_every_mutant_has_a_name_of_its_own_and_a_test():
    names = Counter(one.name for one in every.MUTANTS)
    assert [name for name, count in names.items() if count > 1] == []
    assert [one.name for one in every.MUTANTS if not one.tests] == []


def test_every_named_test_exists():
    defined = {}
    for argument in named_tests(every.MUTANTS):
        file, _, name = argument.partition("::")
        if file not in defined:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            defined[file] = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert name.partition("[")[0] in defined[file], argument


@pytest.mark.parametrize("text", ["nothing", "one and one"])
def test_an_old_text_that_is_not_there_once_is_an_error(tmp_path, text):
    (tmp_path / "code.py").write_text(text)
    with pytest.raises(OutOfDate, match=r"'a fact'.* instead of once: 'one'"):
        mutant("a fact", "code.py", "one", "two", "tests").apply(tmp_path)
    assert (tmp_path / "code.py").read_text() == text


def test_several_edits_of_one_file_are_all_made(tmp_path):
    (tmp_path / "code.py").write_text("a b")
    one = mutant("a fact", "code.py", "a", "c", "tests")
    both = type(one)("a fact", (*one.edits, mutant("", "code.py", "b", "d").edits[0]), ())
    both.apply(tmp_path)
    assert (tmp_path / "code.py").read_text() == "c d"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run(0, "3 passed"), ("SURVIVED", "")),
        (
            Run(1, "E   assert 1\nFAILED t.py::test_a[x y] - assert 1"),
            ("killed", "t.py::test_a[x y]"),
        ),
        (Run(1, "FAILED t.py::test_a"), ("killed", "t.py::test_a")),
        (Run(1, "E   NameError: x\nFAILED t.py::test_a - x"), ("BROKEN", "E   NameError")),
        (Run(1, "... (ResponseError), so"), ("BROKEN", "Redis cannot run the script")),
        (Run(2, "a collection that failed"), ("BROKEN", "a collection that failed")),
        (Run(None, "still running"), ("BROKEN", "still running")),
    ],
)
def test_only_a_test_that_fails_kills(run, expected):
    assert verdict(run) == expected


def test_the_tree_is_found():
    assert (Path(ROOT) / "pyproject.toml").is_file()
