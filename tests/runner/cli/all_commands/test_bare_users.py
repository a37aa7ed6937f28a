"""Every command for a user without a home that anybody knows, and beside a state folder that can only be read."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.exit_codes import FAILED, NEEDS_ACTION, OK, TRY_AGAIN, USAGE
from tests.printed_commands import ROOT

UNKNOWN = "54321"
# Reads what the tests' own user may read (Python itself, for one), and writes as nobody whom the system knows.
AS_UNKNOWN = [
    "setpriv", "--reuid", UNKNOWN, "--regid", UNKNOWN, "--clear-groups", "--inh-caps", "+dac_read_search",
    "--ambient-caps", "+dac_read_search",
]  # fmt: skip
READ_ONLY = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"']
TRY_ALL = """
import json, sys
from tests.runner.cli.remedies.place import run
said = [(line, run(line.split())) for line in json.loads(sys.argv[1])]
print(json.dumps([[line, one.code, one.text] for line, one in said]))
"""
READING = [
    "jobs list", "jobs show hello", "status", "logs", "voices list", "voices show elena", "voices history elena",
    "voices diff elena@1 elena@1", "voices fsck", "models list", "check job.toml", "voices export elena -o {out}/e.vox",
    "voices play elena -o {out}/e.wav", "backup {out}/b.backup",
]  # fmt: skip
WRITING = [
    "submit job.toml", "say Hello. --model draft -o {out}/h.wav", "run --once", "jobs retry failing", "jobs rm failing",
    "jobs prune --older-than 0d", "voices alias elena@1 warm", "voices rm elena@1", "voices gc",
    "restore --replace good.backup", "init --accept-state",
]  # fmt: skip


def said_by(prefix: list[str], lines: list[str], *, at: Path, **environment: str) -> list[tuple[str, int, str]]:
    """Exit code and text of each line, of a process of its own."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    for name in ("HOME", "USER", "LOGNAME"):
        full.pop(name, None)
    command = [*prefix, sys.executable, "-c", TRY_ALL, json.dumps(lines)]
    done = subprocess.run(
        command, cwd=at, env=full, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]


def may(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, check=False).returncode == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_every_command_answers_a_user_of_whom_nobody_knows_a_home(worked, open_folder):
    from tests.runner.cli.test_broken_states import FITTING, ORDER

    if not may(*AS_UNKNOWN, "true"):
        pytest.skip("needs root and setpriv")
    root = open_folder / "instance"
    shutil.copytree(worked, root, symlinks=True)
    subprocess.run(["chown", "-R", f"{UNKNOWN}:{UNKNOWN}", str(root)], check=True)
    lines = [" ".join([command, *FITTING.get(command, [])]) for command in ORDER]
    lines += ["service install --print", "service install", "serve --host nowhere.invalid", "schema", "init new"]
    for line, code, text in said_by(AS_UNKNOWN, lines, at=root):
        assert code in (OK, FAILED, USAGE, NEEDS_ACTION, TRY_AGAIN), (line, text)
        assert "Traceback" not in text and "unforeseen" not in text, (line, text)


def test_what_only_reads_goes_on_where_the_state_can_only_be_read_and_all_else_names_it(worked, tmp_path):
    if not may("unshare", "-m", "true"):
        pytest.skip("needs the right to mount")
    state = worked / ".voicejobs"
    lines = [line.format(out=tmp_path) for line in (*READING, *WRITING)]
    said = said_by([*READ_ONLY, str(state)], lines, at=worked)
    for line, code, text in said[: len(READING)]:
        assert code == (NEEDS_ACTION if line == "status" else OK), (line, text)  # no runner is active
    for line, code, text in said[len(READING) :]:
        assert (code == NEEDS_ACTION and str(state) in text) or "good.backup" in text, (line, code, text)
        assert "for writing again" in text, (line, text)
