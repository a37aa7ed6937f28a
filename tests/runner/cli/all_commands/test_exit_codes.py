"""Exit codes of every command: for what is not there, for a wrong option, and for no instance at all."""

import os

import click
import pytest

from runner.cli.help_pages import commands
from runner.cli.program import run_command, voicejobs
from runner.config.settings import SETTINGS_FILE
from runner.exit_codes import FAILED, NEEDS_ACTION, OK, USAGE

LEAVES = [path for path, command in commands(voicejobs) if path and not isinstance(command, click.Group)]
WITHOUT_INSTANCE = {("init",), ("demo",), ("schema",), ("completion",), ("master", "check")}
# `check` says of every file whether it is a job: one that is not there is none, as one that is wrong. A backup's place
# and a new alias are made, a text is spoken, an installed service is looked for.
NOTHING_TO_MISS = {("backup",), ("say",), ("init",), ("completion",)}
FURTHER = {
    ("jobs", "prune"): ["--older-than", "1d"],
    ("models", "quantize"): ["--bits", "4"],
    ("voices", "rm"): ["--all"],
    ("voices", "check"): ["missing"],
    ("voices", "lock"): ["--from", "missing", "1"],
}
READS_A_FILE_FIRST = {("check",), ("restore",)}


def arguments_of(path, value):
    command = dict(commands(voicejobs))[path]
    required = [
        each for each in command.params if isinstance(each, click.Argument) and (each.required or each.nargs < 0)
    ]
    whole = [type(each.type).__name__ in ("IntRange", "IntParamType") for each in required]
    return [*("1" if is_whole else value for is_whole in whole), *FURTHER.get(path, ())]


NAMING = [path for path in LEAVES if "missing" in arguments_of(path, "missing") and path not in NOTHING_TO_MISS]


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VOICEJOBS_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aplay").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "aplay").chmod(0o755)  # a player, where the system has none
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / SETTINGS_FILE).write_text('model = "draft"\noffline = true\nmigrate = "off"\n')


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("path", NAMING, ids=" ".join)
def test_what_is_not_there_is_named_and_ends_with_3(path, capsys):
    code = run_command([*path, *arguments_of(path, "missing")])
    assert code == (FAILED if path == ("check",) else NEEDS_ACTION)
    assert "missing" in capsys.readouterr().err


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_option_that_nobody_knows_ends_with_2(path, capsys):
    assert run_command([*path, "--nosuchoption"]) == USAGE
    assert "--nosuchoption" in capsys.readouterr().err


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_ends_with_0(path, capsys):
    assert run_command([*path, "--help"]) == OK
    assert capsys.readouterr().out.startswith("Usage:")


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(
    "path", [path for path in LEAVES if path not in WITHOUT_INSTANCE | READS_A_FILE_FIRST], ids=" ".join
)
def test_without_an_instance_every_command_names_the_folder_and_ends_with_3(path, capsys):
    code = run_command(["--root", "nosuchfolder", *path, *arguments_of(path, "missing")])
    assert code == NEEDS_ACTION
    assert "nosuchfolder" in capsys.readouterr().err


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("path", [("check",), ("submit",), ("script", "check")], ids=" ".join)
def test_only_a_dash_needs_standard_input(path, capsys):
    assert run_command([*path, "-"]) == (FAILED if path == ("check",) else USAGE)
    assert "Standard input is closed" in capsys.readouterr().err
