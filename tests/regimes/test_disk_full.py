"""The disk fills up while a runner works: the job waits with one warning, and goes on by itself when there is room."""

import subprocess

import pytest

from runner.cli.program import run_command
from runner.exit_codes import NEEDS_ACTION, OK
from tests.engines.noop import LINES_BEFORE_GATE
from tests.patience import wait_until
from tests.regimes.yard import Yard, kill, texts, undisturbed_hashes

SIZE_BYTES = 24 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, small enough to fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Take all the room there is, and return the file that holds it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for piece_bytes in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(piece_bytes))
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_waited_out_and_costs_nothing(tmp_path, small_disk):
    jobs = {f"job{number}": texts(6, start=6 * number) for number in range(3)}
    expected = undisturbed_hashes(tmp_path / "undisturbed", jobs)
    yard, gate = Yard(small_disk / "yard"), tmp_path / "gate"
    yard.errors = tmp_path / "stderr.log"  # not on the disk that is full, as the runner's own log
    for name, lines in jobs.items():
        yard.drop(name, lines=lines)
    runner = yard.start(VOICEJOBS_TEST_GATE=str(gate))
    try:
        wait_until(lambda: len(yard.audio_files()) == LINES_BEFORE_GATE, what="the first lines")
        ballast = fill(small_disk)
        gate.touch()
        wait_until(lambda: "put aside" in yard.errors.read_text(encoding="utf-8"), what="a warning in the log")
        ballast.unlink()
        wait_until(lambda: len(yard.receipts()) == len(jobs), what="the end of the jobs")
    finally:
        kill(runner)
    assert yard.published() == expected
    assert {receipt["status"] for receipt in yard.receipts().values()} == {"done"}
    warnings = [warning for receipt in yard.receipts().values() for warning in receipt["warnings"]]
    assert len([warning for warning in warnings if "disk" in str(warning).lower()]) >= 1


def test_on_a_disk_that_was_remounted_read_only_jobs_are_listed_and_nothing_is_dropped(small_disk, tmp_path, capsys):
    yard = Yard(small_disk / "yard")
    yard.drop("before", lines=texts(1))
    yard.drain()
    job = tmp_path / "after.toml"
    job.write_text('kind = "synthesize"\nvoice = "ryan"\ntext = "After."\n')
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    root = ["--root", str(small_disk / "yard")]
    assert run_command([*root, "jobs", "list"]) == OK
    assert "before" in capsys.readouterr().out
    for command in (["submit", str(job)], ["say", "-o", str(tmp_path / "a.wav"), "After."], ["run", "--once"]):
        assert run_command([*root, *command]) == NEEDS_ACTION
        assert "disk for writing again" in capsys.readouterr().err
    assert not [path.name for path in (small_disk / "yard" / "inbox").iterdir() if path.name != ".claimed"]
