"""Several files, and tables of lines, dropped by one command; and what was spoken, heard and chosen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from runner.exit_codes import FAILED, NEEDS_ACTION, OK, USAGE
from tests.models.audio.test_reference_mending import speech
from tests.runner.cli.test_commands import root, run, write
from tests.runner.worker.bench import Bench, design, speak

__all__ = ["root", "run"]


def test_of_several_files_the_good_ones_are_dropped(root, run):
    files = [write(root, "jobs/a.toml", speak("A.")), write(root, "jobs/b.toml", "kind = 1"), root / "jobs" / "c.toml"]
    files.append(write(root, "jobs/d.toml", speak("D.")))
    code, _, err = run("submit", *map(str, files))
    assert code == NEEDS_ACTION
    assert "b.toml, line 1" in err
    assert "c.toml" in err
    assert {path.name for path in (root / "inbox").iterdir()} == {"a.toml", "d.toml"}


def test_several_files_are_waited_for_and_the_worst_end_counts(root, run):
    files = [write(root, "jobs/a.toml", speak("A.")), write(root, "jobs/b.toml", speak("B.", voice="nobody"))]
    code, out, err = run("submit", "--wait", *map(str, files))
    assert code == FAILED
    assert ("a: done" in err, "b: rejected" in err) == (True, True)
    assert str(root / "outbox" / "a" / "line-1.wav") in out


def test_a_program_learns_the_name_of_its_job_before_it_runs(root, run):
    file = str(write(root, "jobs/std.toml", speak("Hello.")))
    first, second = (json.loads(run("submit", "--json", file)[1]) for _ in range(2))
    assert run("run", "--once", "--quiet")[0] == OK
    third = json.loads(run("submit", "--json", file)[1])
    assert [each["job"] for each in (first, second, third)] == ["std", "std-2", "std-3"]
    assert run("run", "--once", "--quiet")[0] == OK
    for each in (first, second, third):
        assert json.loads(Path(each["receipt"]).read_text())["job"] == Path(each["outbox"]).name == each["job"]


def test_a_job_with_an_id_is_named_by_it(root, run):
    file = str(write(root, "jobs/x.toml", speak("Hello.", id="ep1")))
    assert json.loads(run("submit", "--json", file)[1])["job"] == "ep1"
    assert [each["job"] for each in json.loads(run("submit", "--json", file, file)[1])] == ["ep1", "ep1"]


def test_a_table_is_spoken(root, run):
    table = write(root, "quests.csv", "id,text\nvo_1,Hello there.\nvo_2,Good night.\n")
    code, out, _ = run("submit", "--lines", str(table), "--voice", "ryan", "--format", "flac", "--wait")
    assert code == OK
    assert {Path(line).name for line in out.split()} >= {"vo_1.flac", "vo_2.flac", "quests.json"}


def test_a_screenplay_alone_is_a_script_job_and_its_tracks_are_named(root, run):
    play = write(root, "plays/train.fountain", "INT. TRAIN\n\nELENA\nWe are late.\n")
    code, out, err = run("submit", "--wait", str(play), "--voice", "preset:serena")
    assert code == OK and "train: done" in err
    assert f"{root}/outbox/train.chapter-1/track.wav" in out.split()
    assert json.loads((root / "outbox" / "train" / "train.json").read_text())["narrator"] == "preset:serena"
    assert run("submit", str(root / "plays" / "none.epub"))[0] == NEEDS_ACTION


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "a.toml", "--lines", "b.csv"],
        ["submit", "a.toml", "--voice", "ryan"],
        ["submit", "a.toml", "b.toml", "--name", "c"],
    ],
)
def test_what_contradicts_itself_is_a_usage_error(run, arguments):
    assert run(*arguments)[0] == USAGE


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """A player that notes the sizes of what it is given."""
    log = tmp_path / "heard.txt"
    folder = tmp_path / "bin"
    folder.mkdir()
    player = folder / "afplay"
    player.write_text(f'#!/bin/sh\nwc -c < "$1" >> {log}\n', encoding="utf-8")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: len(log.read_text().split()) if log.exists() else 0


def test_candidates_are_heard_and_one_is_locked(root, run, heard):
    text = "One, two, three, four and five."
    assert run("submit", "--wait", str(write(root, "jobs/look.toml", design(candidates=2, text=text))))[0] == OK
    assert (run("jobs", "play", "look")[2].split(), heard()) == (["candidate-1.wav", "candidate-2.wav"], 2)
    assert (run("jobs", "play", "look", "2")[2].split(), heard()) == (["candidate-2.wav"], 3)
    code, out, err = run("voices", "lock", "elena", "--from", "look", "2", "--wait")
    assert (code, "elena@1" in err) == (OK, True)
    assert json.loads(out)["from"] == {"job": "look", "candidate": 2}
    assert (run("jobs", "play", "elena-lock")[2].split(), heard()) == (["audition.wav"], 4)


def test_a_job_is_heard_by_its_track_or_a_line(root, run, heard):
    run("submit", "--wait", str(write(root, "jobs/a.toml", speak("One.", "…", "Two.", format="flac"))))
    assert run("jobs", "play", "a")[2].split() == ["track.flac"]
    assert run("jobs", "play", "a", "3")[2].split() == ["line-3.flac"]
    code, _, err = run("jobs", "play", "a", "2")
    assert (code, "is not spoken; it has 3 lines" in err) == (NEEDS_ACTION, True)
    (root / "outbox" / "a" / "line-3.flac").unlink()
    assert "jobs retry a" in run("jobs", "play", "a", "3")[2]
    assert heard() == 2


@pytest.mark.usefixtures("heard")
def test_a_misspelt_job_is_guessed(root, run):
    run("submit", "--wait", str(write(root, "jobs/scene.toml", speak("One."))))
    for arguments in (
        ["jobs", "play", "scen"],
        ["voices", "lock", "e", "--from", "scen", "1"],
        ["jobs", "open", "scen"],
    ):
        code, _, err = run(*arguments)
        assert (code, "Did you mean scene?" in err) == (NEEDS_ACTION, True)


def test_without_a_desktop_the_folder_is_named(root, run, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    run("submit", "--wait", str(write(root, "jobs/a.toml", speak("One."))))
    code, out, _ = run("jobs", "open", "a")
    assert (code, out.strip()) == (NEEDS_ACTION, str(root / "outbox" / "a"))


def test_warnings_are_said_where_the_job_ends_and_strict_makes_them_count(root, run):
    file = str(write(root, "jobs/a.toml", speak("It is <b>bold</b>.")))
    code, _, err = run("submit", "--wait", file)
    assert (code, "a: done, 1 warning" in err, "Line 1" in err) == (OK, True, True)
    assert run("submit", "--wait", "--strict", file)[0] == FAILED
    assert run("submit", "--strict", file)[0] == USAGE
    assert "1 warning" in run("jobs", "list")[1]


def test_check_says_how_long_it_will_be_and_take_here(root, run):
    file = str(write(root, "jobs/a.toml", speak(*["A line of some length, said aloud."] * 20)))
    assert "of 20 lines, about 41 s of speech" in run("check", file)[2]
    assert run("submit", "--wait", file)[0] == OK
    assert " here" in run("check", file)[2]
    found = json.loads(run("check", "--json", file)[1])[0]
    assert (round(found["audio_s"]), found["render_s"] is not None) == (41, True)


def test_what_waits_is_expected_to_take_a_while_and_nothing_runs_without_a_runner(root, run):
    file = str(write(root, "jobs/a.toml", speak("Hello there, all of you.")))
    assert run("submit", "--wait", file)[0] == OK
    bench = Bench(root)
    bench.drop("b.toml", speak("Once more, and once again."))
    bench.tick_without_rest()
    bench.context.database.close()
    found = json.loads(run("jobs", "list", "--json")[1])[0]
    assert (found["job"], found["status"]) == ("b", "running")
    assert found["time_left_s"] is not None
    assert "paused" in run("jobs", "list")[1]


LOCK = 'kind = "lock"\nvoice = "e"\naudio = "a.wav"\ntranscript = "The quick brown fox jumps over the lazy dog."\n'


@pytest.mark.parametrize(
    ("samples", "said"),
    [(np.zeros(72_000), "is silent"), (np.full(1, 0.5), "lasts 0.0 s"), (np.full(72_000, np.nan), "not finite")],
    ids=["silence", "one sample", "not a number"],
)
def test_check_refuses_a_recording_in_the_words_of_the_run(root, run, samples, said):
    file = write(root, "jobs/mine.toml", LOCK)
    soundfile.write(file.parent / "a.wav", samples.astype(np.float32), 24_000, subtype="FLOAT")
    code, _, err = run("check", str(file))
    assert (code, said in err) == (FAILED, True)
    run("submit", "--wait", str(file))
    error = json.loads((root / "outbox" / "mine" / "result.json").read_text())["error"]
    assert f"{file}: {error['message']}\n  {error['hint']}".strip() == err.strip()


def test_check_warns_of_what_is_mended_in_a_recording(root, run):
    file = write(root, "jobs/mine.toml", LOCK)
    soundfile.write(file.parent / "a.wav", 4 * speech(), 24_000, subtype="FLOAT")
    code, _, err = run("check", str(file))
    assert (code, "above full scale; scaled down" in err) == (OK, True)
