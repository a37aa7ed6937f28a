"""The process dies at every named step of its way, at the first visit and at later ones: the next run makes it good.

Later visits are the long regime's; tests/runner/worker/test_worker_crashes.py walks them within one process.
"""

import os
import re

import pytest

from tests.regimes.yard import CRASH_EXIT_STATUS, ROOT, Yard, undisturbed_hashes

STEP = re.compile(r"""crash_point\(\s*"([^"]+)"\s*\)""")
# Steps that a short synthesize job does not pass: they have tests of their own beside the code they stand in.
ELSEWHERE = (
    "backup.", "gc.", "hooks.", "models.", "restore.", "database.before-migration", "database.migrated",
    "files.moved", "intake.attachments-copied", "intake.orphan-moved", "publish.retired", "publish.stream-synced",
    "masters.", "objects.stream-synced", "scripts.", "takes.forgotten", "worker.job-planned",
)  # fmt: skip
STEPS_PER_YARD = 5  # one instance survives so many crashes in a row, which is quicker than an instance for each


def named_steps():
    """Every step named in the code of the runner's path."""
    found = set()
    for room in ("runner", "registry"):
        for path in (ROOT / room).rglob("*.py"):
            found |= set(STEP.findall(path.read_text(encoding="utf-8")))
    return sorted(name for name in found if not name.startswith(ELSEWHERE))


STEPS = named_steps()


GROUPS = [STEPS[start : start + STEPS_PER_YARD] for start in range(0, len(STEPS), STEPS_PER_YARD)]


def jobs_of(step, visit):
    """What is dropped before a crash: name -> texts. No text twice, so that no take is reused."""
    name = f"{step}-{visit}"
    return {
        f"{name}-a": [f"{step} at visit {visit}, line {number}." for number in range(3)],
        f"{name}-b": [f"{step} at visit {visit}, the other job."],
    }


def crash_at(yard, step, *, visit):
    """Drop jobs, good and bad, and run until the step is reached. Returns whether it was."""
    for name, lines in jobs_of(step, visit).items():
        yard.drop(name, lines=lines)
    (yard.inbox / f"{step}-{visit}-bad.toml").write_text('kind = "sing"\n', encoding="utf-8")
    exit_code = yard.drain(VOICEJOBS_CRASH_AT=f"{step}:{visit}")
    assert exit_code in (CRASH_EXIT_STATUS, 1)  # 1: there was no such visit, and the bad file was rejected
    return exit_code == CRASH_EXIT_STATUS


def crash_in_turn(folder, crashes):
    """Die at each (step, visit) in turn, then drain once and compare with an instance that never died."""
    jobs = {name: lines for crash in crashes for name, lines in jobs_of(*crash).items()}
    yard = Yard(folder / "crashed")
    reached = [step for step, visit in crashes if crash_at(yard, step, visit=visit)]
    for half_written in yard.state_dir.rglob("*.tmp"):
        os.utime(half_written, (0, 0))  # else it is as young as one that somebody is writing
    yard.drain()
    yard.assert_sound()
    assert list(yard.state_dir.rglob("*.tmp")) == []
    rejected = {f"{step}-{visit}-bad": "rejected" for step, visit in crashes}
    statuses = {name: receipt["status"] for name, receipt in yard.receipts().items()}
    assert statuses == dict.fromkeys(jobs, "done") | rejected
    assert yard.published() == undisturbed_hashes(folder / "undisturbed", jobs)
    return reached


def test_the_steps_that_are_named_include_the_whole_path():
    assert {"intake.claim-renamed", "database.before-commit", "files.synced", "publish.before-receipt"} <= set(STEPS)


@pytest.mark.parametrize("steps", GROUPS, ids="+".join)
def test_a_crash_at_any_step_is_made_good_by_the_next_run(tmp_path, steps):
    assert crash_in_turn(tmp_path, [(step, 1) for step in steps]) == steps


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_a_later_visit_is_made_good_too(tmp_path, step):
    crash_in_turn(tmp_path, [(step, visit) for visit in (2, 3, 4, 5, 8, 13)])
