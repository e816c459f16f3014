"""Codes of one request to Zendesk: most pass by themselves."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

EXPLANATIONS = {
    "rate_limited": Explanation(
        title="Zendesk asks to wait",
        fault=Fault.ZENDESK,
        resolution="Nothing to do: the whole account waits as long as Zendesk asks.",
        causes=(
            "Other clients of the account use its request budget too.",
            "The destination's `limits:` are above what the account's plan allows.",
            "The same people were changed a moment ago.",
        ),
        steps=(
            "Wait: no attempt is used up, and nothing is lost.",
            (
                "If it is so all the time, see who uses the budget, and lower "
                "`requests_per_minute` or leave a share to others (`reserve_percent`)."
            ),
        ),
        command="deskfeed limits show",
    ),
    "too_many_jobs": Explanation(
        title="Zendesk has as many background jobs as it allows",
        fault=Fault.ZENDESK,
        resolution="Nothing to do: Deskfeed waits for a free job.",
        causes=(
            "30 jobs of the account are queued or running: of all its clients together.",
            "Another program imports into the account at the same time.",
        ),
        steps=(
            "Wait: chunks go on as jobs end.",
            "If others need jobs too, lower `jobs_in_flight` of the destination.",
        ),
        command="deskfeed limits show",
    ),
    "unclear_answer": Explanation(
        title="Nobody can say whether Zendesk got this chunk",
        fault=Fault.ZENDESK,
        resolution="Nothing to do: it is sent again; every row has a key, so nobody is created "
        "twice.",
        causes=(
            "The connection broke, or the answer took longer than 20 s.",
            "Zendesk answered with an error of its own (5xx), or with something unreadable.",
        ),
        steps=(
            (
                "Wait: the chunk settles, then goes again; after five such attempts Zendesk is "
                "asked what it has."
            ),
            "If it happens often, look at status.zendesk.com and at the network.",
        ),
        command="deskfeed show RUN",
    ),
    "chunk_refused": Explanation(
        title="Zendesk refused the request as a whole",
        fault=Fault.DATA,
        resolution="Nothing to do: the chunk is split to find the row at fault.",
        causes=("One row of the chunk is such that Zendesk refuses all hundred.",),
        steps=(
            "Wait: the halves are sent alone, until the row at fault stands alone.",
            "See it afterwards: deskfeed failures RUN",
        ),
        command="deskfeed failures RUN",
    ),
    "job_failed": Explanation(
        title="Zendesk's background job failed",
        fault=Fault.ZENDESK,
        resolution="Start the run again for the rows named.",
        causes=(
            "Zendesk ended the job without results for these rows.",
            "An incident at Zendesk: see status.zendesk.com.",
        ),
        steps=(
            "See which rows: deskfeed failures RUN",
            "Send them again, twice is harmless: deskfeed retry RUN",
        ),
        command="deskfeed retry RUN",
    ),
    "limiter_unavailable": Explanation(
        title="Redis does not answer, so nothing may be sent",
        fault=Fault.DESKFEED,
        resolution="Start Redis again. Nothing is lost, nothing is sent without the rate limit.",
        causes=(
            "Redis is down, restarting, or its memory is full.",
            "The network between worker and Redis is broken.",
        ),
        steps=(
            "Start Redis again, or mend the network.",
            "Wait: sending goes on by itself within a minute.",
        ),
        command="deskfeed doctor",
    ),
    "superseded": Explanation(
        title="Somebody else went on with this",
        fault=Fault.NOBODY,
        resolution="Nothing to do.",
        causes=(
            "A message arrived twice, or a worker was so late that another one took over.",
            "The run was paused or stopped meanwhile.",
        ),
        steps=("Nothing: the ledger keeps the newer word.",),
        command="deskfeed show RUN",
    ),
}
