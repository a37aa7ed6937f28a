"""The demo, with an engine that makes tones."""

from __future__ import annotations

import pytest

from runner.cli.demo import LINES, demo_text, run_demo
from runner.errors import WorkFailed
from tests.runner.worker.bench import MODEL


@pytest.fixture(autouse=True)
def on_any_disk(monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    monkeypatch.setenv("VOICEJOBS_MIN_FREE_BYTES", "0")


def test_the_demo_designs_locks_and_speaks_and_says_where_everything_is(tmp_path):
    result = run_demo(tmp_path / "demo", model=MODEL)
    assert set(result.voices) == {"elena@1", "marcus@1"}
    assert len(result.receipts) == 5
    pauses_s = sum(pause_s for _, _, pause_s in LINES)
    lines_s = sum(file.duration_s for file in result.files if file.path.stem.startswith("line-"))
    assert result.track.duration_s == pytest.approx(lines_s + pauses_s, abs=0.01)
    assert str(result.track.path) in demo_text(result)


def test_the_demo_fails_when_a_job_does(tmp_path):
    with pytest.raises(WorkFailed, match="scene-1"):
        run_demo(tmp_path / "demo", model="tests.engines.noop:no_such_function")
