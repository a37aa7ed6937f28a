"""The disk fills up while a runner works: the job waits with one warning, and goes on by itself when there is room."""

import subprocess

import pytest

from tests.regimes.yard import Yard, kill, texts, undisturbed_hashes, wait_until

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


@pytest.mark.timeout(240)
def test_a_full_disk_is_waited_out_and_costs_nothing(tmp_path, small_disk):
    jobs = {f"job{number}": texts(15, start=15 * number) for number in range(3)}
    expected = undisturbed_hashes(tmp_path / "undisturbed", jobs)
    yard = Yard(small_disk / "yard", line_s=0.1)
    for name, lines in jobs.items():
        yard.drop(name, lines=lines)
    runner = yard.start()
    try:
        wait_until(lambda: len(yard.audio_files()) > 2, timeout_s=60, what="the first lines")
        ballast = fill(small_disk)
        made = len(yard.audio_files())
        wait_until(lambda: "disk" in log_of(yard), timeout_s=60, what="a warning in the log")
        ballast.unlink()
        wait_until(lambda: len(yard.receipts()) == len(jobs), timeout_s=120, what="the end of the jobs")
    finally:
        kill(runner)
    assert made < len(expected)
    assert yard.published() == expected
    assert {receipt["status"] for receipt in yard.receipts().values()} == {"done"}
    warnings = [warning for receipt in yard.receipts().values() for warning in receipt["warnings"]]
    assert len([warning for warning in warnings if "disk" in str(warning).lower()]) >= 1


def log_of(yard):
    return "\n".join(path.read_text(encoding="utf-8") for path in (yard.state_dir / "logs").glob("*.log")).lower()
