"""Names that the shell completes."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from runner.cli.program import voicejobs


@pytest.fixture
def completed():
    complete = BashComplete(voicejobs, {}, "voicejobs", "_VOICEJOBS_COMPLETE")
    return lambda *words: [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_jobs_voices_and_models_are_completed(worked, completed):
    jobs = completed("--root", str(worked), "jobs", "show", "")
    assert len(jobs) > 1
    assert jobs[-1] in completed("--root", str(worked), "jobs", "retry", jobs[0], jobs[-1][:3])
    assert completed("--root", str(worked), "voices", "show", "el") == ["elena"]
    assert completed("jobs", "cancel", jobs[-1][:3])  # the instance of this folder
    assert "qwen3-tts-0.6b-base" in completed("models", "pull", "qwen3-tts-0.6b")


def test_where_there_is_no_instance_nothing_is_completed(tmp_path, completed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert completed("voices", "show", "") == []
    assert completed("jobs", "show", "x") == []
