"""Texts through the worker: pauses above the engine, one clean form, warnings, and files judged as by `check`."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from models.protocol import SAMPLE_RATE_HZ
from registry.jobs.requests import add_request
from registry.voices.lookup import resolve
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.submission.checked_job import check_file
from tests.checkpoints import write_checkpoint
from tests.engines.noop import NoopEngine
from tests.runner.worker.bench import Bench, design, lock, speak


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Bench(tmp_path)
    yield made
    made.context.database.close()


def receipt_of(bench, name, job):
    bench.drop(f"{name}.toml", job)
    bench.run()
    return bench.receipt(name)


def lines_of(bench, name, *texts, **how):
    return receipt_of(bench, name, speak(*texts, **how))["lines"]


def text_file_job(bench, content, *, file="book.txt", **how):
    """A job that speaks a file, dropped with it."""
    (bench.instance.inbox / file).write_bytes(content)
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in how.items())
    return f'kind = "synthesize"\nvoice = "ryan"\ntext_file = "{file}"\n{extra}'


# ---- pauses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [" ", "\n\n", "* * *", "***", "⁂", "——", "...", "?!", "\u200b", "\u00ad", "🎉", '""'])
def test_a_line_without_a_word_is_a_pause_in_receipt_and_track(bench, mark):
    receipt = receipt_of(bench, "scene", speak("Before.", mark, "After."))
    before, pause, after = receipt["lines"]
    assert (receipt["status"], receipt["warnings"]) == ("done", [])
    assert (pause["status"], pause["file"], pause["finish_reason"], pause["text"]) == ("done", None, "pause", mark)
    assert pause["duration_s"] == 1.4
    spoken_s = before["duration_s"] + after["duration_s"]
    assert receipt["track"]["duration_s"] == pytest.approx(spoken_s + 1.4, abs=0.01)
    silent = bench.audio("scene", "track.wav")[round((before["duration_s"] + 0.01) * SAMPLE_RATE_HZ) :][:SAMPLE_RATE_HZ]
    assert not silent.any()
    assert (bench.instance.outbox / "scene" / "captions.srt").read_text("utf-8").count("-->") == 2


def test_a_pause_lasts_as_long_as_its_line_says(bench):
    job = speak("Before.") + '[[lines]]\ntext = "***"\npause_after_s = 0.25\n[[lines]]\ntext = "After."\n'
    assert receipt_of(bench, "scene", job)["lines"][1]["duration_s"] == 0.25


def test_the_engine_is_asked_for_words_alone(bench):
    receipt_of(bench, "scene", speak("Before.", "* * *", "⁂", "After."))
    assert [work.text for work in bench.engine.submitted] == ["Before.", "After."]


def test_a_job_with_pauses_that_is_tried_again_keeps_them(bench):
    bench.engine.lose = lambda work: work.text == "die"
    receipt_of(bench, "scene", speak("* * *", "die", "After.", id="scene"))
    assert bench.status("scene") == "partial"
    (bench.instance.outbox / "scene" / "line-3.wav").unlink()
    bench.drop("again.toml", speak("* * *", "die", "After.", id="scene"))
    bench.run()
    pause, _, after = bench.receipt("scene")["lines"]
    assert (pause["status"], pause["file"]) == ("done", None)
    assert (bench.instance.outbox / "scene" / after["file"]).exists()


def test_a_job_whose_only_words_failed_has_failed_whatever_its_pauses(bench):
    bench.engine.lose = lambda work: work.text == "die"
    assert receipt_of(bench, "scene", speak("* * *", "die"))["status"] == "failed"


@pytest.mark.parametrize(
    "job",
    [
        speak("...", "* * *", "🎉"),
        'kind = "synthesize"\nvoice = "ryan"\ntext = "* * *"\n',
        'kind = "design"\nvoice = "elena"\ndescription = "Warm."\ntext = "…"\n',
        'kind = "lock"\nvoice = "me"\naudio = "me.wav"\ntranscript = "—"\n',
    ],
    ids=["lines", "text", "design", "lock"],
)
def test_a_job_without_a_word_is_refused_by_check_and_at_admission(bench, tmp_path, job):
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).problems
    assert "no word" in problem
    receipt = receipt_of(bench, "empty", job)
    assert (receipt["status"], receipt["error"]["code"]) == ("rejected", "invalid-job-file")


# ---- the clean form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "clean"),
    [
        ("The exam\u00adple is in\u200bcom\ufb01\u200dned.", "The example is incomfined."),
        ("Die Ma\u0308dchen ho\u0308ren Mu\u0308ller.", "Die Mädchen hören Müller."),
        ("Chapter one .............. 5", "Chapter one … 5"),
        ("The nega-\ntive result.", "The negative result."),
    ],
)
def test_a_text_and_its_clean_form_are_one_take_and_the_receipt_keeps_what_was_written(bench, written, clean):
    (first,) = lines_of(bench, "clean", clean)
    (second,) = lines_of(bench, "written", written)
    assert second["take"] == first["take"]
    assert second["reused"]
    assert (second["text"], second["spoken"]) == (written, clean)
    assert "spoken" not in first


def test_captions_keep_what_was_written(bench):
    receipt_of(bench, "toc", speak("Chapter one .............. 5"))
    assert "Chapter one .............. 5" in (bench.instance.outbox / "toc" / "captions.srt").read_text("utf-8")


def test_an_unrelated_table_of_respellings_makes_no_new_take(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path, pronunciations="words.toml")
    table = tmp_path / "words.toml"
    table.write_text("", encoding="utf-8")
    texts = ("Cafe\u0301 Zoë.", "O’Brien’s Dr.Nguyen.")
    first = lines_of(bench, "one", *texts)
    table.write_text('"Smith" = "Smyth"\n', encoding="utf-8")
    assert [line["take"] for line in lines_of(bench, "two", *texts)] == [line["take"] for line in first]
    table.write_text('"O\'Brien" = "Oh Bryan"\n"Dr." = "Doctor"\n"Nguyen" = "Win"\n', encoding="utf-8")
    third = lines_of(bench, "three", *texts)
    assert third[0]["take"] == first[0]["take"]
    assert third[1]["spoken"] == "Oh Bryan’s Doctor Win."
    bench.context.database.close()


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("One.\nHe said “no”.".encode("cp1252"), "line 2, byte 9"),
        (b"One.\x07Two.", "line 1, column 5"),
        (b"* * *\n\n---\n", "no word"),
        (b" \n", "no text"),
    ],
)
def test_a_file_that_cannot_be_spoken_is_refused_by_check_as_at_admission(bench, tmp_path, content, what):
    (tmp_path / "book.txt").write_bytes(content)
    (tmp_path / "job.toml").write_text('kind = "synthesize"\nvoice = "ryan"\ntext_file = "book.txt"\n')
    verdict = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings()))
    assert what in verdict.problems[0]
    receipt = receipt_of(bench, "book", text_file_job(bench, content))
    assert receipt["status"] == "rejected"
    assert receipt["error"]["message"] in verdict.problems[0]
    assert receipt["error"]["hint"] == verdict.hint


def test_check_says_of_how_many_lines_a_run_makes_a_file(bench, tmp_path):
    content = b"\n".join(b"This is paragraph number %d of the file." % number for number in range(1, 13))
    (tmp_path / "book.txt").write_bytes(content)
    (tmp_path / "job.toml").write_text('kind = "synthesize"\nvoice = "ryan"\ntext_file = "book.txt"\n')
    assert check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).lines == 12
    assert len(receipt_of(bench, "book", text_file_job(bench, content))["lines"]) == 12


# ---- markup ------------------------------------------------------------------------------------------------------


def test_markup_that_is_spoken_as_it_stands_is_warned_of_by_check_and_in_the_receipt(bench, tmp_path):
    job = speak("Plain.", "[laughs] Tom &amp; **Jerry**.")
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    receipt = receipt_of(bench, "scene", job)
    assert (
        receipt["warnings"] == check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).warnings
    )
    assert receipt["warnings"][0].startswith("Line 2: markup is spoken literally: directions ([laughs]); ")
    assert len(receipt["lines"][1]["warnings"]) == 3
    assert receipt["lines"][0]["warnings"] == []


def test_markup_that_is_wanted_is_read(bench):
    (line,) = lines_of(bench, "scene", "Tom &amp; <b>Jerry</b>.<break time='2s'/>", markup="ssml")
    assert (line["text"], line["warnings"]) == ("Tom & Jerry.", [])


BREAKS = "<speak>" + '<break time="1s"/>' * 5_000 + "</speak>"  # large jobs are read and planned in threads
WORDLESS = {
    "marks-in-lines": speak("...", "* * *"),
    "invisible-lines": speak("\u200b\u2060", "\u00ad"),
    "pauses-in-lines": speak("[pause 2s]", '<break time="1s"/>'),
    "ssml-in-lines": speak("<speak><break time='2s'/></speak>"),
    "html-in-lines": speak("<script>x()</script>", markup="html"),
    "many-lines": speak(*["[pause 2s] * * *"] * 5_000),
    "marks": 'kind = "synthesize"\nvoice = "ryan"\ntext = "* * *"\n',
    "pauses": 'kind = "synthesize"\nvoice = "ryan"\ntext = "[pause 2s] … [pause]"\n',
    "much-markup": f'kind = "synthesize"\nvoice = "ryan"\ntext = \'{BREAKS}\'\n',
}


@pytest.mark.parametrize("job", WORDLESS.values(), ids=WORDLESS)
def test_a_job_without_a_word_beside_its_markup_is_refused_with_its_place_by_check_and_run(bench, tmp_path, job):
    (tmp_path / "empty.toml").write_text(job, encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "empty.toml"), instance=Instance(tmp_path, Settings())).problems
    receipt = receipt_of(bench, "empty", job)
    assert receipt["status"] == "rejected"
    assert receipt["error"]["message"] in problem
    assert "line 3" in problem or "line 4" in problem
    assert "no word" in problem


UNSPEAKABLE = {
    "many-marks.txt": b"* * *\n\n" * 20_000,
    "many-pauses.txt": b"[pause 2s]\n\n" * 10_000,
    "invisible.txt": "\u200b\n\n".encode() * 20_000,
    "breaks.ssml": BREAKS.encode(),
    "script.html": b"<script>" + b"go(); " * 20_000 + b"</script>",
    "image.md": b"![a picture](a.png)\n\n" * 5_000,
    "many-paragraphs.txt": b"Word.\n\n" * 20_001,
    "control.txt": b"A long line of words. " * 5_000 + b"\x07",
}


@pytest.mark.parametrize("file", UNSPEAKABLE)
def test_a_long_file_that_cannot_be_spoken_is_refused_by_check_and_run_alike(bench, tmp_path, file):
    content = UNSPEAKABLE[file]
    (tmp_path / file).write_bytes(content)
    (tmp_path / "job.toml").write_text(f'kind = "synthesize"\nvoice = "ryan"\ntext_file = "{file}"\n')
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).problems
    receipt = receipt_of(bench, "book", text_file_job(bench, content, file=file))
    assert (receipt["status"], receipt["kind"]) == ("rejected", "synthesize")
    assert receipt["error"]["message"] in problem
    assert file in problem


def test_pauses_within_a_line_are_in_its_receipt_and_its_take(bench):
    with_pause, other, without = lines_of(bench, "scene", "One [pause 2s] two.", "One [pause 1s] two.", "One two.")
    assert (with_pause["text"], with_pause["spoken"]) == ("One two.", "One [pause 2s] two.")
    assert "spoken" not in without
    assert len({line["take"] for line in (with_pause, other, without)}) == 3
    assert bench.engine.submitted[0].pauses == ((4, 2.0),)


# ---- takes -------------------------------------------------------------------------------------------------------


class CutOff(NoopEngine):
    """Never reaches the end of a line."""

    is_seeded = True

    def facts(self):
        return replace(super().facts(), is_seeded=self.is_seeded)

    def render(self, line, progress):
        return replace(super().render(line, progress), finish_reason="length")


class CutOffAlways(CutOff):
    is_seeded = False


@pytest.mark.parametrize(("engine", "takes"), [(CutOff, 3), (CutOffAlways, 1)])
def test_a_line_is_rendered_again_only_where_a_seed_makes_another_take(bench, engine, takes):
    bench.engine.engine_for = engine
    (line,) = lines_of(bench, "cut", "This line is cut off.")
    assert (line["attempts"], line["quality"]["failed_gates"]) == (takes, ["length-cap"])


def test_a_design_is_locked_with_the_words_that_were_spoken(bench):
    bench.drop("elena-design.toml", design(text="The nega-\ntive re\u00adsult.", candidates=1))
    bench.drop("elena.toml", lock(), age_s=-1)
    bench.run()
    with bench.context.database.read() as session:
        assert resolve(session, "elena").transcript == "The negative result."


def test_what_the_plan_warned_of_is_warned_of_after_a_retry_too(bench):
    ssml = '<speak>Hello <audio src="x.wav"/> <sparkle>there</sparkle>.</speak>'
    first = receipt_of(bench, "hello", speak(ssml, markup="ssml"))["warnings"]
    assert any("sparkle" in warning for warning in first)
    shutil.rmtree(bench.instance.outbox / "hello")
    with bench.context.database.write() as session:
        add_request(session, "hello", "retry", now_s=bench.now_s, lacks_files=True)
    bench.run()
    assert bench.receipt("hello")["warnings"] == first


@pytest.mark.parametrize("job", [speak("Hello."), 'kind = "design"\nvoice = "e"\ndescription = "Warm."\n'])
@pytest.mark.parametrize("longest_s", ["1e-9", "0.01"])
def test_a_cap_that_leaves_no_sound_is_told_by_check_as_by_the_run(bench, tmp_path, job, longest_s):
    text = (
        f"{job}\n[sampling]\nmax_seconds = {longest_s}\n"
        if "design" in job
        else f"sampling.max_seconds = {longest_s}\n{job}"
    )
    (tmp_path / "job.toml").write_text(text, encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=bench.instance).problems
    receipt = receipt_of(bench, "scene", text)
    assert receipt["status"] == ("failed" if "design" in job else "rejected")
    assert receipt["error"]["message"] in problem and "holds no sound" in problem


@pytest.mark.parametrize("marks", ["…", "—"])
def test_respellings_that_leave_no_word_are_told_by_check_as_by_the_run(bench, tmp_path, marks):
    settings = bench.instance.settings.model_copy(update={"pronunciations": "names.toml"})
    instance = Instance(bench.instance.root, settings)
    (instance.root / "names.toml").write_text(f'hello = "{marks}"\n', encoding="utf-8")
    (tmp_path / "job.toml").write_text(speak("Hello."), encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=instance).problems
    assert "respellings leave no word" in problem
    (tmp_path / "job.toml").write_text(speak("Hello.", "You."), encoding="utf-8")
    assert check_file(str(tmp_path / "job.toml"), instance=instance).problems == []


@pytest.mark.parametrize("model", ["draft", "qwen3-tts-1.7b-customvoice", "hibari"])
@pytest.mark.parametrize("language", ["tlh", "auto", "en"])
def test_a_language_that_a_model_is_known_not_to_speak_is_told_by_check(tmp_path, model, language):
    job = speak("Hello there.", model=model, voice="preset:ryan", language=language)
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    problems = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).problems
    assert ["does not speak 'klingon'" in problem for problem in problems] == [True] * (language == "tlh")


@pytest.mark.parametrize(
    "job",
    [
        speak("Hello there.", model="draft", language="tlh"),
        'kind = "synthesize"\nvoice = "ryan"\nmodel = "draft"\nlanguage = "tlh"\ntext = "Hello there."\n',
        'kind = "synthesize"\nvoice = "ryan"\nmodel = "draft"\n[[lines]]\ntext = "* * *"\nlanguage = "sjn"\n'
        '[[lines]]\ntext = "Hello."\n[[lines]]\ntext = "Hello."\nlanguage = "tlh"\n',
        design(model="draft").replace('"en"', '"tlh"'),
    ],
)
def test_a_language_that_a_model_does_not_speak_is_refused_at_admission_as_by_check(bench, tmp_path, job):
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=bench.instance).problems
    receipt = receipt_of(bench, "scene", job)
    assert (receipt["status"], receipt["error"]["code"]) == ("rejected", "language-not-spoken")
    assert problem.endswith(receipt["error"]["message"])


def test_a_language_is_left_to_the_start_while_a_lock_may_bring_another_model(bench):
    bench.drop("elena-design.toml", design(candidates=1))
    bench.drop("elena.toml", lock(), age_s=-1)
    bench.drop("scene.toml", speak("Hello.", voice="elena", language="tlh"), age_s=-2)
    bench.run()
    assert bench.status("scene") == "done"


def test_a_checkpoint_speaks_the_languages_of_its_own_config(tmp_path):
    own = {"codec_language_id": {"Klingon": 66, "beijing_dialect": 67}, "spk_is_dialect": {}}
    folder = write_checkpoint(tmp_path / "mine", variant="custom_voice", talker=own)
    for language, is_spoken in (("tlh", True), ("de", False)):
        (tmp_path / "job.toml").write_text(speak("Hello.", model=str(folder), voice="ryan", language=language))
        problems = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).problems
        assert (problems == []) == is_spoken, problems


def pipe_for_config(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def endless_config(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "breaks",
    [
        lambda folder: [path.unlink() for path in folder.glob("*.*")],
        lambda folder: (folder / "merges.txt").unlink(),
        lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
        pipe_for_config,
        endless_config,
    ],
)
def test_a_folder_that_holds_no_whole_model_is_told_by_check_as_by_the_run(bench, tmp_path, breaks):
    breaks(folder := write_checkpoint(tmp_path / "mine", variant="custom_voice", shards=2))
    job = speak("Hello there.", model=str(folder))
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    (problem,) = check_file(str(tmp_path / "job.toml"), instance=bench.instance).problems
    assert receipt_of(bench, "scene", job)["error"]["message"] in problem


@pytest.mark.parametrize("model", ["/proc/self/mem", "~nosuch/m", "../no-such-folder/x", "a" * 300, "x.txt/"])
def test_a_model_that_can_be_none_is_told_by_check_as_by_the_run(bench, tmp_path, model):
    job = speak("Hello there.", model=model)
    (tmp_path / "job.toml").write_text(job, encoding="utf-8")
    verdict = check_file(str(tmp_path / "job.toml"), instance=bench.instance)
    receipt = receipt_of(bench, "scene", job)
    assert receipt["status"] == "failed"
    assert receipt["error"]["message"] in verdict.problems[0]
    assert receipt["error"]["hint"] == verdict.hint
