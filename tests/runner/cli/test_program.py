"""The command line: help, errors and exit codes."""

import ast
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from registry.errors import VoiceJobsError, storage_error
from runner.cli.console import Command, LazyGroup, to_json, wrapped
from runner.cli.help_pages import commands
from runner.cli.program import run_command, voicejobs
from runner.config.settings import SETTINGS_FILE
from runner.errors import InstanceNotFound, RunnerActive, SettingsInvalid
from runner.exit_codes import EXIT_CODES, exit_code_for
from runner.version import VERSION

ROOT = Path(__file__).parents[3]


COMMANDS = dict(commands(voicejobs))


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text('model = "draft"\n')
    return tmp_path


def test_every_command_helps_with_examples():
    for path, command in COMMANDS.items():
        context = click.Context(command, info_name=" ".join(path), help_option_names=["-h", "--help"])
        help_text = command.get_help(context)
        assert isinstance(command, (Command, LazyGroup)) and command.examples, path
        assert all(example.startswith("voicejobs ") or "voicejobs" in example for example in command.examples)
        assert command.examples[0] in help_text


def test_the_short_help_of_the_table_is_that_of_the_command():
    for path, command in COMMANDS.items():
        if isinstance(command, LazyGroup):
            for name, (_, short_help) in command.table.items():
                assert (COMMANDS[(*path, name)].help or "").splitlines()[0] == short_help


def test_help_answers_at_once_and_loads_neither_mlx_nor_pydantic():
    """At once is told by what is loaded, and not by the clock of a machine that may be busy."""
    program = (
        "import sys; from runner.cli.program import run_command; code = 0\n"
        "for command in ('', 'jobs list', 'submit', 'run'): code |= run_command([*command.split(), '--help'])\n"
        "heavy = {'mlx', 'numpy', 'pydantic', 'sqlalchemy', 'soundfile'} & set(sys.modules); assert not heavy, heavy\n"
        "assert len(sys.modules) < 400, len(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: voicejobs") == 4


def test_a_misspelt_command_names_the_nearest(capsys):
    assert run_command(["chekc"]) == 2
    assert "Did you mean 'check'?" in capsys.readouterr().err


def test_a_wrong_flag_is_a_usage_error(capsys):
    assert run_command(["check", "--jsn", "x"]) == 2
    assert "Usage:" in capsys.readouterr().err


@pytest.mark.usefixtures("instance")
def test_an_argument_that_is_no_text_is_a_usage_error(capsys):
    assert run_command(["jobs", "show", "caf\udce9"]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_without_an_instance_the_exit_code_is_3_and_the_hint_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOICEJOBS_ROOT", raising=False)
    assert run_command(["jobs", "list"]) == 3
    assert "voicejobs init" in capsys.readouterr().err


@pytest.mark.usefixtures("instance")
def test_a_wrong_setting_is_a_usage_error_and_names_the_nearest(capsys):
    assert run_command(["--set", "setle_s=1", "jobs", "list"]) == 2
    assert "did you mean 'settle_s'" in capsys.readouterr().err


def test_the_root_may_stand_before_and_after_the_command(instance, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.chdir(elsewhere)
    assert run_command(["--root", str(instance), "jobs", "list", "--json"]) == 0
    assert run_command(["jobs", "list", "--json", "--root", str(instance)]) == 0
    assert json.loads(capsys.readouterr().out.split("]")[0] + "]") == []


def test_init_makes_an_instance_once(tmp_path, capsys):
    assert run_command(["init", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "inbox").is_dir()
    assert run_command(["init", str(tmp_path / "new")]) == 3
    assert run_command(["init", "--force", str(tmp_path / "new")]) == 0
    assert run_command(["--root", str(tmp_path / "named"), "init"]) == 0
    assert (tmp_path / "named" / SETTINGS_FILE).is_file()
    assert capsys.readouterr().out == ""


def test_check_says_what_is_wrong_and_exits_with_1(tmp_path, capsys):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('kind = "export"\nvoice = "elena"\n')
    bad.write_text('kind = "exprot"\n')
    assert run_command(["check", str(good)]) == 0
    assert run_command(["check", str(good), str(bad)]) == 1
    assert "bad.toml, line 1, column 1: kind = 'exprot': did you mean 'export'?" in capsys.readouterr().err
    assert run_command(["check", "--json", str(bad)]) == 1
    assert json.loads(capsys.readouterr().out)[0]["problems"]


def test_check_says_which_file_it_means_and_what_to_do(tmp_path, capsys):
    (tmp_path / "hello.toml").write_bytes("kind = 'design'".encode("utf-16"))
    assert run_command(["check", str(tmp_path / "hello.toml")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/hello.toml, line 1")
    assert "Save it as UTF-8" in said


def test_check_looks_for_the_files_that_a_job_names(tmp_path, capsys):
    job = tmp_path / "job.toml"
    job.write_text('kind = "lock"\nvoice = "e"\naudio = "e.wav"\ntranscript = "Hi."\n')
    assert run_command(["check", str(job)]) == 1
    assert "'e.wav', which is not there" in capsys.readouterr().err


def test_the_schema_is_printed_as_json(capsys):
    assert run_command(["schema"]) == 0
    assert "$schema" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts_are_printed(shell, capsys):
    assert run_command(["completion", shell]) == 0
    assert "_VOICEJOBS_COMPLETE" in capsys.readouterr().out


def test_a_closed_pipe_is_no_error():
    program = f"{sys.executable} -m runner schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def error_codes() -> set[str]:
    codes = set()
    for path in (path for room in ("runner", "registry", "models") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                codes |= {
                    item.value.value
                    for item in node.body
                    if isinstance(item, ast.Assign)
                    and isinstance(item.targets[0], ast.Name)
                    and item.targets[0].id == "code"
                    and isinstance(item.value, ast.Constant)
                }
    return codes


def test_every_error_code_of_the_project_has_an_exit_code():
    assert error_codes() - EXIT_CODES.keys() == set()


def test_exit_codes_come_from_the_class_of_the_error():
    class NewKind(InstanceNotFound):
        code = "not-in-the-map"

    assert exit_code_for(NewKind("x")) == 3
    assert exit_code_for(RunnerActive("x")) == 4
    assert exit_code_for(SettingsInvalid("x")) == 2
    assert exit_code_for(VoiceJobsError("x")) == 1


def test_what_the_system_does_not_permit_is_nothing_to_try_again():
    assert exit_code_for(storage_error(OSError(errno.EROFS, "read-only"), "writing /x")) == 3
    assert exit_code_for(storage_error(OSError(errno.EIO, "input/output error"), "writing /x")) == 75


def test_values_are_printed_as_json_whatever_they_hold():
    assert json.loads(to_json({"path": Path("/x"), "set": {2, 1}, "bytes": b"\x01", "error": None})) == {
        "path": "/x", "set": [1, 2], "bytes": "01", "error": None,
    }  # fmt: skip


def test_the_version_is_that_of_the_package(capsys):
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()
    assert run_command(["--version"]) == 0
    assert VERSION in capsys.readouterr().out


def test_a_finding_is_broken_between_words_on_a_terminal_alone(monkeypatch):
    text = "problem  disk: the disk is nearly full, and a job of /some/long/path/that/has/no/space will not fit."
    assert wrapped(text, indent=9) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    first, *others = wrapped(text, indent=9).splitlines()
    assert len(others) >= 2
    assert all(line.startswith(" " * 9) for line in others)
    assert " ".join(line.strip() for line in (first, *others)) == text
