"""The pages that browsers show: read without script, forms with a token, and nothing unescaped."""

import contextlib
import re

import pytest

from registry.jobs import jobs
from registry.jobs.values import NewJob
from runner.config.instance import open_instance
from runner.serve.context import open_serve_context
from runner.serve.keys import session_value
from tests.runner.serve.served import HTML, Served, page, send, synthesize, text_of, token_of

EVIL = '<script>alert(1)</script> \u202egnp.exe & "quotes"'


def ended(served, job, name):
    served.post_job(job, name=name)
    return served.ended(name)


@pytest.fixture(scope="module")
def scene(served):
    lines = [{"text": "One is here.", "id": "s1"}, {"text": "Two is here."}, {"text": "…"}, {"text": "Three is here."}]
    job = {"kind": "synthesize", "voice": "ryan", "lines": lines, "pause_after_s": 0.5}
    assert ended(served, job, "page-scene")["status"] == "done"
    return "page-scene"


def test_plain_links_lead_from_the_queue_to_each_job_and_its_sounds(served, scene):
    queue = text_of(page(served, "/"))
    assert f'href="/jobs/{scene}"' in queue
    job = text_of(page(served, f"/jobs/{scene}"))
    sounds = re.findall(r'<audio controls preload="none" src="([^"]+)"', job)
    assert len(sounds) == 4  # three lines and the track
    assert [served.get(sound).status for sound in sounds] == [200] * 4
    assert "Two is here." in job and "a pause of" in job


def test_pages_say_their_language_and_allow_no_script_of_others(served, scene):
    for path in ("/", f"/jobs/{scene}", "/jobs/nobody"):
        answer = page(served, path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"  # else browsers send Origin: null with its forms
        assert '<html lang="en">' in text_of(answer)
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", text_of(answer))


def test_what_others_wrote_is_shown_as_text(served):
    job = {**synthesize(EVIL), "lines": [{"text": EVIL, "instruct": EVIL}]}
    del job["text"]
    ended(served, job, "page-evil")
    shown = text_of(page(served, "/jobs/page-evil"))
    assert "<script>alert" not in shown and "&lt;script&gt;alert" in shown
    assert "\u202e" not in shown and "\\u202e" in shown


def test_an_unknown_job_is_a_page_for_people_and_json_for_programs(served):
    answer = page(served, "/jobs/nobody-there")
    assert answer.status == 404 and "There is no job" in text_of(answer) and "job-not-found" in text_of(answer)
    assert re.search(r"<code>voicejobs [^<`]*jobs list</code> shows them all", text_of(answer))
    assert served.get("/jobs/nobody-there").error["code"] == "job-not-found"
    assert served.request("GET", "/api/jobs/nobody-there", headers=HTML).error["code"] == "job-not-found"


@pytest.mark.parametrize("path", ["/nothing", "/jobs/a/b/c/d", "/jobs/nobody-there", "/voices/nobody-there"])
def test_a_page_that_is_not_there_is_said_to_be_none(served, path):
    answer = page(served, path)
    assert answer.status == 404
    assert "<h1>There is no such page</h1>" in text_of(answer)


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_form_without_its_token_changes_nothing(served, scene, token):
    answer = send(served, f"/jobs/{scene}/again", token=token, line=1, text="Changed.")
    assert answer.status == 403 and "form-token" in text_of(answer)
    assert "page-scene-2" not in served.get("/api/jobs").body.decode()


def test_a_form_from_another_page_is_refused_though_its_token_is_right(served, scene):
    token = token_of(page(served, f"/jobs/{scene}"))
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert send(served, f"/jobs/{scene}/cancel", token=token, headers=other).status == 403


def test_a_changed_line_becomes_a_new_job_that_speaks_that_line_alone(served, scene):
    token = token_of(page(served, f"/jobs/{scene}"))
    answer = send(served, f"/jobs/{scene}/again", token=token, line=2, text="Two has changed.")
    assert answer.status == 303
    name = re.match(r"/jobs/([^#]+)#line-2", answer.headers["location"])[1]
    receipt = served.ended(name)
    assert [line["text"] for line in receipt["lines"]] == ["One is here.", "Two has changed.", "…", "Three is here."]
    assert [line["reused"] for line in receipt["lines"]] == [True, False, False, True]


def test_a_line_left_as_it_is_gets_another_seed(served):
    before = ended(served, synthesize("First paragraph.\n\nSecond paragraph."), "page-text")
    token = token_of(page(served, "/jobs/page-text"))
    answer = send(served, "/jobs/page-text/again", token=token, line=1, text="First paragraph.")
    after = served.ended(re.match(r"/jobs/([^#]+)", answer.headers["location"])[1])
    assert [line["text"] for line in after["lines"]] == [line["text"] for line in before["lines"]]
    assert after["lines"][0]["seed"] != before["lines"][0]["seed"]
    assert after["lines"][1]["take"] == before["lines"][1]["take"]


def test_a_job_can_be_cancelled_and_tried_again_from_its_page(served):
    assert ended(served, {"kind": "lock", "voice": "x", "from": {"job": "never", "candidate": 1}}, "page-lost")
    lines = [{"text": f"Line number {number} of many, spoken slowly."} for number in range(400)]
    served.post_job({"kind": "synthesize", "voice": "ryan", "lines": lines}, name="page-long")
    shown = page(served, "/jobs/page-long")
    assert "voicejobs" in text_of(shown) and "jobs cancel page-long" in text_of(shown)
    assert send(served, "/jobs/page-long/cancel", token=token_of(shown)).status == 303
    assert served.ended("page-long")["status"] == "cancelled"
    answer = send(served, "/jobs/page-long/retry", token=token_of(shown))
    assert answer.status == 303
    send(served, "/jobs/page-long/cancel", token=token_of(shown))
    served.ended("page-long")


def test_a_long_job_is_shown_a_page_at_a_time(served):
    lines = [{"text": f"Line {number}."} for number in range(1, 54)]
    ended(served, {"kind": "synthesize", "voice": "ryan", "lines": lines}, "page-pages")
    first = text_of(page(served, "/jobs/page-pages"))
    assert 'id="line-50"' in first and 'id="line-51"' not in first
    following = re.search(r'rel="next" href="([^"]+)"', first)[1].split("#")[0]
    second = text_of(page(served, following))
    assert 'id="line-51"' in second and 'id="line-53"' in second and 'id="line-50"' not in second
    starts = [float(value) for value in re.findall(r'data-start="([\d.]+)"', first + second)]
    assert starts == sorted(starts) and len(starts) == 53


def test_peaks_are_numbers_of_a_line_that_was_spoken(served, scene):
    answer = served.get(f"/jobs/{scene}/peaks/1")
    assert max(answer.json["peaks"]) == 100 and len(answer.json["peaks"]) == 160
    assert "max-age" in answer.headers["cache-control"]
    assert served.get(f"/jobs/{scene}/peaks/99").status == 404


def test_the_style_and_the_script_are_kept_by_browsers_until_they_change(served):
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', text_of(page(served, "/"))):
        answer = served.get(path)
        assert answer.status == 200 and "immutable" in answer.headers["cache-control"]
    assert served.get("/static/..%2Fsite.py").status == 404


# ---- the key, and no runner --------------------------------------------------------------------------------------

KEY = "a-key-of-some-length-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    root = tmp_path_factory.mktemp("guarded-pages")
    (root / "key").write_text(KEY)
    (root / "key").chmod(0o600)
    made = Served(root, serve='key_file = "key"\n').start()
    yield made
    made.stop()


def test_a_browser_without_the_key_is_led_to_the_login(guarded):
    answer = page(guarded, "/jobs/any")
    assert answer.status == 303 and answer.headers["location"] == "/login"
    form = page(guarded, "/login")
    assert form.status == 200 and '<html lang="en">' in text_of(form)
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', text_of(form)):
        assert guarded.get(path).status == 200


def test_the_right_key_opens_all_pages_by_a_cookie_that_no_script_reads(guarded):
    token = token_of(page(guarded, "/login"))
    wrong = send(guarded, "/login", token=token, key="another-key-of-some-length")
    assert wrong.status == 401 and "set-cookie" not in wrong.headers
    right = send(guarded, "/login", token=token, key=KEY)
    cookie = right.headers["set-cookie"]
    assert right.headers["location"] == "/" and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert KEY not in cookie
    assert page(guarded, "/", Cookie=cookie.split(";")[0]).status == 200


def test_without_a_runner_the_pages_say_so_and_name_the_remedy(guarded):
    cookie = {"Cookie": f"voicejobs_session={session_value(KEY)}"}
    assert "No runner is active" in text_of(page(guarded, "/", **cookie))
    assert "voicejobs --root" in text_of(page(guarded, "/", **cookie))


def test_how_much_of_a_long_recording_was_heard_is_on_its_page_and_in_the_queue(guarded):
    new = NewJob(
        stem="memo", dropped_name="memo.toml", kind="transcribe", content_sha256="0" * 64, spec_json="{}", claimed_s=1
    )
    database = open_serve_context(open_instance(guarded.root, environment={})).database
    with contextlib.closing(database), database.write() as session:
        job = jobs.start(session, jobs.add(session, new), model=None, now_s=2)
        jobs.note_facts(session, job.id, progress="60 s of 2 h heard")
    cookie = {"Cookie": f"voicejobs_session={session_value(KEY)}"}
    for path in ("/", "/jobs/memo"):
        assert "60 s of 2 h heard" in text_of(page(guarded, path, **cookie))
