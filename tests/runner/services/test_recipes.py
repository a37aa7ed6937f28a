"""Recipes of docs/service.md: what supervisors read in them, and the runner that they start."""

import configparser
import plistlib
import re
import shlex
from pathlib import Path

import pytest

from runner import exit_codes
from runner.cli.run import run_once, run_service
from runner.config.instance import Instance, open_instance
from runner.config.settings import SETTINGS_FILE
from runner.errors import Unforeseen
from runner.services.recipes import NO_RESTART, launchd_plist, service_command, systemd_unit
from tests.printed_commands import ROOT

PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
CRON = [line for block in re.findall(r"^```cron\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]


def shown(kind: str) -> str:
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)
    return str(block)


def command_below(home: str) -> list[str]:
    return service_command(Path(home, "voicejobs/.venv/bin/voicejobs"), Path(home, "voices"))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("runner.cli.run.SERVICE_RETRY_S", 0.0)
    (tmp_path / SETTINGS_FILE).write_text("min_free_bytes = 0\nsettle_s = 0\n")
    return tmp_path


def test_the_page_shows_the_unit_and_the_agent_that_the_program_makes():
    assert shown("ini") == systemd_unit(command_below("/home/me"))
    assert shown("xml") == launchd_plist(
        command_below("/Users/me"), log=Path("/Users/me/Library/Logs/voicejobs.log"), label="net.voicejobs.runner"
    )


def test_systemd_restarts_after_every_exit_code_but_those_that_a_restart_does_not_change():
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read_string(shown("ini"))
    service = unit["Service"]
    never = set(map(int, service["RestartPreventExitStatus"].split()))
    assert service["Restart"] == "always"
    assert never == set(NO_RESTART) == {exit_codes.USAGE, exit_codes.NEEDS_ACTION, exit_codes.RUNNER_ACTIVE}
    assert int(service["TimeoutStopSec"]) > 5  # the time that the page promises


def test_launchd_restarts_after_errors_alone_and_its_log_holds_no_log_of_the_work():
    agent = plistlib.loads(shown("xml").encode())
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert {"--service", "--quiet"} <= set(agent["ProgramArguments"])
    assert agent["ThrottleInterval"] >= 10


@pytest.mark.parametrize("folder", ["/home/me/my voices", "/srv/100%", "/srv/$x", 'a"b', "a'b", "a\\b", "a;b"])
def test_a_folder_of_any_name_reaches_the_program_through_the_unit(folder):
    line = systemd_unit(service_command(Path("/bin/voicejobs"), Path(folder)))
    (command,) = re.findall(r"^ExecStart=(.*)$", line, re.M)
    # systemd expands % and $, and unescapes the rest as a shell does between double quotes.
    words = shlex.split(command.replace("%%", "%").replace("$$", "$"))
    assert words == ["/bin/voicejobs", "--root", folder, "run", "--service"]


@pytest.mark.parametrize("line", CRON)
def test_a_cron_line_has_five_fields_and_nothing_that_cron_changes(line):
    *fields, command = line.split(maxsplit=5)
    assert all(re.fullmatch(r"\*|\*/\d+|\d+", field) for field in fields)
    assert "%" not in command  # cron makes a newline of it
    assert shlex.split(command)[0].startswith("/")  # cron's PATH has no virtual environment


def test_a_service_waits_for_settings_to_be_corrected_and_says_what_is_wrong_once(root):
    (root / SETTINGS_FILE).write_text("mdoel = 'draft'\n")
    tries: list[int] = []
    told: list[str] = []

    def start() -> int:
        tries.append(1)
        if len(tries) == 4:
            (root / SETTINGS_FILE).write_text("min_free_bytes = 0\n")
        return run_once(open_instance(root))

    assert run_service(start, tell=lambda error: told.append(error.message)) == exit_codes.OK
    assert len(tries) == 4
    assert len(told) == 1 and "mdoel" in told[0]


def test_a_service_begins_when_another_runner_ends(root):
    instance: Instance = open_instance(root)
    other = instance.own()
    told: list[str] = []

    def tell(error):
        told.append(error.code)
        other.release()

    assert run_service(lambda: run_once(instance), tell=tell) == exit_codes.OK
    assert told == ["runner-active"]


def test_a_service_ends_with_what_nobody_foresaw_and_the_supervisor_starts_it_again():
    def start() -> int:
        raise Unforeseen("never seen")

    with pytest.raises(Unforeseen):
        run_service(start, tell=print)
