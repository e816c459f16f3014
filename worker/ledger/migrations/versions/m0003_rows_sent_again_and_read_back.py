"""Rows that are sent again, read-backs, refused chunks, digests of payloads

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "chunks", sa.Column("again", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column(
        "chunks", sa.Column("read_backs", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("chunks", sa.Column("refused", sa.String(length=64), nullable=True))
    op.add_column("chunks", sa.Column("first_submitted_at", sa.Float(), nullable=True))
    op.add_column("chunks", sa.Column("known", sa.LargeBinary(), nullable=True))
    op.add_column("chunks", sa.Column("digest", sa.LargeBinary(), nullable=True))
