"""Sealed blobs: only the right key opens them, only where they were sealed for, and only whole."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.sealing import KeyMissing, Spoiled, SpoolKeys, name_of, place_of, read_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
HERE = place_of("payloads.blob", "df-1", 7)


def setting(**keys):
    return ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())


@settings(deadline=None)  # the first one loads OpenSSL
@given(st.binary(max_size=200))
def test_what_was_sealed_is_opened_again_and_does_not_stand_in_the_blob(blob):
    keys = SpoolKeys({"a": OLD})
    sealed = keys.seal(blob, HERE)

    assert keys.open(sealed, HERE) == blob
    assert name_of(sealed) == "a"
    assert len(blob) < 4 or blob not in sealed


def test_the_same_is_never_sealed_to_the_same_twice():
    keys = SpoolKeys({"a": OLD})
    assert len({keys.seal(b"x", HERE) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "place",
    [
        place_of("payloads.blob", "df-1", 8),
        place_of("payloads.blob", "df-2", 7),
        place_of("chunks.tags", "df-1", 7),
    ],
)
def test_a_blob_that_was_taken_elsewhere_is_not_opened(place):
    keys = SpoolKeys({"a": OLD})
    with pytest.raises(Spoiled):
        keys.open(keys.seal(b"Ada", HERE), place)


def test_a_change_of_any_byte_is_noticed():
    keys = SpoolKeys({"a": OLD})
    sealed = keys.seal(b"Ada", HERE)
    for at in range(len(sealed)):
        spoiled = bytearray(sealed)
        spoiled[at] ^= 1
        with pytest.raises((Spoiled, KeyMissing)):
            keys.open(bytes(spoiled), HERE)
    for length in range(len(sealed)):
        with pytest.raises((Spoiled, KeyMissing)):
            keys.open(sealed[:length], HERE)


def test_another_key_of_the_same_name_opens_nothing():
    sealed = SpoolKeys({"a": OLD}).seal(b"Ada", HERE)
    with pytest.raises(Spoiled):
        SpoolKeys({"a": NEW}).open(sealed, HERE)


def test_the_first_key_seals_and_all_open():
    before, after = read_keys(setting(old=OLD)), read_keys(setting(new=NEW, old=OLD))

    sealed = before.seal(b"Ada", HERE)
    assert after.open(sealed, HERE) == b"Ada"
    assert name_of(after.seal(b"Ada", HERE)) == "new"


def test_a_key_that_is_not_here_is_named_and_nothing_counts_as_damaged():
    sealed = SpoolKeys({"old": OLD}).seal(b"Ada", HERE)
    with pytest.raises(KeyMissing, match="'old'") as caught:
        SpoolKeys({"new": NEW}).open(sealed, HERE)
    assert caught.value.code == "spool_key_missing"
    with pytest.raises(KeyMissing):
        SpoolKeys().seal(b"Ada", HERE)


def test_what_a_lost_key_sealed_counts_as_damaged():
    sealed = SpoolKeys({"old": OLD}).seal(b"Ada", HERE)
    with pytest.raises(Spoiled):
        read_keys(f"{setting(new=NEW)},old:lost").open(sealed, HERE)


def test_what_is_not_sealed_is_told_apart():
    assert name_of(b"x\x9c compressed") is None
    assert name_of(b"") is None
    assert name_of(b"\x01\xff\xff") is None


SECRET = base64.b64encode(OLD).decode()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (SECRET, "key 1 is not NAME:KEY"),
        (f"Old:{SECRET}", "key 1 is not NAME:KEY"),
        (f"a:{SECRET},", "key 2 is not NAME:KEY"),
        (f"a:{SECRET},a:{SECRET}", "key 2 has the name of another"),
        (f"a:{SECRET[:-4]}", "key 1 is not 32 bytes"),
        (f"a:{SECRET},b:{SECRET}=", "key 2 is not 32 bytes"),
        ("a:lost", "the first key encrypts"),
    ],
)
def test_a_setting_that_is_none_is_told_without_a_word_of_it(text, what):
    with pytest.raises(ValueError, match=what) as caught:
        read_keys(text)
    assert SECRET[:8] not in str(caught.value)


def test_keys_do_not_show_themselves():
    assert SECRET[:8] not in repr(read_keys(f"a:{SECRET}"))
    assert repr(SpoolKeys({"a": OLD})) == "SpoolKeys(a)"
