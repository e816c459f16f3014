"""The sandbox over real sockets: keep-alive, bodies, faults on the wire, start and stop."""

import base64
import http.client
import json
import socket
import threading

import pytest

from worker.sandbox.server import Sandbox

POST = "/api/v2/users/create_or_update_many.json"
ME = "/api/v2/users/me.json"
CREDENTIAL = base64.b64encode(b"admin@socktown.example/token:sandbox-token").decode()
HEADERS = {"Authorization": f"Basic {CREDENTIAL}", "Content-Type": "application/json"}
ROWS = [{"external_id": f"c{n}", "name": f"N{n}"} for n in range(3)]


@pytest.fixture
def sandbox():
    with Sandbox(port=0, seconds_per_user=0.0) as running:
        yield running


@pytest.fixture
def link(sandbox):
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=30)
    yield connection
    connection.close()


def ask(link, method, target, document=None, headers=HEADERS):
    body = None if document is None else json.dumps(document)
    link.request(method, target, body, headers)
    response = link.getresponse()
    return response, response.read()


def post(link, rows=ROWS):
    return ask(link, "POST", POST, {"users": rows})


def read_to_end(connection):
    pieces = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def raw(sandbox, head, body=b""):
    """Send bytes on a connection of their own, and return all that comes back until it closes."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=30) as connection:
        connection.sendall(head + body)
        return read_to_end(connection)


def test_users_are_delivered_and_read_back(sandbox, link):
    response, body = post(link)
    job_id = json.loads(body)["job_status"]["id"]
    assert response.status == 200

    _, body = ask(link, "GET", f"/api/v2/job_statuses/show_many.json?ids={job_id}")
    (job,) = json.loads(body)["job_statuses"]
    assert [item["status"] for item in job["results"]] == ["Created"] * 3
    assert [user["external_id"] for user in sandbox.users()] == ["c0", "c1", "c2"]


def test_one_connection_carries_many_requests(sandbox, link):
    post(link)
    used = link.sock
    for _ in range(5):
        assert ask(link, "GET", ME)[0].status == 200

    assert link.sock is used
    assert [entry["kind"] for entry in sandbox.journal()] == ["bulk_upsert"] + ["users_me"] * 5


def test_connection_close_is_honoured(sandbox):
    answer = raw(sandbox, f"GET {ME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


def test_posts_from_many_threads_are_all_counted_and_stored_once(sandbox):
    sandbox.configure(job_limit=1000)

    def deliver(name):
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=30)
        for n in range(10):
            rows = [{"external_id": f"{name}-{n}-{i}", "name": "N"} for i in range(10)]
            post(connection, rows)
        connection.close()

    threads = [threading.Thread(target=deliver, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stats = sandbox.stats()
    assert (stats["posts_accepted"], stats["users_stored"], stats["bugs"]) == (80, 800, 0)
    assert sorted(entry["seq"] for entry in sandbox.journal()) == list(range(1, 81))


def test_a_body_over_the_cap_is_refused_after_it_was_read(sandbox, link):
    sandbox.configure(max_body_bytes=1000)
    response, _ = ask(link, "POST", POST, {"users": [{"name": "x" * 300_000}]})

    assert response.status == 413
    assert [entry["status"] for entry in sandbox.journal()] == [413]
    assert ask(link, "GET", ME)[0].status == 200


def test_a_body_of_unknown_length_is_refused(sandbox):
    head = f"POST {POST} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    assert raw(sandbox, head, b"0\r\n\r\n").startswith(b"HTTP/1.1 411 ")


def test_a_client_that_leaves_in_the_middle_of_its_body_delivers_nothing(sandbox, link):
    head = f"POST {POST} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=30) as connection:
        connection.sendall(head + b'{"users": [')
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == b""

    assert sandbox.journal() == []
    assert ask(link, "GET", ME)[0].status == 200


def test_the_control_endpoints_need_no_login_and_count_against_nothing(sandbox, link):
    post(link)
    before = sandbox.stats()
    for name in ("stats", "journal", "users", "jobs", "settings", "faults"):
        response, body = ask(link, "GET", f"/_sandbox/{name}", headers={})
        assert response.status == 200
        assert json.loads(body)
        assert response.getheader("X-Rate-Limit") is None

    assert sandbox.stats() == before
    assert b"NOT Zendesk" in ask(link, "GET", "/", headers={})[1]


def test_journal_and_users_come_in_pages(sandbox, link):
    post(link)
    ask(link, "GET", ME)
    first = json.loads(ask(link, "GET", "/_sandbox/journal?limit=1")[1])
    second = json.loads(ask(link, "GET", f"/_sandbox/journal?since={first['next']}")[1])
    assert [entry["seq"] for entry in first["entries"] + second["entries"]] == [1, 2]
    end = json.loads(ask(link, "GET", f"/_sandbox/journal?since={second['next']}")[1])
    assert end == {"entries": [], "next": 2}

    users = json.loads(ask(link, "GET", "/_sandbox/users?limit=2")[1])
    rest = json.loads(ask(link, "GET", f"/_sandbox/users?after={users['next']}")[1])
    assert [user["external_id"] for user in users["users"] + rest["users"]] == ["c0", "c1", "c2"]
    everybody = json.loads(ask(link, "GET", "/_sandbox/users?seeded=true")[1])["users"]
    assert [user["seeded"] for user in everybody] == [True] * 7 + [False] * 3


def test_settings_are_changed_over_http(sandbox, link):
    response, body = ask(link, "PATCH", "/_sandbox/settings", {"seconds_per_user": 60})
    assert (response.status, json.loads(body)["seconds_per_user"]) == (200, 60)
    post(link)
    assert sandbox.jobs()[0]["status"] == "working"

    response, body = ask(link, "PATCH", "/_sandbox/settings", {"speed": 1})
    assert response.status == 400
    assert "speed" in json.loads(body)["description"]


def test_other_clients_and_revoked_tokens_can_be_acted_over_http(sandbox, link):
    _, body = ask(link, "POST", "/_sandbox/foreign_requests", {"count": 700})
    assert json.loads(body) == {"remaining": 0}
    assert ask(link, "GET", ME)[0].status == 429
    assert json.loads(ask(link, "POST", "/_sandbox/revoke_tokens")[1]) == {"revoked": 0}

    ask(link, "POST", "/_sandbox/reset")
    assert ask(link, "GET", ME)[0].status == 200
    assert len(sandbox.journal()) == 1


def test_faults_are_added_listed_and_cleared_over_http(sandbox, link):
    rules = [{"action": "answer", "status": 500, "path": "/api", "count": 1}, {"action": "delay"}]
    assert ask(link, "POST", "/_sandbox/faults", rules)[0].status == 201
    assert ask(link, "GET", ME)[0].status == 500
    assert ask(link, "GET", ME)[0].status == 200
    listed = json.loads(ask(link, "GET", "/_sandbox/faults")[1])["faults"]
    assert [(rule["seen"], rule["hits"]) for rule in listed] == [(2, 1), (2, 1)]

    assert json.loads(ask(link, "DELETE", "/_sandbox/faults?id=1")[1]) == {"removed": 1}
    assert json.loads(ask(link, "DELETE", "/_sandbox/faults")[1]) == {"removed": 1}
    assert sandbox.faults() == []
    assert ask(link, "POST", "/_sandbox/faults", {"action": "boom"})[0].status == 400
    assert ask(link, "POST", "/_sandbox/faults", [1])[0].status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/_sandbox/nothing", 404),
        ("POST", "/_sandbox/stats", 404),
        ("GET", "/_sandbox/journal?since=x", 400),
        ("POST", "/_sandbox/foreign_requests", 400),
        ("PATCH", "/_sandbox/settings", 400),
    ],
)
def test_a_wrong_control_request_is_told_so(link, method, target, status):
    assert ask(link, method, target)[0].status == status


def test_a_page_of_another_name_cannot_use_the_control_endpoints(link):
    headers = {"Host": "evil.example"}

    assert ask(link, "GET", "/_sandbox/users", headers=headers)[0].status == 403
    for host in ("localhost:8900", "127.0.0.1"):
        assert ask(link, "GET", "/_sandbox/users", headers={"Host": host})[0].status == 200


def test_accept_then_hang_applies_the_post_and_never_answers(sandbox):
    sandbox.add_fault({"action": "hang", "method": "POST"})
    body = json.dumps({"users": ROWS}).encode()
    head = (
        f"POST {POST} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {CREDENTIAL}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=30) as connection:
        connection.sendall(head + body)
        while not sandbox.journal():
            pass
        sandbox.stop()
        assert read_to_end(connection) == b""

    assert sandbox.journal()[0]["status"] is None
    assert len(sandbox.users()) == 3


@pytest.mark.parametrize(("apply", "stored"), [(False, 0), (True, 3)])
def test_close_without_an_answer_with_and_without_acceptance(sandbox, link, apply, stored):
    sandbox.add_fault({"action": "close", "apply": apply, "count": 1})

    with pytest.raises(http.client.RemoteDisconnected):
        post(link)
    assert len(sandbox.users()) == stored


@pytest.mark.parametrize("apply", [False, True])
def test_a_reset_is_a_tcp_reset(sandbox, link, apply):
    sandbox.add_fault({"action": "reset", "apply": apply, "count": 1})

    with pytest.raises(ConnectionResetError) as caught:
        post(link)
    assert caught.type is ConnectionResetError  # RemoteDisconnected, a plain close, is one as well
    link.close()
    assert post(link)[0].status == 200


def test_a_truncated_answer_promises_more_than_it_sends(sandbox, link):
    sandbox.add_fault({"action": "truncate", "bytes": 20})

    with pytest.raises(http.client.IncompleteRead) as caught:
        post(link)
    assert len(caught.value.partial) == 20
    assert len(sandbox.users()) == 3


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_dripping_answer_arrives_whole_in_the_end(sandbox, link, part):
    sandbox.add_fault({"action": "drip", "part": part, "bytes": 40, "seconds": 0.001, "count": 1})
    response, body = ask(link, "GET", ME)

    assert (response.status, json.loads(body)["user"]["role"]) == (200, "admin")
    assert ask(link, "GET", ME)[0].status == 200


def test_an_html_page_a_huge_body_and_a_redirect(sandbox, link):
    sandbox.add_fault({"action": "html", "nth": 1})
    sandbox.add_fault({"action": "huge", "bytes": 3_000_000, "nth": 2})
    sandbox.add_fault({"action": "redirect", "url": "http://127.0.0.1:1/x", "status": 307})

    response, body = ask(link, "GET", ME)
    assert (response.status, body[:15]) == (200, b"<!DOCTYPE html>")
    assert response.getheader("Content-Type").startswith("text/html")
    assert len(json.loads(ask(link, "GET", ME)[1])["padding"]) == 3_000_000
    response, _ = ask(link, "GET", ME)
    assert (response.status, response.getheader("Location")) == (307, "http://127.0.0.1:1/x")


def test_an_answer_of_any_status_body_and_headers(sandbox, link):
    sandbox.add_fault(
        {
            "action": "answer", "status": 503, "headers": {"Retry-After": "7", "X-Own": "1"},
            "body": {"error": "Maintenance"},
        }
    )  # fmt: skip
    response, body = ask(link, "GET", ME)

    assert (response.status, response.getheader("Retry-After")) == (503, "7")
    assert json.loads(body) == {"error": "Maintenance"}
    assert response.getheader("X-Rate-Limit") == "700"


def test_a_request_is_stamped_at_its_head_and_not_after_a_delay(sandbox, link):
    sandbox.add_fault({"action": "delay", "seconds_before": 0.05, "seconds_after": 0.01})
    assert post(link)[0].status == 200

    (job,) = sandbox.account.jobs.listed()
    assert job.created_at - sandbox.journal()[0]["at"] >= 0.05


def test_a_job_fault_reaches_the_job_of_its_post(sandbox, link):
    sandbox.add_fault({"action": "job", "holding": "c1", "fail_rows": ["c1"], "count": 1})
    post(link)
    post(link)

    last, first = sandbox.jobs()
    statuses = [[item["status"] for item in job["results"]] for job in (first, last)]
    assert statuses == [["Created", "Failed", "Created"], ["Updated", "Created", "Updated"]]


def test_a_bug_is_a_500_that_is_counted_and_shows_no_values(sandbox, link, capsys, monkeypatch):
    def fall(*_args, **_kwargs):
        raise RuntimeError("secret value")

    monkeypatch.setattr(sandbox.account, "queue_job", fall)
    response, body = post(link)

    assert (response.status, sandbox.stats()["bugs"]) == (500, 1)
    assert "RuntimeError" in capsys.readouterr().err
    assert b"secret" not in body


def test_verbose_logs_requests_without_customers(capsys):
    with Sandbox(port=0, verbose=True) as sandbox:
        link = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=30)
        post(link, [{"external_id": "secret-1", "name": "N"}])
        ask(link, "GET", "/api/v2/users/show_many.json?external_ids=secret-1")
        link.close()
    logged = capsys.readouterr().err

    assert f"sandbox: POST {POST} 200" in logged
    assert "secret" not in logged


def test_stop_ends_every_thread_even_of_hanging_and_idle_connections():
    before = set(threading.enumerate())
    sandbox = Sandbox(port=0)
    sandbox.start()
    sandbox.add_fault({"action": "hang", "nth": 2})
    idle = socket.create_connection(("127.0.0.1", sandbox.port), timeout=30)
    idle.sendall(f"GET {ME} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert idle.recv(10) == b"HTTP/1.1 2"
    hanging = socket.create_connection(("127.0.0.1", sandbox.port), timeout=30)
    hanging.sendall(f"GET {ME} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while len(sandbox.journal()) < 2:
        pass
    sandbox.stop()

    assert set(threading.enumerate()) - before == set()
    read_to_end(idle)
    assert hanging.recv(1) == b""
    idle.close()
    hanging.close()


def test_a_sandbox_can_go_away_and_come_back_as_it_was(sandbox, link):
    post(link)
    address = sandbox.url
    sandbox.stop()
    link.close()
    with pytest.raises(ConnectionRefusedError):
        post(link)
    link.close()

    sandbox.start()
    assert sandbox.url == address
    assert post(link)[0].status == 200
    assert sandbox.stats()["rows_updated"] == 3


def test_a_sandbox_is_not_started_twice(sandbox):
    with pytest.raises(RuntimeError, match="already"):
        sandbox.start()


def test_sandboxes_beside_each_other_share_nothing(sandbox, link):
    post(link)
    with Sandbox(port=0) as other:
        assert other.port != sandbox.port
        assert other.stats()["posts"] == 0
