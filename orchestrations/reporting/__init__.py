"""The report of a run: one page that tells how it went, from the ledger to HTML.

`collect` asks the ledger, the modules beside it make sense of what it says (pure functions), and
`page` writes HTML. Everything is bounded: a run of ten thousand chunks has a page of the same size.
"""

from orchestrations.reporting.collect import collect
from orchestrations.reporting.model import RunReport
from orchestrations.reporting.page import render

__all__ = ["RunReport", "collect", "render"]
