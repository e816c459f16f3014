"""The ledger's tables, portable between SQLite and PostgreSQL.

Times are seconds since the epoch (float) by the ledger's clock: the database server's on
PostgreSQL, this host's on SQLite, where there is only one host. Migrations live in `migrations/`;
`HEAD` names the newest, and a test holds tables and migrations against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

HEAD = "0009"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements INTEGER only

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", String(255), primary_key=True),
    Column("users_per_second", Integer, nullable=False),
    Column("requests_per_minute", Integer, nullable=False),
    Column("jobs_in_flight", Integer, nullable=False),
    Column("reserve_percent", Integer, nullable=False, server_default="0"),  # left to others
    Column("job_seconds", Float),  # learned: how long a job of a full chunk takes
    Column("jobs_cap", Integer),  # Zendesk had too many jobs: no more of ours than these ...
    Column("jobs_cap_until", Float),  # ... until then
)

limit_overrides = Table(
    "limit_overrides",
    metadata,
    Column("account", String(255), primary_key=True),  # perhaps one to which nothing went yet
    Column("name", String(24), primary_key=True),  # which of the account's limits
    Column("value", Integer, nullable=False),
    Column("until", Float, nullable=False),  # from then on it is as if it were not there
    Column("set_by", String(128), nullable=False),
    Column("set_at", Float, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("orchestration", String(128), nullable=False),
    Column("key", String(255), nullable=False),  # the same key again is the same run
    Column("active", String(128), unique=True),  # orchestration while active, else NULL
    Column("state", String(24), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("account", String(255), nullable=False),
    Column("target", Text, nullable=False),  # JSON of Target
    Column("options", Text, nullable=False),  # JSON: what start was asked for
    Column("principal", String(128), nullable=False),
    Column("parent_run", String(40)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("wake_at", Float),  # the sweeper looks after a planned, planning or ended run then
    Column("plan_fence", Integer, nullable=False, default=0),
    Column("plan_expiries", Integer, nullable=False, default=0),  # planners that were lost
    Column("rows_read", BigInteger, nullable=False, default=0),
    Column("unchanged", BigInteger, nullable=False, default=0),
    Column("spool_complete", Boolean, nullable=False, default=False),
    Column("ends_as", String(24)),  # while stopping: the state it will end with
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_resolution", Text),
    Column("polls", Integer, nullable=False, default=0),
    Column("reported_at", Float),  # somebody took it upon himself to tell of its end
    Column("origin", String(16)),  # what started it; NULL: a version that did not record it
    Column("followed_at", Float),  # what comes `after` it was started, or is not to be
    Column("late_at", Float),  # from then on it takes too long; NULL: told, or no bound
    UniqueConstraint("orchestration", "key"),
    Index(None, "state", "wake_at"),
    Index(None, "created_at"),
    Index(None, "followed_at"),  # NULL of few: of those that are active or have just ended
)

chunks = Table(
    "chunks",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.run_id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("parent_seq", Integer),  # split, or where rows that are sent again come from
    Column("again", Boolean, nullable=False, server_default=false()),  # its rows are sent again
    Column("account", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("fence", Integer, nullable=False, default=0),  # raised at each claim
    Column("attempt", Integer, nullable=False, default=0),  # POSTs that may have left
    Column("spent", Integer, nullable=False, default=0),  # attempts that ended unclear
    Column("read_backs", Integer, nullable=False, server_default="0"),  # that failed
    Column("tags", LargeBinary),  # those of its people, as far as they were read
    Column("refused", String(64)),  # how Zendesk last refused it as a whole
    Column("expiries", Integer, nullable=False, default=0),  # claims that expired
    Column("owner", String(128)),
    Column("not_before", Float),
    Column("wake_at", Float),  # whatever was to happen by then is taken for lost
    Column("why", String(64)),  # what a waiting chunk waits for
    Column("waiting_since", Float),  # first given back since Zendesk last accepted it
    Column("first_submitted_at", Float),  # what was created before is not ours
    Column("job_id", String(64)),
    Column("submitted_at", Float),
    Column("poll_at", Float),  # the only timetable of polling: somebody must look by then
    Column("ready_at", Float),  # a look from then on makes sense, if somebody looks anyway
    Column("looks", Integer, nullable=False, default=0),
    Column("ended_at", Float),
    Column("rows", Integer, nullable=False),
    Column("created", Integer, nullable=False, default=0),
    Column("updated", Integer, nullable=False, default=0),
    Column("results", LargeBinary),  # compact vector of (row, created|updated, Zendesk id)
    Column("known", LargeBinary),  # outcomes that a job gave some rows when attempts were spent
    Column("digest", LargeBinary),  # of the profiles as spooled; NULL in older rows: not checked
    Index(None, "run_id", "state"),
    Index(None, "state", "wake_at"),
    Index(None, "account", "state", "poll_at"),
)

payloads = Table(
    "payloads",
    metadata,
    # seq > 0: the chunk's profiles. seq < 0: a batch of rows refused by planning.
    Column("run_id", String(40), ForeignKey("runs.run_id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("codec", String(16), nullable=False),
    Column("key_id", String(32)),  # the name of the key that sealed the blob; NULL: in clear
    Column("blob", LargeBinary, nullable=False),
    Column("expires_at", Float),  # NULL while still to be sent
    Index(None, "expires_at"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.run_id"), primary_key=True),
    Column("row", BigInteger, primary_key=True),
    Column("seq", Integer),  # NULL: refused by planning, never in a chunk
    Column("kind", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("detail", Text),
    Column("zendesk_id", BigInteger),
    # Nobody knows any more whose row it was: it cannot be sent again.
    Column("forgotten", Boolean, nullable=False, server_default=false()),
    Index(None, "run_id", "kind", "code"),
    Index(None, "run_id", "seq"),
)

summaries = Table(
    "summaries",
    metadata,
    # What became of the rows of an ended run, written once, before its outcomes are pruned.
    Column("run_id", String(40), ForeignKey("runs.run_id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("code", String(64), primary_key=True),  # empty for created and updated
    Column("rows", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("run_id", String(40)),
    Column("seq", Integer),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", Text, nullable=False),  # JSON; never customer data
    Index(None, "run_id", "kind"),
)

alerts = Table(
    "alerts",
    metadata,
    # What must reach somebody; written in the transaction of what it tells of.
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("run_id", String(40), nullable=False),
    Column("orchestration", String(128), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("made_at", Float, nullable=False),
    Column("state", String(16), nullable=False),  # new; addressed: its sends say the rest
    Column("wake_at", Float),  # somebody must look after it then; NULL: when the report is taken
    Column("open", String(128), unique=True),  # a destination that is paused, until it recovers
    Column("answered", Boolean, nullable=False, server_default=false()),  # a person acted on it
    Column("data", Text, nullable=False),  # JSON; never customer data
    Index(None, "wake_at"),
    Index(None, "run_id"),
)

alert_sends = Table(
    "alert_sends",
    metadata,
    Column("alert_id", _id, ForeignKey("alerts.id"), primary_key=True),
    Column("channel", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),  # raised by each claim, and so its fence
    Column("due_at", Float),  # may be claimed from then on; NULL once it has ended
    Column("ended_at", Float),
    Column("why", String(64)),  # the last attempt failed
)

delivered = Table(
    "delivered",
    metadata,
    Column("account", String(255), primary_key=True),
    Column("orchestration", String(128), primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("email_hash", LargeBinary),
    Index(None, "account", "orchestration", "email_hash"),
)

forgotten = Table(
    "forgotten",
    metadata,
    # People who are to be forgotten, for as long as a run goes on that began before.
    Column("hash", LargeBinary, primary_key=True),
    Column("at", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("principal", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(255), nullable=False),  # a run, an account, a destination
    Column("data", Text, nullable=False),  # JSON, without secrets and customer data
    Index(None, "subject"),
)

schedules = Table(
    "schedules",
    metadata,
    # What starts an orchestration by itself, as a tick last saw it in the catalog.
    Column("orchestration", String(128), primary_key=True),
    Column("declared", String(512), nullable=False),  # cron and time zone, or what it comes after
    Column("first_seen", Float, nullable=False),  # nothing from before it counts
    Column("checked_until", Float, nullable=False),  # every due minute up to then is dealt with
    Column("note", Text),  # JSON: the last due start that did not happen, and why
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("until", Float, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("worker", String(128), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)
