"""Schedules: what was seen in the catalog and how far it is dealt with; what started a run

Runs that have ended before start nothing that comes after them.

Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("orchestration", sa.String(length=128), nullable=False),
        sa.Column("declared", sa.String(length=512), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("checked_until", sa.Float(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("orchestration", name=op.f("pk_schedules")),
    )
    op.add_column("runs", sa.Column("origin", sa.String(length=16), nullable=True))
    op.add_column("runs", sa.Column("followed_at", sa.Float(), nullable=True))
    op.execute("UPDATE runs SET followed_at = ended_at WHERE ended_at IS NOT NULL")
    op.create_index(op.f("ix_runs_followed_at"), "runs", ["followed_at"])
