"""User fields are kept for a minute, and whatever happens to the file is no error."""

from __future__ import annotations

import stat

import pytest

from orchestrations.field_cache import KEPT_S, FieldCache
from worker.zendesk.fields import UserField

FIELDS = (
    UserField("tier", "dropdown", options=(("gold", "Gold"), ("x", "X"))),
    UserField("code", "regexp", active=False, title="Code", regexp=r"\A\d\z", system=True),
    UserField("vip", "checkbox", tag="vip"),
)


@pytest.fixture
def cache(tmp_path, clock):
    return FieldCache(tmp_path / "state" / "fields", now=clock)


def test_fields_come_back_as_they_were_until_the_minute_is_over(cache, clock):
    assert cache.get("a.zendesk.com") is None
    cache.put("a.zendesk.com", FIELDS)
    clock.advance(KEPT_S)
    assert cache.get("a.zendesk.com") == FIELDS
    assert cache.get("b.zendesk.com") is None
    clock.advance(0.1)
    assert cache.get("a.zendesk.com") is None


def test_a_file_of_the_future_is_not_believed(cache, clock):
    cache.put("a", FIELDS)
    clock.advance(-1)
    assert cache.get("a") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": 1}', b"\xff", b'{"at": "x"}'])
def test_a_damaged_file_is_no_file(cache, tmp_path, content):
    cache.put("a", FIELDS)
    (file,) = (tmp_path / "state" / "fields").iterdir()
    file.write_bytes(content)
    assert cache.get("a") is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path, clock):
    (tmp_path / "file").write_text("")
    cache = FieldCache(tmp_path / "file" / "fields", now=clock)
    cache.put("a", FIELDS)
    assert cache.get("a") is None


def test_the_file_is_ours_only(cache, tmp_path):
    cache.put("a", FIELDS)
    (file,) = (tmp_path / "state" / "fields").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
