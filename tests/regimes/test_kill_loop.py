"""kill −9 of runner or engine at random moments: nothing lost, nothing twice, nothing half made."""

import random
import secrets
import time

import pytest

from tests.regimes.yard import Yard, engines_of, kill, texts, undisturbed_hashes, wait_until

LINES_PER_JOB = 20


class Killer:
    """Starts the runner whenever it is dead, and kills it or its engine until the kills are used up."""

    def __init__(self, yard, *, kills, lines, line_s, chance):
        self.yard, self.kills, self.lines, self.line_s, self.chance = yard, kills, lines, line_s, chance
        self.hits = 0  # kills while work was unfinished
        self.made_at_engine_kill = -1
        self.runner = yard.start()

    def made(self):
        return len(self.yard.audio_files())

    def pause(self, *, kills_left):
        """Random, and long enough on average for the work to last until the last kill."""
        even_share_s = (self.lines - self.made()) * self.line_s / kills_left
        time.sleep(self.chance.uniform(0, 2 * even_share_s))

    def kill_engine(self):
        # Three kills over one line put it into quarantine, which is right: so let each engine finish a line.
        wait_until(lambda: self.made() > self.made_at_engine_kill or self.made() == self.lines, what="progress")
        self.made_at_engine_kill = self.made()
        for engine in engines_of(self.runner):
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
    seed = secrets.randbits(32)
    jobs = {
        f"job{number:03d}": texts(LINES_PER_JOB, start=number * LINES_PER_JOB)
        for number in range(lines // LINES_PER_JOB)
    }
    expected = undisturbed_hashes(folder / "undisturbed", jobs)
    yard = Yard(folder / "killed", line_s=line_s)
    for name, said in jobs.items():
        yard.drop(name, lines=said)
    killer = Killer(yard, kills=kills, lines=lines, line_s=line_s, chance=random.Random(seed))
    killer.run()
    yard.environment["VOICEJOBS_TEST_LINE_S"] = "0"
    exit_code = yard.drain(timeout_s=1800)
    print(f"seed {seed}: {killer.hits} of {kills} kills hit unfinished work")
    assert exit_code == 0
    yard.assert_sound()
    assert {receipt["status"] for receipt in yard.receipts().values()} == {"done"}
    assert yard.published() == expected
    assert len(yard.audio_files()) == lines
    assert killer.hits >= kills / 2


@pytest.mark.timeout(300)
def test_sixty_kills_over_four_hundred_lines_lose_nothing(tmp_path):
    kill_loop(tmp_path, lines=400, kills=60, line_s=0.05)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_kills_over_ten_thousand_lines_lose_nothing(tmp_path):
    kill_loop(tmp_path, lines=10_000, kills=2_000, line_s=0.1)
