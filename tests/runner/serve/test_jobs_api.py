"""Jobs over HTTP, against a running server and a running runner."""

import json
import socket

import pytest

from tests.runner.serve.served import Served, synthesize


def test_a_job_is_taken_shown_and_its_receipt_is_the_one_in_the_outbox(served):
    answer = served.post_job(synthesize("Hello there."), name="receipt")
    assert answer.status == 202
    assert answer.headers["location"] == "/api/jobs/receipt"
    receipt = served.ended("receipt")
    assert receipt["status"] == "done"
    assert receipt == json.loads((served.root / "outbox" / "receipt" / "result.json").read_bytes())


def test_a_job_file_in_toml_is_taken_under_its_name(served):
    answer = served.post_job('kind = "synthesize"\nvoice = "ryan"\ntext = "Toml."\n', name="as-toml")
    assert (answer.status, answer.json["job"]) == (202, "as-toml")


def test_attachments_come_with_the_job_that_names_them(served):
    job = b'kind = "synthesize"\nvoice = "ryan"\ntext_file = "chapter.txt"\n'
    answer = served.post_parts([("job", "book.toml", job), ("f", "chapter.txt", b"A short chapter.")])
    assert answer.status == 202
    assert served.ended(answer.json["job"])["lines"][0]["text"] == "A short chapter."


def test_an_attachment_that_no_job_names_is_left_out_and_said(served):
    job = json.dumps(synthesize("Alone.")).encode()
    answer = served.post_parts([("job", "alone.json", job), ("f", "notes.txt", b"x")])
    assert answer.status == 202
    assert "notes.txt" in answer.json["warnings"][0]


def test_what_check_refuses_is_refused_with_its_sentences(served):
    answer = served.post_job('kind = "synthesize"\nvoise = "ryan"\ntext = "x y"\n', name="wrong")
    assert answer.status == 422
    assert answer.error["code"] == "invalid-job-file"
    assert any("did you mean 'voice'?" in problem and "line 2" in problem for problem in answer.error["problems"])
    assert served.get("/api/jobs/wrong").status == 404


def test_a_missing_attachment_is_refused(served):
    answer = served.post_job({"kind": "synthesize", "voice": "ryan", "text_file": "gone.txt"})
    assert (answer.status, answer.error["code"]) == (422, "attachment-missing")


def test_a_voice_that_nobody_makes_is_refused(served):
    answer = served.post_job(synthesize("Hello.", voice="nobody-at-all"))
    assert (answer.status, answer.error["code"]) == (422, "dependency-unknown")


def test_the_same_id_and_content_is_answered_with_the_first_job(served):
    job = synthesize("Only once.", id="only-once")
    assert served.post_job(job).status == 202
    again = served.post_job(job)
    assert (again.status, again.json["job"]) == (200, "only-once")
    other = served.post_job(synthesize("Something else.", id="only-once"))
    assert (other.status, other.error["code"]) == (409, "id-conflict")
    assert [each["job"] for each in served.get("/api/jobs?limit=500").json["jobs"]].count("only-once") == 1


def test_other_kinds_of_bodies_are_refused(served):
    assert served.request("POST", "/api/jobs", b"x", content_type="text/plain").status == 415
    form = served.request("POST", "/api/jobs", b"a=b", content_type="application/x-www-form-urlencoded")
    assert form.status == 415
    assert served.request("POST", "/api/jobs", b"x").status == 415


@pytest.mark.parametrize("name", ["../up.txt", "a/b.txt", ".hidden", "", "..", "nul\0.txt"])
def test_no_name_of_an_attachment_leaves_the_folder(served, name):
    job = b'kind = "synthesize"\nvoice = "ryan"\ntext_file = "a.txt"\n'
    answer = served.post_parts([("job", "j.toml", job), ("f", name, b"x")])
    assert answer.status == 400
    assert not (served.root / "up.txt").exists()


@pytest.mark.parametrize("name", ["..%2Fup", "a%2Fb", ".hidden", "%00"])
def test_no_name_of_a_job_leaves_the_inbox(served, name):
    assert served.post_job(synthesize("Hello."), name=name).status == 400


def test_a_broken_multipart_body_is_refused(served):
    kind = "multipart/form-data; boundary=b"
    assert served.request("POST", "/api/jobs", b"no parts here", content_type=kind).status == 400
    assert served.request("POST", "/api/jobs", b"", content_type="multipart/form-data").status == 400


def test_lists_are_paged_newest_first(served):
    for number in range(3):
        assert served.post_job(synthesize(f"Page {number}."), name=f"paged-{number}").status == 202
    first = served.get("/api/jobs?limit=2").json
    second = served.get(f"/api/jobs?limit=2&after={first['next']}").json
    names = [each["job"] for each in (*first["jobs"], *second["jobs"])]
    assert names[:3] == ["paged-2", "paged-1", "paged-0"]
    assert served.get("/api/jobs?limit=0").status == 400
    assert served.get("/api/jobs?status=nonsense").status == 400


def test_a_long_job_is_cancelled_and_tried_again(served):
    lines = [{"text": f"Line {number} of a long night that nobody waits for."} for number in range(3_000)]
    job = {"kind": "synthesize", "voice": "ryan", "lines": lines}
    assert served.post_job(job, name="long-night").status == 202
    assert served.request("DELETE", "/api/jobs/long-night").status == 202
    assert served.ended("long-night")["status"] == "cancelled"
    again = served.request("DELETE", "/api/jobs/long-night")
    assert (again.status, again.error["code"]) == (409, "job-finished")
    assert served.request("POST", "/api/jobs/long-night/retry").status == 202
    assert served.request("DELETE", "/api/jobs/long-night").status == 202


def test_what_is_done_is_not_tried_again_and_what_is_not_there_is_not_found(served):
    served.post_job(synthesize("Done."), name="is-done")
    served.ended("is-done")
    assert served.request("POST", "/api/jobs/is-done/retry").error["code"] == "job-not-retryable"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/files/track.wav")):
        assert served.request(method, f"/api/jobs/no-such-job{path}").status == 404


def test_files_of_a_job_come_whole_and_in_ranges(served):
    served.post_job(synthesize("A file."), name="with-files")
    receipt = served.ended("with-files")
    whole = served.get("/api/jobs/with-files/files/track.wav")
    assert (whole.status, whole.headers["content-type"]) == (200, "audio/wav")
    assert whole.body == (served.root / "outbox" / "with-files" / "track.wav").read_bytes()
    size = len(whole.body)
    for span, start, end in (("0-9", 0, 10), ("10-", 10, size), ("-7", size - 7, size), (f"5-{size + 9}", 5, size)):
        part = served.get("/api/jobs/with-files/files/track.wav", Range=f"bytes={span}")
        assert (part.status, part.body) == (206, whole.body[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    beyond = served.get("/api/jobs/with-files/files/track.wav", Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for name in (receipt["lines"][0]["file"], "captions.srt", "result.json", "with-files.json"):
        assert served.get(f"/api/jobs/with-files/files/{name}").status == 200, name


@pytest.mark.parametrize("name", ["other.wav", "..%2F..%2Fvoicejobs.toml", "%2Fetc%2Fpasswd", "..", "track.wav%00"])
def test_only_files_of_the_receipt_are_given(served, name):
    served.post_job(synthesize("Private."), name="private")
    served.ended("private")
    (served.root / "outbox" / "private" / "other.wav").write_bytes(b"not of the job")
    assert served.get(f"/api/jobs/private/files/{name}").status in (404, 405)


def test_a_link_in_the_outbox_is_not_followed(served):
    served.post_job(synthesize("Linked."), name="linked")
    served.ended("linked")
    track = served.root / "outbox" / "linked" / "track.wav"
    track.unlink()
    track.symlink_to(served.root / "voicejobs.toml")
    assert served.get("/api/jobs/linked/files/track.wav").status == 404


def test_without_a_runner_work_is_refused_and_reading_goes_on(tmp_path):
    alone = Served(tmp_path).start()
    try:
        refused = alone.post_job(synthesize("Hello."))
        assert (refused.status, refused.error["code"]) == (503, "no_runner")
        assert "voicejobs run" in refused.error["hint"] and "--with-runner" in refused.error["hint"]
        assert list((tmp_path / "inbox").iterdir()) == []
        assert alone.get("/api/jobs").json == {"jobs": [], "next": None}
        assert (alone.get("/health").status, alone.get("/health").json["runner"]) == (503, False)
    finally:
        assert alone.stop() == 0


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize(
    "rest", ["Content-Length: 500\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nno number"], ids=["short", "garbled"]
)
def test_a_request_that_breaks_off_makes_no_job_and_no_trace_in_the_log(served, kind, rest):
    head = f"POST /api/jobs?name=broken HTTP/1.1\r\nHost: localhost:{served.port}\r\nContent-Type: {kind}\r\n{rest}"
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        while client.recv(4_096):
            pass
    assert served.get("/api/jobs/broken").status == 404
    assert "Traceback" not in served.output.read_text()


def test_a_garbled_body_of_a_request_that_closes_leaves_no_trace_in_the_log(served):
    rest = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}\r\n"
    with socket.create_connection(("127.0.0.1", served.port), 20) as client:
        client.sendall(f"GET /v1/nothing HTTP/1.1\r\nHost: localhost:{served.port}\r\n{rest}".encode())
        while client.recv(4_096):
            pass
    assert served.get("/health").status == 200
    assert "Traceback" not in served.output.read_text()
