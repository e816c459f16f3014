"""The catalog is read whole, and everything wrong with it is told at once."""

from __future__ import annotations

import pytest

from orchestrations.loader import InvalidCatalog, catalog_for, load_catalog, read_catalog
from orchestrations.misplaced import remedy
from worker.errors import CatalogError, UsageError

LOYALTY = """\
# what agents see
description: Loyalty status
source: customers

query: loyalty.sql
status: active
destination: socktown
"""
SOCKTOWN = """\
description: Socktown's Zendesk
plugin: zendesk
credential: socktown
subdomain: socktown
"""
CUSTOMERS = "type: files\ntables: {customers: data/customers.csv}\n"


@pytest.fixture
def folder(tmp_path):
    write(
        tmp_path,
        {
            "loyalty.yaml": LOYALTY,
            "loyalty.sql": "SELECT 1\n",
            "destinations/socktown.yaml": SOCKTOWN,
            "sources/customers.yaml": CUSTOMERS,
        },
    )
    return tmp_path


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def problems(folder, **files):
    write(
        folder,
        {name.replace("__", "/").replace("_yaml", ".yaml"): text for name, text in files.items()},
    )
    with pytest.raises(InvalidCatalog) as caught:
        load_catalog(folder)
    assert caught.value.code == "catalog_error"
    assert caught.value.message.splitlines() == [str(one) for one in caught.value.problems]
    return caught.value.message.splitlines()


def test_a_right_catalog_is_loaded_by_name(folder):
    catalog = load_catalog(folder)
    assert catalog.folder == folder
    assert catalog.orchestration("loyalty").destination == "socktown"
    assert catalog.destination("socktown").url == "https://socktown.zendesk.com"
    assert catalog.sources["customers"].tables == {"customers": ("data/customers.csv",)}
    assert catalog.queries == {"loyalty": "SELECT 1"}


def test_a_typo_in_a_reference_is_told_with_file_line_key_and_the_nearest_name(folder):
    found = problems(folder, loyalty_yaml=LOYALTY.replace("n: socktown", "n: socktwn"))
    assert found == [
        "loyalty.yaml:7 destination: unknown destination 'socktwn' (did you mean 'socktown'?)"
    ]


def test_an_unknown_source_is_told_without_a_guess_when_nothing_is_near(folder):
    found = problems(folder, loyalty_yaml=LOYALTY.replace("customers", "zzz"))
    assert found == ["loyalty.yaml:3 source: unknown source 'zzz'"]


def test_a_misspelt_key_is_told_once_with_the_right_one(folder):
    found = problems(folder, loyalty_yaml=LOYALTY.replace("destination:", "destinaton:"))
    assert found == ["loyalty.yaml:7 destinaton: unknown key (did you mean 'destination'?)"]


def test_a_nested_key_is_told_with_its_path(folder):
    text = SOCKTOWN + "limits:\n  users_per_second: 100\n  request_per_minute: 5\n"
    assert problems(folder, destinations__socktown_yaml=text) == [
        (
            "destinations/socktown.yaml:7 limits.request_per_minute: unknown key "
            "(did you mean 'requests_per_minute'?)"
        )
    ]


def test_an_unknown_key_inside_a_file_with_a_value_error_tells_both(folder):
    text = SOCKTOWN.replace("socktown\n", "https://socks.zendesk.com\n") + "colour: red\n"
    found = problems(folder, destinations__socktown_yaml=text)
    assert "destinations/socktown.yaml:5 colour: unknown key" in found
    assert (
        "destinations/socktown.yaml:4 subdomain: subdomain must be the bare label, e.g. 'socks'"
        in found
    )


def test_all_problems_of_all_files_are_told_together(folder):
    found = problems(
        folder,
        loyalty_yaml=LOYALTY.replace("active", "asleep").replace("customers", "costumers"),
        other_yaml="description: [",
        destinations__socktown_yaml=SOCKTOWN.replace("plugin: zendesk", "plugin: hubspot"),
        sources__customers_yaml="type: files\n",
    )
    assert [line.partition(": ")[0] for line in found] == [
        "destinations/socktown.yaml:2 plugin",
        "loyalty.yaml:3 source",
        "loyalty.yaml:6 status",
        "other.yaml:1",
        "sources/customers.yaml:1 tables",
    ]


def test_a_broken_destination_does_not_make_its_name_unknown(folder):
    found = problems(folder, destinations__socktown_yaml="description: {")
    assert [line.partition(":")[0] for line in found] == ["destinations/socktown.yaml"]


@pytest.mark.parametrize("query", ["", "  \n", None])
def test_a_query_file_must_be_there_and_say_something(folder, query):
    if query is None:
        (folder / "loyalty.sql").unlink()
        expected = "loyalty.yaml:5 query: there is no file 'loyalty.sql' beside this one"
    else:
        (folder / "loyalty.sql").write_text(query)
        expected = "loyalty.yaml:5 query: 'loyalty.sql' is empty"
    assert problems(folder) == [expected]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: the file is empty"),
        ("- a\n", "1: the file must be a mapping of keys to values"),
        ("a: 1\n\nb: [1\nc: 2\n", "4: not valid YAML"),
        ("a: &x 1\nb: *x\n", "2: aliases (*name) are not allowed"),
        ("a: 1\n---\nb: 2\n", "2: not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "1: tags (!name) are not allowed"),
        ("a: !!python/name:os.getcwd ''\n", "1: tags (!name) are not allowed"),
        ("a: !secret x\n", "1: tags (!name) are not allowed"),
        ("b: 1\n<<: {a: 1}\n", "2: a key must be a plain word"),
        ("? [a]\n: 1\n", "1: a key must be a plain word"),
        ("a:\n  " + "[" * 3000, "2: the values are nested too deep"),
        ("a: " + "9" * 5000, "1: a value that cannot be read"),
        ("a: !!bool maybe\n", "1: a value that cannot be read"),
        (b"a: 1\nb: \xff\n", "2: the file is not UTF-8 text"),
        ("a: 1\nb: \x01\n", "2: not valid YAML"),
        ("#" * 70_000, "1: the file is larger than 64 KiB"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:20],
)
def test_a_file_that_is_not_plain_yaml_is_told_with_its_line(folder, text, problem):
    found = problems(folder, other_yaml=text)
    assert len(found) == 1
    assert found[0].startswith("other.yaml:" + problem)


def test_a_page_of_nested_aliases_costs_nothing(folder):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    )
    assert problems(folder, bomb_yaml=bomb) == [
        "bomb.yaml:2: aliases (*name) are not allowed; write the value out"
    ]


def test_a_key_that_stands_twice_is_told_with_both_lines(folder):
    found = problems(folder, loyalty_yaml=LOYALTY + "source: customers\n")
    assert found == ["loyalty.yaml:3 source: stands twice; again in line 8"]


DESK = "DESKFEED_CREDENTIALS__BIG_DESK__"
MINE = "DESKFEED_CREDENTIALS__SOCKTOWN__"


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ("credential: big_desk\napi_token: s3cr3t", [f"set {DESK}API_TOKEN, with {DESK}EMAIL,"]),
        ("credential: big_desk\nToken: s3cr3t", [f"set {DESK}API_TOKEN, with"]),
        ("credential: big_desk\nclient_id: s3cr3t", [f"set {DESK}CLIENT_ID, with"]),
        ("credential: big_desk\npassword: s3cr3t", [f"{DESK}CLIENT_SECRET, or {DESK}API_TOKEN,"]),
        ("credential:\n  client_secret: s3cr3t",
         [f"write credential: socktown and set {MINE}CLIENT_SECRET, with {MINE}CLIENT_ID,"]),
        ("credential: {email: s3cr3t, api_token: s3cr3t}",
         [f"set {MINE}API_TOKEN, with {MINE}EMAIL,", f"set {MINE}EMAIL, with {MINE}API_TOKEN,"]),
    ],
)  # fmt: skip
def test_a_secret_in_a_file_is_refused_with_the_variable_that_it_belongs_into(
    folder, credential, said
):
    text = SOCKTOWN.replace("credential: socktown", credential)
    found = problems(folder, destinations__socktown_yaml=text)

    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert words in line
        assert "in the environment, in .env, or in a secret file of this name" in line
        assert "<" not in line
        assert "s3cr3t" not in line


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("api-token", "API_TOKEN, with"),
        ("apiToken", "API_TOKEN, with"),
        ("API_Token", "API_TOKEN, with"),
        ("API token", "API_TOKEN, with"),
        ("clientSecret", "CLIENT_SECRET, with"),
        ("access_token", "CLIENT_SECRET, or"),
        ("oauth_token", "CLIENT_SECRET, or"),
        ("passwd", "CLIENT_SECRET, or"),
        ("private_key", "CLIENT_SECRET, or"),
    ],
)
def test_a_secret_under_a_near_name_gets_the_remedy_too(folder, key, variable):
    found = problems(folder, destinations__socktown_yaml=f"{SOCKTOWN}{key}: s3cr3t\n")
    assert len(found) == 1
    assert f"set DESKFEED_CREDENTIALS__SOCKTOWN__{variable}" in found[0]
    assert "unknown key" not in found[0]
    assert "s3cr3t" not in found[0]


@pytest.mark.parametrize("key", ["url", "URL", "dsn", "connection_string", "connectionString"])
def test_the_url_of_a_database_in_its_source_gets_the_name_of_its_variable(folder, key):
    source = f"description: W\ntype: database\n{key}: postgresql://me:s3cr3t@host/x\n"
    found = problems(folder, sources__warehouse_yaml=source)
    assert any("write url_env: WAREHOUSE_URL and set WAREHOUSE_URL, the URL" in f for f in found)
    assert any("the URL of a database, with its password, must not stand" in f for f in found)
    assert "s3cr3t" not in str(found)
    assert "unknown key" not in str(found)


def test_a_source_of_files_is_not_told_to_set_the_url_of_a_database(folder):
    source = "description: W\ntype: files\ntables: {a: a.csv}\nurl: https://host/a.csv\n"
    assert all("unknown key" in f for f in problems(folder, sources__warehouse_yaml=source))


@pytest.mark.parametrize("key", ["email", "client_id"])
def test_what_is_no_secret_of_a_credential_is_not_called_one(folder, key):
    (found,) = problems(folder, destinations__socktown_yaml=f"{SOCKTOWN}{key}: ada@example.com\n")
    assert "is a part of the credential and must not stand in a catalog file" in found
    assert "a secret must not" not in found
    assert "ada@" not in found


def test_a_parameter_may_have_any_name(folder):
    query = "SELECT $email, $token, $password"
    files = {"loyalty.yaml": f"{LOYALTY}params: {{email: a, token: b, password: c}}\n"}
    write(folder, {**files, "loyalty.sql": query})

    assert "loyalty" in load_catalog(folder).orchestrations


def test_a_secret_in_a_source_or_an_orchestration_is_sent_to_where_it_belongs(folder):
    source = "description: W\ntype: database\nurl_env: WAREHOUSE_URL\npassword: s3cr3t\n"
    unnamed = source.replace("url_env: WAREHOUSE_URL\n", "")
    (in_source,) = problems(folder, sources__warehouse_yaml=source)
    assert "a secret must not stand in a catalog file; set WAREHOUSE_URL, the URL" in in_source
    found = problems(folder, sources__warehouse_yaml=unnamed)
    assert any("write url_env: WAREHOUSE_URL and set WAREHOUSE_URL" in line for line in found)
    (folder / "sources" / "warehouse.yaml").unlink()
    (in_orchestration,) = problems(folder, loyalty_yaml=LOYALTY + "api_token: s3cr3t\n")
    assert "take it out: destinations/socktown.yaml names the credential" in in_orchestration


@pytest.mark.parametrize(
    ("file", "credential"), [("my-desk", "MY_DESK"), ("2nd", "ND"), ("_", "MINE")]
)
def test_a_credential_without_a_name_gets_one_that_is_allowed(file, credential):
    told = remedy("destinations", file, {}, "api_token")
    assert f"write credential: {credential.lower()} and" in told
    assert f"DESKFEED_CREDENTIALS__{credential}__API_TOKEN" in told


def test_a_token_pasted_as_the_credentials_name_is_not_repeated(folder):
    text = SOCKTOWN.replace("credential: socktown", "credential: S3CR3T/token")
    found = problems(folder, destinations__socktown_yaml=text)
    assert "must be the name of a credential" in found[0]
    assert "S3CR3T" not in found[0]


def test_a_table_may_be_named_like_a_secret(folder):
    write(folder, {"sources/customers.yaml": "type: files\ntables: {email: a.csv}\n"})
    assert load_catalog(folder).sources["customers"].tables == {"email": ("a.csv",)}


def test_a_wrong_path_in_a_list_is_told_by_the_line_of_the_item(folder):
    text = "type: files\ntables:\n  people:\n    - a.csv\n    - ../b.csv\n"
    found = problems(folder, sources__customers_yaml=text)
    assert found[0].startswith("sources/customers.yaml:5 tables.people: must be a path inside")


def test_a_database_source_names_the_variable_of_its_url(folder):
    write(folder, {"sources/customers.yaml": "type: database\nurl_env: WAREHOUSE_URL\n"})
    source = load_catalog(folder).sources["customers"]
    assert (source.url_env, source.statement_timeout) == ("WAREHOUSE_URL", 600)


def test_placeholders_and_parameters_are_the_same_names(folder):
    write(folder, {"loyalty.sql": "SELECT $since, $mn, ? -- $no\n"})
    found = problems(folder, loyalty_yaml=LOYALTY + "params:\n  since: x\n  min: 1\n")
    assert [line.partition(" ")[2] for line in found] == [
        "query: the query has $mn; declare it under `params:` (did you mean 'min'?)",
        "query: the query has a placeholder '?'; write $name and declare it: `params:`",
        "params.min: the query has no $min (did you mean 'mn'?)",
    ]


def test_a_file_is_named_like_what_it_declares(folder):
    assert problems(folder, Loyalty2_yaml=LOYALTY)[0].startswith(
        "Loyalty2.yaml:1: the file must be named otherwise"
    )
    (folder / "Loyalty2.yaml").unlink()
    assert problems(folder, loyalty_yaml="name: x\n" + LOYALTY) == [
        "loyalty.yaml:1 name: unknown key: the file's own name is the name"
    ]


def test_a_yml_file_is_not_silently_left_out(folder):
    write(folder, {"sources/more.yml": CUSTOMERS})
    assert problems(folder) == ["sources/more.yml:1: must end in .yaml; rename the file"]


def test_words_that_yaml_takes_for_something_else_are_told_as_text_to_quote(folder):
    found = problems(folder, loyalty_yaml=LOYALTY.replace("Loyalty status", "no"))
    assert found == ["loyalty.yaml:2 description: must be text; put it in quotes"]


def test_an_unknown_orchestration_is_told_with_the_nearest_names(folder):
    with pytest.raises(UsageError) as caught:
        load_catalog(folder).orchestration("loyalti")
    assert caught.value.code == "orchestration_not_found"
    assert caught.value.message == (
        "the catalog has no orchestration 'loyalti' (did you mean 'loyalty'?)"
    )


def test_an_unknown_destination_has_a_code_of_its_own(folder):
    with pytest.raises(UsageError) as caught:
        load_catalog(folder).destination("x")
    assert caught.value.code == "destination_not_found"


def test_a_folder_that_is_not_there_is_told_by_its_path(tmp_path):
    with pytest.raises(CatalogError, match="no catalog folder"):
        load_catalog(tmp_path / "nowhere")


def test_an_empty_catalog_has_nothing_in_it(tmp_path):
    assert load_catalog(tmp_path).orchestrations == {}


def test_a_folder_that_cannot_be_read_is_an_error_of_the_catalog(tmp_path, monkeypatch):
    def refuse(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)

    with pytest.raises(CatalogError, match="cannot be read: Permission denied"):
        load_catalog(tmp_path)


def test_what_comes_after_something_must_be_there_and_never_go_round_in_a_circle(folder):
    def other(after):
        return f"{LOYALTY}after: {after}\n"

    found = problems(folder, loyalty_yaml=other("orders"), orders_yaml=other("loyalty"))
    assert found == [
        "loyalty.yaml:8 after: goes round in a circle: loyalty after orders after loyalty",
        "orders.yaml:8 after: goes round in a circle: orders after loyalty after orders",
    ]
    found = problems(folder, loyalty_yaml=other("loyalty"), orders_yaml=other("loyalti"))
    assert found == [
        "loyalty.yaml:8 after: goes round in a circle: loyalty after loyalty",
        "orders.yaml:8 after: unknown orchestration 'loyalti' (did you mean 'loyalty'?)",
    ]


def test_a_wrong_schedule_is_told_with_its_line(folder):
    schedule = "schedule:\n  cron: '0 8 * *'\n  timezon: UTC\n"
    found = problems(folder, loyalty_yaml=LOYALTY + schedule)
    assert found[0].startswith("loyalty.yaml:9 schedule.cron: must be five fields")
    assert found[1] == ("loyalty.yaml:10 schedule.timezon: unknown key (did you mean 'timezone'?)")


@pytest.mark.parametrize(
    ("file", "costs"),
    [
        ("loyalty.yaml", {"loyalty"}),
        ("destinations/socktown.yaml", {"loyalty"}),
        ("sources/customers.yaml", {"loyalty", "orders"}),
        ("destinations/other.yaml", {"orders"}),
    ],
)
def test_a_file_that_is_wrong_costs_only_the_orchestrations_that_need_it(folder, file, costs):
    other = LOYALTY.replace("socktown", "other")
    write(folder, {"orders.yaml": other, "destinations/other.yaml": SOCKTOWN})
    assert read_catalog(folder).broken == set()
    write(folder, {file: "description: [\n"})

    reading = read_catalog(folder)

    assert reading.broken == costs
    assert reading.catalog.orchestrations.keys() == {"loyalty", "orders"} - costs
    assert reading.catalog.all_limits == (not file.startswith("destinations"))
    for name in costs:
        with pytest.raises(InvalidCatalog, match=file):
            catalog_for(folder, name)
    for name in reading.catalog.orchestrations:
        assert catalog_for(folder, name).orchestration(name)
