"""`python -m orchestrations` is `deskfeed`."""

from orchestrations.cli import main

main()
