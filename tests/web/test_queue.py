"""RQ's dashboard: who may see it, what may change through it, and that what it finds in Redis is never run."""

import os
import pickle
import re
import zlib

import pytest
import rq.job
import rq_dashboard.web

from jobs.worker import make_worker
from tests.builders import failing, make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from webapp.models import OPERATOR, OWNER, TILL, VIEWER
from webapp.sale import admission, bells
from webapp.sale.admission import Admitted
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.web.admin import queue as admin_queue

pytestmark = on_sqlite
PAGES = ("/", "/0/view/workers", "/0/view/jobs", "/0/view/jobs/admission/queued/8/asc/1")
DATA = ("/0/data/queues.json", "/0/data/workers.json", "/0/data/jobs/admission/queued/8/asc/1.json")
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def operator(client):  # an owner: nobody else sees the dashboard
    sign_in(client, make_user(role=OWNER))
    return client


@pytest.fixture
def job(app):
    """Return a bell that waits in the queue."""
    bells.ring(make_coupon())
    return bell_queue().jobs[0]


def get(client, path: str):
    answer = client.get(f"/admin/rq{path}")
    assert answer.status_code == 200, path
    return answer


def plant(job_id: str, **fields) -> None:
    """Put a job into the queue as somebody would who can write to Redis."""
    queue = bell_queue()
    facts = {"created_at": "2026-01-01T00:00:00Z", "origin": queue.name, "status": "queued", "data": b"{}"}
    queue.connection.hset(f"rq:job:{job_id}", mapping=facts | fields)
    queue.connection.sadd("rq:queues", queue.key)
    queue.connection.rpush(queue.key, job_id)


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def planted_id() -> str:
    plant("one", description="x")
    return "one"


def test_every_page_opens_with_a_queue_a_worker_and_a_job(operator, job):
    worker = make_worker()
    worker.register_birth()
    try:
        pages = [get(operator, path).text for path in (*PAGES, f"/0/view/job/{job.id}")]
        queues, workers, jobs = (get(operator, path).json for path in DATA)
        one = get(operator, f"/0/data/job/{job.id}.json").json
    finally:
        worker.register_death()
    assert all("RQ dashboard" in page for page in pages)
    assert [(queue["name"], queue["count"]) for queue in queues["queues"]] == [("admission", 1)]
    assert [each["current_job"] for each in workers["workers"]] == ["idle"]
    assert [each["id"] for each in jobs["jobs"]] == [one["id"]] == [job.id]
    assert one["description"] == "admit the line of one coupon"


def test_every_page_has_a_way_back_to_the_console(operator):
    for path in PAGES:
        answer = operator.get(f"/admin/rq{path}", headers={"Accept-Language": "ko"})
        assert re.search(r'<body><nav [^>]*lang="ko"><a [^>]*href="/admin/">관리 화면으로</a>', answer.text)


@pytest.mark.parametrize("role", [OPERATOR, VIEWER, TILL])
def test_only_owners_see_it(client, role):
    sign_in(client, make_user(role=role))
    for path in (*PAGES, *DATA, "", "/nothing", "/0/view/nothing"):
        answer = client.get(f"/admin/rq{path}", headers={"Accept-Language": "ko"})
        assert (answer.status_code, "처리하지 않았어요" in answer.text) == (403, True), path
    assert "/admin/rq" not in client.get("/admin/").text


def test_control_an_owner_finds_the_way_to_it(operator):
    assert "/admin/rq/" in operator.get("/admin/").text


def test_the_workers_page_opens_while_a_worker_is_busy(operator, job, monkeypatch):
    seen = []

    def look_around(coupon_id: int) -> Admitted:
        seen.extend(get(operator, path) for path in (*PAGES, *DATA, f"/0/data/job/{job.id}.json"))
        return Admitted(0, 0, 0)

    monkeypatch.setattr(admission, "admit", look_around)
    make_worker().work(burst=True)
    workers = next(answer.json["workers"] for answer in seen if answer.request.path.endswith("workers.json"))
    assert [worker["current_job"]["job_id"] for worker in workers] == [job.id]
    assert workers[0]["current_job"]["call_string"] == "admit the line of one coupon"


def test_a_failed_job_is_shown_and_can_be_put_back(operator, job, monkeypatch):
    monkeypatch.setattr(admission, "admit", failing(RuntimeError(HOSTILE)))
    make_worker().work(burst=True)
    failed = get(operator, "/0/data/jobs/admission/failed/8/asc/1.json").json["jobs"]
    assert [each["id"] for each in failed] == [job.id]
    assert HOSTILE in failed[0]["exc_info"]
    get(operator, "/0/view/jobs/admission/failed/8/asc/1")
    assert operator.post(f"/admin/rq/job/{job.id}/requeue", headers=SAME_ORIGIN).status_code == 200
    assert bell_queue().get_job_ids() == [job.id]


CHANGES = (
    "/requeue/admission",
    "/job/{id}/requeue",
    "/job/{id}/delete",
    "/queue/admission/queued/empty",
    "/queue/admission/compact",
)


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
@pytest.mark.parametrize("path", CHANGES)
def test_another_page_cannot_change_anything(operator, job, path, headers):
    headers = headers | {"X-CSRFToken": "guess"}
    assert operator.post("/admin/rq" + path.format(id=job.id), headers=headers).status_code == 400
    assert bell_queue().get_job_ids() == [job.id]


def test_its_own_page_can(operator, job):
    assert operator.post(f"/admin/rq/job/{job.id}/delete", headers=SAME_ORIGIN).status_code == 200
    assert bell_queue().get_job_ids() == []


def test_its_script_finds_the_token_that_it_sends(operator, job):
    cookie = operator.get("/admin/rq/").headers.getlist("Set-Cookie")
    token = re.search(r"_csrf_token=([^;]+); Path=/admin/rq; SameSite=Strict", " ".join(cookie))[1]
    headers = {"X-CSRFToken": token}
    assert operator.post(f"/admin/rq/job/{job.id}/delete", headers=headers).status_code == 200
    assert bell_queue().get_job_ids() == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_requeues_nothing(operator, job, method):
    answer = operator.open("/admin/rq/requeue/admission", method=method, headers=SAME_ORIGIN)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_what_lies_in_redis_is_not_unpickled(operator, tmp_path):
    bombs = {field: pickle.dumps(Bomb(tmp_path / field)) for field in ("data", "result", "meta")}
    plant("evil", **bombs | {"data": zlib.compress(bombs["data"])})
    for path in (*PAGES, *DATA, "/0/view/job/evil"):
        get(operator, path)
    operator.application.testing = operator.application.config["PROPAGATE_EXCEPTIONS"] = False
    operator.get("/admin/rq/0/data/job/evil.json")
    operator.post("/admin/rq/job/evil/requeue", headers=SAME_ORIGIN)
    operator.post("/admin/rq/job/evil/delete", headers=SAME_ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_control_the_dashboard_as_it_comes_runs_it(operator, tmp_path, monkeypatch):
    monkeypatch.setattr(rq_dashboard.web, "Job", rq.job.Job)
    plant("evil", result=pickle.dumps(Bomb(tmp_path / "ran")))
    get(operator, "/0/view/job/evil")
    assert (tmp_path / "ran").is_dir()


def test_a_job_that_names_another_function_is_shown_and_not_run(operator, tmp_path):
    data = zlib.compress(f'["os.mkdir", null, ["{tmp_path}/ran"], {{}}]'.encode())
    plant("evil", data=data, description=HOSTILE)
    for path in (*PAGES, *DATA, "/0/view/job/evil", "/0/data/job/evil.json"):
        assert HOSTILE not in get(operator, path).text or path in DATA or path.endswith(".json")
    make_worker().work(burst=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", PAGES)
def test_the_templates_escape_and_only_the_pages_own_scripts_run(operator, path):
    answer = get(operator, path)
    raw = re.findall(r"<%=\s*(\S+)", answer.text)
    assert set(raw) <= {"$('<div/>').text(d.description).html()", "$('<div/>').text(d.exc_info).html()"}
    policy = answer.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'self' 'nonce-([^']+)' 'unsafe-eval';", policy)[1]
    assert set(re.findall(r"<script([^>]*?)(?: src| name| type|>)", answer.text)) == {f' nonce="{nonce}"'}
    assert get(operator, path).headers["Content-Security-Policy"] != policy


SCRIPT_IN_THE_ADDRESS = "/0/view/jobs/');alert(1);('/queued/8/asc/1"


def test_a_queue_name_in_the_address_is_no_script(operator):
    assert operator.get("/admin/rq" + SCRIPT_IN_THE_ADDRESS).status_code == 404


def test_control_it_would_be_one(operator, monkeypatch):
    monkeypatch.setattr(admin_queue, "_QUEUE_NAME", re.compile(".*"))
    assert ".val('');alert(1);('')" in get(operator, SCRIPT_IN_THE_ADDRESS).text


def test_control_its_templates_print_raw(operator, monkeypatch):
    monkeypatch.setattr(admin_queue, "_RAW_OUTPUT", re.compile("(?!)"))
    assert "<%= d.description %>" in get(operator, "/0/view/job/" + planted_id()).text


def test_its_policy_is_for_its_pages_alone(operator):
    for path in ("/admin/", "/admin/coupons/new"):
        assert "unsafe" not in operator.get(path).headers["Content-Security-Policy"]


def test_its_static_files_are_served(operator):
    with get(operator, "/static/js/jquery-3.5.1.min.js") as answer:
        assert "javascript" in answer.content_type
        assert len(answer.data) > 80_000


@pytest.mark.parametrize(
    "path",
    [
        "/1/view/queues",
        "/7/data/workers.json",
        "/0/view/job/unknown",
        "/0/data/job/unknown.json",
        "/0/data/jobs/admission/nonsense/8/asc/1.json",
        "/0/data/jobs/admission/queued/x/asc/1.json",
        "/0/data/jobs/admission/queued/0/asc/1.json",
        "/0/data/jobs/admission/queued/8/asc/0.json",
        "/0/data/jobs/admission/queued/8/asc/٣.json",
        "/0/view/jobs/admission/queued/100000/asc/1",
    ],
)
def test_an_address_that_it_cannot_answer_is_not_found(operator, path):
    assert operator.get(f"/admin/rq{path}").status_code == 404


ODD = [
    "1.0",
    "x y",
    "a:b",
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "é",
    "-1",
    "0",
    "1e3",
    "99999999999999999999",
    "٣",
    "a" * 500,
]
ODD += ["[", "<script>", "None", "admission", "queued", "asc", "abc", "_", "%0d%0a", "a%2fb", "'"]
USUAL = {
    "instance_number": "0",
    "queue_name": "admission",
    "registry_name": "failed",
    "per_page": "8",
    "order": "asc",
}
USUAL |= {"page": "1", "job_id": "abc", "filename": "css/main.css"}


@pytest.mark.parametrize("odd", ODD)
def test_nothing_odd_in_an_address_is_an_error_of_ours(operator, job, odd):
    """Each part of each address of the dashboard, one at a time, in every method that it takes."""
    operator.application.testing = operator.application.config["PROPAGATE_EXCEPTIONS"] = False
    rules = [
        rule for rule in operator.application.url_map.iter_rules() if rule.endpoint.startswith("rq_dashboard")
    ]
    answers = {}
    for rule in rules:
        for name in rule.arguments or {""}:
            path = re.sub(
                r"<(?:\w+:)?(\w+)>",
                lambda found, name=name: odd if found[1] == name else USUAL[found[1]],
                rule.rule,
            )
            for method in rule.methods & {"GET", "POST"}:
                answers[method, path] = operator.open(
                    path, method=method, headers=SAME_ORIGIN, buffered=True
                ).status_code
    assert len(answers) > 25
    assert {asked: status for asked, status in answers.items() if status >= 500} == {}


@pytest.mark.parametrize("job_id", ["1.0", "x y", "a:b", "é", "a" * 101, "..."])
def test_a_name_that_no_job_can_have_is_not_found(operator, job_id):
    for path in (f"/0/view/job/{job_id}", f"/0/data/job/{job_id}.json"):
        assert operator.get(f"/admin/rq{path}").status_code == 404
    for step in ("requeue", "delete"):
        assert operator.post(f"/admin/rq/job/{job_id}/{step}", headers=SAME_ORIGIN).status_code == 404


def test_control_the_dashboard_as_it_comes_fails_at_it(operator, monkeypatch):
    monkeypatch.setattr(admin_queue, "_JOB_ID", re.compile(".*"))
    monkeypatch.setitem(operator.application.error_handler_spec["rq_dashboard"], None, {})
    with pytest.raises(ValueError, match="Job ID must"):
        operator.get("/admin/rq/0/view/job/1.0")


def test_an_empty_queue_is_compact(operator, job):
    for path, kept in (("compact", [job.id]), ("queued/empty", []), ("compact", []), ("compact", [])):
        answer = operator.post(f"/admin/rq/queue/admission/{path}", headers=SAME_ORIGIN)
        assert (answer.status_code, bell_queue().get_job_ids()) == (200, kept)
    assert operator.post("/admin/rq/queue/nobodys/compact", headers=SAME_ORIGIN).status_code == 200


def test_compacting_leaves_out_what_is_no_job(operator, job):
    bell_queue().connection.rpush(bell_queue().key, "gone")
    assert operator.post("/admin/rq/queue/admission/compact", headers=SAME_ORIGIN).status_code == 200
    assert bell_queue().get_job_ids() == [job.id]


def test_a_job_that_cannot_be_put_back_says_so(operator, job):
    answer = operator.post(
        f"/admin/rq/job/{job.id}/requeue", headers=SAME_ORIGIN | {"Accept": "application/json"}
    )
    assert (answer.status_code, answer.get_json()["code"]) == (422, "unreadable")


MALFORMED = {
    "its status": {"status": "nonsense"},
    "its data": {"data": b"\xff\xfe"},
    "its description": {"description": b"\xff\xff"},
    "its meta": {"meta": b"\xff"},
    "what it waits for": {"dependency_ids": b"\xff"},
    "its times": {"created_at": "yesterday", "enqueued_at": b"\xff"},
    "its numbers": {"timeout": "soon", "ttl": "x", "result_ttl": "y"},
    "its origin": {"origin": b"\xff"},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_no_error_of_ours_and_hides_nothing_else(operator, job, fields):
    operator.application.testing = operator.application.config["PROPAGATE_EXCEPTIONS"] = False
    plant("odd", **fields)
    for name in (b"rq:queue:\xff", b"rq:queue:a b", b"x"):
        bell_queue().connection.sadd("rq:queues", name)
    for path in (*PAGES, *DATA):
        get(operator, path)
    assert job.id in {each["id"] for each in get(operator, DATA[2]).json["jobs"]}
    for method, path in (
        ("GET", "0/view/job/odd"),
        ("GET", "0/data/job/odd.json"),
        ("POST", "job/odd/requeue"),
        ("POST", "job/odd/delete"),
    ):
        assert operator.open(f"/admin/rq/{path}", method=method, headers=SAME_ORIGIN).status_code < 500


def test_it_uses_our_connection_to_the_queues_redis(app, operator, monkeypatch):
    plant("one", description="x")
    assert get(operator, DATA[0]).json["queues"][0]["count"] == 1
    assert app.redis_conn is bell_queue().connection
    monkeypatch.setattr(app, "redis_conn", connect_redis("redis://127.0.0.1:1"))
    assert operator.get(f"/admin/rq{DATA[0]}").status_code == 503
    assert line_redis().exists("rq:queues")


def test_it_names_no_address_or_password(operator):
    assert "unix://" not in get(operator, "/").text
    assert "redis://" not in get(operator, "/").text
