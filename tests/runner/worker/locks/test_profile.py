"""A lock that is to have a speaker profile beside the prompt of its model."""

import shutil

import pytest

from runner.errors import JobFileInvalid
from runner.jobfile.parse import parse_job
from tests.reference import REFERENCE
from tests.runner.worker.bench import Bench

LOCK = 'kind = "lock"\nvoice = "me"\naudio = "me.wav"\nprofile = "outetts"\n'


def test_a_profile_that_cannot_be_made_fails_the_lock_with_its_reason_and_makes_no_version(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path, engines={"mlx-audio": {"python": "no/python"}})
    shutil.copy(REFERENCE / "audio" / "ref_en.wav", bench.instance.inbox / "me.wav")
    bench.drop("lock.toml", LOCK + 'transcript = "Hello there, my friend."\n')
    bench.run()
    error = bench.receipt("lock")["error"]
    assert error["code"] == "settings-invalid" and "no/python" in error["message"]
    assert bench.receipt("lock")["voice"] is None


def test_a_profile_needs_the_words_of_the_recording():
    with pytest.raises(JobFileInvalid, match="profile needs the words"):
        parse_job((LOCK + "embedding_only = true\n").encode(), file_name="a.toml")
    with pytest.raises(JobFileInvalid, match="outetts"):
        parse_job(LOCK.replace('"outetts"', '"other"').encode(), file_name="a.toml")
