"""Pages on which voices and jobs are made: design, audition, lock, speak; texts, files and recordings."""

import contextlib
import html
import io
import re

import pytest
import soundfile

from registry.jobs import jobs
from runner.config.instance import open_instance
from runner.script.sources.formats import SUFFIXES
from runner.serve.context import open_serve_context
from runner.serve.page.job_files import BOOKS, TEXTS, values_of
from tests.runner.serve.served import page, send, text_of, token_of

DESCRIPTION = "A warm female voice, 30s."


def stage(served, kind, files=(), **fields):
    """The path of the job file that a form of /drop makes, or the answer that refuses it."""
    token = token_of(page(served, "/drop"))
    parts = [("token", None, token.encode()), ("kind", None, kind.encode())]
    parts += [(name, None, value.encode()) for name, value in fields.items()]
    answer = served.post_parts([*parts, *(("file", name, content) for name, content in files)], "/drop")
    return answer.headers.get("location") or answer


def job_file(served, path):
    return html.unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", text_of(page(served, path)), re.DOTALL)[1])


def drop(served, path, *, name, job=None, action="drop"):
    shown = page(served, path)
    text = job or job_file(served, path)
    return send(served, path, token=token_of(shown), job=text, name=name, action=action)


def dropped(served, path, *, name, **more):
    answer = drop(served, path, name=name, **more)
    assert answer.status == 303, text_of(answer)
    return answer.headers["location"].removeprefix("/jobs/")


@pytest.fixture(scope="module")
def design(served):
    path = stage(served, "design", voice="page-elena", description=DESCRIPTION, candidates="3")
    return dropped(served, path, name="page-elena-design")


def test_a_described_voice_is_auditioned_locked_and_spoken_with(served, design):
    assert served.ended(design)["status"] == "done"
    shown = page(served, f"/audition/{design}")
    sounds = re.findall(r'<audio controls preload="none" src="([^"]+)"', text_of(shown))
    assert len(sounds) == 3 and DESCRIPTION in text_of(shown)
    assert f"voices lock page-elena --from {design} 1" in text_of(shown) and "ranked" not in text_of(shown)
    for sound in sounds:
        answer = served.get(sound)
        assert answer.headers["content-type"] == "audio/flac" and soundfile.read(io.BytesIO(answer.body))[0].size
        assert served.get(sound, Range="bytes=0-3").status == 206
    answer = send(served, f"/audition/{design}/lock", token=token_of(shown), candidate=2, voice="page-elena")
    receipt = served.ended(answer.headers["location"].removeprefix("/jobs/"))
    assert receipt["voice"]["name"] == "page-elena"
    voice = page(served, "/voices/page-elena")
    assert "current" in text_of(voice) and design.replace("design", "lock") in text_of(voice)
    answer = send(served, "/voices/page-elena/say", token=token_of(voice), version=1, text="Good evening.")
    spoken = served.ended(answer.headers["location"].removeprefix("/jobs/"))
    assert spoken["lines"][0]["voice"]["name"] == "page-elena" and spoken["status"] == "done"


def test_candidates_are_as_loud_as_each_other_and_none_is_made_louder(served, design):
    served.ended(design)
    levels = [
        float(level) for level in re.findall(r'data-level="([\d.]+)"', text_of(page(served, f"/audition/{design}")))
    ]
    assert len(levels) == 3 and max(levels) == 1.0 and min(levels) > 0.2


def test_candidates_say_how_they_were_ranked_where_that_is_not_their_order(served, design):
    served.ended(design)
    database = open_serve_context(open_instance(served.root, environment={})).database
    with contextlib.closing(database), database.write() as session:
        jobs.note_facts(session, jobs.by_name(session, design).id, ranks={"1": 2, "2": 1, "3": 3})
    shown = text_of(page(served, f"/audition/{design}"))
    assert re.findall(r"ranked \d", shown) == ["ranked 2", "ranked 1", "ranked 3"]


def test_a_blind_audition_tells_nothing_of_the_order(served, design):
    served.ended(design)
    orders = set()
    for blind in "abcdefgh":
        shown = text_of(page(served, f"/audition/{design}?blind={blind}"))
        assert "seed" not in shown.split('id="candidates"')[1].split("</ol>")[0] and "Candidate A" in shown
        orders.add(tuple(re.findall(r'type="radio" name="candidate" value="(\d)"', shown)))
    assert len(orders) > 1


def test_a_candidate_says_something_else_under_a_name_for_trials(served, design):
    served.ended(design)
    token = token_of(page(served, f"/audition/{design}"))
    for text in ("First words.", "Other words."):
        answer = send(served, f"/audition/{design}/say", token=token, candidate=3, text=text)
        receipt = served.ended(answer.headers["location"].removeprefix("/jobs/"))
        assert receipt["lines"][0]["text"] == text and receipt["lines"][0]["voice"]["version"] == 1
    answer = send(served, f"/audition/{design}/say", token=token, candidate=9, text="None.")
    assert answer.status == 404


def test_an_alias_moves_with_one_click_and_the_move_is_in_the_log(served, design):
    served.ended(design)
    token = token_of(page(served, f"/audition/{design}"))
    for candidate in (1, 3):
        answer = send(served, f"/audition/{design}/lock", token=token, candidate=candidate, voice="page-moved")
        assert served.ended(answer.headers["location"].removeprefix("/jobs/"))["status"] == "done"
    shown = page(served, "/voices/page-moved")
    assert "Make current" in text_of(shown)
    send(served, "/voices/page-moved/alias", token=token_of(shown), version=1, alias="current")
    assert "@2 → @1 · set on the page" in text_of(page(served, "/voices/page-moved"))
    wrong = send(served, "/voices/page-moved/alias", token=token_of(shown), version=1, alias="7")
    assert wrong.status == 400
    assert send(served, "/voices/page-moved/alias", token=token_of(shown), version=9, alias="warm").status == 404


def test_a_voice_goes_out_as_a_file_and_comes_back_with_consent(served, design):
    served.ended(design)
    token = token_of(page(served, f"/audition/{design}"))
    answer = send(served, f"/audition/{design}/lock", token=token, candidate=1, voice="page-out")
    served.ended(answer.headers["location"].removeprefix("/jobs/"))
    vox = served.get("/voices/page-out/1/vox")
    assert vox.status == 200 and "page-out" in vox.headers["content-disposition"]
    path = stage(served, "file", [("page-out.vox", vox.body)], voice="page-back", consent="granted")
    assert 'consent = "granted"' in job_file(served, path)
    receipt = served.ended(dropped(served, path, name="page-import"))
    assert receipt["status"] == "done", receipt["error"]
    assert "page-back" in text_of(page(served, "/voices?containing=page-b"))


def test_a_text_is_shown_as_a_job_file_before_it_is_dropped(served):
    path = stage(served, "text", voice="preset:ryan", text='He said "one".\r\n\r\nShe said C:\\new & <two>.')
    assert 'text = """\nHe said' in job_file(served, path)
    receipt = served.ended(dropped(served, path, name="page-dropped"))
    assert [line["text"] for line in receipt["lines"]] == ['He said "one".', "She said C:\\new & <two>."]
    assert page(served, path).status == 404  # it has been dropped


def test_a_job_file_that_is_wrong_says_where_and_can_be_put_right(served):
    path = stage(served, "file", [("wrong.toml", b'kind = "synthesize"\nvoise = "ryan"\ntext = "Hello."\n')])
    shown = page(served, path)
    assert shown.status == 422 and "voise" in text_of(shown) and "did you mean" in text_of(shown)
    assert drop(served, path, name="page-wrong").status == 422
    right = 'kind = "synthesize"\nvoice = "ryan"\ntext = "Hello."\n'
    assert drop(served, path, name="page-wrong", job=right, action="check").status == 200
    assert served.ended(dropped(served, path, name="page-wrong", job=right))["status"] == "done"


def test_a_text_file_and_a_job_with_its_attachment_are_taken_with_their_files(served):
    path = stage(served, "file", [("chapter.txt", b"Chapter one.\n\nIt begins.")], voice="preset:ryan")
    assert [line["text"] for line in served.ended(dropped(served, path, name="page-chapter"))["lines"]]
    job = b'kind = "synthesize"\nvoice = "ryan"\ntext_file = "part.txt"\n'
    path = stage(served, "file", [("book.toml", job), ("part.txt", b"A part.")])
    assert "With it: part.txt" in text_of(page(served, path))
    assert served.ended(dropped(served, path, name="page-book"))["lines"][0]["text"] == "A part."


@pytest.mark.parametrize("name", ["../out.txt", "a/b.txt", ".hidden.txt"])
def test_no_name_of_a_file_becomes_a_path(served, name):
    assert stage(served, "file", [(name, b"Words.")], voice="ryan").status == 400


@pytest.mark.parametrize(("files", "said"), [([("x.exe", b"MZ")], "Nothing can be made"), ([], "No file was chosen")])
def test_what_makes_no_job_is_refused_with_the_endings_that_do(served, files, said):
    answer = stage(served, "file", files)
    assert answer.status == 400 and said in answer.error["message"] and ".txt" in answer.error["hint"]


def test_a_form_with_files_needs_its_token_and_leaves_nothing_behind(served):
    answer = served.post_parts([("kind", None, b"text"), ("file", "a.txt", b"Words.")], "/drop")
    assert answer.status == 403
    assert not list((served.root / ".voicejobs" / "uploads").glob("*/a.txt"))


def test_plain_links_lead_from_the_queue_to_voices_auditions_and_the_forms(served, design):
    queue = text_of(page(served, "/"))
    for path in ("/audition", "/voices", "/drop"):
        assert f'href="{path}"' in queue and page(served, path).status == 200
    assert f'href="/audition/{design}"' in text_of(page(served, "/audition"))
    drop_page = text_of(page(served, "/drop"))
    assert "<textarea" in drop_page and 'type="file"' in drop_page


SCREENPLAY = b"INT. KITCHEN - DAY\n\nANNA\nHello.\n"


@pytest.mark.parametrize(
    ("name", "fields", "job"),
    [
        ("play.fountain", {}, {"kind": "script", "source": "play.fountain"}),
        (
            "play.fountain",
            {"cast": "ask", "voice": "preset:ryan"},
            {"kind": "script", "source": "play.fountain", "narrator": "preset:ryan", "cast": "ask"},
        ),
        ("book.md", {"cast": "auto"}, {"kind": "script", "source": "book.md", "cast": "auto"}),
        ("book.md", {"voice": "ryan"}, {"kind": "synthesize", "voice": "ryan", "text_file": "book.md"}),
    ],
)
def test_a_book_becomes_a_script_with_the_cast_that_was_chosen(name, fields, job):
    assert values_of("file", fields, [name]) == job


def test_every_source_of_a_script_can_be_dropped_on_the_page():
    assert set(SUFFIXES) <= {ending[1:] for ending in (*BOOKS, *TEXTS)} | {"xhtml", "text"}


def test_a_screenplay_is_shown_as_its_job_file_before_it_is_dropped(served):
    path = stage(served, "file", [("play.fountain", SCREENPLAY)], cast="none", voice="preset:ryan")
    assert 'kind = "script"' in job_file(served, path)
    receipt = served.ended(dropped(served, path, name="page-play"))
    assert receipt["status"] == "done" and receipt["children"]
    shown = text_of(page(served, "/jobs/page-play"))
    assert all(f'href="/jobs/{child["job"]}"' in shown for child in receipt["children"])
