"""Broken instances: the doctor finds each, and no command shows a traceback in any."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from runner.cli.help_pages import commands
from runner.cli.program import run_command, voicejobs
from runner.config.instance import open_instance
from runner.doctor.checks import examine
from runner.exit_codes import FAILED, NEEDS_ACTION, OK, TRY_AGAIN, USAGE
from tests.broken_instances import BROKEN, MODEL, make_instance

# Arguments that name something which is there in a whole instance.
FITTING = {
    "run": ["--once", "--quiet"],
    "submit": ["job.toml"],
    "check": ["job.toml"],
    "say": ["Hello.", "--model", "draft", "-o", "said.wav"],
    "jobs show": ["hello"],
    "jobs retry": ["failing"],
    "jobs cancel": ["hello"],
    "jobs prune": ["--older-than", "0d"],
    "voices show": ["elena"],
    "voices history": ["elena"],
    "voices diff": ["elena@1", "elena@1"],
    "voices alias": ["elena@1", "warm"],
    "voices rm": ["elena@1"],
    "voices restore": ["elena@1"],
    "voices relock": ["elena@1", "--model", "draft"],
    "voices export": ["elena", "-o", "exported.vox"],
    "voices import": ["exported.vox"],
    "voices play": ["elena"],
    "models path": [MODEL],
    "models pull": [MODEL],
    "models verify": [MODEL],
    "models rm": [MODEL],
    "models quantize": [MODEL, "--bits", "8"],
    "models migrate": ["--dry-run"],
    "init": ["--accept-state"],
    "backup": ["again.backup"],
    "restore": ["good.backup"],
}
NOT_ABOUT_AN_INSTANCE = {"serve", "completion", "demo", "schema"}
LEAVES = [" ".join(path) for path, command in commands(voicejobs) if path and not isinstance(command, click.Group)]
# What reads comes first: some of the others mend the instance, or empty it.
READING = [name for name in LEAVES if name.endswith(("doctor", "list", "show", "history", "path", "fsck", "check"))]
ORDER = [*READING, *(name for name in LEAVES if name not in {*READING, *NOT_ABOUT_AN_INSTANCE})]
LONGEST_S = 60.0


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """An instance that has worked."""
    root = tmp_path_factory.mktemp("whole") / "instance"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root.parent))
        make_instance(root)
    return root


@pytest.fixture
def root(whole, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of it, which a test may break."""
    copy = tmp_path / "instance"
    shutil.copytree(whole, copy, symlinks=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ACERVO_MODELS_DIR", raising=False)
    monkeypatch.chdir(copy)
    Path("job.toml").write_text('kind = "synthesize"\nvoice = "elena"\ntext = "Again."\n')
    yield copy
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)  # closes the log that a command has opened


@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.check])
def test_the_doctor_finds_what_is_broken_and_names_a_remedy(name, root):
    BROKEN[name].by(root)
    counted = [one for one in examine(open_instance(root)) if one.counts]
    assert BROKEN[name].check in {one.check for one in counted}, counted
    assert all(one.remedy and "fault of voicejobs" not in one.remedy for one in counted), counted


def test_the_doctor_finds_nothing_in_a_whole_instance(root):
    assert [one for one in examine(open_instance(root)) if one.counts] == []


@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.is_usage])
def test_settings_that_name_no_instance_are_said_by_every_command_with_what_to_correct(name, root, capsys):
    BROKEN[name].by(root)
    for command in ("doctor", "run --once", "jobs list", "voices list", "models list"):
        assert run_command(["--root", str(root), *command.split()]) in (USAGE, NEEDS_ACTION), command
        said = capsys.readouterr().err
        assert str(root) in said and "\n  " in said, said


@pytest.mark.parametrize("name", BROKEN)
def test_no_reading_command_shows_a_traceback_in_a_broken_instance(name, root, capsys):
    BROKEN[name].by(root)
    try_all(READING, root, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_no_command_shows_a_traceback_or_hangs_in_a_broken_instance(name, root, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    BROKEN[name].by(root)
    try_all(ORDER, root, capsys)


def try_all(names: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = threading.Timer(LONGEST_S, lambda: os.kill(os.getpid(), signal.SIGINT))
    late.start()
    for command in names:
        code = run_command(["--root", str(root), *command.split(), *FITTING.get(command, [])])
        said = "".join(capsys.readouterr())
        assert code in (OK, FAILED, USAGE, NEEDS_ACTION, TRY_AGAIN), (command, said)
        assert "unforeseen" not in said and "Traceback" not in said, (command, said)
    late.cancel()


def test_every_argument_of_this_test_is_for_a_command_that_there_is():
    assert set(FITTING) <= set(LEAVES)
