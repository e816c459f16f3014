"""Audit: who did what, and when; tags that were read for a chunk, until it is sent; e-mails' hashes

People who were delivered before are known by their key only, until they are sent again.

Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("tags", sa.LargeBinary(), nullable=True))
    op.add_column("delivered", sa.Column("email_hash", sa.LargeBinary(), nullable=True))
    op.create_index(
        op.f("ix_delivered_account_orchestration_email_hash"),
        "delivered",
        ["account", "orchestration", "email_hash"],
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("principal", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"])
