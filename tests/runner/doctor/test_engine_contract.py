"""The contract test of engines: the example of the docs keeps every promise, and broken engines do not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.engine_kinds import ENTRY_POINTS
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.doctor.checks import contract_findings
from runner.doctor.findings import OK, PROBLEM

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "engines.md"


@pytest.fixture
def whistle(tmp_path, monkeypatch):
    """The engine of the docs, installed as its package says, for this process and those that it starts."""
    page = PAGE.read_text(encoding="utf-8")
    code, toml = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "toml"))
    (tmp_path / "whistle_engine.py").write_text(code, encoding="utf-8")
    record = tmp_path / "voicejobs_whistle-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: voicejobs-whistle\nVersion: 1\n", encoding="utf-8")
    entry = re.search(r'^whistle = "(.*)"$', toml, re.MULTILINE)[1]
    (record / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nwhistle = {entry}\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("whistle")
def test_the_example_of_the_docs_is_an_engine_that_keeps_every_promise(tmp_path):
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "runner", "--root", str(tmp_path), "doctor", "--engine", "whistle"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"whistle keeps all \d+ promises", done.stdout)
    for promise in ("equal requests have equal sounds", "another seed makes another take", "ends at max_seconds"):
        assert promise in done.stdout


@pytest.fixture
def contract_of(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    return lambda engine: contract_findings(Instance(tmp_path, Settings()), engine)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("tests.engines.bad_speech:open_engine", "another seed makes another take"),
        ("tests.engines.nowhere:open_engine", "cannot be opened"),
        ("nobody", "No model is called"),
        ("mlx-audio", "engine of many models"),
    ],
)
def test_a_promise_that_is_not_kept_is_a_problem(contract_of, engine, said):
    problems = [finding.message for finding in contract_of(engine) if finding.severity == PROBLEM]
    assert any(said in problem for problem in problems)
    assert "breaks" in problems[-1] or len(problems) == 1  # the verdict, where it could be tried at all


def test_an_engine_that_clones_is_asked_to_lock_and_to_speak_with_the_lock(contract_of):
    kept = [finding.message for finding in contract_of("tests.engines.noop:open_engine") if finding.severity == OK]
    assert "it speaks with that prompt." in kept
