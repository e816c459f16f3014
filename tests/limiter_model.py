"""The limiter against a model that counts by brute force, over random histories.

The model knows no ranks, no trimming and no passes: it keeps every entry for ever and sums up
whole windows. A judge that knows not even the model looks at the stamps alone. The same histories
are played on the fake server (tests/unit) and on a real one (tests/integration).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from limiter_bench import ACCOUNT

from worker.limiter import Booked, Budget, Denied, Go, Limiter, NotYet, Observed, Stale

START = 1_790_000_000_000_000
SECOND = 1_000_000
REQUESTS_WINDOW = 3 * SECOND
PROBE = 4 * SECOND
REST_LEAST, REST_USUAL = 5 * SECOND, 10 * SECOND
LONGEST_RETRY = 25 * SECOND
HOUR = 3600 * SECOND


@dataclass(frozen=True)
class Entry:
    """A permit in the logs: what it weighs in each, its slot, and whether it was confirmed."""

    users: int
    requests: int
    slot: int
    sent: bool = False

    @property
    def posts(self):
        return self.requests if self.users else 0


@dataclass
class Gate:
    """What stands before the logs."""

    closed_until: int = 0
    kind: str = ""
    probing: bool = False
    probe: str | None = None
    probe_until: int = 0
    unknown_until: int = 0
    forgot_until: int = 0
    cap: int = 0
    cap_at: int = 0
    cap_until: int = 0

    def close(self, until, kind):
        if until > self.closed_until:
            self.closed_until, self.kind = until, kind
        self.probing, self.probe = True, None


def kind_of(entry):
    return "post" if entry.users else "poll"


class Model:
    """What the limiter should answer, computed from the definition."""

    def __init__(self, guard, slack):
        self.users_window, self.requests_window = SECOND + guard, REQUESTS_WINDOW + guard
        self.slack = slack
        self.entries = {}
        self.gate = Gate()
        self.cold = False  # the server's memory is gone, and nobody has noticed yet
        self.awaited = {}  # "post" or "poll" -> until when one that was denied is waited for
        self.last = ""  # which of both had the last request, where a minute has one

    def bookings(self):
        return {permit: entry for permit, entry in self.entries.items() if not entry.sent}

    def void(self, doomed):
        for permit in doomed:
            del self.entries[permit]
            if self.gate.probe == permit:
                self.gate.probe = None

    def begin(self, now):
        """Before every answer a cold start is noticed, and the abandoned are forgotten."""
        if self.cold:
            self.cold = False
            self.void([p for p, e in self.bookings().items() if e.slot > now])
            self.entries = {p: replace(e, sent=True) for p, e in self.entries.items()}
            self.gate.close(now + self.users_window + 1, "cold")
            self.gate.unknown_until = now + self.requests_window + 1
            self.gate.forgot_until = self.gate.unknown_until
            self.gate.cap_at, self.gate.cap_until = now, 0
        self.void([p for p, e in self.bookings().items() if e.slot < now - self.users_window])

    def budgets(self, now, budget):
        """Users, requests, and requests with users in them."""
        requests = budget.requests_per_minute
        if now < self.gate.cap_until:
            requests = min(requests, self.gate.cap)
        return (
            budget.users_per_second,
            requests,
            requests - max(min(requests - 1, 1), requests * 3 // 10),
        )

    def fits(self, new, at, now, others, budgets, slack=0, users_upto=math.inf):
        """Whether the others from one window before `at` on leave room in every log.

        Slack keeps a distance from what is in the logs at `now`; what left its window is not.
        """
        users, requests, posts = budgets
        second_since = max(at - self.users_window - slack, now - self.users_window)
        minute_since = max(at - self.requests_window - slack, now - self.requests_window)
        second = [e for e in others if second_since <= e.slot <= users_upto]
        minute = [e for e in others if e.slot >= minute_since]
        return (
            (not new.users or sum(e.users for e in second) + new.users <= users)
            and (not new.requests or sum(e.requests for e in minute) + 1 <= requests)
            and (not new.posts or sum(e.posts for e in minute) + 1 <= posts)
        )

    def first_fit(self, new, earliest, now, others, budgets, slack=0):
        windows = (self.users_window, self.requests_window)
        ends = {e.slot + window + 1 + slack for e in others for window in windows}
        return next(
            at
            for at in sorted({earliest} | {end for end in ends if end > earliest})
            if self.fits(new, at, now, others, budgets, slack)
        )

    def reserve(self, now, permit, users, requests, budget, max_wait):
        """The slot that is booked, or the reason why none is."""
        self.begin(now)
        gate = self.gate
        if gate.probing and gate.probe and now <= gate.probe_until:
            return "probe"
        earliest = max(now, gate.closed_until)
        if requests and not gate.probing:
            earliest = max(earliest, gate.unknown_until)
        new = Entry(users, requests, 0)
        budgets = self.budgets(now, budget)
        slot = self.first_fit(new, earliest, now, self.entries.values(), budgets, self.slack)
        if requests and not gate.probing:
            slot = self.after_the_other(new, slot, now, budgets)
        if slot - now > max_wait:
            self.nearest = slot
            return gate.kind if slot == gate.closed_until else "budget"
        self.entries[permit] = replace(new, slot=slot)
        if requests:
            self.awaited.pop(kind_of(new), None)
            self.last = kind_of(new) if budgets[1] == 1 else self.last
        if gate.probing:
            gate.probe, gate.probe_until = permit, slot + PROBE
        return slot

    def after_the_other(self, new, slot, now, budgets):
        """Extra polls leave room for a POST that waits; of one request a minute all take turns."""
        users, requests, posts = budgets
        awaited = self.awaited.get("poll" if new.users else "post", 0)
        if awaited < now:
            return slot
        if requests == 1:
            return max(slot, awaited + 1) if self.last == kind_of(new) else slot
        minute = [e for e in self.entries.values() if e.slot >= now - self.requests_window]
        if new.users or sum(e.requests and not e.users for e in minute) < requests - posts:
            return slot
        less = (users, requests - 1, posts)
        return self.first_fit(new, slot, now, self.entries.values(), less, self.slack)

    def wait_for(self, now, users, slot):
        """One that was denied for requests is awaited until a window after its slot."""
        kind = kind_of(Entry(users, 1, slot))
        until = min(slot, now + LONGEST_RETRY) + self.users_window
        self.awaited[kind] = max(until, self.awaited.get(kind, 0))

    def confirm(self, now, permit, budget):
        """The answer, and in `entries` what becomes of them."""
        self.begin(now)
        gate, own = self.gate, self.entries.get(permit)
        closed = now < gate.closed_until
        if own is None or own.sent:
            return Stale(gate.kind if closed else "lost")
        if closed or own.users > budget.users_per_second:
            self.void([permit])
            return Stale(gate.kind if closed else "budget")
        if now < own.slot:
            return NotYet((own.slot - now) / 1e6)
        stamp = self._stamp(now, permit, own, self.budgets(now, budget))
        if stamp is None:
            self.void([permit])
            return Stale("budget")
        if stamp > now:
            return NotYet((stamp - now) / 1e6)
        is_probe = gate.probing and gate.probe == permit
        if is_probe:
            gate.probe_until = now + PROBE
        return Go(now, (now - own.slot) / 1e6, is_probe)

    def _stamp(self, now, permit, own, budgets):
        others = {p: e for p, e in self.entries.items() if p != permit}
        stamp = now
        upto = now + self.users_window
        if not self.fits(own, now, now, others.values(), budgets, users_upto=upto):
            past = [e for e in others.values() if e.slot <= now]
            stamp = self.first_fit(own, now, now, past, budgets)
            if stamp - own.slot > 2 * self.users_window:
                return None  # too far to be waited for: given back, and nobody moves
            for p, e in others.items():
                if not e.sent and e.slot > own.slot:
                    others[p] = replace(e, slot=e.slot + stamp - own.slot)
        self.entries = {**others, permit: replace(own, slot=stamp, sent=stamp == now)}
        return stamp

    def observe(self, now, permit, budget, answered, told):
        self.begin(now)
        gate, own = self.gate, self.entries.get(permit)
        if gate.probe == permit:
            gate.probe = None
            gate.probing = gate.probing and not answered
        limit, remaining, reset, percent = told
        known = own is not None and own.slot >= now - self.requests_window
        if remaining is None or not known or not own.requests or own.slot < gate.cap_at:
            return Observed(None, 0.0)
        since = now - self.requests_window
        ours = sum(e.requests for e in self.entries.values() if since <= e.slot <= own.slot)
        allowed = remaining - math.ceil(limit * percent / 100)
        period = self.requests_window if reset is None else min(reset, self.requests_window)
        rest = 0
        if allowed <= 0:
            rest = max(REST_LEAST, period if reset is not None else min(period, REST_USUAL))
        cap, ends = ours + allowed, now + (rest or max(period, 1))
        forgetful = now < gate.forgot_until
        if forgetful:
            cap = min(cap, budget.requests_per_minute - max(0, limit - remaining - ours))
            ends = max(ends, gate.forgot_until)
        if not forgetful or cap > ours:
            gate.unknown_until = 0
        gate.cap, gate.cap_at, gate.cap_until = max(1, cap), own.slot, ends
        if rest:
            gate.close(now + rest, "paused")
            self.void(self.bookings())
        return Observed(gate.cap, rest / 1e6)


CALLERS = st.tuples(
    st.sampled_from([1, 3, 5, 7, 10, 10, 0]),
    st.sampled_from([1, 1, 1, 0]),
    st.sampled_from([0, 500_000, 2 * SECOND, REQUESTS_WINDOW]),
).filter(lambda costs: costs[0] + costs[1])
"""Users, requests and max_wait in microseconds."""

TOLD = st.one_of(
    st.just((None, None, None, 0)),
    st.tuples(
        st.sampled_from([10, 100]),
        st.sampled_from([0, 1, 3, 10]),
        st.sampled_from([None, 0, SECOND, 100 * SECOND]),
        st.sampled_from([0, 10]),
    ),
)
"""Limit, remaining, reset in microseconds, reserve_percent."""


class Histories(RuleBasedStateMachine):
    """Random callers of one account; time moves by itself or to where it hurts."""

    open_server: Callable[..., Any]
    """Returns a client of an empty server whose TIME is `self.us`; each kind has its own."""

    @initialize(
        guard=st.sampled_from([0, 12_000]),
        slack=st.sampled_from([0, 2_000]),
        requests=st.sampled_from([3, 10, 100]),
        disturbed=st.sampled_from(
            ["never", "by pauses", "by changes", "by losses", "by runs", "by all"]
        ),
    )
    def start(self, guard, slack, requests, disturbed):
        """Each history stresses something else; pauses in all would leave little to be late."""
        self.disturbed = disturbed
        self.us = START
        self.client = self.open_server()
        self.limiter = Limiter(
            self.client,
            guard / 1e6,
            requests_window_s=REQUESTS_WINDOW / SECOND,
            slack_s=slack / 1e6,
            probe_s=PROBE / 1e6,
        )
        self.guard = guard
        self.model = Model(guard, slack)
        self.budget = Budget(users_per_second=10, requests_per_minute=requests)
        self.permits = []
        self.sent = []  # (stamp, users, requests), for the judge
        self.closed = []  # (from, until): nothing may be sent or booked into it
        self.told_of = []
        self.contests = 0

    def suffers(self, what):
        return self.disturbed in ("by " + what, "by all")

    @rule(passed=st.sampled_from([0, 1, 250_000]), callers=st.lists(CALLERS, max_size=4))
    def reserve(self, passed, callers):
        self.us += passed
        for users, requests, max_wait in callers:
            self.reserve_one(min(users, self.budget.users_per_second), requests, max_wait)

    def reserve_one(self, users, requests, max_wait, flow="", share=1.0):
        permit = f"p{len(self.permits)}"
        self.permits.append(permit)
        awaited = dict(self.model.awaited)
        answer = self.limiter.reserve(
            ACCOUNT,
            permit,
            users=users,
            requests=requests,
            budget=self.budget,
            max_wait_s=max_wait / 1e6,
            flow=flow,
            share=share,
        )
        expected = self.model.reserve(self.us, permit, users, requests, self.budget, max_wait)
        if isinstance(answer, Denied) and answer.why == "share":
            assert flow
            assert expected - self.us > self.model.users_window / 4  # nearer it is anybody's
            self.model.void([permit])
            self.model.awaited = awaited
        elif isinstance(expected, str):
            assert isinstance(answer, Denied)
            assert 0.05 <= answer.retry_in_s <= 25
            assert expected == ("budget" if answer.why in ("users", "requests") else answer.why)
            if answer.why == "requests":
                self.model.wait_for(self.us, users, self.model.nearest)
        else:
            assert answer == Booked(permit, (expected - self.us) / 1e6, expected)
            assert not any(begin <= expected < end for begin, end in self.closed)
            return permit
        return None

    @precondition(lambda self: self.suffers("runs") and self.contests < 2 and self.is_open())
    @rule(
        shares=st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, 9.0]), min_size=2, max_size=8),
        rounds=st.sampled_from([5, 15]),
        seed=st.integers(0, 1000),
        ahead=st.sampled_from([300_000, 900_000]),
        late=st.sampled_from([0, 0, 7_000]),
    )
    def runs_compete(self, shares, rounds, seed, ahead, late):
        """All ask for each slot, in any order: none is ever a whole chunk from its part."""
        self.contests += 1
        self.us += 30 * SECOND  # by then nobody waits for the runs of the contest before
        runs = {f"r{self.contests}-{n}": share for n, share in enumerate(shares)}
        chunk = self.budget.users_per_second
        permit, flow = self.reserve_one(chunk, 1, 0), {}
        self.ask_for_all(runs, chunk, 0)
        had = dict.fromkeys(runs, 0)
        dice, names = random.Random(seed), list(runs)
        for _ in range(rounds):
            self.us = max(self.us, self.model.entries[permit].slot + late)
            self.confirm(permit, **flow)  # with it a run is promised its next turn, and is there
            self.us += self.model.users_window + self.model.slack - ahead
            dice.shuffle(names)
            ((name, permit),) = self.ask_for_all({n: runs[n] for n in names}, chunk, SECOND)
            flow = {"flow": name, "share": runs[name]}
            had[name] += 1
            judge_shares(runs, had)

    def is_open(self):
        """No gate is in the way and requests are plenty: what is left to wait for is users."""
        gate = self.model.gate
        closed = max(gate.closed_until, gate.unknown_until, gate.cap_until) > self.us
        return not (self.model.cold or gate.probing or closed) and (
            self.budget.requests_per_minute == 100
        )

    def ask_for_all(self, runs, chunk, max_wait):
        """Each run asks once; those that are booked, with their permits."""
        asked = {n: self.reserve_one(chunk, 1, max_wait, n, share) for n, share in runs.items()}
        return [(name, permit) for name, permit in asked.items() if permit]

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

    def confirm(self, permit, **flow):
        booking = self.model.entries.get(permit)
        answer = self.limiter.confirm(ACCOUNT, permit, budget=self.budget, **flow)
        if isinstance(answer, Go):
            answer = replace(answer, next_in_s=0.0)  # advice, which the model does not give
        assert answer == self.model.confirm(self.us, permit, self.budget)
        if isinstance(answer, Go):
            self.sent.append((answer.stamp_us, booking.users, booking.requests))
            self.judge()
            if answer.probe:
                self.told_of.append(permit)

    def judge(self):
        """No window that ends with this stamp, both ends in it, is over the budget of now."""
        stamp, users, requests = self.sent[-1]
        in_second = sum(u for at, u, _ in self.sent if at >= stamp - SECOND - self.guard)
        in_minute = sum(r for at, _, r in self.sent if at >= stamp - REQUESTS_WINDOW - self.guard)
        assert not users or in_second <= self.budget.users_per_second
        assert not requests or in_minute <= self.budget.requests_per_minute
        assert not any(begin <= stamp < end for begin, end in self.closed)

    @precondition(lambda self: self.told_of)
    @rule(answered=st.sampled_from([True, True, False]), told=TOLD)
    def answer_the_probe(self, answered, told):
        self.observe(self.told_of.pop(), answered, told)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), told=TOLD)
    def answer_something(self, data, told):
        sent = sorted(p for p, e in self.model.entries.items() if e.sent)
        if sent:
            self.observe(data.draw(st.sampled_from(sent)), True, told)

    def observe(self, permit, answered, told):
        limit, remaining, reset, percent = told
        answer = self.limiter.observe(
            ACCOUNT,
            permit,
            budget=self.budget,
            answered=answered,
            limit=limit,
            remaining=remaining,
            reset_s=None if reset is None else reset / 1e6,
            reserve_percent=percent,
        )
        assert answer == self.model.observe(self.us, permit, self.budget, answered, told)
        if answer.rest_s:
            self.closed.append((self.us, self.us + round(answer.rest_s * 1e6)))

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def cancel(self, data):
        permit = data.draw(st.sampled_from(self.permits))
        booked = permit in self.model.bookings() and not self.model.cold
        if booked or not self.model.cold:
            assert self.limiter.cancel(ACCOUNT, permit) is booked
            if booked:
                self.model.void([permit])

    @precondition(lambda self: self.suffers("pauses"))
    @rule(pause=st.sampled_from([0, 1, 300_000, 1_500_000]))
    def pause(self, pause):
        self.limiter.pause(ACCOUNT, pause / 1e6, "told to")
        self.closed.append((self.us, self.us + pause))
        self.model.begin(self.us)
        self.model.gate.close(self.us + pause, "paused")
        self.model.void(self.model.bookings())

    @precondition(lambda self: self.suffers("losses"))
    @rule()
    def restart_the_server(self):
        """Its data are there, but the last of them may be missing: it says so by its name."""
        self.client.hset(f"deskfeed:{{{ACCOUNT}}}:gate", "server", "another")
        self.model.cold = True
        self.closed.append((self.us, self.us + SECOND + self.guard))

    @precondition(lambda self: self.suffers("losses") and self.sent)
    @rule(lost=st.sampled_from([SECOND, 10 * SECOND]))
    def lose_all_data(self, lost):
        """Long enough after the last sending that no window can be overrun by what is forgotten."""
        self.us += max(lost, REQUESTS_WINDOW + self.guard + 1)
        self.client.flushall()
        self.set_server_clock()
        slack, guard = self.model.slack, self.guard
        self.model = Model(guard, slack)
        self.model.cold = True
        # Pauses are forgotten, too; the probe after the cold start is told of them again.
        self.closed = [(self.us, self.us + SECOND + guard)]

    @precondition(lambda self: self.suffers("losses") and self.sent)
    @rule(by=st.sampled_from([HOUR + REQUESTS_WINDOW, 24 * HOUR]), passed=st.sampled_from([0, 1]))
    def set_the_clock_back(self, by, passed):
        """As a loss of all data, and what was sent before is judged on the clock as it is now."""
        slot = max(entry.slot for entry in self.model.entries.values()) if self.model.entries else 0
        if slot < self.us or self.model.cold:
            return  # nothing lies in the logs by which it could be noticed
        self.us += passed - by
        self.sent = [(at - by, users, 0) for at, users, _ in self.sent]
        self.closed = [(self.us, self.us + SECOND + self.guard)]
        self.model = Model(self.guard, self.model.slack)
        self.model.cold = True

    def set_server_clock(self):
        """For servers that keep the test's clock among their data."""

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), window=st.sampled_from([0, 1]), late=st.sampled_from([0, 1]))
    def let_an_entry_leave_its_window(self, data, window, late):
        entry = self.model.entries[data.draw(st.sampled_from(sorted(self.model.entries)))]
        length = (self.model.users_window, self.model.requests_window)[window]
        self.us = max(self.us, entry.slot + length + late)

    @rule(late=st.sampled_from([0, 1]))
    def let_the_gate_open(self, late):
        gate = self.model.gate
        later = [at for at in (gate.closed_until, gate.unknown_until) if at > self.us]
        if later:
            self.us = min(later) + late

    @precondition(lambda self: self.suffers("changes"))
    @rule(users=st.integers(5, 10), requests=st.sampled_from([1, 2, 3, 100]))
    def change_the_budget(self, users, requests):
        self.budget = Budget(users, requests)

    @invariant()
    def logs_hold_what_the_model_holds(self):
        """In particular: a permit is in all logs that it belongs to, or in none."""
        if self.model.cold:
            return
        now, entries = self.us, self.model.entries
        second, minute = now - self.model.users_window, now - self.model.requests_window
        logs = {
            "users": (second, {f"{e.users}:{p}": e.slot for p, e in entries.items() if e.users}),
            "requests": (minute, {p: e.slot for p, e in entries.items() if e.requests}),
            "posts": (minute, {p: e.slot for p, e in entries.items() if e.posts}),
            "booked": (
                second,
                {f"{e.users}:{p}": e.slot for p, e in self.model.bookings().items()},
            ),
        }
        for name, (since, expected) in logs.items():
            assert self.log(name, since) == only_since(since, expected), name

    def log(self, name, since):
        entries = self.client.zrange(f"deskfeed:{{{ACCOUNT}}}:{name}", 0, -1, withscores=True)
        return only_since(since, {member.decode(): int(slot) for member, slot in entries})


def judge_shares(shares, had):
    """Each run's part of what all had, and less than one chunk to either side."""
    for run, share in shares.items():
        part = sum(had.values()) * share / sum(shares.values())
        assert abs(had[run] - part) < 1, (run, shares, had)


def only_since(since, entries):
    return {member: slot for member, slot in entries.items() if slot >= since}
