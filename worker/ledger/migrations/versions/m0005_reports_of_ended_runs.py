"""Reports: when it was told that a run has ended, so that it is told, and told once

Runs that ended before have no `wake_at`: nothing is sent for them again, and a message that is
still on its way tells of them.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("runs", sa.Column("reported_at", sa.Float(), nullable=True))
