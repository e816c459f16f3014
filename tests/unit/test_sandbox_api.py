"""What the sandbox answers in Zendesk's place: codes, envelopes, access, limits, pages."""

import base64

import orjson
import pytest

from worker.sandbox.api import answer
from worker.sandbox.config import Config, Login, OAuthClient
from worker.sandbox.fields import UserField
from worker.sandbox.messages import make_request, row_digest
from worker.sandbox.settings import Settings
from worker.sandbox.state import Account

POST = "/api/v2/users/create_or_update_many.json"
ADMIN = "admin@socktown.example/token:sandbox-token"


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


class Client:
    """Asks an account in memory, at times of the test's choosing."""

    def __init__(self, config=None, **settings):
        config = config or Config()
        self.account = Account(config.with_settings({"seconds_per_user": 0, **settings}), 0.0)
        self.now = 0.0

    def ask(self, method, target, body=b"", login=ADMIN, headers=None):
        credential = basic(login) if login else {}
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        request = make_request(method, target, {**credential, **(headers or {})}, content, self.now)
        rule = self.account.faults.pick(request)
        return answer(self.account, request, self.now, rule)

    def get(self, target, **rest):
        response = self.ask("GET", target, **rest)
        return response.status, orjson.loads(response.content)

    def post(self, users, **rest):
        response = self.ask("POST", POST, {"users": users}, **rest)
        return response.status, orjson.loads(response.content)

    @property
    def last(self):
        return self.account.journal.since(self.account.journal.last_seq - 1)[0]


def row(n=0, **more):
    return {"external_id": f"c{n}", "name": f"N{n}", "email": f"c{n}@example.com", **more}


def test_a_bulk_upsert_is_answered_with_a_queued_job_and_null_results():
    client = Client()
    status, document = client.post([row()])

    job = document["job_status"]
    assert status == 200
    assert (job["status"], job["total"], job["progress"], job["message"], job["results"]) == (
        "queued", 1, None, None, None,
    )  # fmt: skip
    assert job["id"].startswith("V3-")
    assert len(job["id"]) == 35
    assert not job["url"].startswith("http://127.0.0.1")


def test_the_json_suffix_does_not_matter():
    client = Client()

    assert client.ask("POST", POST.removesuffix(".json"), {"users": [row()]}).status == 200
    assert client.get("/api/v2/users/me")[0] == client.get("/api/v2/users/me.json")[0] == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"users": [{"name": "x"}] * 101}, "TooManyValues"),
        ({"users": []}, "ParameterMissing"),
        ({"user": [{"name": "x"}]}, "ParameterMissing"),
        ({"users": ["x"]}, "ParameterMissing"),
        ([], "ParameterMissing"),
    ],
)
def test_a_body_without_one_to_a_hundred_users_is_refused(body, error):
    response = Client().ask("POST", POST, body)

    assert (response.status, orjson.loads(response.content)["error"]) == (400, error)


def test_malformed_json_is_refused_in_plain_text():
    response = Client().ask("POST", POST, b'{"users": [')

    assert response.status == 400
    assert response.content_type.startswith("text/plain")


def test_the_job_limit_answers_too_many_jobs():
    client = Client(job_limit=2, seconds_per_user=60)

    assert [client.post([row(n)])[0] for n in range(3)] == [200, 200, 429]
    assert client.post([row()])[1]["error"] == "TooManyJobs"


def test_a_disabled_import_is_forbidden_though_the_login_is_fine():
    client = Client(import_enabled=False)

    assert client.get("/api/v2/users/me")[1]["user"]["role"] == "admin"
    assert client.post([row()])[0] == 403
    assert len(client.account.users(0.0)) == 0


@pytest.mark.parametrize(
    ("login", "me", "fields", "post"),
    [
        (ADMIN, 200, 200, 200),
        ("ADMIN@socktown.example/token:sandbox-token", 200, 200, 200),
        ("lead@socktown.example/token:sandbox-token", 200, 200, 200),
        ("agent@socktown.example/token:sandbox-token", 200, 200, 403),
        ("customer@socktown.example/token:sandbox-token", 200, 403, 403),
        ("suspended@socktown.example/token:sandbox-token", 200, 403, 403),
        ("admin@socktown.example/token:wrong", 401, 401, 401),
        ("nobody@socktown.example/token:sandbox-token", 401, 401, 401),
        ("admin@socktown.example:password", 200, 401, 401),
        (None, 200, 401, 401),
    ],
)
def test_each_login_may_do_what_its_role_allows(login, me, fields, post):
    client = Client()

    assert client.get("/api/v2/users/me", login=login)[0] == me
    assert client.get("/api/v2/user_fields", login=login)[0] == fields
    assert client.post([row()], login=login)[0] == post


@pytest.mark.parametrize("login", [None, "admin@socktown.example:password"])
def test_users_me_answers_nobody_with_the_anonymous_user(login):
    user = Client().get("/api/v2/users/me", login=login)[1]["user"]

    assert (user["id"], user["name"]) == (None, "Anonymous user")


def test_a_bad_token_is_answered_in_the_recorded_words():
    document = Client().get("/api/v2/users/me", login="a@b.example/token:x")[1]

    assert document == {"error": "Couldn't authenticate you"}


def test_a_suspended_login_can_see_that_it_is():
    login = "suspended@socktown.example/token:sandbox-token"

    assert Client().get("/api/v2/users/me", login=login)[1]["user"]["suspended"] is True


def test_all_api_tokens_can_be_switched_off():
    assert Client(api_tokens_enabled=False).get("/api/v2/users/me")[0] == 401


def token(client, login=None, **more):
    asked = {
        "grant_type": "client_credentials",
        "client_id": "sandbox-client",
        "client_secret": "sandbox-secret",
        **more,
    }
    response = client.ask("POST", "/oauth/tokens", asked, login=login)
    return response.status, orjson.loads(response.content)


def bearer(document):
    return {"headers": {"Authorization": f"Bearer {document['access_token']}"}, "login": None}


def test_an_oauth_client_gets_a_token_that_works_until_it_expires():
    client = Client()
    status, document = token(client, scope="users:read users:write", expires_in=600)
    assert (status, document["token_type"], document["expires_in"]) == (200, "bearer", 600)
    assert document["scope"] == "users:read users:write"

    client.now = 599.9
    assert client.post([row()], **bearer(document))[0] == 200

    client.now = 600.0
    status, refusal = client.post([row()], **bearer(document))
    assert (status, refusal["error"]) == (401, "invalid_token")


def test_the_token_endpoint_does_not_look_at_other_credentials():
    assert token(Client(), login="a@b.example/token:x")[0] == 200


def test_a_token_may_be_asked_for_by_form():
    client = Client()
    form = b"grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret"

    assert client.ask("POST", "/oauth/tokens", form, login=None).status == 200


@pytest.mark.parametrize(
    ("more", "status", "error"),
    [
        ({"client_secret": "x"}, 401, "invalid_client"),
        ({"client_id": "x"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"expires_in": 300}, 400, "invalid_request"),
        ({"expires_in": 172_800}, 400, "invalid_request"),
        ({"expires_in": "soon"}, 400, "invalid_request"),
    ],
)
def test_a_wrong_request_for_a_token_is_refused(more, status, error):
    answered, document = token(Client(), **more)

    assert (answered, document["error"]) == (status, error)


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [("read", 200, 403), ("write", 403, 200), ("users:raed", 403, 403), ("read write", 200, 200)],
)
def test_a_token_opens_what_its_scope_covers(scope, reads, writes):
    client = Client()
    issued = bearer(token(client, scope=scope)[1])

    assert client.get("/api/v2/user_fields", **issued)[0] == reads
    assert client.post([row()], **issued)[0] == writes


def test_revoked_tokens_stop_working():
    client = Client()
    issued = bearer(token(client)[1])
    client.account.logins.revoke_all()

    assert client.get("/api/v2/user_fields", **issued)[0] == 401


def test_every_api_answer_carries_the_rate_headers():
    client = Client(requests_per_minute=3)
    targets = ["/api/v2/users/me", "/api/v2/nothing", "/api/v2/job_statuses/V3-0"]
    left = [client.ask("GET", target).headers["X-Rate-Limit-Remaining"] for target in targets]

    assert left == ["2", "1", "0"]


def test_requests_over_the_limit_are_refused_until_the_minute_has_passed():
    client = Client(requests_per_minute=1)
    client.get("/api/v2/users/me")
    client.now = 20.5
    response = client.ask("GET", "/api/v2/users/me")

    assert (response.status, response.headers["Retry-After"]) == (429, "40")
    client.now = 60.0
    assert client.get("/api/v2/users/me")[0] == 200


def test_requests_for_tokens_count_against_no_limit():
    client = Client(requests_per_minute=1)
    statuses = [token(client)[0] for _ in range(3)]

    assert statuses == [200, 200, 200]


def test_users_per_second_are_enforced_when_told():
    client = Client(users_per_second=2)
    assert client.post([row(1), row(2)])[0] == 200
    client.now = 0.9
    assert client.post([row(3)])[0] == 429
    client.now = 1.0
    assert client.post([row(3)])[0] == 200


def test_unknown_endpoints_and_records_have_their_own_404():
    client = Client()

    assert client.get("/api/v2/nothing") == (
        404, {"error": "InvalidEndpoint", "description": "Not found"},
    )  # fmt: skip
    assert client.ask("DELETE", "/api/v2/users/me").status == 404
    assert client.get("/api/v2/job_statuses/V3-0.json") == (
        404, {"error": "RecordNotFound", "description": "Not found"},
    )  # fmt: skip


def test_show_many_answers_for_the_jobs_that_are_known():
    client = Client()
    first, second = (client.post([row(n)])[1]["job_status"]["id"] for n in range(2))
    status, document = client.get(
        f"/api/v2/job_statuses/show_many.json?ids={second},V3-0,{first},{second}"
    )

    assert status == 200
    assert [job["id"] for job in document["job_statuses"]] == [second, first]
    assert {job["status"] for job in document["job_statuses"]} == {"completed"}


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/api/v2/job_statuses/show_many", "ParameterMissing"),
        ("/api/v2/users/show_many", "ParameterMissing"),
        ("/api/v2/job_statuses/show_many?ids=" + ",".join(map(str, range(101))), "TooManyValues"),
        ("/api/v2/users/show_many?ids=" + ",".join(map(str, range(101))), "TooManyValues"),
    ],
)
def test_show_many_takes_one_to_a_hundred_ids(target, error):
    status, document = Client().get(target)

    assert (status, document["error"]) == (400, error)


def test_the_list_of_jobs_has_the_last_completed_first():
    client = Client(seconds_per_user=1)
    slow = client.post([row(n) for n in range(5)])[1]["job_status"]["id"]
    client.now = 1.0
    quick = client.post([row(9)])[1]["job_status"]["id"]
    client.now = 10.0

    listed = client.get("/api/v2/job_statuses")[1]["job_statuses"]
    assert [job["id"] for job in listed] == [slow, quick]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("external_id=c1", ["Person 1"]),
        ("external_id=nobody", []),
        ("query=email%3A%22person2%40example.com%22", ["Person 2"]),
        ("query=email%3Anobody%40example.com", []),
        ("query=person", ["Person 1", "Person 2"]),
        ("query=", []),
    ],
)
def test_users_are_searched_by_external_id_by_email_and_by_name(query, names):
    client = Client()
    people = [
        {"external_id": f"C{n}", "email": f"person{n}@example.com", "name": f"Person {n}"}
        for n in (1, 2)
    ]
    client.post(people)
    status, document = client.get(f"/api/v2/users/search.json?{query}")

    assert (status, [user["name"] for user in document["users"]]) == (200, names)


def test_users_show_many_reads_back_by_id_and_by_external_id():
    client = Client()
    client.post([row(1, user_fields={"city": "Ghent"}), row(2), row(3)])
    status, document = client.get("/api/v2/users/show_many?external_ids=C1,c3,nobody")

    assert status == 200
    assert [user["external_id"] for user in document["users"]] == ["c1", "c3"]
    assert document["users"][0]["user_fields"]["city"] == "Ghent"
    ids = ",".join(str(user["id"]) for user in document["users"])
    assert client.get(f"/api/v2/users/show_many?ids={ids},1,x")[1]["count"] == 2


def test_an_external_id_may_hold_anything_that_is_escaped():
    client = Client()
    client.post([row(external_id="a&b=ü %41")])
    document = client.get("/api/v2/users/show_many?external_ids=a%26b%3D%C3%BC%20%2541")[1]

    assert [user["external_id"] for user in document["users"]] == ["a&b=ü %41"]


def pages(client, target, name):
    found, cursor = [], ""
    while True:
        document = client.get(target + (f"&page[after]={cursor}" if cursor else ""))[1]
        found.append([item["id"] for item in document[name]])
        if not document["meta"]["has_more"]:
            return found, document
        cursor = document["meta"]["after_cursor"]


def test_staff_are_listed_by_role_in_pages_by_cursor():
    staff = [Login(f"s{n}@socktown.example", role="agent") for n in range(5)]
    client = Client(Config(logins=(Login("admin@socktown.example"), *staff)))
    client.post([row(n) for n in range(10)])
    target = "/api/v2/users?role[]=agent&role[]=admin&page[size]=4"
    found, last = pages(client, target, "users")

    assert [len(page) for page in found] == [4, 2]
    assert len({one for page in found for one in page}) == 6
    assert last["links"]["next"] is None


def test_the_link_to_the_next_page_leads_there_on_the_host_that_was_called():
    client = Client()
    client.post([row(n) for n in range(10)])
    headers = {"Host": "127.0.0.1:8900"}
    first = client.get("/api/v2/users?role=end-user&page[size]=3", headers=headers)[1]
    prefix = "http://127.0.0.1:8900"
    assert first["links"]["next"].startswith(prefix)

    second = client.get(first["links"]["next"].removeprefix(prefix), headers=headers)[1]
    names = [user["name"] for user in first["users"] + second["users"]]
    assert names == ["Cleo Customer", *(f"N{n}" for n in range(5))]
    back = client.get(second["links"]["prev"].removeprefix(prefix))[1]
    assert back["users"] == first["users"]


def test_pages_by_number_are_there_for_those_who_ask_for_none():
    client = Client()
    client.post([row(n) for n in range(100)])
    first = client.get("/api/v2/users")[1]
    second = client.get("/api/v2/users?page=2")[1]

    assert (len(first["users"]), first["count"], first["previous_page"]) == (100, 107, None)
    assert "page=2" in first["next_page"]
    assert (len(second["users"]), second["next_page"]) == (7, None)


@pytest.mark.parametrize("asked", ["page[after]=x", "page[size]=0", "page[size]=x", "page=x"])
def test_a_page_that_cannot_be_is_refused(asked):
    assert Client().get(f"/api/v2/users?{asked}")[0] == 400


def test_user_fields_come_a_hundred_to_a_page_with_their_options():
    fields = tuple(UserField(f"f{n}", "text", f"F{n}") for n in range(150))
    client = Client(Config(user_fields=fields))
    found, _ = pages(client, "/api/v2/user_fields?page[size]=500", "user_fields")
    assert [len(page) for page in found] == [100, 50]

    shown = {one["key"]: one for one in Client().get("/api/v2/user_fields")[1]["user_fields"]}
    assert shown["loyalty_tier"]["type"] == "dropdown"
    assert [option["value"] for option in shown["loyalty_tier"]["custom_field_options"]] == [
        "bronze", "silver", "gold", "platinum",
    ]  # fmt: skip
    assert shown["prefers_email"]["tag"] == "prefers_email"
    assert "custom_field_options" not in shown["city"]


def test_the_journal_tells_row_by_row_what_was_posted_and_by_whom():
    client = Client()
    client.now = 5.0
    job_id = client.post([row(1), {"name": "x"}])[1]["job_status"]["id"]
    digests = (row_digest(row(1)), row_digest({"name": "x"}))

    assert client.last.document() == {
        "seq": 1, "at": 5.0, "method": "POST", "query": "", "kind": "bulk_upsert", "status": 200,
        "path": POST.removesuffix(".json"), "login": "admin@socktown.example", "users": 2,
        "external_ids": ("c1", None), "emails": ("c1@example.com", None), "job_id": job_id,
        "digests": digests, "fault": None,
    }  # fmt: skip


def test_the_journal_has_refused_posts_too():
    client = Client()
    client.post([row()], login=None)

    assert (client.last.status, client.last.users, client.last.job_id) == (401, 1, None)


def test_the_journal_keeps_the_newest_and_the_sums_keep_all():
    client = Client(keep_journal=3)
    for _ in range(5):
        client.get("/api/v2/users/me")

    assert [entry.seq for entry in client.account.journal.since(0)] == [3, 4, 5]
    assert [entry.seq for entry in client.account.journal.since(3, 1)] == [4]
    assert client.account.stats(0.0)["requests"] == 5


def test_stats_sum_up_what_happened():
    client = Client(job_limit=1, seconds_per_user=0.1)
    client.post([row(1), {"name": "x", "email": "bad"}])
    client.post([row(2)])
    client.now = 1.0
    client.post([row(1)])
    client.now = 2.0
    stats = client.account.stats(2.0)

    wanted = {
        "posts": 3, "users_posted": 4, "posts_accepted": 2, "users_accepted": 3,
        "responses_429": 1, "rows_created": 1, "rows_updated": 1, "rows_failed": 1,
        "users_stored": 1, "users_seeded": 7, "peak_concurrent_jobs": 1, "peak_users_in_1_s": 3,
        "peak_requests_in_60_s": 3, "requests_by_kind": {"bulk_upsert": 3}, "bugs": 0,
        "verification_mails": 1,
    }  # fmt: skip
    assert {key: stats[key] for key in wanted} == wanted


def test_a_fault_answers_in_the_accounts_place_and_leaves_it_alone():
    client = Client(requests_per_minute=5)
    client.account.add_fault({"action": "answer", "status": 502, "nth": 1})

    assert client.ask("POST", POST, {"users": [row()]}).status == 502
    assert client.last.fault == 1
    assert client.account.users(0.0) == []
    assert client.account.requests.remaining(0.0, 5) == 5
    assert client.post([row()])[0] == 200


def test_a_fault_may_answer_after_the_account_has_accepted():
    client = Client()
    client.account.add_fault({"action": "answer", "status": 502, "apply": True})

    assert client.ask("POST", POST, {"users": [row()]}).status == 502
    assert client.last.job_id is not None
    assert len(client.account.users(0.0)) == 1


def test_the_throttle_fault_is_the_recorded_one():
    client = Client()
    client.account.add_fault({"action": "throttle"})
    response = client.ask("POST", POST, {"users": [row()]})

    assert (response.status, response.headers["Retry-After"]) == (429, "27")
    assert response.content_type.startswith("text/plain")
    assert b"single unique user" in response.content
    assert int(response.headers["X-Rate-Limit-Remaining"]) > 0


def test_a_throttle_may_come_without_retry_after():
    client = Client()
    client.account.add_fault({"action": "throttle", "retry_after": None})

    assert "Retry-After" not in client.ask("GET", "/api/v2/users/me").headers


def test_a_silent_fault_is_in_the_journal_without_a_status():
    client = Client()
    client.account.add_fault({"action": "hang"})

    assert client.ask("POST", POST, {"users": [row()]}) is None
    assert (client.last.status, client.last.job_id is not None) == (None, True)


def test_a_reset_returns_to_the_configuration():
    client = Client()
    client.post([row()])
    client.account.add_fault({"action": "close"})
    client.account.change_settings({"import_enabled": False}, 0.0)
    client.account.reset(1.0)

    assert client.account.stats(1.0)["users_stored"] == 0
    assert client.account.journal.last_seq == 0
    assert client.post([row()])[0] == 200


def test_an_oauth_client_of_an_unknown_user_gets_no_token():
    config = Config(clients=(OAuthClient("sandbox-client", email="nobody@x.example"),))

    assert token(Client(config))[0] == 400


def test_no_repr_shows_a_secret():
    config = Config(settings=Settings())
    client = Client(config)
    issued = token(client)[1]["access_token"]
    shown = repr(config) + repr(client.account.logins) + repr(client.last)

    assert "sandbox-token" not in shown
    assert "sandbox-secret" not in shown
    assert issued not in shown
