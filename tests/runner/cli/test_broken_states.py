"""Broken instances: the doctor finds each, and no command shows a traceback in any."""

import os
import signal
import threading
from pathlib import Path

import click
import pytest

from runner.cli.help_pages import commands
from runner.cli.program import run_command, voicejobs
from runner.config.instance import open_instance
from runner.doctor.checks import examine
from runner.exit_codes import FAILED, NEEDS_ACTION, OK, TRY_AGAIN, USAGE
from tests.broken_instances import BROKEN, MODEL

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
NOT_ABOUT_AN_INSTANCE = {"serve", "completion", "demo", "schema", "service install", "service uninstall"}
LEAVES = [" ".join(path) for path, command in commands(voicejobs) if path and not isinstance(command, click.Group)]
# What reads comes first: some of the others mend the instance, or empty it.
READING = [name for name in LEAVES if name.endswith(("doctor", "list", "show", "history", "path", "fsck", "check"))]
ORDER = [*READING, *(name for name in LEAVES if name not in {*READING, *NOT_ABOUT_AN_INSTANCE})]
LONGEST_S = 60.0
SLOWLY = {name for number, name in enumerate(BROKEN) if number % 3}
STATES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOWLY else name for name in BROKEN]


@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.check])
def test_the_doctor_finds_what_is_broken_and_names_a_remedy(name, worked):
    BROKEN[name].by(worked)
    counted = [one for one in examine(open_instance(worked)) if one.counts]
    assert BROKEN[name].check in {one.check for one in counted}, counted
    assert all(one.remedy and "fault of voicejobs" not in one.remedy for one in counted), counted


def test_the_doctor_finds_nothing_in_a_whole_instance(worked):
    assert [one for one in examine(open_instance(worked)) if one.counts] == []


@pytest.mark.parametrize("name", [name for name, broken in BROKEN.items() if broken.is_usage])
def test_settings_that_name_no_instance_are_said_by_every_command_with_what_to_correct(name, worked, capsys):
    BROKEN[name].by(worked)
    for command in ("doctor", "run --once", "jobs list", "voices list", "models list"):
        assert run_command(["--root", str(worked), *command.split()]) in (USAGE, NEEDS_ACTION), command
        said = capsys.readouterr().err
        assert str(worked) in said and "\n  " in said, said


@pytest.mark.parametrize("name", STATES)
def test_no_reading_command_shows_a_traceback_in_a_broken_instance(name, worked, capsys):
    BROKEN[name].by(worked)
    try_all(READING, worked, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_no_command_shows_a_traceback_or_hangs_in_a_broken_instance(name, worked, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    BROKEN[name].by(worked)
    try_all(ORDER, worked, capsys)


def try_all(names: list[str], worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = threading.Timer(LONGEST_S, lambda: os.kill(os.getpid(), signal.SIGINT))
    late.start()
    for command in names:
        code = run_command(["--root", str(worked), *command.split(), *FITTING.get(command, [])])
        said = "".join(capsys.readouterr())
        assert code in (OK, FAILED, USAGE, NEEDS_ACTION, TRY_AGAIN), (command, said)
        assert "unforeseen" not in said and "Traceback" not in said, (command, said)
    late.cancel()


def test_every_argument_of_this_test_is_for_a_command_that_there_is():
    assert set(FITTING) <= set(LEAVES)
