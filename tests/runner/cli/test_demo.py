"""The demo, with an engine that makes tones."""

from __future__ import annotations

import json

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


def test_hibari_narrates_the_scene_where_it_is_installed(tmp_path):
    pytest.importorskip("hibari")
    pytest.importorskip("espeakng_loader")
    result = run_demo(tmp_path / "demo")
    receipt = json.loads((result.root / "outbox" / "scene-1" / "result.json").read_text(encoding="utf-8"))
    assert [line["model"] for line in receipt["lines"]] == ["hibari", *["draft"] * len(LINES)]
    assert receipt["lines"][0]["voice"]["name"] == "preset:heart"
    assert receipt["lines"][0]["quality"]["passed"]
