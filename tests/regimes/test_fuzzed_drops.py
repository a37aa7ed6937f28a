"""Whatever is dropped is accepted or refused with a reason; the watcher lives on, and nothing outside is touched."""

import random
from pathlib import Path

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from tests.regimes.fuzzing import drop_fuzzed, drop_hostile
from tests.runner.worker.bench import Bench, speak

SEED = 20_260_211


@pytest.fixture
def outside(tmp_path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.toml").write_text(speak("A secret."))
    (folder / "secret.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture
def instance(tmp_path) -> Instance:
    made = Instance(tmp_path / "instance", Settings(min_free_bytes=0, settle_s=0))
    made.prepare()
    return made


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def take_everything(scanner: InboxScanner, *, now_s: float) -> list:
    """Tick until nothing is left to wait for."""
    claimed = []
    for step in range(200):
        claimed += scanner.tick(now_s + step)
        if not scanner.busy:
            return claimed
    raise AssertionError("the inbox was never done with")


def answer(scanner: InboxScanner, claimed: list) -> None:
    for item in claimed:
        assert (item.spec is None) != (item.problem is None)
        assert item.problem is None or (item.problem.message and item.problem.code)
        scanner.release(item.claim_id, refused=item.problem is not None)


def test_every_hostile_entry_is_answered_and_nothing_outside_is_touched(instance, outside):
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    dropped = list(drop_hostile(instance.inbox, outside))
    scanner = InboxScanner(instance)
    claimed = take_everything(scanner, now_s=0.0)
    assert sorted(item.dropped_name for item in claimed) == sorted(dropped)
    answer(scanner, claimed)
    assert visible(instance.inbox) == visible(instance.claimed_dir) == []
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    (instance.inbox / "hello.toml").write_text(speak("Still alive."))
    assert len(scanner.tick(1000.0)) == 1


def fuzz(instance: Instance, *, count: int, at_once: int) -> dict[str, int]:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    scanner = InboxScanner(instance)
    tally = {"accepted": 0, "refused": 0}
    for first in range(0, count, at_once):
        wanted = drop_fuzzed(instance.inbox, chance, min(at_once, count - first))
        claimed = take_everything(scanner, now_s=first * 1000.0)
        assert len(claimed) == wanted
        answer(scanner, claimed)
        assert visible(instance.inbox) == visible(instance.claimed_dir) == []
        for item in claimed:
            tally["accepted" if item.spec is not None else "refused"] += 1
    return tally


def test_300_fuzzed_job_files_are_accepted_or_refused_with_a_reason(instance):
    tally = fuzz(instance, count=300, at_once=100)
    assert min(tally.values()) > 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_20_000_fuzzed_job_files_are_accepted_or_refused_with_a_reason(instance):
    tally = fuzz(instance, count=20_000, at_once=500)
    print(tally)
    assert sum(tally.values()) == 20_000


def test_a_runner_answers_hostile_and_fuzzed_drops_and_goes_on(tmp_path, outside, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(tmp_path / "bench")
    drop_fuzzed(bench.instance.inbox, random.Random(SEED + 1), 40)
    dropped = list(drop_hostile(bench.instance.inbox, outside))
    bench.run()
    assert visible(bench.instance.inbox) == []
    answered = visible(bench.instance.outbox)
    assert len(answered) == len(dropped)
    for name in answered:
        error = bench.receipt(name)["error"]
        assert error is None or (error["code"] != "internal" and error["message"]), (name, error)
    bench.drop("hello.toml", speak("Still alive."))
    bench.run()
    assert bench.status("hello") == "done"
    bench.context.database.close()
