"""The services of compose.yaml, as processes: they come up, deliver, and end when asked to."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode

import pytest
from compose_set import ComposeSet
from world import write_catalog

from worker.sandbox.server import Sandbox


def get(url, login=None):
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + b64encode(":".join(login).encode()).decode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, answer.read()


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_the_whole_set_comes_up_delivers_and_ends_when_asked_to(backend, ledger_url, tmp_path):
    with Sandbox(port=0, seconds_per_user=0.01) as sandbox:
        catalog = write_catalog(tmp_path / "catalog", url=sandbox.url)
        with ComposeSet(
            tmp_path / "compose",
            catalog,
            ledger_url,
            scale={"worker": 2},
            environment={"DESKFEED_TIME_SCALE": "0.3"},
        ) as compose:
            run = compose.deskfeed("run", "loyalty", "--wait", "--json")
            status, _ = get(compose.flower_url + "/api/workers", compose.flower_login)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(compose.flower_url + "/api/workers")
            beat = compose.containers("beat")[0]
            ended = compose.stop()

    assert run.returncode == 0, run.stderr
    shown = json.loads(run.stdout)
    assert (shown["state"], shown["rows"]["created"], shown["posts"]) == ("succeeded", 2, 1)
    assert status == 200
    assert ended == {"flower1": 0, "beat1": 0, "worker1": 0, "worker2": 0, "redis1": 0}
    # What opens something is given to those who need it, and stands in no variable of theirs.
    password = (compose.secrets / "redis_password").read_text()
    assert not any(password in value for value in beat.environment.values())
    assert not (tmp_path / "compose" / "beat1" / "secrets" / "DESKFEED_LEDGER_URL").exists()
