"""Broken instances: the doctor finds each, and no command shows a traceback in any."""

import os
import shutil
import signal
import subprocess
import sys
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


READS = """
import sys
from runner.cli.program import run_command
for command in sys.argv[2:]:
    print("=", run_command(["--root", sys.argv[1], *command.split()]), command, flush=True)
"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
READ_ONLY_OUTBOX = 'mount --bind "$0/outbox" "$0/outbox" && mount -o remount,ro,bind "$0/outbox"'
FULL = (
    'cp -R "$0/." "$0.copy" && mount -t tmpfs -o size=4m tmpfs "$0" && cp -R "$0.copy/." "$0" && '
    '{ cat /dev/zero > "$0/fill" 2>/dev/null; true; }'
)
READ_FROM_IT = (
    "jobs list", "jobs show hello", "voices list", "voices show elena", "voices history elena", "voices fsck",
    "voices diff elena@1 elena@1", "voices gc --dry-run", "voices export elena -o {0}/elena.vox", "models list",
    "jobs prune --older-than 1d --dry-run", "backup {0}/new.backup", "say --voices", "check {0}/job.toml",
)  # fmt: skip


@pytest.mark.parametrize(
    ("disk", "say_code"),
    [
        pytest.param(FULL, TRY_AGAIN, id="full"),
        pytest.param(READ_ONLY, NEEDS_ACTION, id="read-only", marks=pytest.mark.slow),
        pytest.param(READ_ONLY_OUTBOX, NEEDS_ACTION, id="outbox", marks=pytest.mark.slow),
    ],
)
def test_what_reads_reads_on_a_full_or_read_only_disk_and_what_speaks_says_so_at_once(disk, say_code, worked, tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount")
    (there := tmp_path / "elsewhere").mkdir()
    shutil.copy("job.toml", there)
    say = f"say Hello. --model draft -o {there}/said.wav"
    commands = [command.format(there) for command in READ_FROM_IT]
    script = f'python="$1"; reads="$2"; shift 2; cd /; {disk} && "$python" -c "$reads" "$0" "$@"'
    command = ["unshare", "-m", "sh", "-c", script, str(worked), sys.executable, READS, *commands, say]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    codes = [line for line in done.stdout.splitlines() if line.startswith("= ")]
    assert codes == [*(f"= {OK} {one}" for one in commands), f"= {say_code} {say}"], (codes, done.stderr)


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
