"""Workers and Redis come and go in the middle of a run, and no row is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from stage import ROOT, make_stage, until


def submitters(stage):
    """The workers that have submitted a chunk."""
    return [n for n in (0, 1) if "chunk_submitted" in stage.worker_log(n)]


def test_a_worker_killed_in_the_middle_costs_no_row(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.use_catalog(
            rows="id,name,mail\n"
            + "".join(f"C{n},Person {n},p{n}@example.com\n" for n in range(1, 801))
        )
        # Few threads, so that neither worker takes all of the first messages.
        workers = [stage.start_worker(DESKFEED_CONCURRENCY="2") for _ in range(2)]
        run = stage.json("run", "loyalty")
        until(lambda: submitters(stage), "a worker to submit a chunk")
        victim = submitters(stage)[0]

        workers[victim].send_signal(signal.SIGKILL)
        workers[victim].wait()
        at_the_kill = stage.json("show", run["run_id"])
        assert at_the_kill["rows"]["pending"] > 0
        done = stage.deskfeed("watch", run["run_id"], "--json")

        assert done.returncode == 0, done.stderr + stage.worker_log(1 - victim)
        shown = json.loads(done.stdout)
        assert shown["rows"]["created"] + shown["rows"]["updated"] == 800
        assert len({u["external_id"] for u in stage.sandbox.users() if u["external_id"]}) == 800
        assert stage.sandbox.stats()["posts"] <= shown["posts"]
        assert submitters(stage) == [0, 1]


def test_losing_all_of_redis_costs_no_row(tmp_path):
    import redis

    with make_stage(tmp_path) as stage:
        stage.use_catalog(
            rows="id,name,mail\n"
            + "".join(f"C{n},Person {n},p{n}@example.com\n" for n in range(1, 601))
        )
        stage.start_worker()
        run = stage.json("run", "loyalty")
        until(lambda: stage.sandbox.stats()["posts"] >= 2, "the second POST")

        with redis.Redis.from_url(stage.redis.url) as client:
            client.flushall()
        done = stage.deskfeed("watch", run["run_id"], "--json")

        assert done.returncode == 0, done.stderr + stage.worker_log(0)
        assert json.loads(done.stdout)["rows"]["created"] == 600


def test_the_same_worker_goes_on_when_redis_was_killed_and_comes_back(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.use_catalog(
            rows="id,name,mail\n"
            + "".join(f"C{n},Person {n},p{n}@example.com\n" for n in range(1, 801))
        )
        worker = stage.start_worker()
        run = stage.json("run", "loyalty")
        until(lambda: stage.sandbox.stats()["posts"] >= 3, "the third POST")

        stage.redis.stop()
        until(lambda: "Connection to broker lost" in stage.worker_log(0), "the worker to notice")
        stage.redis.start()
        until(
            lambda: stage.worker_log(0).count("Connected to") >= 2 or worker.poll() is not None,
            "the worker to connect again",
        )
        assert worker.poll() is None, stage.worker_log(0)
        done = stage.deskfeed("watch", run["run_id"], "--json")

        assert done.returncode == 0, done.stderr + stage.worker_log(0)
        assert worker.poll() is None, stage.worker_log(0)
        assert json.loads(done.stdout)["rows"]["pending"] == 0
        assert len(stage.sandbox.users()) == 800


def test_with_no_worker_alive_wait_says_so_and_names_the_command(tmp_path):
    with make_stage(tmp_path) as lonely:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "orchestrations", "run", "loyalty", "--wait"],
            cwd=ROOT, env=lonely.environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        seen = []
        for line in waiting.stderr:
            seen.append(line)
            if "no worker is alive" in line:
                break
        else:
            pytest.fail("".join(seen))
        assert "deskfeed up" in "".join(seen)
        assert lonely.sandbox.stats()["posts"] == 0

        lonely.start_worker()
        _, rest = waiting.communicate(timeout=180)
        assert waiting.returncode == 0, rest
