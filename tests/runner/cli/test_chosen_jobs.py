"""Jobs chosen by names, patterns and statuses."""

from __future__ import annotations

import json

import pytest

from runner.cli.program import run_command
from runner.exit_codes import NEEDS_ACTION, OK, USAGE
from tests.runner.worker.bench import Bench, speak


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three jobs that are done, one that is queued."""
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    bench = Bench(tmp_path)
    for name in ("quest-1", "quest-2", "other"):
        bench.drop(f"{name}.toml", speak(f"{name} speaks."))
    bench.run()
    bench.worker.dispatcher.dispatch = lambda _now_s: None
    bench.drop("quest-3.toml", speak("Three."))
    bench.tick()
    bench.context.database.close()
    return tmp_path


@pytest.fixture
def run(root, capsys):
    def run(*arguments):
        code = run_command(["--root", str(root), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def names(run):
    return [job["job"] for job in json.loads(run("jobs", "list", "--json")[1])]


def test_what_can_be_cancelled_is_and_the_rest_is_said(run):
    code, _, err = run("jobs", "cancel", "quest-1", "quest-3", "nobody")
    assert code == NEEDS_ACTION
    assert "quest-3: will be cancelled" in err
    assert "'quest-1' is done already" in err
    assert "no job 'nobody'" in err


def test_a_pattern_chooses_only_what_can_be_done(run):
    code, _, err = run("jobs", "cancel", "QUEST-*")
    assert (code, err.count("will be cancelled")) == (OK, 1)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["quest-*"], ["quest-3", "other"]),
        (["quest-*", "other", "--status", "done"], ["quest-3"]),
        (["--status", "done"], ["quest-3"]),
    ],
    ids=["pattern", "both", "status"],
)
def test_ended_jobs_are_removed_by_pattern_and_status(run, root, arguments, left):
    assert run("jobs", "rm", *arguments)[0] == OK
    assert names(run) == left
    assert {path.name for path in (root / "outbox").iterdir()} == set(left) - {"quest-3"}


def test_a_pattern_that_fits_nothing_is_said(run):
    code, _, err = run("jobs", "retry", "none-*")
    assert (code, "fits 'none-*'" in err) == (NEEDS_ACTION, True)


def test_nothing_is_chosen_by_nothing(run):
    assert run("jobs", "rm")[0] == USAGE
