"""Celery's options, each with its reason."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Queue

from worker.settings import Settings
from worker.times import Times

TICK_SECONDS = 30.0

KEY_PREFIX = "deskfeed:"
"""Of every key that Celery makes in Redis."""

QUEUE = "deskfeed"
"""What all workers take their messages from."""


def make_app(config: Settings, times: Times) -> Celery:
    """Return the Celery app for these settings."""
    app: Celery = Celery(
        "deskfeed",
        include=["worker.tasks", "orchestrations.tasks"],
        task_cls="worker.broker:CarefulTask",
    )
    app.conf.update(
        **_messages(),
        **_work(config),
        **_broker(config, times),
        **_beat(config),
        # Our own logging, with secrets and customers removed; see worker.logs.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
    )
    return app


def _messages() -> dict[str, Any]:
    """What a message may be, and what becomes of it."""
    return {
        # No result is ever asked for: what became of a chunk is in the ledger. Without results
        # nothing that a task returns or raises is kept in Redis.
        "task_ignore_result": True,
        # Only JSON, so that a message can hold numbers and names but never code.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Acknowledged after the work: a worker's death does not lose the message. The ledger's
        # claim makes the second delivery of a message harmless.
        "task_acks_late": True,
        # Without it the death of a pool child acknowledges its message. No loop can come of it:
        # a chunk whose claims expire five times in a row is quarantined.
        "task_reject_on_worker_lost": True,
        # A start or a hint must not hang when Redis is away: the ledger has it, the sweeper sends.
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        "task_default_queue": QUEUE,
        "task_queues": [Queue(QUEUE)],
        "task_track_started": False,
    }


def _work(config: Settings) -> dict[str, Any]:
    """How a worker works, and what others see of it."""
    return {
        # Whoever is free takes the next chunk; nothing is hoarded by a slow worker.
        "worker_prefetch_multiplier": 1,
        # True loses the running task when Redis goes away: it is revoked and acknowledged.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Delivering waits for Zendesk, not for a processor: threads do the same work as processes
        # at a fraction of the memory. (Celery takes `--pool prefork` for its own default and heeds
        # this one; processes are had with `--pool processes`.)
        "worker_pool": "threads",
        "worker_concurrency": config.concurrency,
        # Outlives what Celery's own stumbles over; see worker.consumer.
        "worker_consumer": "worker.consumer:CarefulConsumer",
        # Rate limits of Celery's own are per worker; ours is one for all (worker.limiter).
        "worker_disable_rate_limits": True,
        # Operators look on through Flower.
        "worker_send_task_events": True,
        # Interrupts tasks that take longer than the grace period. Ours do not, and threads cannot
        # be interrupted; how a worker ends is told in worker.process.
        "worker_soft_shutdown_timeout": 0.0,
    }


def _broker(config: Settings, times: Times) -> dict[str, Any]:
    """Where messages lie, and when one that nobody acknowledged is delivered again."""
    return {
        "broker_url": config.redis_url.get_secret_value() if config.redis_url else None,
        # The broker may start after the worker, and may go away for long.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            # A message not acknowledged by then is delivered again. Every countdown is a quarter
            # of it at most, so that waiting is never taken for death.
            "visibility_timeout": times.visibility,
            # Look for such messages every ten seconds, and in every round (the default is to
            # look in every tenth only: recovery would take minutes longer).
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # Finds connections that died without a word.
            "health_check_interval": 25,
            "global_keyprefix": KEY_PREFIX,
        },
        "visibility_timeout": times.visibility,
    }


def _beat(config: Settings) -> dict[str, Any]:
    """What beat sends, and when."""
    seconds = TICK_SECONDS * config.time_scale
    return {
        "beat_schedule": {
            "tick": {
                "task": "orchestrations.tick",
                "schedule": seconds,
                # A tick that nobody took in time is worth nothing: the next one does the same.
                "options": {"expires": seconds},
            }
        },
        "beat_schedule_filename": str(config.state_dir / "beat-schedule"),
    }
