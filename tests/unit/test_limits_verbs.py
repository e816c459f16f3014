"""`deskfeed limits show` and `limits set`: what they say, what they refuse, what they change."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import fakeredis
import pytest
import redis as redis_py
from click.testing import CliRunner
from world import LIMITS, TARGET, warm, write_catalog

from orchestrations.cli import limits_verbs, limits_words, opened
from orchestrations.cli.output import duration
from worker.ledger.records import Limits
from worker.limiter import Budget, Go, Limiter
from worker.settings import settings

ACCOUNT = TARGET.account
DECLARED = Limits(100, 400, 20, 10)
"""What the catalog of these tests says of the account."""


@pytest.fixture
def catalog(tmp_path):
    return write_catalog(tmp_path / "catalog")


@pytest.fixture
def shell(tmp_path, monkeypatch, catalog, ledger):
    """Return a function that runs a verb on the ledger and the catalog of this test."""
    monkeypatch.setattr(opened, "ledger", lambda: nullcontext(ledger))  # with a clock that stands
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESKFEED_CATALOG", str(catalog))
    monkeypatch.setenv("DESKFEED_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DESKFEED_REDIS_URL", raising=False)
    settings.cache_clear()
    yield lambda *args: CliRunner().invoke(limits_verbs.limits, args)
    settings.cache_clear()


@pytest.fixture
def redis(monkeypatch, shell, redis_clock):
    """Return the Redis that the verbs ask."""
    client = fakeredis.FakeRedis()
    monkeypatch.setenv("DESKFEED_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr("worker.limiter.connect", lambda _url: client)
    settings.cache_clear()
    return client


def shown(result):
    """Return what `show --json` says of the only account."""
    assert result.exit_code == 0, result.output
    (account,) = json.loads(result.stdout)["accounts"]
    return account


def waits(ledger, sending, *whys, run_id="df-20261124T083000Z-aaaaaa"):
    """Make a run whose chunks wait, each for its reason."""
    sending(*[1] * len(whys), run_id=run_id, limits=DECLARED)
    ledger.chunks.admit(run_id, len(whys))
    for seq, why in enumerate(whys, start=1):
        ledger.chunks.wait(ledger.chunks.claim(run_id, seq, "w"), 90.0, why)
    return run_id


# --- show -------------------------------------------------------------------------------------


def test_show_tells_every_limit_with_its_use(shell, redis, ledger, sending):
    sending(1, limits=DECLARED)

    account = shown(shell("show", "--json"))
    assert (account["account"], account["destinations"]) == (ACCOUNT, ["socktown"])
    assert account["limits"] == {
        "users_per_second": {"declared": 100, "now": 100, "used": 0},
        "requests_per_minute": {"declared": 400, "now": 400, "used": 0},
        "jobs_in_flight": {"declared": 20, "now": 20, "used": 0},
    }
    assert account["reserve_percent"] == 10
    assert (account["paused"], account["jobs_cap"], account["lowered"]) == (None, None, [])


def test_show_without_redis_tells_the_rest(shell, ledger, sending):
    run_id = waits(ledger, sending, "users")

    result = shell("show")
    assert result.exit_code == 0
    assert "users per second     at most 100; how much is used now is not known" in result.stdout
    assert "jobs in flight       0 of 20 now" in result.stdout
    assert run_id in result.stdout
    assert "Redis does not answer" in result.stderr
    assert "deskfeed up" in result.stderr


def test_show_with_a_silent_redis_tells_the_rest(shell, redis, ledger, sending, monkeypatch):
    def silent(*_args, **_kwargs):
        raise redis_py.ConnectionError

    sending(1, limits=DECLARED)
    monkeypatch.setattr("redis.commands.core.Script.__call__", silent)

    result = shell("show", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"]) == (0, True)
    assert answer["redis_error"]["code"] == "limiter_unavailable"
    limits = answer["accounts"][0]["limits"]
    assert [limit["used"] for limit in limits.values()] == [None, None, 0]


def test_show_with_redis_has_no_complaint(shell, redis, ledger, sending):
    sending(1, limits=DECLARED)

    assert json.loads(shell("show", "--json").stdout)["redis_error"] is None
    assert shell("show").stderr == ""


def test_show_tells_a_pause_with_its_reason(shell, redis, ledger, sending):
    sending(1, limits=DECLARED)
    Limiter(redis).pause(ACCOUNT, 40.0, "rate_limited")

    paused = shown(shell("show", "--json"))["paused"]
    assert paused["reason"] == "rate_limited"
    assert 30.0 < paused["seconds"] <= 40.0
    assert "s more: Zendesk asks to wait" in shell("show").stdout


def test_show_tells_who_lowered_what_and_until_when(shell, redis, ledger, sending, clock):
    sending(1, limits=DECLARED)
    override = ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 7200.0, "eve")

    text = shell("show").stdout
    assert "requests per minute  0 of 120 now" in text
    assert "lowered from 400 to 120 by eve" in text
    assert limits_words.moment(override.until) in text
    (lowered,) = shown(shell("show", "--json"))["lowered"]
    assert (lowered["name"], lowered["value"], lowered["by"]) == ("requests_per_minute", 120, "eve")


def test_show_tells_that_zendesk_had_too_many_jobs(shell, redis, ledger, sending):
    sending(1, limits=DECLARED)
    ledger.polling.lower_job_cap(ACCOUNT, 60.0)

    text = shell("show").stdout
    assert "jobs in flight       0 of 1 now" in text
    assert "lowered from 20 to 1: Zendesk said TooManyJobs" in text
    assert shown(shell("show", "--json"))["jobs_cap"]["value"] == 1


def test_show_tells_who_waits_for_what_and_how_long(shell, redis, ledger, sending, clock):
    run_id = waits(ledger, sending, "users", "users", "job_slot")
    clock.advance(30.0)

    text = shell("show").stdout
    assert f"    {run_id}  loyalty\n" in text
    times = "        longest 30 s, next in 1 min 0 s\n"
    assert f"      2 chunks for users per second\n{times}" in text
    assert f"      1 chunk for a free job\n{times}" in text
    assert text.count(run_id) == 1
    clock.advance(60.0)
    assert "longest 1 min 30 s, next now\n" in shell("show").stdout
    first, second = shown(shell("show", "--json"))["waiting"]
    assert {(one["why"], one["chunks"]) for one in (first, second)} == {
        ("users", 2),
        ("job_slot", 1),
    }
    assert (first["waited_seconds"], first["next_in_seconds"]) == (90.0, 0.0)


def test_show_tells_how_a_paused_run_goes_on(shell, redis, ledger, sending):
    run_id = waits(ledger, sending, "invalid_credentials")
    ledger.runs.pause(run_id)

    text = shell("show").stdout
    assert f"deskfeed resume {run_id}" in text
    assert "1 chunk for Zendesk does not accept the credential" in text


def test_show_says_that_nobody_waits(shell, redis):
    assert "waiting              nobody" in shell("show").stdout


def test_show_knows_accounts_to_which_nothing_was_sent_yet(shell, redis):
    account = shown(shell("show", "--json"))

    assert account["account"] == ACCOUNT
    assert account["limits"]["requests_per_minute"]["declared"] == 400


def test_show_knows_accounts_that_the_catalog_no_longer_has(shell, redis, ledger, new_run):
    gone = replace(TARGET, account="old.zendesk.com")
    ledger.runs.start(new_run(target=gone))

    answer = json.loads(shell("show", "--json").stdout)
    assert [one["account"] for one in answer["accounts"]] == [ACCOUNT, "old.zendesk.com"]
    assert answer["accounts"][1]["destinations"] == []
    assert shown(shell("show", "old.zendesk.com", "--json"))["account"] == "old.zendesk.com"


@pytest.mark.parametrize("name", ["socktown", ACCOUNT])
def test_show_takes_a_destination_or_an_account(shell, redis, ledger, new_run, name):
    ledger.runs.start(new_run(target=replace(TARGET, account="old.zendesk.com")))

    assert shown(shell("show", name, "--json"))["account"] == ACCOUNT


@pytest.mark.parametrize(("typed", "meant"), [("socktwn", "socktown"), ("127.0.0.1:890", ACCOUNT)])
def test_a_typo_is_answered_with_what_is_near(shell, typed, meant):
    for arguments in (("show", typed), ("set", typed, "--jobs-in-flight", "1", "--for", "1h")):
        result = shell(*arguments)
        assert result.exit_code == 2
        assert f"did you mean '{meant}'?" in result.stderr
        assert "deskfeed limits show" in result.stderr


def test_what_show_prints_fits_80_columns(shell, redis, ledger, sending, clock):
    limiter = Limiter(redis)
    limiter.pause(ACCOUNT, 40.0, "destination_unavailable")
    waits(ledger, sending, "unclear_answer", "worker_lost", "results_unmatched")
    ledger.polling.learn(ACCOUNT, 12.34)
    ledger.polling.lower_job_cap(ACCOUNT, 9 * 3600.0)
    for name in limits_words.NAMES:
        value = DECLARED.of(name)
        ledger.limits.lower(ACCOUNT, name, value, 7 * 24 * 3600.0, "a.rather.long.name")

    text = shell("show").stdout
    assert "TooManyJobs" in text
    assert text.count("a.rather.long.name") == 3
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_use_and_bookings_are_told_beside_the_ceiling(redis, ledger, sending):
    sending(1, limits=DECLARED)
    now = replace(Limiter(redis).state(ACCOUNT), users=40, requests=37, booked_users=100)
    told = limits_words.Shown(ledger.views.account(ACCOUNT), ("socktown",), now)

    text = "\n".join(limits_words.lines(told))
    assert "users per second     40 of 100 now, 100 booked" in text
    assert "requests per minute  37 of 400 now\n" in text
    answer = limits_words.as_json(told)
    assert [limit["used"] for limit in answer["limits"].values()] == [40, 37, 0]
    assert answer["booked_users"] == 100


def test_a_reserve_of_nothing_is_not_told(redis, ledger, sending):
    sending(1, limits=LIMITS)
    told = limits_words.Shown(ledger.views.account(ACCOUNT), (), None)

    assert "left to others" not in "\n".join(limits_words.lines(told))


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("paused", "paused               12 s more: Zendesk asks to wait"),
        ("cold", "nothing goes for another 12 s"),
        ("probe", "one request goes first; the others wait for its answer"),
    ],
)
def test_show_tells_what_the_gate_does(redis, ledger, sending, gate, words):
    sending(1, limits=DECLARED)
    left, why = (0.0, "") if gate == "probe" else (12.0, "rate_limited")
    now = replace(Limiter(redis).state(ACCOUNT), gate=gate, paused_s=left, pause_reason=why)
    told = limits_words.Shown(ledger.views.account(ACCOUNT), ("socktown",), now)

    lines = list(limits_words.lines(told))
    assert words in "\n".join(lines)
    assert ("Redis lost its memory" in "\n".join(lines)) == (gate == "cold")
    assert max(map(len, lines)) <= 80
    assert limits_words.as_json(told)["gate"] == gate


def test_an_open_gate_is_not_told(redis, ledger, sending):
    sending(1, limits=DECLARED)
    now = replace(Limiter(redis).state(ACCOUNT), gate="open")
    told = limits_words.Shown(ledger.views.account(ACCOUNT), ("socktown",), now)

    text = "\n".join(limits_words.lines(told))
    assert [word for word in ("paused", "cold", "probe") if word in text] == []


@pytest.mark.parametrize(("cap", "is_told"), [(37, True), (399, True), (400, False), (None, False)])
def test_show_tells_what_others_leave_of_the_requests(redis, ledger, sending, cap, is_told):
    sending(1, limits=DECLARED)
    now = replace(Limiter(redis).state(ACCOUNT), requests_cap=cap)
    told = limits_words.Shown(ledger.views.account(ACCOUNT), ("socktown",), now)

    lines = list(limits_words.lines(told))
    words = f"    at most {cap} at present: other users of the account have the rest"
    assert (words in lines) == is_told
    assert ("    (told by Zendesk's headers)" in lines) == is_told
    assert max(map(len, lines)) <= 80
    assert limits_words.as_json(told)["requests_cap"] == cap


def test_a_cap_that_headers_told_the_limiter_is_shown(shell, redis, ledger, sending):
    sending(1, limits=DECLARED)
    warm(redis)
    limiter = Limiter(redis)
    budget = Budget(DECLARED.users_per_second, DECLARED.requests_per_minute)
    limiter.reserve(ACCOUNT, "p", users=0, requests=1, budget=budget, max_wait_s=0.0)
    assert isinstance(limiter.confirm(ACCOUNT, "p", budget=budget), Go)
    budget = Budget(users_per_second=100, requests_per_minute=400)
    told = {"limit": 700, "remaining": 100, "reset_s": 30.0, "reserve_percent": 10}
    limiter.observe(ACCOUNT, "p", budget=budget, **told)

    assert "at most 31 at present" in shell("show").stdout
    answer = shown(shell("show", "--json"))
    assert (answer["requests_cap"], answer["gate"]) == (31, "open")


def test_gate_and_cap_are_null_where_redis_does_not_answer(shell, ledger, sending):
    sending(1, limits=DECLARED)

    answer = shown(shell("show", "--json"))
    assert (answer["gate"], answer["requests_cap"]) == (None, None)


# --- with a broken catalog --------------------------------------------------------------------


def make_broken(catalog):
    (catalog / "destinations" / "socktown.yaml").write_text("plugin: [")


def make_gone(catalog):
    shutil.rmtree(catalog)


@pytest.fixture(params=[make_broken, make_gone])
def broken(request, catalog, sending):
    """Let the ledger know the account, then break the catalog."""
    sending(1, limits=DECLARED)
    request.param(catalog)


def test_show_tells_what_the_ledger_knows_though_the_catalog_is_broken(shell, redis, broken):
    result = shell("show")
    assert result.exit_code == 0
    assert f"{ACCOUNT}\n" in result.stdout
    assert "jobs in flight       0 of 20 now" in result.stdout
    assert "the catalog is broken" in result.stderr

    result = shell("show", ACCOUNT, "--json")
    assert shown(result)["destinations"] == []
    assert json.loads(result.stdout)["catalog_error"]["code"] == "catalog_error"


def test_show_has_no_complaint_about_a_sound_catalog(shell, redis):
    assert json.loads(shell("show", "--json").stdout)["catalog_error"] is None


def test_set_brakes_an_account_though_the_catalog_is_broken(shell, ledger, broken):
    result = shell("set", ACCOUNT, "--requests-per-minute", "9", "--for", "2h", "--json")

    assert result.exit_code == 0
    assert ledger.polling.account(ACCOUNT).limits.requests_per_minute == 9
    assert json.loads(result.stdout)["lowered"]["value"] == 9
    assert "the catalog is broken" in result.stderr

    assert shell("set", ACCOUNT, "--lift").exit_code == 0
    assert ledger.limits.active(ACCOUNT) == []


def test_set_raises_nothing_though_the_catalog_is_broken(shell, ledger, broken):
    result = shell("set", ACCOUNT, "--requests-per-minute", "401", "--for", "2h")

    assert (result.exit_code, "only lowers" in result.stderr) == (2, True)
    assert ledger.limits.active(ACCOUNT) == []


@pytest.mark.parametrize("words", [("show",), ("set", "--jobs-in-flight", "1", "--for", "1h")])
def test_a_destination_of_a_broken_catalog_is_answered_with_the_accounts(shell, broken, words):
    result = shell(words[0], "socktown", *words[1:])

    assert result.exit_code == 2
    assert "the catalog is broken" in result.stderr
    assert ACCOUNT in result.stderr


# --- set --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["socktown", ACCOUNT])
def test_set_lowers_a_limit_at_once(shell, ledger, sending, name):
    sending(1, limits=DECLARED)
    result = shell("set", name, "--requests-per-minute", "120", "--for", "2h")

    assert result.exit_code == 0
    assert ledger.polling.account(ACCOUNT).limits == Limits(100, 120, 20, 10)
    assert "requests per minute at most 120" in result.stdout
    assert f"deskfeed limits set {name} --lift" in result.stdout


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("7d", 604_800)],
)
def test_a_time_span_is_a_number_and_its_unit(shell, ledger, typed, seconds):
    result = shell("set", "socktown", "--jobs-in-flight", "2", "--for", typed, "--json")

    assert json.loads(result.stdout)["lowered"]["name"] == "jobs_in_flight"
    (override,) = ledger.limits.active(ACCOUNT)
    assert override.until - override.set_at == pytest.approx(seconds)


@pytest.mark.parametrize("typed", ["2", "h", "2x", "-2h", "2h30m", "1.5h", "", "8d", "0m"])
def test_a_time_span_that_makes_no_sense_is_refused(shell, ledger, typed):
    result = shell("set", "socktown", "--jobs-in-flight", "2", "--for", typed)

    assert result.exit_code == 2
    assert "2h" in result.stderr
    assert ledger.limits.active(ACCOUNT) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--jobs-in-flight", "2"), "--for is missing"),
        (("--for", "2h"), "exactly one of"),
        ((), "exactly one of"),
        (("--jobs-in-flight", "2", "--requests-per-minute", "9", "--for", "2h"), "exactly one of"),
        (("--lift", "--for", "2h"), "goes with nothing else"),
        (("--lift", "--jobs-in-flight", "2"), "goes with nothing else"),
        (("--jobs-in-flight", "21", "--for", "2h"), "only lowers"),
        (("--jobs-in-flight", "0", "--for", "2h"), "at least 1"),
        (("--users-per-second", "99", "--for", "2h"), "would never get its permit"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(shell, ledger, arguments, words):
    result = shell("set", "socktown", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", " ")
    assert "What to do:" in result.stderr
    assert ledger.limits.active(ACCOUNT) == []


def test_a_refusal_is_one_object_with_json(shell):
    result = shell("set", "socktown", "--jobs-in-flight", "21", "--for", "2h", "--json")

    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"], answer["error"]["code"]) == (2, False, "usage")


def test_set_lowers_before_anything_was_sent(shell, ledger, new_run):
    assert shell("set", "socktown", "--jobs-in-flight", "2", "--for", "2h").exit_code == 0
    ledger.runs.start(new_run(limits=DECLARED))

    assert ledger.polling.account(ACCOUNT).limits.jobs_in_flight == 2


def test_lift_lets_the_declared_limits_hold_again(shell, ledger, sending):
    sending(1, limits=DECLARED)
    ledger.limits.lower(ACCOUNT, "jobs_in_flight", 2, 600.0, "eve")
    ledger.limits.lower(ACCOUNT, "requests_per_minute", 120, 600.0, "eve")
    result = shell("set", "socktown", "--lift")

    assert ledger.polling.account(ACCOUNT).limits == DECLARED
    assert "jobs in flight is as declared again" in result.stdout
    assert "requests per minute is as declared again" in result.stdout


def test_lifting_where_nothing_is_lowered_is_harmless(shell):
    result = shell("set", "socktown", "--lift")
    assert (result.exit_code, "nobody had lowered anything" in result.stdout) == (0, True)

    answer = json.loads(shell("set", "socktown", "--lift", "--json").stdout)
    assert answer == {"ok": True, "account": ACCOUNT, "lifted": []}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (7200, "2 h 0 min"),
        (30 * 3600, "30 h 0 min"),
        (604_800, "7 d 0 h"),
    ],
)
def test_time_spans_are_told_in_two_units(seconds, text):
    assert duration(seconds) == text
