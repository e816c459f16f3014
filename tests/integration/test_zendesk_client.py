"""The client against real servers on this machine that answer well, badly, slowly or not at all."""

import contextlib
import gzip
import json
import logging
import socket
import ssl
import threading
import traceback
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from worker.errors import (
    Ambiguous,
    DeskfeedError,
    DestinationError,
    NotSent,
    Refused,
    Throttled,
)
from worker.profile import Profile
from worker.zendesk.answer import RateHeaders
from worker.zendesk.auth import BasicToken, OAuthClient
from worker.zendesk.client import MAX_FIELD_PAGES, ZendeskClient, unlimited
from worker.zendesk.replies import Identity, JobAccepted, JobState

PEM = Path(__file__).parent / "data" / "self_signed.pem"
AUTH = BasicToken("ops@socktown.example", SecretStr("s3cret-token"))
ZOE = [Profile(1, {"external_id": "zoe-1", "email": "zoe@x.example", "name": "Zoe"})]
SECRETS = ("s3cret", "zoe", "Zoe", AUTH.header().split()[1])
JOB = {"job_status": {"id": "V3-1", "status": "queued", "results": None}}
ME = {"user": {"id": 5, "role": "admin", "suspended": False}}


class Server:
    """A server for one test: `answer(sock, request)` serves each request of each connection.

    It returns True to keep the connection.
    """

    def __init__(self, answer, tls=None):
        self._answer, self._tls = answer, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests, self.connections = [], []
        self.ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while not self.ending.is_set():
            with contextlib.suppress(OSError):
                sock, _ = self._listener.accept()
                if self.ending.is_set():
                    sock.close()  # the one that woke us
                    return
                self.connections.append(sock)
                self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
                self._threads[-1].start()

    def _serve(self, sock):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(sock)
            if self._tls is not None:
                plain, sock = sock, self._tls.wrap_socket(sock, server_side=True)
                self.connections[self.connections.index(plain)] = sock
                stack.enter_context(sock)
            while True:
                request = self._read(sock)
                if request is None:
                    return
                self.requests.append(request)
                if not self._answer(sock, request):
                    return

    def _read(self, sock):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        headers = dict(
            line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]
        )
        while len(body) < int(headers.get("content-length", 0)):
            body += sock.recv(65536)
        return head + b"\r\n\r\n" + body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept
        self._listener.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for thread in self._threads[1:]:
            thread.join()
        for sock in self.connections:
            sock.close()


def reply(document, status=200, **headers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def saying(document, status=200, **headers):
    def answer(sock, request):
        sock.sendall(reply(document, status, **headers))
        return True

    return answer


def raw(data):
    """Send bytes and hang up."""

    def answer(sock, request):
        sock.sendall(data)
        return False

    return answer


def dripping(start, drop):
    """Send a start, then a drop now and then for as long as the server lives."""

    def answer(sock, request):
        sock.sendall(start)
        while not answer.ending.wait(0.01):
            sock.sendall(drop)

    answer.ending = threading.Event()
    return answer


@contextlib.contextmanager
def drip_server(start, drop, tls=None):
    answer = dripping(start, drop)
    with Server(answer, tls) as server:
        try:
            yield server
        finally:
            answer.ending.set()


@pytest.fixture
def connect():
    """Make clients that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(
            ZendeskClient(url, AUTH, **({"deadline_s": 20.0} | options))
        )


def failing(call):
    """Return the error of a call, having seen that nothing of a secret hangs on it."""
    with pytest.raises(DeskfeedError) as raised:
        call()
    error = raised.value
    assert error.__cause__ is None
    assert error.__context__ is None
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert not [secret for secret in SECRETS if secret in told]
    return error


def header_of(request, name):
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(name + ":")]


def target_of(request):
    return request.split(b" ", 2)[1].decode()


# --- the five calls -------------------------------------------------------------------------------


def test_the_post_sends_the_users_and_returns_the_job_and_the_budget(connect):
    with Server(saying(JOB, X_Rate_Limit="700", X_Rate_Limit_Remaining="12")) as server:
        accepted = connect(server.url).create_or_update_many(ZOE)

    assert accepted == JobAccepted("V3-1", RateHeaders(700, 12))
    (request,) = server.requests
    assert request.startswith(b"POST /api/v2/users/create_or_update_many.json HTTP/1.1\r\n")
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"users": [dict(ZOE[0].user)]}
    assert header_of(request, "authorization") == [AUTH.header()]
    assert header_of(request, "accept") == ["application/json"]
    assert header_of(request, "content-type") == ["application/json"]
    assert header_of(request, "user-agent")[0].startswith("deskfeed/")


def test_one_look_asks_for_many_jobs(connect):
    answer = {"job_statuses": [{"id": "V3-1", "status": "working", "progress": 3}]}
    with Server(saying(answer, ratelimit_remaining="9")) as server:
        found = connect(server.url).job_statuses(["V3-1", "V3-2"])

    assert found["V3-1"].state is JobState.WORKING
    assert set(found) == {"V3-1"}
    assert found.rate == RateHeaders(remaining=9)
    assert target_of(server.requests[0]) == "/api/v2/job_statuses/show_many.json?ids=V3-1,V3-2"


@pytest.mark.parametrize(
    "ids",
    [[], ["V3-1"] * 101, [""], ["a/../b"], ["a,b"], ["a?b"], ["a b"], ["é"], ["a" * 65], ["a\n"]],
)
def test_an_id_that_is_no_jobs_id_never_enters_a_url(connect, ids):
    with Server(saying({})) as server, pytest.raises(ValueError, match=r"jobs|job's id"):
        connect(server.url).job_statuses(ids)

    assert server.requests == []


def test_whoami_tells_whom_zendesk_takes_us_for(connect):
    with Server(saying(ME)) as server:
        assert connect(server.url).whoami() == Identity(5, "admin", False, False)


def test_user_fields_are_read_page_by_page_from_the_same_host(connect):
    with Server(saying({})) as other:

        def answer(sock, request):
            last = "after" in target_of(request)
            page = {
                "user_fields": [{"key": "b" if last else "a", "type": "text"}],
                "meta": {"has_more": not last, "after_cursor": "x/&y="},
                "links": {"next": other.url + "/api/v2/user_fields.json"},
            }
            sock.sendall(reply(page))
            return True

        with Server(answer) as server:
            fields = connect(server.url).user_fields()

    assert [field.key for field in fields] == ["a", "b"]
    assert target_of(server.requests[1]).endswith("page%5Bsize%5D=100&page%5Bafter%5D=x%2F%26y%3D")
    assert other.requests == []


def test_user_fields_that_never_end_are_given_up(connect):
    page = {"user_fields": [], "meta": {"has_more": True, "after_cursor": "again"}}
    with Server(saying(page)) as server:
        error = failing(connect(server.url).user_fields)

    assert isinstance(error, NotSent)
    assert len(server.requests) == MAX_FIELD_PAGES


def test_staff_is_read_page_by_page_and_only_keys_are_kept(connect):
    first = [
        {"id": 1, "role": "admin", "email": "Ada@Example.com", "external_id": "A1", "name": "Ada"},
        {"id": 2, "role": "agent", "email": None, "external_id": ""},
        {"id": 3, "role": "end-user", "email": "customer@example.com"},
        "noise",
    ]

    def answer(sock, request):
        last = "after" in target_of(request)
        users = [{"id": 4, "role": "agent", "email": "bob@example.com"}] if last else first
        meta = {"has_more": not last, "after_cursor": "c"}
        sock.sendall(reply({"users": users, "meta": meta}))
        return True

    with Server(answer) as server:
        keys = connect(server.url).staff()

    assert keys == {"e:ada@example.com", "x:a1", "e:bob@example.com"}
    assert target_of(server.requests[0]) == (
        "/api/v2/users.json?role%5B%5D=agent&role%5B%5D=admin&page%5Bsize%5D=100"
    )


def test_half_a_list_of_staff_is_no_list(connect):
    with Server(saying({"users": [], "meta": {"has_more": True}})) as server:
        assert isinstance(failing(connect(server.url).staff), NotSent)


def test_users_are_read_back_by_external_id(connect):
    users = {"users": [{"id": 9, "external_id": "a b&c", "created_at": "2026-11-24T03:00:00Z"}]}
    with Server(saying(users)) as server:
        (record,) = connect(server.url).users_show_many(["a b&c", "ü/?#"]).users

    assert (record.user_id, record.external_id) == (9, "a b&c")
    target = target_of(server.requests[0])
    assert target == "/api/v2/users/show_many.json?external_ids=a%20b%26c,%C3%BC%2F%3F%23"


@pytest.mark.parametrize("ids", [[], ["a"] * 101, ["a,b"], [" "], ["x" * 100] * 61])
def test_ids_that_are_no_batch_are_a_mistake_of_ours(connect, ids):
    with Server(saying({})) as server, pytest.raises(ValueError, match=r"batch|comma"):
        connect(server.url).users_show_many(ids)

    assert server.requests == []


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"email": "a+b@x.example"}, "query=email%3A%22a%2Bb%40x.example%22"),
        ({"email": 'a"b@x.example'}, "query=email%3Aa%22b%40x.example"),
        ({"external_id": "a,b&c"}, "external_id=a%2Cb%26c"),
    ],
)
def test_one_person_is_searched_and_nothing_of_the_key_ends_the_query(connect, asked, query):
    with Server(saying({"users": [{"id": 9, "external_id": "X"}]})) as server:
        (record,) = connect(server.url).users_search(**asked).users

    assert record.user_id == 9
    assert target_of(server.requests[0]) == f"/api/v2/users/search.json?{query}"


# --- what the environment and the answers must not change -----------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("same_scheme", [True, False])
def test_a_redirect_is_never_followed(connect, code, same_scheme):
    with Server(saying(JOB)) as other:
        location = ("http:" if same_scheme else "") + f"//127.0.0.1:{other.port}/zoe?zoe"
        with Server(saying(b"", code, Location=location)) as server:
            error = failing(lambda: connect(server.url).create_or_update_many(ZOE))

    assert isinstance(error, DestinationError)
    assert error.code == "unexpected_redirect"
    assert "127.0.0.1" in error.message
    assert len(server.requests) == 1
    assert other.connections == []


OAUTH = OAuthClient("client-zoe", SecretStr("s3cret"))
JOBS, IDS, WHO = (
    ["V3-zoe"],
    ["zoe-1"],
    {"email": "zoe@x.example"},
)
"""Not in the calls themselves: a traceback shows their lines."""

KINDS = {
    "bulk POST": (AUTH, lambda client: client.create_or_update_many(ZOE)),
    "jobs": (AUTH, lambda client: client.job_statuses(JOBS)),
    "show_many": (AUTH, lambda client: client.users_show_many(IDS)),
    "search": (AUTH, lambda client: client.users_search(**WHO)),
    "users/me": (AUTH, lambda client: client.whoami()),
    "user_fields": (AUTH, lambda client: client.user_fields(unlimited)),
    "staff": (AUTH, lambda client: client.staff(unlimited)),
    "OAuth token": (OAUTH, lambda client: client.whoami()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_request_follows_a_redirect_and_the_second_host_hears_nothing(kind):
    secrets, ask = KINDS[kind]
    codes = iter([301, 302, 303, 307, 308])
    with Server(saying(JOB)) as other:

        def answer(sock, request):
            sock.sendall(reply(b"", next(codes), Location=f"http://127.0.0.1:{other.port}/zoe"))
            return True

        with Server(answer) as server:
            for _ in range(5):
                with ZendeskClient(server.url, secrets) as client:
                    error = failing(lambda client=client: ask(client))
                assert error.code == "unexpected_redirect"
        assert len(server.requests) == 5
    assert other.connections == []


def test_netrc_proxies_and_cookies_change_nothing(connect, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login intruder password intruder\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(saying(ME)) as proxy, Server(saying(ME, Set_Cookie="session=1")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        client = connect(server.url)
        client.whoami()
        client.whoami()

    assert proxy.connections == []
    assert [header_of(r, "authorization") for r in server.requests] == [[AUTH.header()]] * 2
    assert [header_of(r, "cookie") for r in server.requests] == [[], []]


def test_a_request_prepared_for_another_host_is_not_sent(connect, monkeypatch):
    with Server(saying(JOB)) as other, Server(saying(JOB)) as server:
        client = connect(server.url)
        elsewhere = requests.Request("POST", other.url + "/api", data=b"x").prepare()
        monkeypatch.setattr(client, "_request", lambda *_: elsewhere)
        error = failing(lambda: client.create_or_update_many(ZOE))

    assert error.code == "wrong_host"
    assert other.connections == server.connections == []


def test_urls_with_customers_ids_are_in_no_log(connect, caplog):
    caplog.set_level(logging.DEBUG)
    bad_header = b"HTTP/1.1 200 X\r\nContent-Length: 12\r\n: zoe\r\nzoe\r\n\r\n" + b'{"users":[]}'
    with Server(raw(bad_header)) as server:
        connect(server.url).users_show_many(["zoe-1"])

    assert len(server.requests) == 1
    assert "zoe" not in caplog.text


def test_connections_are_reused_and_closed(connect):
    with Server(saying(ME)) as server:
        client = connect(server.url)
        for _ in range(3):
            client.whoami()

        assert len(server.connections) == 1


def test_32_threads_share_a_client_and_each_gets_its_own_answer(connect):
    def answer(sock, request):
        asked = target_of(request).rpartition("=")[2]
        sock.sendall(reply({"job_statuses": [{"id": asked, "status": "working"}]}))
        return True

    with Server(answer) as server, ThreadPoolExecutor(32) as threads:
        client = connect(server.url)
        ids = [f"V3-{n}" for n in range(320)]
        found = list(threads.map(lambda job_id: set(client.job_statuses([job_id])), ids))

    assert found == [{job_id} for job_id in ids]
    assert len(server.connections) <= 32


# --- answers that are none, bad or never end ------------------------------------------------------

BODY = json.dumps(JOB).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(b" " * (64 << 20))

BROKEN = {
    "closed_without_answer": raw(b""),
    "half_a_status_line": raw(b"HTTP/1.1 2"),
    "no_http": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "headers_cut": raw(HEAD),
    "body_shorter_than_said": raw(HEAD + b"Content-Length: 999\r\n\r\n" + BODY),
    "chunks_cut": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(BODY), BODY)),
    "chunk_size_is_garbage": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY),
    "body_cut_at_the_close": raw(HEAD + b"\r\n" + BODY[:-2]),
    "gzip_is_garbage": raw(HEAD + b"Content-Encoding: gzip\r\n\r\n" + BODY),
    "html": saying(b"<html>sign in</html>"),
    "empty": saying(b""),
    "too_many_headers": raw(HEAD + b"X: y\r\n" * 200 + b"\r\n" + BODY),
    "endless_header_line": raw(HEAD + b"X: " + b"y" * 200_000 + b"\r\n\r\n" + BODY),
    "content_length_is_garbage": raw(HEAD + b"Content-Length: x\r\n\r\n" + BODY[:-2]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_to_a_post_is_ambiguous(connect, name):
    with Server(BROKEN[name]) as server:
        error = failing(lambda: connect(server.url).create_or_update_many(ZOE))

    assert type(error) is Ambiguous
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_to_a_get_is_asked_for_again(connect, name):
    with Server(BROKEN[name]) as server:
        error = failing(connect(server.url).whoami)

    assert (type(error), error.code) == (NotSent, "unclear_answer")
    assert len(server.requests) == 1


def test_a_reset_connection_is_ambiguous_for_a_post(connect):
    def answer(sock, request):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False

    with Server(answer) as server:
        assert type(failing(lambda: connect(server.url).create_or_update_many(ZOE))) is Ambiguous


CHUNKED_BOMB = b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
        raw(HEAD + CHUNKED_BOMB + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB)),
        raw(HEAD + b"\r\n" + b" " * (4 << 20)),
    ],
    ids=["gzip", "gzip_in_chunks", "plain"],
)
def test_an_answer_is_not_read_beyond_its_bound(connect, answer):
    with Server(answer) as server:
        client = connect(server.url, max_answer_bytes=1 << 20)
        tracemalloc.start()
        error = failing(lambda: client.create_or_update_many(ZOE))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert type(error) is Ambiguous
    assert peak < 16 << 20


def test_an_answer_of_exactly_the_bound_is_read(connect):
    body = json.dumps(ME).encode()
    with Server(saying(body)) as server:
        assert connect(server.url, max_answer_bytes=len(body)).whoami().user_id == 5
        error = failing(connect(server.url, max_answer_bytes=len(body) - 1).whoami)

    assert type(error) is NotSent


DRIPS = {
    "nothing_at_all": (b"", b""),
    "status_line": (b"HTTP/1.1 200 ", b"O"),
    "continue_for_ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": (HEAD, b"X: y\r\n"),
    "body": (HEAD + b"\r\n", b" "),
    "sized_body": (HEAD + b"Content-Length: 999999\r\n\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "chunk_size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"),
}


@pytest.mark.parametrize("name", DRIPS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_answer_that_only_drips_ends_with_the_deadline(connect, own_host, name, tls):
    with drip_server(*DRIPS[name], tls=server_tls() if tls else None) as server:
        url = own_host(server) if tls else server.url
        client = connect(url, deadline_s=1.0, ca_file=str(PEM))
        posted = failing(lambda: client.create_or_update_many(ZOE))
        asked = failing(client.whoami)

    assert type(posted) is Ambiguous
    assert (type(asked), asked.code) == (NotSent, "unclear_answer")


BIG = [Profile(1, {"external_id": "zoe-1", "name": "Zoe", "notes": "x" * 3_900_000})]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_that_does_not_read_ends_with_the_deadline(connect, own_host, tls):
    ending = threading.Event()

    class Deaf(Server):
        def _read(self, sock):
            ending.wait()

    with Deaf(saying(JOB), server_tls() if tls else None) as server:
        url = own_host(server) if tls else server.url
        client = connect(url, deadline_s=1.0, ca_file=str(PEM))
        error = failing(lambda: client.create_or_update_many(BIG))
        ending.set()

    assert type(error) is Ambiguous


def test_a_client_goes_on_after_a_deadline(connect):
    with drip_server(HEAD, b"X: y\r\n") as server:
        client = connect(server.url, deadline_s=1.0)
        failing(client.whoami)
        server._answer = saying(ME)

        assert client.whoami().user_id == 5


# --- requests that do not arrive ------------------------------------------------------------------


def test_a_refused_connection_was_not_sent(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = connect(f"http://127.0.0.1:{port}")

    for call in (client.whoami, lambda: client.create_or_update_many(ZOE)):
        error = failing(call)
        assert (type(error), error.code) == (NotSent, "destination_unavailable")


def test_a_name_that_is_not_known_was_not_sent(connect, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failing(lambda: connect("https://socktown.zendesk.com").create_or_update_many(ZOE))

    assert (type(error), error.code) == (NotSent, "destination_unavailable")
    assert "is there a network, and DNS?" in error.message


def test_a_look_up_that_outlasts_the_deadline_is_followed_by_no_request(connect, monkeypatch):
    with Server(saying(JOB)) as server:
        client = connect(server.url, deadline_s=0.05)
        look_up = socket.getaddrinfo

        def slow(*args, **kwargs):
            threading.Event().wait(0.1)
            return look_up(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        error = failing(lambda: client.create_or_update_many(ZOE))
        monkeypatch.undo()

    assert type(error) is NotSent
    assert server.requests == []


def test_a_second_address_is_tried_when_the_first_refuses(connect, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()
    with Server(saying(ME)) as server:
        addresses = [closed, ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        assert connect(server.url).whoami().user_id == 5


# --- TLS ------------------------------------------------------------------------------------------


def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@pytest.fixture
def own_host(monkeypatch):
    """Let a subdomain of zendesk.com be a server on this machine."""

    def point(server, name="socktown"):
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address])
        return f"https://{name}.zendesk.com"

    return point


def test_a_trusted_certificate_of_the_right_name_is_taken(connect, own_host):
    with Server(saying(ME), server_tls()) as server:
        client = connect(own_host(server), ca_file=str(PEM))

        assert client.whoami().user_id == 5


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_nobody_vouches_for_is_refused(connect, own_host, monkeypatch, variable):
    monkeypatch.setenv(variable, str(PEM))
    with Server(saying(JOB), server_tls()) as server:
        error = failing(lambda: connect(own_host(server)).create_or_update_many(ZOE))

    assert (type(error), error.code) == (DestinationError, "tls_error")
    assert server.requests == []


def test_a_certificate_of_another_name_is_refused(connect, own_host):
    with Server(saying(JOB), server_tls()) as server:
        client = connect(own_host(server, "sandaltown"), ca_file=str(PEM))
        error = failing(lambda: client.create_or_update_many(ZOE))

    assert (type(error), error.code) == (DestinationError, "tls_error")
    assert server.requests == []


class Unencrypted(Server):
    """Speaks before anybody asks, whatever comes in."""

    said = b""

    def _read(self, sock):
        sock.sendall(self.said)
        self.requests.append(sock.recv(65536))
        if not self.said:
            self.ending.wait()


def test_a_server_without_tls_gets_nothing_but_a_greeting(connect, own_host):
    server = Unencrypted(saying(JOB))
    server.said = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with server:
        error = failing(lambda: connect(own_host(server)).create_or_update_many(ZOE))

    assert (type(error), error.code) == (DestinationError, "tls_error")
    assert not [r for r in server.requests for s in SECRETS if s.encode() in r]


def test_a_handshake_that_is_never_answered_was_not_sent(connect, own_host):
    with Unencrypted(saying(JOB)) as server:
        client = connect(own_host(server), deadline_s=1.0)
        error = failing(lambda: client.create_or_update_many(ZOE))

    assert (type(error), error.code) == (NotSent, "destination_unavailable")


def test_a_hang_up_during_the_handshake_was_not_sent_and_pauses_nobody(connect, own_host):
    class Rude(Server):
        def _read(self, sock):
            sock.recv(65536)

    with Rude(saying(JOB)) as server:
        error = failing(lambda: connect(own_host(server)).create_or_update_many(ZOE))

    assert (type(error), error.code) == (NotSent, "destination_unavailable")


def test_a_connection_cut_without_goodbye_after_the_request_is_ambiguous(connect, own_host):
    with Server(raw(HEAD + b"Content-Length: 999\r\n\r\n"), server_tls()) as server:
        client = connect(own_host(server), ca_file=str(PEM))

        assert type(failing(lambda: client.create_or_update_many(ZOE))) is Ambiguous


# --- errors that Zendesk tells --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "Couldn't authenticate you"}, DestinationError),
        (403, {"error": {"title": "Forbidden", "message": "zoe@x.example"}}, DestinationError),
        (404, b"No help desk at zoe", DestinationError),
        (409, {"error": "zoe"}, Throttled),
        (422, {"error": "RecordInvalid", "description": "Email: zoe@x is invalid"}, Refused),
        (429, b"single unique user. user email: zoe@x.example", Throttled),
        (500, b"zoe", Ambiguous),
    ],
)
def test_an_error_status_raises_what_the_table_says_without_customers(connect, status, body, kind):
    with Server(saying(body, status)) as server:
        error = failing(lambda: connect(server.url).create_or_update_many(ZOE))

    assert type(error) is kind
    assert len(server.requests) == 1
