"""Recordings are read beside the runner: by processes that may hang or die, while other jobs go on."""

import contextlib
import os
import signal
import threading
from typing import ClassVar

import numpy as np
import psutil
import pytest
import soundfile

from models.protocol import SAMPLE_RATE_HZ
from registry.errors import StorageError
from registry.voices.lookup import resolve
from runner.engine.recording_process import RecordingProcess, RecordingRequest
from runner.worker.listening.audition import GREETINGS
from tests.engines.inline import InlineEngine
from tests.engines.noop import NoopEngine
from tests.models.voices.vox_making import a_manifest, an_archive
from tests.patience import PATIENCE_S
from tests.reference import REFERENCE
from tests.runner.worker.bench import MODEL, Bench, speak

M4A = b"\0\0\0\x18ftypM4A \0\0\0\0"
SAID = "Good evening. My name is Elena, and I will read to you tonight."


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Bench(tmp_path / "instance")
    yield made
    made.worker.close()


@pytest.fixture
def hanging_ffmpeg(tmp_path, monkeypatch):
    """A converter that never ends, and writes down its process id."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "pid"


def current(bench, voice):
    with bench.context.database.read() as session:
        return resolve(session, voice)


def test_a_converter_that_hangs_is_ended_and_the_recording_answered(tmp_path, hanging_ffmpeg):
    (tmp_path / "memo.m4a").write_bytes(M4A)
    request = RecordingRequest(source=tmp_path / "memo.m4a", name="memo.m4a", transcript=SAID)
    process = RecordingProcess(request, folder=tmp_path, longest_s=PATIENCE_S)
    deadline = threading.Event()
    while not (hanging_ffmpeg.exists() and hanging_ffmpeg.read_text().strip()):
        deadline.wait(0.05)
        assert process.poll() is None
    process._process._ends_s = 0.0
    read = process.poll()
    assert read is not None and read.error is not None
    assert "took too long" in read.error.message
    with contextlib.suppress(psutil.NoSuchProcess):
        converter = psutil.Process(int(hanging_ffmpeg.read_text()))
        while converter.status() != psutil.STATUS_ZOMBIE:  # it waits for somebody who asks how it ended
            deadline.wait(0.05)


@pytest.mark.usefixtures("hanging_ffmpeg")
def test_a_reader_that_is_killed_fails_its_recording_and_nothing_else(tmp_path):
    (tmp_path / "memo.m4a").write_bytes(M4A)
    request = RecordingRequest(source=tmp_path / "memo.m4a", name="memo.m4a", transcript=SAID)
    process = RecordingProcess(request, folder=tmp_path)
    os.kill(process._process._process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    read = process.poll()
    assert read is not None and read.error is not None
    assert read.error.code == "invalid-reference-audio"
    assert "could not read memo.m4a: it ended with -9" in read.error.message


@pytest.mark.usefixtures("hanging_ffmpeg")
def test_a_reader_is_ended_when_its_runner_stops(bench):
    (bench.instance.inbox / "me.m4a").write_bytes(M4A)
    bench.drop("lock.toml", f'kind = "lock"\nvoice = "me"\naudio = "me.m4a"\ntranscript = "{SAID}"\n')
    while not bench.worker.in_flight.jobs:
        bench.tick_without_rest()
    (active,) = bench.worker.in_flight.jobs.values()
    process = active.lock_task.reading._process._process
    bench.worker.close()
    assert process.poll() == -signal.SIGKILL


def test_a_job_is_spoken_while_a_voice_file_is_read(bench):
    gate = threading.Event()
    bench.worker.dispatcher.exchange._pool.submit(gate.wait)  # as a file that takes long
    recording = (REFERENCE / "audio" / "ref_en.wav").read_bytes()
    clips = [{"file": "reference/a.wav", "transcript": SAID}]
    vox = an_archive(a_manifest(reference_audio=clips), **{"reference/a.wav": recording})
    (bench.instance.inbox / "elena.vox").write_bytes(vox)
    bench.drop("hello.toml", speak("Hello there."))
    while not (bench.instance.outbox / "hello" / "result.json").exists():
        bench.tick_without_rest()
    assert bench.status("hello") == "done"
    assert not (bench.instance.outbox / "elena").exists()
    gate.set()
    bench.run()
    assert bench.status("elena") == "done"


def test_an_import_over_which_three_runners_died_is_set_aside(bench):
    (bench.instance.state_dir / "importing.json").write_text('{"begun": [1], "deaths": {"1": 2}}')
    bench.start()
    (bench.instance.inbox / "elena.vox").write_bytes(an_archive(a_manifest()))
    bench.run()
    assert bench.receipt("elena")["error"]["code"] == "runner-died"


def test_a_stopped_runner_waits_for_no_recording_of_a_voice_file(bench):
    exchange = bench.worker.dispatcher.exchange
    exchange.close()
    with pytest.raises(StorageError, match="the runner stops"):
        exchange._decoded((REFERENCE / "audio" / "ref_en.wav").read_bytes(), "a.wav")


def test_the_recording_of_a_voice_file_is_mended_before_it_is_locked(bench):
    sound, rate_hz = soundfile.read(REFERENCE / "audio" / "ref_en.wav", dtype="float32")
    soundfile.write(bench.instance.root / "off.wav", np.clip(0.5 * sound + 0.2, -1, 1), rate_hz)
    content = (bench.instance.root / "off.wav").read_bytes()
    clips = [{"file": "reference/a.wav", "transcript": SAID}]
    (bench.instance.inbox / "elena.vox").write_bytes(
        an_archive(a_manifest(reference_audio=clips), **{"reference/a.wav": content})
    )
    bench.run()
    assert any("constant offset of +0.20" in warning for warning in bench.receipt("elena")["warnings"])


def test_a_prompt_is_made_again_from_the_stored_bytes(bench):
    sound, _ = soundfile.read(REFERENCE / "audio" / "ref_en.wav", dtype="float32")
    loud = np.stack([3.7 * sound, np.zeros_like(sound)], axis=1)  # above full scale, and one channel of two
    soundfile.write(bench.instance.inbox / "me.wav", loud, SAMPLE_RATE_HZ, subtype="FLOAT")
    bench.drop("lock.toml", f'kind = "lock"\nvoice = "me"\naudio = "me.wav"\ntranscript = "{SAID}"\n')
    bench.run()
    bench.drop("again.toml", f'kind = "relock"\nvoice = "me@1"\nmodel = "{MODEL}"\n')
    bench.run()
    first, second = current(bench, "me@1"), current(bench, "me@2")
    assert first.prompt_sha256 == second.prompt_sha256
    assert first.reference_sha256 == second.reference_sha256


class Listening(NoopEngine):
    asked: ClassVar[list[tuple[str, str]]] = []

    def render(self, line, progress):
        self.asked.append((line.text, line.language))
        return super().render(line, progress)


@pytest.mark.parametrize(("language", "asked"), [("de", (GREETINGS["german"], "german")), ("auto", None)])
def test_a_voice_without_words_greets_in_its_own_language(tmp_path, monkeypatch, language, asked):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    Listening.asked.clear()
    bench = Bench(tmp_path, engine=InlineEngine(Listening))
    (bench.instance.inbox / "me.wav").write_bytes((REFERENCE / "audio" / "ref_en.wav").read_bytes())
    bench.drop(
        "a.toml", f'kind = "lock"\nvoice = "me"\naudio = "me.wav"\nembedding_only = true\nlanguage = "{language}"\n'
    )
    bench.run()
    assert Listening.asked == [asked or (GREETINGS["english"], "auto")]
