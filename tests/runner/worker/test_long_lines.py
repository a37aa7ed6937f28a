"""Lines of more than a minute: their takes are never in memory as a whole, and are what they always were."""

import hashlib

import numpy as np
import pytest

from models.audio.encoder import encode_audio
from models.audio.file_format import FileFormat
from models.protocol import PresetVoice, SpeechDone, SpeechPiece
from runner.engine.line_spools import LineSpools
from runner.engine.spool import SpoolState, SpoolWriter
from runner.outbox.take_encoding import LONG_SAMPLES, as_stored, take_content
from tests.engines.noop import tone_for
from tests.runner.worker.bench import speak

LONG_TEXT = "word " * 230  # 69 s in the tone's pace


@pytest.fixture
def bench(make_bench):
    return make_bench(max_takes=1)  # a tone runs on, the gates say


def tone_of(bench):
    (work,) = bench.engine.submitted
    assert work.voice == PresetVoice(name="ryan")
    return tone_for(work)


@pytest.mark.parametrize("kind", ["wav", "flac", pytest.param("ogg", marks=pytest.mark.slow)])
def test_a_long_lines_take_and_file_are_those_of_a_short_one(bench, kind):
    bench.drop("long.toml", speak(LONG_TEXT, format=kind))
    bench.run()
    bench.drop("again.toml", speak(LONG_TEXT, format=kind))
    bench.run()
    tone = tone_of(bench)
    assert tone.size > LONG_SAMPLES
    assert bench.context.takes.audio.is_whole(hashlib.sha256(take_content(tone)).hexdigest())
    expected = encode_audio(as_stored(tone), FileFormat(format=kind))
    for job in ("long", "again"):
        for name in (f"line-1.{kind}", f"track.{kind}"):
            assert (bench.instance.outbox / job / name).read_bytes() == expected
    assert bench.receipt("again")["lines"][0]["reused"]


def test_a_track_of_long_and_short_lines_is_their_sound_in_order(bench):
    bench.drop("both.toml", speak("Short.", LONG_TEXT, "And short."))
    bench.run()
    parts = [bench.audio("both", f"line-{number}.wav") for number in (1, 2, 3)]
    track = bench.audio("both", "track.wav")
    assert track.size >= sum(part.size for part in parts)
    assert np.array_equal(track[: parts[0].size], parts[0])
    assert np.array_equal(track[-parts[2].size :], parts[2])


def test_nothing_is_left_in_the_spool(bench):
    bench.drop("long.toml", speak(LONG_TEXT))
    bench.run()
    assert [*bench.instance.spool_dir.iterdir()] == []


def test_a_runner_sweeps_the_spool_of_a_dead_one(bench):
    bench.run()
    SpoolWriter(bench.instance.spool_dir / "7-1.f32").append(np.ones(10, np.float32))
    bench.restart()
    bench.tick()
    assert [*bench.instance.spool_dir.iterdir()] == []


# ---- the spool files of lines in flight ----------------------------------------------------------------------------


@pytest.fixture
def spools(tmp_path):
    return LineSpools(tmp_path / "spool")


def say(spools, *pieces, work_id="line-1"):
    for piece in pieces:
        spools.append(SpeechPiece(id=work_id, waveform=piece), job_id=7, position=1)
    return spools.sound_of(done(work_id))


def done(work_id="line-1", *, samples=0):
    waveform = ramp(samples)
    return SpeechDone(id=work_id, waveform=waveform, frames=1, finish_reason="eos", seed=1, render_s=0.1, batch=1)


def ramp(samples, start=0):
    return np.arange(start, start + samples, dtype=np.float32) / 1e7


def test_a_line_that_crossed_in_one_piece_has_no_file(spools):
    assert np.array_equal(spools.sound_of(done(samples=5)), ramp(5))
    assert not spools.folder.exists()


def test_pieces_are_one_sound(spools):
    assert np.array_equal(say(spools, ramp(1_000), ramp(500, 1_000)), ramp(1_500))


def test_a_long_sound_is_read_in_parts_also_when_its_file_is_gone(spools):
    sound = say(spools, ramp(LONG_SAMPLES), ramp(100, LONG_SAMPLES))
    spools.end("line-1", SpoolState.DROPPED)
    assert not isinstance(sound, np.ndarray)
    assert sound.size == LONG_SAMPLES + 100
    assert np.array_equal(sound[LONG_SAMPLES - 5 :], ramp(105, LONG_SAMPLES - 5))


def test_the_file_of_a_good_take_stays_until_it_is_recorded(spools):
    say(spools, ramp(10))
    spools.end("line-1", SpoolState.FINISHED)
    assert len([*spools.folder.iterdir()]) == 1
    spools.recorded(["line-1"])
    assert [*spools.folder.iterdir()] == []


def test_a_line_that_is_spoken_again_has_a_new_file(spools):
    say(spools, ramp(10))
    spools.end("line-1", SpoolState.RETRIED)
    assert np.array_equal(say(spools, ramp(7)), ramp(7))


def test_a_line_spoken_again_before_its_take_was_recorded_keeps_the_new_file(spools):
    say(spools, ramp(10))
    spools.end("line-1", SpoolState.FINISHED)
    say(spools, ramp(7))
    spools.recorded(["line-1"])
    assert np.array_equal(say(spools, ramp(1, 7)), ramp(8))
