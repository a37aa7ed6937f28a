"""kill −9 of runner or engine at random moments: nothing lost, nothing twice, nothing half made."""

import contextlib
import random
import time
from collections import Counter

import psutil
import pytest

from tests.patience import wait_until
from tests.regimes.yard import Yard, a_seed, engines_of, kill, texts, undisturbed_hashes

LINES_PER_JOB = 20
SOON_S = 0.4  # most of what a runner takes to start
MOST_ENGINE_KILLS_OF_A_LINE = 2  # a third puts it into quarantine, which is right


class Killer:
    """Starts the runner whenever it is dead, and kills it or its engine until the kills are used up."""

    def __init__(self, yard, *, kills, lines, line_s, chance):
        self.yard, self.kills, self.lines, self.line_s, self.chance = yard, kills, lines, line_s, chance
        self.hits = 0  # kills while work was unfinished
        self.begun_at_engine_kill = 0
        self.engine_kills = Counter()  # by the line that was being spoken
        self.begun_path = yard.root / "begun.txt"
        yard.environment["VOICEJOBS_TEST_BEGUN"] = str(self.begun_path)
        self.runner = yard.start()

    def made(self):
        return len(self.yard.audio_files())

    def begun(self):
        """The texts of the lines that engines have begun, in order."""
        return self.begun_path.read_text(encoding="utf-8").splitlines() if self.begun_path.exists() else []

    def pause(self, *, kills_left):
        """Until a random moment: at times soon, else when as many more lines are made as leave some for each kill."""
        if self.chance.random() < 0.4:
            time.sleep(self.chance.uniform(0, SOON_S))
            return
        even_share = (self.lines - self.made()) / kills_left
        wanted = min(self.lines, self.made() + self.chance.uniform(0, 2 * even_share))
        wait_until(lambda: self.made() >= wanted, what="progress")
        time.sleep(self.chance.uniform(0, self.line_s))

    def may_kill_engine(self):
        """Whether an engine has been loaded since the last kill, and its line may still do without it."""
        begun = self.begun()
        grown = len(begun) > self.begun_at_engine_kill
        return grown and self.engine_kills[begun[-1]] < MOST_ENGINE_KILLS_OF_A_LINE

    def kill_engine(self):
        wait_until(lambda: self.may_kill_engine() or self.made() == self.lines, what="another line's beginning")
        begun = self.begun()
        self.begun_at_engine_kill = len(begun)
        self.engine_kills[begun[-1]] += 1
        for engine in engines_of(self.runner):
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.kill()

    def kill_one(self, *, kills_left):
        self.pause(kills_left=kills_left)
        self.hits += self.made() < self.lines
        if self.chance.random() < 0.4:
            self.kill_engine()
        else:
            kill(self.runner)
            self.runner = self.yard.start()

    def run(self):
        for kills_left in range(self.kills, 0, -1):
            self.kill_one(kills_left=kills_left)
        kill(self.runner)


def kill_loop(folder, *, lines, kills, line_s):
    jobs = {
        f"job{number:03d}": texts(LINES_PER_JOB, start=number * LINES_PER_JOB)
        for number in range(lines // LINES_PER_JOB)
    }
    expected = undisturbed_hashes(folder / "undisturbed", jobs)
    yard = Yard(folder / "killed", line_s=line_s)
    for name, said in jobs.items():
        yard.drop(name, lines=said)
    killer = Killer(yard, kills=kills, lines=lines, line_s=line_s, chance=random.Random(a_seed()))
    killer.run()
    yard.environment["VOICEJOBS_TEST_LINE_S"] = "0"
    exit_code = yard.drain(timeout_s=1800)
    print(f"{killer.hits} of {kills} kills hit unfinished work")
    assert exit_code == 0
    yard.assert_sound()
    assert {receipt["status"] for receipt in yard.receipts().values()} == {"done"}
    assert yard.published() == expected
    assert len(yard.audio_files()) == lines
    assert killer.hits >= kills / 2


def test_ten_kills_over_eighty_lines_lose_nothing(tmp_path):
    kill_loop(tmp_path, lines=80, kills=10, line_s=0.04)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_kills_over_ten_thousand_lines_lose_nothing(tmp_path):
    kill_loop(tmp_path, lines=10_000, kills=2_000, line_s=0.1)
