"""Who may ask the server for what: keys, names, other pages, sizes."""

import http.client
import socket

import pytest

from runner.serve.keys import session_value
from tests.runner.serve.served import Served, synthesize

KEY = "a-key-of-some-length-0123456789"
PAGE = "https://friend.example"
OWN_NAMES = ["localhost", "LOCALHOST:80", "127.0.0.1:9999", "[::1]:1", "127.8.8.8", "box.lan:8880"]
FOREIGN_NAMES = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1", "@"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a key, without a runner: nothing gets further than it should."""
    root = tmp_path_factory.mktemp("guarded")
    (root / "key").write_text(KEY + "\n")
    (root / "key").chmod(0o644)
    limits = f'key_file = "key"\nhosts = ["box.lan"]\norigins = ["{PAGE}"]\nmax_upload_bytes = 100_000\n'
    made = Served(root, serve=limits).start()
    yield made
    made.stop()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer("wrong"), 401),
        (bearer(KEY[:-1]), 401),
        (bearer(KEY + "x"), 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer ü".encode()}, 401),
        ({"Cookie": f"voicejobs_session={KEY}"}, 401),
        ({"Cookie": ";;;=\x01"}, 401),
        (bearer(KEY), 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
        ({"Cookie": f"a=b; voicejobs_session={session_value(KEY)}"}, 200),
    ],
)
def test_only_the_key_opens_what_needs_it(guarded, headers, status):
    answer = guarded.request("GET", "/api/jobs", headers=headers)
    assert answer.status == status
    assert KEY not in answer.body.decode()


def test_health_needs_no_key_and_all_else_does(guarded):
    assert guarded.get("/health").json["runner"] is False
    for path in ("/api/jobs", "/api/events", "/v1/models", "/v1/audio/voices", "/metrics", "/nothing"):
        assert guarded.get(path).status == 401, path


def test_errors_have_the_shape_of_the_path(guarded):
    wrong = guarded.get("/v1/nothing").error
    assert set(wrong) == {"message", "type", "param", "code"}
    assert (wrong["code"], wrong["type"]) == ("invalid_api_key", "authentication_error")
    nothing = guarded.get("/v1/nothing", **bearer(KEY))
    assert nothing.status == 404
    assert set(nothing.error) == {"message", "type", "param", "code"}
    assert guarded.get("/api/nothing", **bearer(KEY)).error["code"] == "not_found"
    assert guarded.request("PUT", "/api/jobs", headers=bearer(KEY)).status == 405


def test_a_key_file_that_others_can_read_is_named_with_the_remedy(guarded):
    assert f"chmod 600 {guarded.root / 'key'}" in guarded.output.read_text()
    assert KEY not in guarded.output.read_text()


@pytest.mark.parametrize("host", OWN_NAMES)
def test_the_server_answers_to_its_own_names(guarded, host):
    assert guarded.get("/health", Host=host).status == 503


@pytest.mark.parametrize("host", FOREIGN_NAMES)
def test_a_name_that_was_made_to_resolve_to_this_machine_is_refused(guarded, host):
    assert guarded.get("/health", Host=host).status == 421


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1:1/health", 503),
        ("HTTP://LOCALHOST/health?a=1", 503),
        ("https://user@localhost/health", 503),
        ("http://localhost", 401),
        ("http://localhost/api/jobs", 401),
        ("http://evil.example/health", 421),
        ("http://localhost.evil.example/health", 421),
        ("http:///health", 421),
        ("ftp://localhost/health", 401),
    ],
)
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_a_whole_address_as_target_means_its_path_at_its_own_host(guarded, target, status, host):
    status = 421 if target.startswith("ftp") and host == "evil.example" else status
    assert guarded.request("GET", target, headers={"Host": host}).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": f"{PAGE}.evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_pages_change_nothing(guarded, headers):
    for method, path in (("POST", "/api/jobs"), ("DELETE", "/api/jobs/x"), ("POST", "/v1/audio/speech")):
        answer = guarded.request(method, path, b"{}", {**headers, **bearer(KEY)})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


def test_listed_pages_and_our_own_may(guarded):
    own = {"Origin": f"http://127.0.0.1:{guarded.port}", "Sec-Fetch-Site": "same-origin", **bearer(KEY)}
    assert guarded.request("DELETE", "/api/jobs/x", headers=own).status == 404
    listed = guarded.request("DELETE", "/api/jobs/x", headers={"Origin": PAGE, **bearer(KEY)})
    assert (listed.status, listed.headers["access-control-allow-origin"]) == (404, PAGE)
    asked = guarded.request("OPTIONS", "/api/jobs", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, PAGE)
    stranger = guarded.request("OPTIONS", "/api/jobs", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_every_answer_is_neither_framed_nor_sniffed(guarded):
    for answer in (guarded.get("/health"), guarded.get("/api/jobs"), guarded.get("/api/jobs", **bearer(KEY))):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_large_body_is_refused_before_it_is_read(guarded):
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=20) as client:
        head = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 999999999\r\n\r\n".encode())
        assert b" 413 " in client.recv(4096)


def test_a_chunked_body_without_end_is_cut(tmp_path):
    limited = Served(tmp_path, serve="max_upload_bytes = 100_000\n").start_runner().start()
    try:
        client = http.client.HTTPConnection("127.0.0.1", limited.port, timeout=60)
        client.putrequest("POST", "/api/jobs")
        client.putheader("Content-Type", "multipart/form-data; boundary=b")
        client.putheader("Transfer-Encoding", "chunked")
        client.endheaders()
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="big.bin"\r\n\r\n'
        client.send(b"%x\r\n%s\r\n" % (len(part), part))
        sent = 0
        try:
            while sent < 50_000_000:
                client.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
                sent += 0x4000
        except OSError:
            pass  # cut off
        client.close()
        assert sent < 50_000_000
        assert limited.get("/health").status == 200
        assert list((tmp_path / ".voicejobs" / "uploads").iterdir()) == []
    finally:
        limited.stop()


def test_as_many_jobs_wait_as_may(tmp_path):
    """A job that waits for a lock which fails to come waits as long as its design is spoken."""
    full = Served(tmp_path, serve="max_waiting = 2\n").start_runner().start()
    try:
        texts = [{"text": f"Line {n} of a job that takes its time."} for n in range(5_000)]
        assert full.post_job({"kind": "synthesize", "voice": "ryan", "lines": texts}, name="busy").status == 202
        design = {"kind": "design", "voice": "late", "description": "A low voice.", "candidates": 50, "priority": -50}
        assert full.post_job(design, name="late-design").status == 202
        answers = [full.post_job(synthesize("Hi.", voice="late")) for _ in range(3)]
        assert {answer.status for answer in answers} <= {422, 429}
        lock = {"kind": "lock", "voice": "late", "from": {"job": "late-design", "candidate": 1}, "priority": -50}
        answers = [full.post_job(lock, name=f"lock-{n}") for n in range(4)]
        assert answers[-1].status == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert answers[-1].error["code"] == "too_many_waiting"
    finally:
        full.stop()
