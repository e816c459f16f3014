"""Privacy: which key sealed a payload; people who are forgotten while runs go on

Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The order of columns in a table does not matter to anybody: all are read by name.
    op.add_column("payloads", sa.Column("key_id", sa.String(length=32), nullable=True))
    op.add_column(
        "outcomes",
        sa.Column("forgotten", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "forgotten",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_forgotten")),
    )
