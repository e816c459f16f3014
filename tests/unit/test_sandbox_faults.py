"""Which requests a fault rule of the sandbox acts on, and what rules are refused."""

import orjson
import pytest

from worker.sandbox.config import Config
from worker.sandbox.messages import BULK_UPSERT_PATH, make_request
from worker.sandbox.settings import Misconfigured
from worker.sandbox.state import Account

GET = make_request("GET", "/api/v2/users/me.json")


def post(*external_ids):
    body = orjson.dumps({"users": [{"external_id": key, "name": "N"} for key in external_ids]})
    return make_request("POST", BULK_UPSERT_PATH + ".json", {}, body)


def hits(spec, requests):
    """Return the positions, from 1, of the requests that a rule acts on."""
    account = Account(Config(), 0.0)
    account.add_fault(spec)
    picked = [account.faults.pick(request) for request in requests]
    return [n for n, rule in enumerate(picked, start=1) if rule is not None]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": 3}, [3]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 2}, [2, 4, 6]),
        ({"every": 2, "count": 2}, [2, 4]),
        ({"count": 2}, [1, 2]),
        ({"after": 4}, [5, 6]),
        ({"after": 1, "nth": 2}, [3]),
        ({"after": 1, "every": 2}, [3, 5]),
        ({"count": 0}, []),
    ],
)
def test_a_rule_picks_by_count(keys, expected):
    assert hits({"action": "close", **keys}, [GET] * 6) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"method": "post"}, [2]),
        ({"path": "/api/v2/users/me.json"}, [1]),
        ({"path": "/api/v2/users"}, [1, 2]),
        ({"path": "/oauth"}, []),
        ({"holding": "C-7"}, [2]),
        ({"holding": "c-8"}, []),
    ],
)
def test_a_rule_selects_by_method_path_and_user(keys, expected):
    assert hits({"action": "close", **keys}, [GET, post("c-6", "c-7")]) == expected


def test_a_job_rule_is_about_bulk_upserts_only():
    assert hits({"action": "job", "state": "stuck", "nth": 1}, [GET, post("a"), post("b")]) == [2]


def test_the_first_rule_that_picks_a_request_acts_and_all_count_it():
    account = Account(Config(), 0.0)
    first = account.add_fault({"action": "close", "nth": 2})
    second = account.add_fault({"action": "hang"})

    assert [account.faults.pick(GET).id for _ in range(3)] == [second.id, first.id, second.id]
    assert [(rule.seen, rule.hits) for rule in (first, second)] == [(3, 1), (3, 2)]


def test_rules_can_be_removed_one_by_one_and_all_together():
    account = Account(Config(), 0.0)
    rules = [account.add_fault({"action": "close"}) for _ in range(3)]

    assert account.faults.clear(rules[1].id) == 1
    assert account.faults.rules == [rules[0], rules[2]]
    assert account.faults.clear() == 2
    assert account.faults.rules == []


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, "action"),
        ({"action": "explode"}, "action"),
        ({"action": "close", "colour": "red"}, "colour"),
        ({"action": "close", "status": 500}, "status"),
        ({"action": "close", "nth": 0}, "nth"),
        ({"action": "close", "nth": ["1"]}, "nth"),
        ({"action": "close", "every": 0}, "every"),
        ({"action": "close", "count": -1}, "count"),
        ({"action": "close", "apply": 1}, "apply"),
        ({"action": "close", "method": 1}, "method"),
        ({"action": "delay", "seconds_before": -1}, "seconds_before"),
        ({"action": "delay", "seconds_after": "1"}, "seconds_after"),
        ({"action": "delay", "seconds_after": float("inf")}, "seconds_after"),
        ({"action": "answer", "status": 99}, "status"),
        ({"action": "answer", "status": 600}, "status"),
        ({"action": "answer", "headers": {"A": "b\r\nC: d"}}, "headers"),
        ({"action": "answer", "headers": {"A": 1}}, "headers"),
        ({"action": "answer", "headers": []}, "headers"),
        ({"action": "answer", "body": "x", "content_type": "a\nb"}, "content_type"),
        ({"action": "huge", "bytes": 10**12}, "bytes"),
        ({"action": "drip", "part": "tail"}, "part"),
        ({"action": "drip", "bytes": 0}, "bytes"),
        ({"action": "redirect"}, "url"),
        ({"action": "job", "fail_rows": "c-1"}, "fail_rows"),
        ({"action": "job", "seconds": True}, "seconds"),
    ],
)
def test_a_wrong_rule_is_refused_by_the_name_of_its_key(spec, named):
    account = Account(Config(), 0.0)

    with pytest.raises(Misconfigured, match=f"`{named}`"):
        account.add_fault(spec)
    assert account.faults.rules == []
