"""A worker that takes no more messages ends, so that its supervisor starts it again."""

from __future__ import annotations

import subprocess
import sys

import pytest
import redis
from stage import ROOT, make_stage, until


def start(stage, wedge, *options):
    """Start a worker that can be wedged, and wait until it has taken a message of its own."""
    log = (stage.folder / "worker0.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "wedged.py", wedge, "-A", "worker.app", "worker",
         "--loglevel", "INFO", *options],
        cwd=ROOT, env={**stage.environment, "PYTHONPATH": str(ROOT)}, stdout=log,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    log.close()
    stage.workers.append(process)
    with stage.ledger() as ledger:
        until(
            lambda: process.poll() is not None or ledger.recovery.living_workers(),
            "the worker to live",
        )
    assert process.poll() is None, stage.worker_log(0)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--pool", "prefork", "--concurrency", "2")])
def test_a_worker_whose_consumer_is_wedged_ends_with_70_and_its_work_is_done_by_another(
    tmp_path, options
):
    with make_stage(tmp_path) as stage:
        wedge = tmp_path / "wedge"
        worker = start(stage, wedge, *options)

        wedge.touch()
        until(lambda: worker.poll() is not None, "the worker to give itself up")

        log = stage.worker_log(0)
        assert worker.returncode == 70, log
        assert "worker_stalled" in log
        assert "no message was taken" in log
        with stage.ledger() as ledger:
            assert ledger.recovery.living_workers() == []
        run = stage.json("run", "loyalty")
        stage.start_worker()
        assert stage.deskfeed("watch", run["run_id"]).returncode == 0


@pytest.mark.slow
def test_an_idle_worker_and_one_without_redis_are_not_given_up(tmp_path):
    with make_stage(tmp_path) as stage, redis.Redis.from_url(stage.redis.url) as client:
        worker = start(stage, tmp_path / "never")
        until(lambda: taken(client) >= 3, "the idle worker to take three messages of its own")

        stage.redis.stop()
        until(lambda: "Connection to broker lost" in stage.worker_log(0), "the worker to notice")
        # Longer than the patience with a consumer while Redis answers.
        until(
            lambda: worker.poll() is not None or stage.worker_log(0).count("Trying again in") >= 4,
            "four attempts to connect again",
        )
        assert worker.poll() is None, stage.worker_log(0)
        stage.redis.start()
        run = stage.json("run", "loyalty")
        done = stage.deskfeed("watch", run["run_id"])
        assert done.returncode == 0, done.stdout + done.stderr + stage.worker_log(0)
        assert worker.poll() is None, stage.worker_log(0)
        assert "worker_stalled" not in stage.worker_log(0)


def taken(client) -> int:
    """How many messages were taken so far: Celery notes each in a sorted set."""
    return client.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"]
