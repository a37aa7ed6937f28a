"""A lock without a transcript keeps the sound of the voice alone."""

import shutil

import pytest

from runner.errors import JobFileInvalid
from runner.jobfile.parse import parse_job
from tests.reference import REFERENCE
from tests.runner.worker.bench import Bench

LOCK = 'kind = "lock"\nvoice = "me"\naudio = "me.wav"\n'


def test_a_recording_without_a_transcript_is_locked(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path)
    shutil.copy(REFERENCE / "audio" / "ref_en.wav", bench.instance.inbox / "me.wav")
    bench.drop("lock.toml", LOCK + "embedding_only = true\n")
    bench.run()
    assert bench.status("lock") == "done", bench.receipt("lock")


def test_embedding_only_and_a_transcript_contradict_each_other():
    parse_job((LOCK + "embedding_only = true\n").encode(), file_name="a.toml")
    with pytest.raises(JobFileInvalid, match="cannot be used together"):
        parse_job((LOCK + 'embedding_only = true\ntranscript = "Hello there."\n').encode(), file_name="a.toml")
    with pytest.raises(JobFileInvalid, match="needs a transcript"):
        parse_job(LOCK.encode(), file_name="a.toml")
