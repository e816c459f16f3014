"""A worker that may be told to take no messages for a while, as no worker of ours may be.

`python survivor.py ...` with Celery's arguments. Workers obey no command that changes them
(`worker/control.py`); a fault that shall befall one worker and no other needs another to rest.
"""

from __future__ import annotations

import sys

from worker import control

RESTING = frozenset({"cancel_consumer", "add_consumer"})

if __name__ == "__main__":
    from celery.__main__ import main

    control.OBEYED |= RESTING
    sys.argv = ["celery", *sys.argv[1:]]
    main()
