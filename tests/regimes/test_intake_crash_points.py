"""A runner that dies at any step of taking a drop in loses nothing and takes nothing twice."""

import os
from pathlib import Path

import pytest

from registry.durable_files import CRASH_EXIT_STATUS
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from tests.forked import run_program

LOCK = 'kind = "lock"\nvoice = "elena"\naudio = "elena.wav"\ntranscript = "Hi."\n'

PROGRAM = "import sys; from tests.regimes.test_intake_crash_points import take_in; take_in(sys.argv[1])"
POINTS = (
    "intake.folder-made",
    "intake.claim-renamed",
    "intake.claim-synced",
    "intake.attachments-copied",
    "intake.release-kept",
    "intake.orphan-moved",
)


@pytest.fixture
def root(tmp_path) -> Path:
    Instance(tmp_path, Settings()).prepare()
    (tmp_path / "ledger").mkdir()
    (tmp_path / "inbox" / "elena.wav").write_text("RIFF")
    (tmp_path / "inbox" / "a.toml").write_text(LOCK)
    (tmp_path / "inbox" / "bad.toml").write_text("?")
    return tmp_path


def take_in(root: str | Path) -> None:
    """Take everything in, write each claim down as a ledger would, and answer it."""
    ledger = Path(root) / "ledger"
    scanner = InboxScanner(Instance(Path(root), Settings(settle_s=0, min_free_bytes=0, orphan_after_s=0)))
    drops = scanner.recover(lambda claim_id: (ledger / claim_id).exists(), now_s=0.0)
    for now_s in (1.0, 2.0, 3.0):
        drops += scanner.tick(now_s)
    for drop in drops:
        (ledger / drop.claim_id).write_text(drop.dropped_name if drop.spec else "refused")
    for path in ledger.iterdir():
        scanner.release(path.name, refused=path.read_text() == "refused")


def die_at(root: Path, crash_at: str) -> int:
    project = Path(__file__).parents[2]
    environment = {**os.environ, "VOICEJOBS_CRASH_AT": crash_at, "PYTHONPATH": str(project)}
    return run_program(PROGRAM, str(root), environment=environment).returncode


@pytest.mark.parametrize("visit", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_step_loses_no_drop_and_doubles_none(root, point, visit):
    died = die_at(root, f"{point}:{visit}")
    assert died in (CRASH_EXIT_STATUS, 0)
    assert died or visit == 2
    take_in(root)
    take_in(root)
    assert sorted(path.read_text() for path in (root / "ledger").iterdir()) == ["a.toml", "refused"]
    assert list((root / "inbox" / ".claimed").iterdir()) == []
    kept = {path.name for path in (root / "inbox" / ".rejected").iterdir()}
    assert kept == {"bad.toml"}
    assert [path.name for path in (root / "inbox" / ".orphans").iterdir()] == ["elena.wav"]


def test_a_claim_that_is_taken_up_again_is_the_same_job(root):
    assert die_at(root, "intake.attachments-copied") == CRASH_EXIT_STATUS
    scanner = InboxScanner(Instance(root, Settings(settle_s=0, min_free_bytes=0)))
    found = {drop.dropped_name: drop for drop in scanner.recover(lambda _: False, now_s=0.0)}
    assert found["a.toml"].spec is not None
    assert (found["a.toml"].folder / "elena.wav").read_text() == "RIFF"
