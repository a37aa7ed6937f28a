"""`voicejobs service` in a home of its own, with programs on PATH that say what they were asked, as systemd's would."""

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import Conflict, NotFound
from runner.errors import UsageProblem
from runner.services.recipes import systemd_unit
from runner.services.supervisor import Service, Supervisor, SupervisorFailed, supervisor_here

ROOT = Path(__file__).parents[3]
RUNNER = Service(command=("/opt/voicejobs", "--root", "/srv/my voices", "run", "--service"))
SERVER = Service(command=("/opt/voicejobs", "--root", "/srv/voices", "serve"), is_server=True)
STUDIO = Service(command=RUNNER.command, instance="studio")
STUDIO_SERVER = Service(command=SERVER.command, instance="studio", is_server=True)
FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "{calls}"
case "$*" in
  *status*|*print*) echo "active (running)"; exit {status} ;;
  *Linger*) echo {linger} ;;
esac
if [ "{failing}" = "$1" ] || [ "{failing}" = "$2" ]; then echo "Failed to connect to bus" >&2; exit 1; fi
"""


class House:
    """A home folder, and a PATH on which only our own programs are."""

    def __init__(self, folder, monkeypatch):
        self.home, self.programs, self.calls_file = folder / "home", folder / "bin", folder / "calls"
        self.home.mkdir()
        self.programs.mkdir()
        self.environment = {"HOME": str(self.home), "PATH": f"{self.programs}:/usr/bin:/bin"}
        monkeypatch.setenv("PATH", self.environment["PATH"])

    def provide(self, *names, status=0, linger="no", failing="nothing"):
        for name in names:
            path = self.programs / name
            path.write_text(FAKE.format(calls=self.calls_file, status=status, linger=linger, failing=failing))
            path.chmod(0o755)

    @property
    def calls(self):
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def supervisor(self, platform="linux", **more):
        return Supervisor(environment={**self.environment, **more}, platform=platform)


@pytest.fixture
def house(tmp_path, monkeypatch):
    return House(tmp_path, monkeypatch)


def never(path):
    raise AssertionError(f"it asked about {path}")


def test_a_unit_is_written_and_started_and_the_hint_says_how_it_outlives_the_log_in(house):
    house.provide("systemctl", "loginctl")
    said = house.supervisor().install(RUNNER, may_replace=never)
    unit = house.home / ".config/systemd/user/voicejobs.service"
    assert unit.read_text() == systemd_unit(RUNNER.command)
    assert [call for call in house.calls if call.startswith("systemctl")] == [
        "systemctl --user daemon-reload",
        "systemctl --user enable voicejobs.service",
        "systemctl --user restart voicejobs.service",
    ]
    assert "loginctl enable-linger" in said[-1]


def test_a_user_who_lingers_gets_no_hint(house):
    house.provide("systemctl", "loginctl", linger="yes")
    assert len(house.supervisor().install(RUNNER, may_replace=never)) == 1


def test_the_server_is_a_service_of_its_own_and_the_configured_folder_is_used(house, tmp_path):
    house.provide("systemctl", "loginctl")
    supervisor = house.supervisor(XDG_CONFIG_HOME=str(tmp_path / "config"))
    supervisor.install(SERVER, may_replace=never)
    assert "serve" in (tmp_path / "config/systemd/user/voicejobs-serve.service").read_text()
    assert not (house.home / ".config").exists()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_services_of_two_instances_have_files_and_logs_of_their_own(house, platform):
    supervisor = house.supervisor(platform)
    services = (RUNNER, SERVER, STUDIO, STUDIO_SERVER)
    assert len({supervisor.path(service) for service in services}) == 4
    assert len({supervisor.text(service) for service in services}) == 4
    with pytest.raises(NotFound) as caught:
        supervisor.uninstall(STUDIO_SERVER)
    assert "`voicejobs service install --serve` with --name studio" in caught.value.hint


def test_another_file_is_replaced_only_when_that_is_agreed(house):
    house.provide("systemctl", "loginctl")
    supervisor = house.supervisor()
    supervisor.install(RUNNER, may_replace=never)
    supervisor.install(RUNNER, may_replace=never)  # the same again needs no question
    supervisor.path(RUNNER).write_text("[Unit]\n")
    with pytest.raises(Conflict, match="says something else"):
        supervisor.install(RUNNER, may_replace=lambda _: False)
    assert supervisor.path(RUNNER).read_text() == "[Unit]\n"
    supervisor.install(RUNNER, may_replace=lambda _: True)
    assert supervisor.path(RUNNER).read_text() == systemd_unit(RUNNER.command)


def test_uninstall_stops_it_and_removes_its_file(house):
    house.provide("systemctl", "loginctl")
    supervisor = house.supervisor()
    supervisor.install(RUNNER, may_replace=never)
    supervisor.uninstall(RUNNER)
    assert not supervisor.path(RUNNER).exists()
    assert house.calls[-2:] == ["systemctl --user disable --now voicejobs.service", "systemctl --user daemon-reload"]
    with pytest.raises(NotFound, match="There is no"):
        supervisor.uninstall(RUNNER)


@pytest.mark.parametrize(("exit_code", "code"), [(0, 0), (3, 3), (4, 3)])
def test_status_is_told_in_the_supervisors_words(house, exit_code, code):
    house.provide("systemctl", "loginctl", status=exit_code)
    house.supervisor().install(RUNNER, may_replace=never)
    assert house.supervisor().status(RUNNER) == ("active (running)", code)


def test_what_the_supervisor_says_of_a_failure_is_passed_on(house):
    house.provide("systemctl", "loginctl", failing="daemon-reload")
    with pytest.raises(SupervisorFailed, match="Failed to connect to bus"):
        house.supervisor().install(RUNNER, may_replace=never)


def test_a_machine_without_systemd_is_told_of_print_and_cron(house, monkeypatch):
    monkeypatch.setenv("PATH", str(house.programs))
    with pytest.raises(SupervisorFailed, match="This machine has no systemctl") as caught:
        house.supervisor().install(RUNNER, may_replace=never)
    assert "--print" in caught.value.hint
    with pytest.raises(UsageProblem):
        supervisor_here({}, platform="win32")


def test_on_a_mac_an_agent_is_written_and_loaded_again_when_it_was_there(house):
    house.provide("launchctl")
    supervisor = house.supervisor("darwin")
    supervisor.install(RUNNER, may_replace=never)
    path = house.home / "Library/LaunchAgents/net.voicejobs.runner.plist"
    assert plistlib.loads(path.read_bytes())["ProgramArguments"][: len(RUNNER.command)] == list(RUNNER.command)
    domain = f"gui/{os.getuid()}"
    assert house.calls == [f"launchctl bootstrap {domain} {path}"]
    supervisor.install(RUNNER, may_replace=never)
    assert house.calls[1:] == [f"launchctl bootout {domain}/net.voicejobs.runner", house.calls[0]]
    assert supervisor.path(SERVER).name == "net.voicejobs.serve.plist"


def voicejobs(house, instance, *arguments):
    command = [sys.executable, "-m", "runner", "--root", str(instance), "service", *arguments]
    environment = {**os.environ, **house.environment}
    environment.pop("XDG_CONFIG_HOME", None)
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_a_named_service_is_shown_and_a_wrong_name_is_refused(house, tmp_path):
    instance = tmp_path / "studio"
    instance.mkdir()
    (instance / "voicejobs.toml").write_text("")
    shown = voicejobs(house, instance, "install", "--name", "studio", "--serve", "--print")
    assert "Description=voicejobs-studio-serve\n" in shown.stdout
    for wrong in ("my studio", "../studio", "serve", "my-serve"):
        assert voicejobs(house, instance, "install", "--name", wrong, "--print").returncode == 2


def test_the_command_shows_installs_asks_and_uninstalls(house, tmp_path):
    house.provide("systemctl", "loginctl", "journalctl")
    instance = tmp_path / "voices"
    instance.mkdir()
    (instance / "voicejobs.toml").write_text("")
    shown = voicejobs(house, instance, "install", "--print")
    assert shown.returncode == 0 and f"--root {instance} run" in shown.stdout
    assert house.calls == []
    assert voicejobs(house, instance, "install").returncode == 0
    unit = house.home / ".config/systemd/user/voicejobs.service"
    assert unit.read_text() == shown.stdout
    unit.write_text("mine\n")
    refused = voicejobs(house, instance, "install")
    assert refused.returncode == 3 and "--yes" in refused.stderr
    assert voicejobs(house, instance, "install", "--yes").returncode == 0
    assert voicejobs(house, instance, "status").stdout == "active (running)\n"
    assert voicejobs(house, instance, "logs", "-f").returncode == 0
    assert house.calls[-1] == "journalctl --user --no-pager -n 100 -u voicejobs.service -f"
    assert voicejobs(house, instance, "uninstall").returncode == 0
    assert not unit.exists()
    absent = voicejobs(house, instance, "status")
    assert absent.returncode == 3 and "service install" in absent.stderr
