"""Scripts from a dropped book to spoken chapters: cast, choices, edits, retries; and deaths on the way."""

from __future__ import annotations

import json
import sys
import threading
from functools import partial

import pytest
import soundfile
from mutagen.flac import FLAC

from models.draft.engine import open_engine
from models.draft.voice import sound_alike
from models.engine_kinds import DRAFT
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL
from registry.voices.lookup import resolve
from tests.engines.alike import AlikeEngine
from tests.engines.inline import InlineEngine
from tests.runner.master.sounds import png_bytes
from tests.runner.script.sources.conftest import CONTAINER, XHTML, package, packed
from tests.runner.worker.bench import Bench, speak

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLAY = """Title: The Night Train
Author: Ann

INT. DINING CAR - NIGHT

ELENA, a woman in her thirties, looks up.

ELENA
(whispering)
I won't let you down.

MARCUS
You said that before.

ELENA
I did.

MARCUS
Twice.

EXT. PLATFORM - DAWN

CUT TO:

ELENA
Goodbye.

MARCUS
Goodbye!
"""
SCRIPT = 'kind = "script"\nsource = "play.fountain"\n'


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    return Bench(tmp_path)


def produce(bench: Bench, name: str = "play", *, text: str = PLAY, keys: str = "") -> dict:
    bench.drop_folder(name, job_toml=f"{SCRIPT}{keys}", play_fountain=text)
    bench.run()
    return bench.receipt(name) if "result.json" in bench.files(name) else {}


def read(bench: Bench, job: str, file: str) -> str:
    return (bench.instance.outbox / job / file).read_text(encoding="utf-8")


def statuses(bench: Bench, job: str = "play") -> dict[str, str]:
    return {child["job"]: child["status"] for child in bench.receipt(job)["children"]}


def spoken(bench: Bench, job: str) -> list[tuple[str, str]]:
    return [(line["voice"]["name"], line["text"]) for line in bench.receipt(job)["lines"]]


def test_a_play_becomes_voices_and_a_job_for_each_scene(bench):
    receipt = produce(bench)
    assert receipt["status"] == "done", receipt
    assert statuses(bench) == dict.fromkeys(
        ["play.elena.design", "play.marcus.design", "play.elena.lock", "play.marcus.lock", "play.chapter-1",
         "play.chapter-2"], "done"
    )  # fmt: skip
    assert spoken(bench, "play.chapter-1") == [
        ("preset:serena", "INT. DINING CAR - NIGHT"),
        ("preset:serena", "ELENA, a woman in her thirties, looks up."),
        ("play.elena", "I won't let you down."),
        ("play.marcus", "You said that before."),
        ("play.elena", "I did."),
        ("play.marcus", "Twice."),
    ]
    assert [text for _, text in spoken(bench, "play.chapter-2")] == ["EXT. PLATFORM - DAWN", "Goodbye.", "Goodbye!"]


def test_the_script_file_has_every_line_and_its_spoken_ones_are_those_of_the_chapters(bench):
    produce(bench)
    script = json.loads(read(bench, "play", "script.json"))
    assert (script["schema"], script["job"], script["book"], script["title"]) == (1, "play", "play", "The Night Train")
    assert script["source"]["format"] == "fountain"
    assert [line["index"] for line in script["lines"]] == list(range(1, len(script["lines"]) + 1))
    assert [line["text"] for line in script["lines"] if not line["spoken"]] == ["CUT TO:"]
    chapters = [text for number in (1, 2) for _, text in spoken(bench, f"play.chapter-{number}")]
    assert [line["text"] for line in script["lines"] if line["spoken"]] == chapters
    assert {line["direction"] for line in script["lines"]} == {None, "whispering"}


def test_the_cast_file_is_a_job_file_with_evidence(bench):
    produce(bench)
    cast = tomllib.loads(read(bench, "play", "cast.toml"))
    assert (cast["kind"], cast["job"], cast["book"]) == ("cast", "play", "play")
    assert cast["narrator"] == {"voice": "preset:serena"}
    elena, marcus = cast["parts"]
    assert (elena["name"], elena["lines"], elena["voice"], elena["gender"]) == ("ELENA", 3, "play.elena", "female")
    assert elena["evidence"]["directions"] == ["whispering"]
    assert marcus["voice"] == "play.marcus"


def test_an_edited_line_costs_one_line(bench):
    produce(bench)
    receipt = produce(bench, "again", text=PLAY.replace("Twice.", "Three times."), keys='book = "play"\n')
    assert receipt["status"] == "done"
    assert list(statuses(bench, "again")) == ["again.chapter-1", "again.chapter-2"]  # its voices are there
    fresh = [
        line["text"]
        for number in (1, 2)
        for line in bench.receipt(f"again.chapter-{number}")["lines"]
        if not line["reused"]
    ]
    assert fresh == ["Three times."]


def test_small_parts_share_a_voice_and_keep_sharing_it(bench):
    text = PLAY + "\n".join(f"\n{name}\nYes.\n" for name in ("ANNA", "MARIA", "PAULA"))
    produce(bench, text=text)
    cast = tomllib.loads(read(bench, "play", "cast.toml"))
    small = {part["name"]: (part["voice"], part.get("shares")) for part in cast["parts"] if part["lines"] == 1}
    assert small == {"ANNA": ("play.anna", None), "MARIA": ("play.anna", "ANNA"), "PAULA": ("play.anna", "ANNA")}
    assert "play.maria.lock" not in statuses(bench)


def test_voices_of_the_job_file_win_and_unknown_names_are_warned_of(bench):
    receipt = produce(bench, keys='[voices]\nELENA = "preset:vivian"\nMARKUS = "preset:ryan"\n')
    assert [voice for voice, text in spoken(bench, "play.chapter-1") if text == "I did."] == ["preset:vivian"]
    assert "play.elena.design" not in statuses(bench)
    assert any("MARKUS" in warning and "MARCUS" in warning for warning in receipt["warnings"])


def test_a_script_that_asks_waits_with_its_candidates(bench):
    produce(bench, keys='cast = "ask"\n')
    assert bench.files("play") == ["cast.toml", "script.json"]
    assert "candidate-1.wav" in bench.files("play.elena.design")
    assert bench.worker.work_waits()
    bench.drop("other.toml", 'kind = "synthesize"\nvoice = "ryan"\ntext = "Other jobs go on."\n')
    bench.run()
    assert bench.status("other") == "done"
    bench.drop("choice.toml", 'kind = "cast"\njob = "play"\n[[parts]]\nname = "elena"\ncandidate = 2\n')
    bench.run()
    assert "result.json" not in bench.files("play")
    bench.drop("more.toml", 'kind = "cast"\njob = "play"\n[[parts]]\nname = "Marcus"\nvoice = "preset:ryan"\n')
    bench.run()
    assert bench.status("play") == "done"
    assert bench.status("choice") == "done"
    voices = {text: voice for voice, text in spoken(bench, "play.chapter-1")}
    assert (voices["I did."], voices["Twice."]) == ("play.elena", "preset:ryan")


def test_a_cast_for_a_finished_script_speaks_only_what_changed(bench):
    produce(bench)
    bench.drop("cast.toml", read(bench, "play", "cast.toml").replace('voice = "play.marcus"', 'voice = "preset:ryan"'))
    bench.run()
    assert bench.status("play") == "done"
    receipts = [path.parent.name for path in bench.instance.outbox.glob("play.chapter-1*/result.json")]
    newest = max(receipts, key=len)
    assert [line["text"] for line in bench.receipt(newest)["lines"] if not line["reused"]] == [
        "You said that before.", "Twice."
    ]  # fmt: skip


def test_a_choice_that_does_not_exist_is_refused(bench):
    produce(bench, keys='cast = "ask"\n')
    bench.drop("choice.toml", 'kind = "cast"\njob = "play"\n[[parts]]\nname = "ELENA"\ncandidate = 7\n')
    bench.drop("unknown.toml", 'kind = "cast"\njob = "plai"\n')
    bench.run()
    assert "no candidate 7" in bench.receipt("choice")["error"]["message"]
    assert bench.receipt("unknown")["error"]["code"] == "job-not-found"


def test_without_a_cast_the_narrator_speaks_everything(bench):
    receipt = produce(bench, keys='cast = "none"\nnarrator = "preset:ryan"\n')
    assert {voice for voice, _ in spoken(bench, "play.chapter-1")} == {"preset:ryan"}
    assert list(statuses(bench)) == ["play.chapter-1", "play.chapter-2"]
    assert receipt["status"] == "done"


@pytest.mark.parametrize(
    ("text", "said"), [("", "no text"), ("> CUT TO:\n", "nothing of play.fountain is spoken"), ("a\x00b", "NUL")]
)
def test_a_source_that_cannot_be_read_ends_its_script_alone(bench, text, said):
    receipt = produce(bench, text=text)
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "source-refused")
    assert said in receipt["error"]["message"]


def test_cancelling_a_script_cancels_its_jobs(bench):
    from registry.jobs.requests import add_request

    bench.drop_folder("play", job_toml=SCRIPT, play_fountain=PLAY)
    for _ in range(50):
        bench.tick()
        if (bench.instance.outbox / "play").exists():
            break
    with bench.context.database.write() as session:
        add_request(session, "play", "cancel", now_s=0.0)
    bench.run()
    assert bench.status("play") == "cancelled"
    assert set(statuses(bench).values()) <= {"cancelled", "done", "queued", "running", "waiting"}
    assert not bench.worker.work_waits()


def test_it_goes_on_after_the_runner_was_gone(bench):
    bench.drop_folder("play", job_toml=SCRIPT, play_fountain=PLAY)
    for _ in range(15):
        bench.tick()
        bench.restart()
        bench.tick(2)
    bench.run()
    assert bench.status("play") == "done"
    assert len(statuses(bench)) == 6


def test_other_jobs_go_on_while_a_step_of_a_long_book_is_taken(bench):
    busy, blocked = threading.Event(), bench.worker.scripts.pool
    blocked.submit(busy.wait)
    bench.waits_for_scripts = False
    bench.drop_folder("play", job_toml=SCRIPT, play_fountain=PLAY)
    bench.tick(3)
    bench.drop("line.toml", speak("Meanwhile."))
    bench.tick(6)
    assert bench.status("line") == "done"
    busy.set()
    bench.waits_for_scripts = True
    bench.run()
    assert bench.status("play") == "done"


def test_a_script_that_is_cancelled_while_a_step_is_taken_makes_no_jobs(bench):
    busy, blocked = threading.Event(), bench.worker.scripts.pool
    blocked.submit(busy.wait)
    bench.waits_for_scripts = False
    bench.drop_folder("play", job_toml=SCRIPT, play_fountain=PLAY)
    bench.tick(3)
    with bench.context.database.write() as session:
        add_request(session, "play", CANCEL, now_s=0)
    bench.tick(3)
    busy.set()
    bench.waits_for_scripts = True
    bench.run()
    assert bench.status("play") == "cancelled" and bench.receipt("play")["children"] == []


# ---- the finished book -------------------------------------------------------------------------------------------

MASTER = '[master]\nformats = ["flac"]\npreset = "none"\nsplit = "chapters"\n'


def test_a_script_with_a_master_makes_the_finished_book_with_its_titles_and_author(bench):
    receipt = produce(bench, keys=MASTER)
    assert receipt["status"] == "done"
    assert receipt["children"][-1] == {"job": "play.master", "kind": "master", "status": "done"}
    mastering = bench.receipt("play.master", "mastering.json")
    titles = ["INT. DINING CAR - NIGHT", "EXT. PLATFORM - DAWN"]
    assert [chapter["title"] for chapter in mastering["chapters"]] == titles
    assert [file["file"] for file in mastering["files"]] == [
        f"0{n} - {title}.flac" for n, title in enumerate(titles, 1)
    ]
    with soundfile.SoundFile(bench.instance.outbox / "play.master" / f"01 - {titles[0]}.flac") as file:
        assert (file.album, file.artist, file.title) == ("The Night Train", "Ann", titles[0])


def test_without_a_master_table_there_is_no_master(bench):
    receipt = produce(bench)
    assert [child["kind"] for child in receipt["children"] if child["kind"] == "master"] == []


def test_a_master_that_fails_leaves_the_chapters_and_is_named(bench):
    keys = MASTER + 'cover = "cover.png"\n'
    bench.drop_folder("play", job_toml=f"{SCRIPT}{keys}", play_fountain=PLAY, cover_png="no picture")
    bench.run()
    receipt = bench.receipt("play")
    assert receipt["status"] == "partial" and "cover.png" in receipt["error"]["message"]
    assert bench.receipt("play.master")["error"]["code"] == "cover-refused"


def test_an_edited_scene_makes_a_new_master(bench):
    produce(bench, keys=MASTER)
    first = bench.receipt("play.master", "mastering.json")
    produce(bench, "again", text=PLAY.replace("Twice.", "Twice, and you were late both times."), keys=MASTER)
    second = bench.receipt("again.master", "mastering.json")
    assert second["chapters"][0]["end_s"] > first["chapters"][0]["end_s"] + 1


def test_the_cover_of_an_epub_is_that_of_its_finished_book(bench):
    pages = {"OEBPS/one.xhtml": XHTML.format("<body><h1>One</h1><p>It was dark.</p></body>")}
    cover = '<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>'
    book = package({"one.xhtml": ""}, more=cover, metadata="<dc:title>The Night Train</dc:title>")
    files = {"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": book, "OEBPS/c.png": png_bytes(), **pages}
    job = 'kind = "script"\nsource = "novel.epub"\nnarrator = "ryan"\ncast = "none"\n[master]\nformats = ["flac"]\n'
    bench.drop_folder("novel", job_toml=job)
    (bench.instance.inbox / "novel" / "novel.epub").write_bytes(packed({"mimetype": "application/epub+zip", **files}))
    bench.run()
    assert bench.status("novel") == "done", bench.receipt("novel")
    (file,) = (bench.instance.outbox / "novel.master").glob("*.flac")
    assert FLAC(file).pictures[0].data == png_bytes() and FLAC(file)["album"] == ["The Night Train"]


CAPTIONS = """1
00:00:02,000 --> 00:00:04,000
ELENA: I won't let you down.

2
00:00:05,500 --> 00:00:06,000
You said that before, and a good many other things besides that nobody can remember.

3
00:00:06,100 --> 00:00:07,000
Goodbye.
"""


def test_captions_are_spoken_at_their_cues_and_what_does_not_fit_is_reported(bench):
    bench.drop_folder("film", job_toml='kind = "script"\nsource = "film.srt"\ncast = "none"\nnarrator = "ryan"\n',
                      film_srt=CAPTIONS)  # fmt: skip
    bench.run()
    assert bench.status("film") == "done"
    chapter = bench.receipt("film.chapter-1")
    captions = read(bench, "film.chapter-1", "captions.srt")
    assert "00:00:02,000 --> " in captions and "00:00:05,500 --> " in captions
    (warning,) = [each for each in chapter["warnings"] if "later" in each]
    assert warning.startswith("1 line begins later than asked for") and "line 3 by" in warning
    sound = bench.audio("film.chapter-1", "track.wav")
    assert not sound[: 2 * 24_000].any() and sound[2 * 24_000 : 3 * 24_000].any()


# ---- voices that sound alike -----------------------------------------------------------------------------------------


@pytest.fixture
def alike_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    return lambda alike: Bench(tmp_path, engine=InlineEngine(partial(AlikeEngine, alike=alike)))


def test_a_voice_that_sounds_like_another_is_designed_again_with_another_seed(alike_bench):
    bench = alike_bench(2)
    receipt = produce(bench, keys="share_below = 0\n")
    assert receipt["status"] == "done" and receipt["warnings"] == []
    assert bench.receipt("play.marcus.lock-2")["voice"]["version"] == 2
    seeds = [bench.receipt(job)["candidates"][0]["seed"] for job in ("play.marcus.design", "play.marcus.design-2")]
    assert seeds[0] != seeds[1] and "play.elena.design-2" not in statuses(bench)
    voices = [line["voice"] for line in bench.receipt("play.chapter-1")["lines"]]
    assert {voice["version"] for voice in voices if voice["name"] == "play.marcus"} == {2}


def test_voices_that_stay_alike_are_a_warning_and_are_spoken_with(alike_bench):
    bench = alike_bench(1_000)
    receipt = produce(bench, keys="share_below = 0\n")
    assert receipt["status"] == "done"
    assert receipt["warnings"] == ["MARCUS and ELENA sound alike; give one of them another voice."]
    assert bench.receipt("play.marcus.lock-3")["voice"]["version"] == 3


@pytest.mark.skipif(not DRAFT.is_installed, reason="the extra draft is not installed")
def test_draft_voices_of_one_cast_do_not_share_a_timbre_and_a_pitch(tmp_path):
    bench = Bench(tmp_path, engine=InlineEngine(open_engine), model="draft")
    women = [f"{name}, a woman, enters.\n\n{name}\nHere I am.\n" for name in ("EVA", "HEIDI")]
    receipt = produce(bench, text="INT. HALL\n\n" + "\n".join(women), keys="share_below = 0\n")
    assert receipt["status"] == "done" and receipt["warnings"] == []
    objects = bench.worker.context.objects
    with bench.worker.context.database.read() as session:
        eva, before, heidi = (
            objects.read(resolve(session, f"play.{name}").prompt_sha256) for name in ("eva", "heidi@1", "heidi@2")
        )
    assert sound_alike(eva, before) and not sound_alike(eva, heidi)
