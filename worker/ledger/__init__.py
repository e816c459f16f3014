"""The ledger: the record of truth. Runs, chunks, outcomes; Redis holds only what may be forgotten.

`Ledger` (ledger.py) is the door. Every transition of a run or a chunk is one conditional UPDATE on
(state, fence) that must touch exactly one row; whoever touches none has been overtaken and stops.
"""

from worker.ledger.ledger import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]
