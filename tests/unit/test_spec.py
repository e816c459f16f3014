"""What the models of the catalog's files accept, derive and refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchestrations.spec import Destination, Orchestration, Source

DESTINATION = {
    "name": "socktown",
    "description": "Socktown",
    "plugin": "zendesk",
    "credential": "socktown",
    "subdomain": "socktown",
}
ORCHESTRATION = {
    "name": "loyalty",
    "description": "Loyalty",
    "source": "customers",
    "query": "loyalty.sql",
    "destination": "socktown",
}
SOURCE = {"name": "customers", "type": "files", "tables": {"customers": "data/customers.csv"}}


def at(base_url):
    return Destination(**{**DESTINATION, "subdomain": None, "base_url": base_url})


def complaints(model, base, **changes):
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**base, **changes})
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_an_orchestration_needs_five_keys_and_has_safe_defaults():
    orchestration = Orchestration(**ORCHESTRATION)
    assert (orchestration.status, orchestration.send) == ("active", "all")
    assert orchestration.verified is True
    assert orchestration.schedule is None
    thresholds = orchestration.thresholds
    assert (thresholds.fail_below, thresholds.fail_above) == (1, None)
    assert thresholds.max_failed_percent is None
    assert orchestration.share == 1.0


@pytest.mark.parametrize("share", [0, -1, 100.1, True, "3", float("inf"), float("nan")])
def test_a_share_is_a_number_above_nothing(share):
    assert set(complaints(Orchestration, ORCHESTRATION, share=share)) == {("share",)}


@pytest.mark.parametrize("share", [0.5, 3, 100])
def test_a_share_may_be_a_fraction_or_a_whole_number(share):
    assert Orchestration(**ORCHESTRATION, share=share).share == share


def test_a_destination_has_the_limits_of_a_small_account_by_default():
    destination = Destination(**DESTINATION)
    limits = destination.limits
    assert limits.users_per_second == 100
    assert limits.requests_per_minute == 400
    assert limits.jobs_in_flight == 20
    assert limits.reserve_percent == 10
    assert (destination.admin_only, destination.restrict_pii) == (False, False)


def test_url_and_account_come_from_the_subdomain():
    destination = Destination(**DESTINATION)
    assert destination.url == "https://socktown.zendesk.com"
    assert destination.account == "socktown.zendesk.com"


@pytest.mark.parametrize(
    ("base_url", "account"),
    [
        ("http://127.0.0.1:8900", "127.0.0.1:8900"),
        ("http://localhost:1", "localhost:1"),
        ("http://[::1]:65535", "[::1]:65535"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://127.0.0.1:443", "127.0.0.1"),
    ],
)
def test_url_and_account_come_from_a_loopback_address(base_url, account):
    assert at(base_url).url == base_url
    assert at(base_url).account == account


@pytest.mark.parametrize(
    "base_url",
    [
        "https://127.0.0.1:8900",
        "http://127.0.0.1:8900/",
        "http://127.0.0.1:8900/api",
        "http://127.0.0.1.example.com",
        "http://user:pass@127.0.0.1",
        "http://127.0.0.1@example.com",
        "http://127.0.0.2",
        "http://example.com",
        "http://localhost:0",
        "http://localhost:65536",
        "http://localhost:8900\n",
        "http://localhost?x",
    ],
)
def test_only_a_loopback_address_and_nothing_else_is_a_base_url(base_url):
    found = complaints(Destination, DESTINATION, subdomain=None, base_url=base_url)
    assert "must be a loopback address" in found[("base_url",)]
    assert base_url.strip() not in found[("base_url",)]


@pytest.mark.parametrize(
    ("subdomain", "offered"),
    [
        ("https://socks.zendesk.com", "socks"),
        ("socks.zendesk.com", "socks"),
        ("https://Socks.zendesk.com/agent", "socks"),
        ("SOCKS", "socks"),
        ("-socks", "socktown"),
        ("a b", "socktown"),
        ("", "socktown"),
        ("x" * 64, "socktown"),
        ("socks\n", "socks"),
        ("https://user:secret@socks.zendesk.com", "socktown"),
    ],
)
def test_a_subdomain_is_the_bare_label_and_a_url_is_corrected(subdomain, offered):
    found = complaints(Destination, DESTINATION, subdomain=subdomain)
    assert found == {("subdomain",): f"subdomain must be the bare label, e.g. '{offered}'"}


def test_a_destination_has_exactly_one_address():
    both = complaints(Destination, DESTINATION, base_url="http://127.0.0.1:8900")
    assert "not both" in both[()]
    neither = complaints(Destination, DESTINATION, subdomain=None)
    assert "is required" in neither[()]


@pytest.mark.parametrize("users", [0, -1, 1, 99])
def test_a_budget_that_could_never_send_a_chunk_is_refused(users):
    found = complaints(Destination, DESTINATION, limits={"users_per_second": users})
    assert set(found) == {("limits", "users_per_second")}


@pytest.mark.parametrize("key", ["requests_per_minute", "jobs_in_flight"])
@pytest.mark.parametrize("value", [0, -5, True, "10", 1.5])
def test_a_limit_is_a_positive_whole_number(key, value):
    assert set(complaints(Destination, DESTINATION, limits={key: value})) == {("limits", key)}


@pytest.mark.parametrize("percent", [-1, 91, 100, True, "10", 12.5])
def test_a_reserve_leaves_something_to_both_sides(percent):
    found = complaints(Destination, DESTINATION, limits={"reserve_percent": percent})
    assert set(found) == {("limits", "reserve_percent")}


@pytest.mark.parametrize("percent", [0, 90])
def test_a_reserve_may_be_nothing_or_nearly_all(percent):
    destination = Destination(**DESTINATION, limits={"reserve_percent": percent})
    assert destination.limits.reserve_percent == percent


@pytest.mark.parametrize(
    "credential", ["Prod", "a__b", "_a", "a_", "1a", "a-b", "a\n", "s3cr3t/Token"]
)
def test_a_credential_is_named_and_its_text_is_never_repeated(credential):
    found = complaints(Destination, DESTINATION, credential=credential)
    assert "must be the name of a credential" in found[("credential",)]
    assert credential not in found[("credential",)]


@pytest.mark.parametrize("name", ["", "Loyalty", "-a", "a b", "a/b", "..", "x" * 65, "a\n"])
def test_names_are_plain_words(name):
    assert set(complaints(Orchestration, ORCHESTRATION, destination=name)) == {("destination",)}


@pytest.mark.parametrize(
    "query", ["../x.sql", "sub/x.sql", "/x.sql", "x.txt", ".sql", "..", "a\\b.sql"]
)
def test_a_query_is_a_sql_file_beside_the_orchestration(query):
    assert set(complaints(Orchestration, ORCHESTRATION, query=query)) == {("query",)}


def test_a_schedule_is_in_utc_and_makes_up_for_nothing_unless_it_says_so():
    schedule = Orchestration(**ORCHESTRATION, schedule={"cron": "30  8 * * *"}).schedule
    assert (schedule.cron, schedule.timezone, schedule.catch_up) == ("30 8 * * *", "UTC", "none")


@pytest.mark.parametrize(
    ("schedule", "place", "told"),
    [
        ({"cron": "30 25 * * *"}, "cron", "field 2, the hour, is wrong"),
        ({"cron": "@daily"}, "cron", "'0 0 * * *' is @daily"),
        ({"cron": "0 8 * * *", "timezone": "Los Angeles"}, "timezone", "America/Los_Angeles"),
        ({"cron": "0 8 * * *", "catch_up": "all"}, "catch_up", "'none' or 'last'"),
        ({"timezone": "UTC"}, "cron", "required"),
    ],
)
def test_a_schedule_that_is_wrong_is_told_at_its_key(schedule, place, told):
    found = complaints(Orchestration, ORCHESTRATION, schedule=schedule)
    assert told in found[("schedule", place)]


def test_an_orchestration_starts_in_one_way_only_and_needs_nobody_to_give_values():
    cron = {"cron": "0 8 * * *"}
    assert (
        "one of the two"
        in complaints(Orchestration, ORCHESTRATION, schedule=cron, after="other")[()]
    )
    for starts in ({"schedule": cron}, {"after": "other"}):
        told = complaints(Orchestration, ORCHESTRATION, params={"since": None}, **starts)
        assert "'since' needs a value" in told[()]


def test_a_source_has_what_its_type_needs_and_nothing_else():
    def told(**keys):
        return complaints(Source, {"name": "s"}, **keys)

    assert "is required with `type: database`" in told(type="database")[()]
    assert "is required with `type: files`" in told(type="files")[()]
    both = told(type="database", url_env="WAREHOUSE_URL", tables={"a": "a.csv"})
    assert "has no meaning with `type: database`" in both[()]
    files = told(type="files", tables={"a": "a.csv"}, statement_timeout=5)
    assert "has no meaning with `type: files`" in files[()]


def test_a_url_in_the_place_of_its_variable_is_refused_and_not_repeated():
    url = "postgresql://me:secret@host/db"
    found = complaints(Source, {"name": "s", "type": "database"}, url_env=url)
    assert "name of an environment variable" in found[("url_env",)]
    assert "secret" not in str(found)


@pytest.mark.parametrize("name", ["", "1st", "a b", "a-b", "$a"])
def test_a_parameter_has_a_plain_name(name):
    assert complaints(Orchestration, ORCHESTRATION, params={name: 1})


def test_parameters_are_single_values():
    params = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None}
    assert Orchestration.model_validate({**ORCHESTRATION, "params": params}).params == params
    assert complaints(Orchestration, ORCHESTRATION, params={"a": [1]})


@pytest.mark.parametrize(
    "thresholds",
    [
        {"fail_below": -1},
        {"fail_above": 0},
        {"fail_below": 10, "fail_above": 9},
        {"max_failed_percent": 101},
        {"max_failed_percent": float("nan")},
        {"max_failed_percent": -0.1},
        {"fail_below": "1"},
        {"warn_below": 1},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(thresholds):
    assert complaints(Orchestration, ORCHESTRATION, thresholds=thresholds)


def test_types_are_not_guessed():
    for changes in ({"description": 5}, {"verified": "yes"}, {"verified": 1}, {"status": True}):
        assert set(complaints(Orchestration, ORCHESTRATION, **changes)) == {(next(iter(changes)),)}


def test_a_description_must_say_something():
    assert (
        "must not be blank"
        in complaints(Orchestration, ORCHESTRATION, description=" ")[("description",)]
    )


def test_one_path_of_a_table_stands_for_a_list_of_one():
    source = Source(**{**SOURCE, "tables": {"a": "a.csv", "b": ["b.json", "c/*.jsonl.gz"]}})
    assert source.tables == {"a": ("a.csv",), "b": ("b.json", "c/*.jsonl.gz")}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.csv",
        "../x.csv",
        "a/../../x.csv",
        "http://x/y.csv",
        "a.xlsx",
        "a",
        "a.parquet.gz",
        "data/**.csv",
        "",
    ],
)
def test_a_tables_path_lies_in_the_catalog_and_has_a_known_ending(path):
    assert set(complaints(Source, SOURCE, tables={"a": path})) == {("tables", "a", 0)}


@pytest.mark.parametrize(
    "tables", [{}, {"a": []}, {"a-b": "a.csv"}, {'a"': "a.csv"}, {"1": "a.csv"}, {"a": 1}]
)
def test_tables_that_cannot_be_are_refused(tables):
    assert complaints(Source, SOURCE, tables=tables)


def test_two_tables_may_not_differ_in_case_only():
    assert complaints(Source, SOURCE, tables={"a": "a.csv", "A": "b.csv"})


def test_models_cannot_be_changed():
    with pytest.raises(ValidationError):
        Orchestration(**ORCHESTRATION).status = "draft"
