"""A script whose runner dies again and again ends as one that nobody disturbed: no voice twice, no line twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from registry.durable_files import CRASH_EXIT_STATUS
from tests.regimes.yard import Yard, sha256

PLAY = "INT. HOUSE\n\n" + "".join(
    f"{name}\n{name.title()} says number {number}.\n\n" for number in range(4) for name in ("ANNA", "BOB")
)


def drop(yard: Yard, text: str, *, more: str = "") -> None:
    hidden = yard.inbox / ".play.tmp"
    hidden.mkdir()
    (hidden / "play.fountain").write_text(text, encoding="utf-8")
    keys = 'kind = "script"\nsource = "play.fountain"\nmodel = "tests.engines.noop:open_slow_engine"\ncandidates = 2\n'
    (hidden / "job.toml").write_text(keys + more, encoding="utf-8")
    hidden.rename(yard.inbox / "play")


def made(yard: Yard) -> dict[str, str]:
    """Audio file → its SHA-256, of everything in the outbox."""
    return {str(path.relative_to(yard.outbox)): sha256(path) for path in sorted(yard.outbox.glob("*/*.wav"))}


def undisturbed(folder: Path, text: str, *, more: str = "") -> dict[str, str]:
    yard = Yard(folder)
    drop(yard, text, more=more)
    assert yard.drain(timeout_s=1_800) == 0
    return made(yard)


def test_a_death_between_any_two_steps_loses_and_doubles_nothing(tmp_path):
    master = '[master]\nformats = ["wav"]\npreset = "podcast"\n'
    yard = Yard(tmp_path / "crashed")
    drop(yard, PLAY, more=master)
    of_the_script = ("scripts.files-published:1", "scripts.step-committed:2")
    of_the_book = ("masters.file-published:1", "masters.outcome-committed:1")
    for crash in (*of_the_script, *of_the_book):
        assert yard.drain(VOICEJOBS_CRASH_AT=crash) == CRASH_EXIT_STATUS
    assert yard.drain() == 0
    assert yard.receipts()["play"]["status"] == "done"
    assert made(yard) == undisturbed(tmp_path / "calm", PLAY, more=master)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_screenplay_of_forty_parts_killed_fifty_times_is_as_if_nothing_had_been(tmp_path):
    names = [f"PART {chr(65 + number // 10)}{chr(65 + number % 10)}" for number in range(40)]
    text = "".join(
        f"INT. SCENE {scene}\n\n" + "".join(f"{names[(scene + n) % 40]}\nLine {n} of {scene}.\n\n" for n in range(100))
        for scene in range(20)
    )
    expected = undisturbed(tmp_path / "calm", text)
    yard, chance = Yard(tmp_path / "killed"), random.Random(7)
    drop(yard, text)
    for _ in range(50):
        runner = yard.start("run")
        time.sleep(chance.uniform(0.5, 3.0))
        runner.kill()
        runner.wait()
    assert yard.drain(timeout_s=1_800) == 0
    assert yard.receipts()["play"]["status"] == "done"
    assert made(yard) == expected
