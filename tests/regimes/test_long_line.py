"""One line of twenty minutes: how much memory the runner needs for it, and crashes on its way."""

import time

import psutil
import pytest

from tests.patience import PATIENCE_S
from tests.regimes.yard import CRASH_EXIT_STATUS, Yard, kill, undisturbed_hashes

LONGEST_TEXT = ("word " * 4_000)[:-1]
MOST_BYTES = 20_000_000
STEPS = ("objects.stream-synced", "objects.written", "recording.takes-stored", "recording.lines-committed",
         "publish.stream-synced", "recording.published", "recording.published-committed")  # fmt: skip


def memory_until(yard, process, job):
    """Largest resident memory until the job has its receipt."""
    most, give_up_s = 0, time.monotonic() + 4 * PATIENCE_S
    while not (yard.outbox / job / "result.json").exists():
        assert time.monotonic() < give_up_s
        most = max(most, process.memory_info().rss)
        time.sleep(0.02)
    return most


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_runners_memory_does_not_grow_with_the_length_of_a_line(tmp_path):
    yard = Yard(tmp_path)
    runner = yard.start()
    process = psutil.Process(runner.pid)
    yard.drop("first", lines=["word " * 190])  # what a gate loads when it is first in doubt is no matter of lengths
    rest = memory_until(yard, process, "first")
    yard.drop("long", lines=[LONGEST_TEXT])
    assert memory_until(yard, process, "long") - rest < MOST_BYTES
    assert yard.receipts()["long"]["lines"][0]["duration_s"] > 1_199
    yard.drop("again", lines=[LONGEST_TEXT])
    assert memory_until(yard, process, "again") - rest < MOST_BYTES
    kill(runner)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_crash_over_a_long_line_is_made_good_by_the_next_run(tmp_path):
    jobs = {step: [f"{step} {'word ' * 250}", "And a short line."] for step in STEPS}
    yard = Yard(tmp_path / "crashed")
    for step, lines in jobs.items():
        yard.drop(step, lines=lines)
        assert yard.drain(VOICEJOBS_CRASH_AT=step) == CRASH_EXIT_STATUS
    yard.drain()
    yard.assert_sound()
    assert {name: receipt["status"] for name, receipt in yard.receipts().items()} == dict.fromkeys(jobs, "done")
    assert yard.published() == undisturbed_hashes(tmp_path / "undisturbed", jobs)
    assert [*(yard.state_dir / "spool").iterdir()] == []
