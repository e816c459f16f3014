"""Limits of accounts: what is left to others, lowered by people or by Zendesk, who waits

Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "limit_overrides",
        sa.Column("account", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(length=128), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_limit_overrides")),
    )
    op.add_column(
        "accounts",
        sa.Column("reserve_percent", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column("accounts", sa.Column("jobs_cap", sa.Integer(), nullable=True))
    op.add_column("accounts", sa.Column("jobs_cap_until", sa.Float(), nullable=True))
    op.add_column("chunks", sa.Column("waiting_since", sa.Float(), nullable=True))
