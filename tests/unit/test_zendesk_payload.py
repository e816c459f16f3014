"""Request bodies and id lists."""

import json
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import Refused
from worker.profile import MAX_BODY_BYTES, Profile
from worker.zendesk.payload import (
    MAX_QUERY_CHARS,
    encode_users,
    is_readable,
    quote_id,
    readable_batches,
)


def profiles(count):
    return [Profile(n, {"external_id": f"c{n}", "name": "Jö"}) for n in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 100])
def test_the_body_holds_the_users_in_order(count):
    body = json.loads(encode_users(profiles(count)))

    assert body == {"users": [dict(p.user) for p in profiles(count)]}


@pytest.mark.parametrize("count", [0, 101])
def test_a_chunk_of_another_size_is_a_mistake_of_ours(count):
    with pytest.raises(ValueError, match="1 to 100"):
        encode_users(profiles(count))


def test_a_body_of_exactly_the_limit_goes_and_one_byte_more_is_refused():
    room = MAX_BODY_BYTES - len(encode_users([Profile(1, {"external_id": "c1", "notes": ""})]))
    fits = Profile(1, {"external_id": "c1", "notes": "x" * room})
    over = Profile(1, {"external_id": "c1", "notes": "x" * (room + 1)})

    assert len(encode_users([fits])) == MAX_BODY_BYTES
    with pytest.raises(Refused):
        encode_users([over])


@pytest.mark.parametrize("value", ["jo \ud800", 2**70, object()])
def test_a_value_without_a_json_form_is_refused_without_showing_it(value):
    with pytest.raises(Refused) as refused:
        encode_users([Profile(1, {"external_id": "c1", "name": value})])

    assert str(refused.value) == "a value cannot be written as JSON"
    assert refused.value.__context__ is None


@settings(deadline=None)
@given(st.lists(st.text(min_size=0, max_size=2500), max_size=300))
def test_batches_hold_every_readable_id_once_and_each_fits_one_request(external_ids):
    batches = list(readable_batches(external_ids))

    assert [i for batch in batches for i in batch] == [i for i in external_ids if is_readable(i)]
    for batch in batches:
        assert 1 <= len(batch) <= 100
        assert len(",".join(quote_id(i) for i in batch)) <= MAX_QUERY_CHARS


@pytest.mark.parametrize("external_id", ["", "  ", "a,b", "x" * MAX_QUERY_CHARS])
def test_an_id_that_cannot_be_asked_for_is_left_out(external_id):
    assert list(readable_batches([external_id, "c1"])) == [("c1",)]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_an_id_in_a_url_is_plain_ascii_and_comes_back_the_same(external_id):
    quoted = quote_id(external_id)

    assert quoted.isascii()
    assert not set(quoted) & set(" &#?/,+")
    assert unquote(quoted) == external_id
