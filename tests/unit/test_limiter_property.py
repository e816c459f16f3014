"""The limiter against a model that counts by brute force, over random histories.

The model knows no ranks, no trimming and no passes: it keeps every entry for ever and sums up
whole windows. A judge that knows not even the model looks at the stamps alone.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker.limiter import Booked, Budget, Denied, Go, Limiter, NotYet, Stale

START = 1_790_000_000_000_000
SECOND = 1_000_000
REQUESTS_WINDOW = 3 * SECOND
ACCOUNT = "socktown"
CLOCKS = ("fakeredis.commands_mixins.server_mixin", "fakeredis._socket._base", "fakeredis._helpers")


@dataclass(frozen=True)
class Entry:
    """A permit in the logs: what it weighs in each, its slot, and whether it was confirmed."""

    users: int
    requests: int
    slot: int
    sent: bool = False


class Model:
    """What the limiter should answer, computed from the definition."""

    def __init__(self, guard):
        self.windows = (SECOND + guard, REQUESTS_WINDOW + guard)
        self.entries = {}
        self.pause_end = 0

    def bookings(self):
        return {permit: entry for permit, entry in self.entries.items() if not entry.sent}

    def void(self, doomed):
        for permit in doomed:
            del self.entries[permit]

    def forget_abandoned(self, now):
        late = [p for p, e in self.bookings().items() if e.slot < now - self.windows[0]]
        self.void(late)

    def fits(self, users, requests, at, others, budget):
        """Whether all of `others` from one window before `at` on leave room."""
        used_users = sum(e.users for e in others if e.slot >= at - self.windows[0])
        used_requests = sum(e.requests for e in others if e.slot >= at - self.windows[1])
        return (not users or used_users + users <= budget.users_per_second) and (
            not requests or used_requests + requests <= budget.requests_per_minute
        )

    def first_fit(self, users, requests, earliest, others, budget):
        ends = {e.slot + window + 1 for e in others for window in self.windows}
        return next(
            at
            for at in sorted({earliest} | {end for end in ends if end > earliest})
            if self.fits(users, requests, at, others, budget)
        )

    def reserve(self, now, users, requests, budget):
        self.forget_abandoned(now)
        earliest = max(now, self.pause_end)
        return self.first_fit(users, requests, earliest, self.entries.values(), budget)

    def confirm(self, now, permit, budget):
        """The answer, and in `entries` what becomes of them."""
        self.forget_abandoned(now)
        own = self.entries.get(permit)
        if own is None or own.sent:
            return Stale("paused" if now < self.pause_end else "lost")
        others = {p: e for p, e in self.entries.items() if p != permit}
        if now < self.pause_end or own.users > budget.users_per_second:
            self.entries = others
            return Stale("paused" if now < self.pause_end else "budget")
        if now < own.slot:
            return NotYet((own.slot - now) / 1e6)
        stamp = now
        if not self.fits(own.users, own.requests, now, others.values(), budget):
            past = [e for e in others.values() if e.slot <= now]
            stamp = self.first_fit(own.users, own.requests, now, past, budget)
            for p, e in others.items():
                if not e.sent and e.slot > own.slot:
                    others[p] = replace(e, slot=e.slot + stamp - own.slot)
        self.entries = {**others, permit: replace(own, slot=stamp, sent=stamp == now)}
        return Go(now, (now - own.slot) / 1e6) if stamp == now else NotYet((stamp - now) / 1e6)


CALLERS = st.tuples(
    st.sampled_from([1, 3, 5, 7, 10, 10, 0]),
    st.sampled_from([1, 1, 1, 0]),
    st.sampled_from([0, 500_000, 2 * SECOND, REQUESTS_WINDOW]),
).filter(lambda costs: costs[0] + costs[1])
"""Users, requests and max_wait in microseconds."""


class Histories(RuleBasedStateMachine):
    """Random callers of one account; time moves by itself or to where it hurts."""

    @initialize(
        guard=st.sampled_from([0, 12_000]),
        requests=st.sampled_from([3, 100]),
        disturbed=st.sampled_from(["never", "by pauses", "by changes", "by both"]),
    )
    def start(self, guard, requests, disturbed):
        """Each history stresses something else; pauses in all would leave little to be late."""
        self.paused = disturbed in ("by pauses", "by both")
        self.changed = disturbed in ("by changes", "by both")
        self.us = START
        self.patches = pytest.MonkeyPatch()
        for module in CLOCKS:
            self.patches.setattr(f"{module}.time", SimpleNamespace(time=lambda: self.us / 1e6))
        self.client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self.limiter = Limiter(self.client, guard / 1e6, requests_window_s=REQUESTS_WINDOW / SECOND)
        self.guard = guard
        self.model = Model(guard)
        self.budget = Budget(users_per_second=10, requests_per_minute=requests)
        self.permits = []
        self.sent = []  # (stamp, users, requests), for the judge
        self.pauses = []

    def teardown(self):
        if hasattr(self, "patches"):
            self.patches.undo()

    @rule(passed=st.sampled_from([0, 1, 250_000]), callers=st.lists(CALLERS, max_size=4))
    def reserve(self, passed, callers):
        self.us += passed
        for users, requests, max_wait in callers:
            self.reserve_one(min(users, self.budget.users_per_second), requests, max_wait)

    def reserve_one(self, users, requests, max_wait):
        permit = f"p{len(self.permits)}"
        self.permits.append(permit)
        answer = self.limiter.reserve(
            ACCOUNT,
            permit,
            users=users,
            requests=requests,
            budget=self.budget,
            max_wait_s=max_wait / 1e6,
        )
        slot = self.model.reserve(self.us, users, requests, self.budget)
        if slot - self.us > max_wait:
            assert isinstance(answer, Denied)
            assert 0.05 <= answer.retry_in_s <= 25
            assert answer.why != "paused" or slot == self.model.pause_end
        else:
            assert answer == Booked(permit, (slot - self.us) / 1e6, slot)
            self.model.entries[permit] = Entry(users, requests, slot)

    @rule(
        callers=st.lists(CALLERS, max_size=3),
        place=st.sampled_from([0, 0, 1, 2]),
        late=st.sampled_from([0, 0, 1, 7_000, 400_000, -1]),
    )
    def confirm_around_its_slot(self, callers, place, late):
        self.reserve(0, callers)
        in_order = sorted(self.model.bookings().items(), key=lambda item: item[1].slot)
        if not in_order:
            return
        permit = in_order[min(place, len(in_order) - 1)][0]
        self.us = max(self.us, self.model.entries[permit].slot + late)
        self.confirm(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def confirm_any_permit_at_once(self, data):
        self.confirm(data.draw(st.sampled_from(self.permits)))

    def confirm(self, permit):
        booking = self.model.entries.get(permit)
        answer = self.limiter.confirm(ACCOUNT, permit, budget=self.budget)
        assert answer == self.model.confirm(self.us, permit, self.budget)
        if isinstance(answer, Go):
            self.sent.append((answer.stamp_us, booking.users, booking.requests))
            self.judge()

    def judge(self):
        """No window that ends with this stamp, both ends in it, is over the budget of now."""
        stamp, users, requests = self.sent[-1]
        in_second = sum(u for at, u, _ in self.sent if at >= stamp - SECOND - self.guard)
        in_minute = sum(r for at, _, r in self.sent if at >= stamp - REQUESTS_WINDOW - self.guard)
        assert not users or in_second <= self.budget.users_per_second
        assert not requests or in_minute <= self.budget.requests_per_minute
        assert not any(begin <= stamp < end for begin, end in self.pauses)

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def cancel(self, data):
        permit = data.draw(st.sampled_from(self.permits))
        booked = permit in self.model.bookings()
        assert self.limiter.cancel(ACCOUNT, permit) is booked
        if booked:
            self.model.void([permit])

    @precondition(lambda self: self.paused)
    @rule(pause=st.sampled_from([0, 1, 300_000, 1_500_000]))
    def pause(self, pause):
        self.limiter.pause(ACCOUNT, pause / 1e6, "told to")
        self.pauses.append((self.us, self.us + pause))
        self.model.pause_end = max(self.model.pause_end, self.us + pause)
        self.model.void(self.model.bookings())

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), window=st.sampled_from([0, 1]), late=st.sampled_from([0, 1]))
    def let_an_entry_leave_its_window(self, data, window, late):
        entry = self.model.entries[data.draw(st.sampled_from(sorted(self.model.entries)))]
        self.us = max(self.us, entry.slot + self.model.windows[window] + late)

    @precondition(lambda self: self.changed)
    @rule(users=st.integers(5, 10), requests=st.sampled_from([1, 2, 3, 100]))
    def change_the_budget(self, users, requests):
        self.budget = Budget(users, requests)

    @invariant()
    def logs_hold_what_the_model_holds(self):
        """In particular: a permit is in all logs that it belongs to, or in none."""
        now, entries = self.us, self.model.entries
        since = (now - self.model.windows[0], now - self.model.windows[1])
        users = {f"{e.users}:{p}": e.slot for p, e in entries.items() if e.users}
        requests = {p: e.slot for p, e in entries.items() if e.requests}
        booked = {f"{e.users}:{p}": e.slot for p, e in self.model.bookings().items()}
        assert self.log("users", since[0]) == only_since(since[0], users)
        assert self.log("requests", since[1]) == only_since(since[1], requests)
        assert self.log("booked", since[0]) == only_since(since[0], booked)

    def log(self, name, since):
        entries = self.client.zrange(f"deskfeed:{{{ACCOUNT}}}:{name}", 0, -1, withscores=True)
        return only_since(since, {member.decode(): int(slot) for member, slot in entries})


def only_since(since, entries):
    return {member: slot for member, slot in entries.items() if slot >= since}


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
