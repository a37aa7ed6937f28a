"""Two to four runners started against one instance, with kills in between: each line is published once, and right."""

import random
import time

import pytest

from registry.storage.database import Database
from tests.patience import PATIENCE_S, wait_until
from tests.regimes.yard import Yard, a_seed, kill, texts, undisturbed_hashes

OTHER_RUNNER_ACTIVE = 4


def contend(folder, *, runners, rounds, jobs, line_s):
    chance = random.Random(a_seed())
    expected = undisturbed_hashes(folder / "undisturbed", jobs)
    yard = Yard(folder / "contended", line_s=line_s)
    for name, lines in jobs.items():
        yard.drop(name, lines=lines)
    processes = [yard.start() for _ in range(runners)]
    for _ in range(rounds):
        time.sleep(chance.uniform(0.1, 1.0))
        kill(chance.choice(processes))
        losers = [process for process in processes if process.poll() is not None]
        processes = [process for process in processes if process.poll() is None]
        processes += [yard.start() for _ in losers]
    for process in processes:
        kill(process)
    yard.environment["VOICEJOBS_TEST_LINE_S"] = "0"
    assert yard.drain() == 0
    yard.assert_sound()
    assert yard.published() == expected
    assert len(yard.audio_files()) == len(expected)
    return yard


def test_three_runners_and_kills_give_each_line_exactly_one_output(tmp_path):
    jobs = {f"job{number}": texts(10, start=10 * number) for number in range(6)}
    yard = contend(tmp_path, runners=3, rounds=8, jobs=jobs, line_s=0.05)
    assert accepted_outputs_per_line(yard) == {1}


def accepted_outputs_per_line(yard):
    """How many takes the ledger accepted for a line: the different numbers over all published lines."""
    database = Database.open(yard.state_dir / "registry.sqlite")
    with database.read() as session:
        rows = session.rows(
            "select count(*) as accepted from line join attempt on attempt.line_id = line.id"
            " where line.status = 'published' and attempt.outcome = 'passed' group by line.id"
        )
        numbers = {row["accepted"] for row in rows}
    database.close()
    return numbers


def test_a_second_runner_exits_with_4_and_names_the_holder(tmp_path):
    yard = Yard(tmp_path / "yard", line_s=30)
    yard.drop("long", lines=texts(1))
    first = yard.start()
    try:
        lock = yard.state_dir / "runner.lock"
        wait_until(lambda: lock.exists() and lock.read_text(), what="the first runner's lock")
        assert yard.start("run", "--once").wait(timeout=PATIENCE_S) == OTHER_RUNNER_ACTIVE
        assert str(first.pid) in (yard.root / "stderr.log").read_text(encoding="utf-8")
    finally:
        kill(first)
    yard.environment["VOICEJOBS_TEST_LINE_S"] = "0"
    assert yard.drain() == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runners", [2, 3, 4])
def test_many_runners_for_a_long_time_give_each_line_exactly_one_output(tmp_path, runners):
    jobs = {f"job{number}": texts(20, start=20 * number) for number in range(50)}
    contend(tmp_path, runners=runners, rounds=100, jobs=jobs, line_s=0.08)
