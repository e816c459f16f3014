"""A worker whose consumer stays connected, answers pings, and asks Redis for nothing more.

`python wedged.py FILE ...` with Celery's arguments: so it is from when FILE exists. That is what
celery issue 8091 looks like from outside.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kombu.transport import redis as transport

WEDGE = Path(sys.argv[1])
ask = transport.Channel._brpop_start


def ask_unless_wedged(self, *args, **kwargs):
    if not WEDGE.exists():
        ask(self, *args, **kwargs)


transport.Channel._brpop_start = ask_unless_wedged

if __name__ == "__main__":
    from celery.__main__ import main

    sys.argv = ["celery", *sys.argv[2:]]
    main()
