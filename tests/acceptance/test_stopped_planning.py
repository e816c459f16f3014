"""A planning that stands in its query does not outlive the run."""

from __future__ import annotations

import pytest
from stage import make_stage, until

ENDLESS = (
    "SELECT CAST(count(*) AS VARCHAR) AS external_id, 'Ada' AS name "
    "FROM range(10000000) a, range(10000000) b, people "
    "WHERE a.range * b.range > CAST(id AS BIGINT)"
)
"""It would take years."""


@pytest.mark.slow
def test_stop_ends_a_planning_that_stands_in_its_query(tmp_path):
    with make_stage(tmp_path) as stage:
        stage.use_catalog(rows="id,name\n1,Ada\n", sql=ENDLESS)
        stage.start_worker()
        run = stage.json("run", "loyalty")["run_id"]
        folders = f"{run}-*"
        until(lambda: [*tmp_path.rglob(folders)], "the query to begin")

        assert stage.deskfeed("stop", run).returncode == 0
        until(lambda: "planner_overtaken" in stage.worker_log(0), "the planner to end")

        assert "planning_cut_off" in stage.worker_log(0)
        assert "planner_died" not in stage.worker_log(0)
        until(lambda: not [*tmp_path.rglob(folders)], "its files to go")
        assert stage.json("show", run)["state"] == "stopped"
