"""No command shows a traceback, whatever it is given."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from runner.cli.help_pages import commands
from runner.cli.program import run_command, voicejobs
from runner.config.settings import SETTINGS_FILE
from runner.exit_codes import FAILED, NEEDS_ACTION, OK, USAGE

SKIPPED = {
    ("run",),
    ("serve",),
    ("completion",),
    ("demo",),
    ("service", "install"),  # these two reach the supervisor and the home folder of whoever runs the tests
    ("service", "uninstall"),
}  # they work for long, or take no free value; `demo` has its own test
LEAVES = [path for path, command in commands(voicejobs) if path and not isinstance(command, click.Group)]
HOSTILE = {
    "nul": "a\0b",
    "surrogate": "a\udc80b",
    "long": "x" * 5_000,
    "long-folders": "/".join(["x" * 200] * 30),
    "nobody": "~nosuchuser/x",
    "empty": "",
    "folder": "folder",
    "device": "null",
    "socket": "socket",
    "loop": "loop",
    "dangling": "dangling",
    "escape": "\x1b]0;title\a\x9b31m\u202e",
}


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICEJOBS_MODELS_DIR", str(tmp_path / "models"))
    (tmp_path / SETTINGS_FILE).write_text('model = "draft"\noffline = true\nmigrate = "off"\n')
    (tmp_path / "folder").mkdir()
    with contextlib.suppress(PermissionError):  # nodes of our own, which only root can make: no trial uses a real one
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod("full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing/there")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    return tmp_path


def hostile_lines(path: tuple[str, ...], value: str) -> list[list[str]]:
    """Command lines with `value` as every argument, and as each option that takes free text."""
    command = dict(commands(voicejobs))[path]
    arguments = [value for parameter in command.params if isinstance(parameter, click.Argument)]
    free = [
        parameter.opts[0]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not (parameter.is_flag or isinstance(parameter.type, click.Choice))
    ]
    return [[*path, "--", *arguments], *([*path, option, value, "--", *arguments] for option in free)]


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_no_command_shows_a_traceback_or_writes_what_a_terminal_obeys(value, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    try_all(value, capsys, with_options=False)


@pytest.mark.slow
@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_no_option_of_a_command_shows_a_traceback(value, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    try_all(value, capsys, with_options=True)


def try_all(value: str, capsys: pytest.CaptureFixture[str], *, with_options: bool) -> None:
    for path in LEAVES:
        lines = hostile_lines(path, value)
        for line in [] if path in SKIPPED else lines[1:] if with_options else lines[:1]:
            code = run_command(line)
            said = "".join(capsys.readouterr())
            assert code != FAILED or "unforeseen" not in said, (line, said)
            assert "Traceback" not in said and not set("\x1b\x07\x9b\u202e\udc80") & set(said), line


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("key", ["", "a-key-of-sixteen-or-more-characters"], ids=["no-key", "key"])
def test_an_address_that_is_none_ends_the_server_with_a_sentence(value, key, capsys):
    Path("key").write_text(key)
    given = ["--set", "serve.key_file=key"] if key else []
    assert run_command([*given, "serve", "--host", value]) == USAGE
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said and not set("\x1b\x07\x9b\u202e\udc80") & set(said)


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("key", ["inbox", "outbox", "state_dir", "models_dir", "pronunciations"])
@pytest.mark.parametrize("value", ["~nosuchuser/x", "x" * 300], ids=["nobody", "long"])
def test_a_setting_that_names_no_possible_path_is_named(key, value, capsys):
    code = run_command(["--set", f"{key}={value}", "jobs", "list"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if key not in ("models_dir", "pronunciations"):
        assert code == USAGE and ("no user" in said or "longer than" in said)


def test_without_output_or_input_a_command_says_so_or_nothing(instance):
    program = f"{sys.executable} -m runner --root {instance}"
    for redirection in (">&-", "2>&-", "<&-", f">{instance}/full", ">&- 2>&- <&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{program} jobs list --json {redirection}"],
            cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr, (redirection, done.stderr)


def test_a_fault_of_the_program_is_one_sentence_and_its_trace_is_in_the_log(instance, capsys, monkeypatch):
    (instance / ".voicejobs/logs").mkdir(parents=True)

    @click.command()
    def faulty() -> None:
        raise KeyError("what nobody foresaw")

    monkeypatch.setitem(voicejobs.commands, "faulty", faulty)
    assert run_command(["faulty"]) == FAILED
    said = capsys.readouterr().err
    assert "KeyError in test_hostile_arguments.py" in said and "Traceback" not in said
    assert "Traceback" in (instance / ".voicejobs/logs/runner.log").read_text()


def test_init_goes_through_a_link_and_refuses_a_file(tmp_path, capsys):
    (tmp_path / "real").mkdir()
    (tmp_path / "real.toml").write_text("")
    (tmp_path / "real" / SETTINGS_FILE).symlink_to(tmp_path / "real.toml")
    assert run_command(["init", "--force", str(tmp_path / "real")]) == OK
    assert (tmp_path / "real" / SETTINGS_FILE).is_symlink() and (tmp_path / "real.toml").stat().st_size
    assert run_command(["init", str(tmp_path / "real.toml")]) == USAGE
    capsys.readouterr()


def test_a_backup_goes_through_a_link_and_never_replaces_a_pipe(instance, capsys):
    (instance / "kept").mkdir()
    (instance / "latest.backup").symlink_to("kept/voices.backup")
    os.mkfifo("pipe")
    assert run_command(["backup", "latest.backup"]) in (OK, NEEDS_ACTION)
    assert (instance / "latest.backup").is_symlink()
    assert run_command(["backup", "pipe"]) == USAGE and (instance / "pipe").is_fifo()
    assert run_command(["restore", "pipe"]) == USAGE
    capsys.readouterr()
