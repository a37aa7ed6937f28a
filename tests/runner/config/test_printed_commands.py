"""Commands in messages: they reach the instance that the message is about."""

import logging
from pathlib import Path

import pytest

from runner.cli.program import run_command
from runner.config.instance import Instance, open_instance
from runner.config.logs import Redacting
from runner.config.printed_commands import flags_for_logs, flags_to_reach, with_flags
from runner.config.settings import SETTINGS_FILE
from runner.exit_codes import NEEDS_ACTION, OK

ROOT = ("--root", "a studio")


@pytest.fixture
def studio(tmp_path, monkeypatch) -> Instance:
    """An instance in a folder below the working directory, where commands do not find it by themselves."""
    (tmp_path / "a studio").mkdir()
    (tmp_path / "a studio" / SETTINGS_FILE).write_text('model = "draft"\nmin_free_bytes = 0\n')
    monkeypatch.chdir(tmp_path)
    made = open_instance(Path("a studio"))
    made.prepare()
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`voicejobs run`", "`voicejobs --root 'a studio' run`"),
        ("Look: `voicejobs jobs show x`, or `voicejobs run`.", "`voicejobs --root 'a studio' jobs show x`"),
        ("`voicejobs init --accept-state`", "`voicejobs --root 'a studio' init --accept-state`"),
        ("`voicejobs init other`", "`voicejobs init other`"),  # it names its own folder
        ("`voicejobs --root other run`", "`voicejobs --root other run`"),
        ("`voicejobs demo`", "`voicejobs demo`"),
        ("voicejobs reads no such file", "voicejobs reads no such file"),
    ],
)
def test_a_command_gets_the_flags_behind_the_name_of_the_program(text, expected):
    assert expected in with_flags(text, ROOT)
    assert with_flags(text, ()) == text


def test_flags_name_the_root_that_was_given_and_the_settings_that_say_where_things_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"state_dir": "/disk/state", "model": "draft"}
    assert flags_to_reach(Path("a studio"), settings, environment={}) == (*ROOT, "--set", "state_dir=/disk/state")
    assert flags_to_reach(None, {}, environment={}) == ()


def test_an_instance_of_the_environment_is_named_unless_it_is_found_from_here(studio, monkeypatch):
    environment = {"VOICEJOBS_ROOT": str(studio.root)}
    assert flags_to_reach(None, {}, environment=environment) == ("--root", str(studio.root))
    monkeypatch.chdir(studio.inbox)
    assert flags_to_reach(None, {}, environment=environment) == ()


@pytest.mark.usefixtures("studio")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["jobs", "show", "nobody"], "`voicejobs --root 'a studio' jobs list`"),
        (["voices", "show", "nobody"], "`voicejobs --root 'a studio' voices list`"),
        (["submit", "hello.toml"], "`voicejobs --root 'a studio' run`"),
        (["doctor"], "`voicejobs --root 'a studio' run`"),
        (["doctor", "--json"], "`voicejobs --root 'a studio' run`"),
        (["doctor", "--runner"], "`voicejobs --root 'a studio' run`"),
    ],
)
def test_messages_of_commands_name_the_root_that_was_given(command, told, capsys):
    Path("hello.toml").write_text('kind = "synthesize"\nvoice = "ryan"\ntext = "Hello."\n')
    run_command(["--root", "a studio", *command])
    assert told in "".join(capsys.readouterr())
    run_command([*command, "--root", "a studio"])
    assert told in "".join(capsys.readouterr())


def test_commands_in_the_log_name_an_instance_that_is_not_found_from_the_working_directory(studio, monkeypatch):
    record = logging.LogRecord("runner", logging.ERROR, __file__, 1, "start it: `voicejobs run`", (), None)
    for folder, expected in ((studio.root.parent, f"--root '{studio.root}' run"), (studio.root, "`voicejobs run`")):
        monkeypatch.chdir(folder)
        assert expected in Redacting(flags_for_logs(studio.root)).format(record)


def test_doctor_tells_by_its_exit_code_whether_a_runner_is_active(studio, capsys):
    asked = ["--root", "a studio", "doctor", "--runner"]
    assert run_command(asked) == NEEDS_ACTION
    assert "No runner is active" in capsys.readouterr().err
    lock = studio.own()
    try:
        assert run_command(asked) == OK
        assert "process" in capsys.readouterr().out
        assert run_command([*asked, "--json"]) == OK
        assert '"runner": "process' in capsys.readouterr().out
    finally:
        lock.release()
