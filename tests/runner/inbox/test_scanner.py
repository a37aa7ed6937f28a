"""The inbox: what settles, what is claimed and in which order, and what outlives a crash."""

import hashlib
import os
import shutil
import time

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from runner.jobfile.specs import ImportSpec
from tests.runner.inbox.dropping import LOCK, SPEAK, drop, settled, visible

# ---- the settle rule ---------------------------------------------------------------------------------------------


def test_a_file_is_taken_once_it_was_still_for_settle_s(scanner, inbox):
    drop(inbox, "hello.toml")
    assert scanner.tick(10.0) == []
    assert scanner.tick(10.9) == []
    [claimed] = scanner.tick(11.0)
    assert (claimed.dropped_name, claimed.stem, claimed.spec.text) == ("hello.toml", "hello", "Hello.")
    assert visible(inbox) == set()


def test_a_file_that_grows_waits_from_its_last_change(scanner, inbox):
    path = drop(inbox, "hello.toml", SPEAK[:-1])
    scanner.tick(0.0)
    with path.open("a") as file:
        file.write("\n")
    assert scanner.tick(1.0) == []
    assert scanner.tick(1.9) == []
    assert len(scanner.tick(2.0)) == 1


def test_a_file_that_a_move_event_names_is_taken_at_once(scanner, inbox):
    drop(inbox, "hello.toml")
    scanner.note_moved("hello.toml")
    assert len(scanner.tick(0.0)) == 1


@pytest.mark.parametrize("temporary", [".hello.toml", "hello.toml.part", "x.tmp", ".x1Y2"])
def test_a_file_seen_before_under_a_temporary_name_is_taken_at_once(scanner, inbox, temporary):
    path = drop(inbox, temporary, "half")
    assert scanner.tick(0.0) == []
    path.write_text(SPEAK)
    path.rename(inbox / "hello.toml")
    assert len(scanner.tick(0.5)) == 1


def test_a_new_file_is_not_taken_for_the_temporary_one_that_still_lies_there(scanner, inbox):
    drop(inbox, ".hello.toml.swp")
    scanner.tick(0.0)
    os.link(inbox / ".hello.toml.swp", inbox / "hello.toml")
    assert scanner.tick(0.5) == []


def test_a_moved_file_that_is_written_to_afterwards_has_to_settle(scanner, inbox):
    drop(inbox, "hello.toml")
    scanner.tick(0.0)
    scanner.note_moved("other.toml")
    drop(inbox, "hello.toml", SPEAK + "seed = 1\n")
    assert scanner.tick(0.5) == []


@pytest.mark.parametrize(
    "name",
    [".hidden.toml", "a.toml~", "#a.toml#", ".#a.toml", "a.toml.swp", "a.toml.part", "a.toml.tmp", "~$a.toml", "4913",
     "a.crdownload", "Thumbs.db", "desktop.ini", ".DS_Store", "._a.toml", "a.toml.bak", "a.toml.sb-1a2b3c4d-AbCdEf"],
)  # fmt: skip
def test_litter_of_editors_sync_tools_and_systems_is_ignored(scanner, inbox, name):
    drop(inbox, name)
    assert settled(scanner) == []
    assert not scanner.busy
    assert (inbox / name).exists()


def test_nothing_in_the_inbox_means_nothing_to_wait_for(scanner, inbox):
    scanner.tick(0.0)
    assert not scanner.busy
    assert scanner.next_look_s(0.0) >= 2.0
    drop(inbox, "hello.toml")
    scanner.tick(1.0)
    assert scanner.busy
    assert scanner.next_look_s(1.25) == pytest.approx(0.75)


# ---- claiming ----------------------------------------------------------------------------------------------------


def test_drops_are_claimed_in_the_order_of_mtime_then_name(scanner, inbox):
    for name, mtime_s in (("b", 200), ("c", 100), ("a", 200), ("future", 4_000_000_000)):
        drop(inbox, f"{name}.toml", mtime_s=mtime_s)
    assert [claimed.stem for claimed in settled(scanner)] == ["c", "a", "b", "future"]
    assert scanner.claim_ids() == sorted(scanner.claim_ids())


def test_the_claimed_file_keeps_its_bytes_and_name_until_it_is_released(scanner, inbox):
    drop(inbox, "Hello World.TOML", SPEAK + "# note\n")
    [claimed] = settled(scanner)
    assert claimed.job_path.name == "Hello World.TOML"
    assert claimed.job_path.read_text() == SPEAK + "# note\n"
    assert (inbox / ".claimed" / claimed.claim_id / "Hello World.TOML").exists()
    scanner.release(claimed.claim_id)
    assert scanner.claim_ids() == []
    scanner.release(claimed.claim_id)


def test_a_full_inbox_is_claimed_in_several_ticks_and_in_order(scanner, inbox):
    for index in range(300):
        drop(inbox, f"job-{index:03d}.toml", mtime_s=1_000 + index)
    names = [claimed.stem for claimed in settled(scanner)]
    names += [claimed.stem for claimed in scanner.tick(1.1)]
    assert names == [f"job-{index:03d}" for index in range(300)]


def test_equal_jobs_have_equal_content_whatever_their_spelling(scanner, inbox):
    drop(inbox, "a.toml")
    drop(inbox, "b.json", '{"voice": "elena", "kind": "synthesize", "text": "Hello."}')
    drop(inbox, "c.toml", SPEAK + "seed = 1\n")
    first, second, third = settled(scanner)
    assert first.content_sha256 == second.content_sha256 != third.content_sha256


def test_an_invalid_job_is_claimed_with_the_problem(scanner, inbox):
    drop(inbox, "hello.toml", SPEAK + "sede = 1")
    [claimed] = settled(scanner)
    assert claimed.spec is None
    assert "hello.toml, line 4" in claimed.problem.message
    scanner.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"hello.toml"}


def test_refused_files_of_one_name_are_all_kept(scanner, inbox):
    for start_s in (0, 10, 20):
        drop(inbox, "hello.toml", "x")
        [claimed] = settled(scanner, start_s=start_s)
        scanner.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"hello.toml", "hello-2.toml", "hello-3.toml"}


def test_nothing_is_claimed_while_the_disk_is_short_and_it_goes_on_by_itself(instance, inbox, caplog):
    short = InboxScanner(Instance(instance.root, Settings(min_free_bytes=2**62)))
    drop(inbox, "hello.toml")
    assert settled(short) == short.tick(2.0) == []
    assert "min_free_bytes" in short.problem.message
    assert len(caplog.records) == 1
    assert visible(inbox) == {"hello.toml"}


def test_a_voice_file_is_an_import_job(scanner, inbox):
    drop(inbox, "Élena.vox", "PK")
    [claimed] = settled(scanner)
    assert isinstance(claimed.spec, ImportSpec)
    assert claimed.job_path.name == "Élena.vox"
    assert claimed.referenced == {"Élena.vox": hashlib.sha256(b"PK").hexdigest()}
    assert (claimed.folder / "Élena.vox").read_bytes() == b"PK"
    assert scanner.folder_of(claimed.claim_id) == claimed.folder


def test_the_inbox_forgets_names_only_when_their_claims_are_durable(scanner, inbox, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(os.fstat(descriptor).st_ino)))
    for number in range(3):
        drop(inbox, f"{number}.toml")
    settled(scanner)
    claims = {path.stat().st_ino for path in (inbox / ".claimed").iterdir()}
    forgotten = len(synced) - synced[::-1].index(inbox.stat().st_ino)
    assert claims <= set(synced[: forgotten - 1])


def test_a_drop_is_told_of_when_the_copies_of_it_are_durable(scanner, inbox, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(os.fstat(descriptor).st_ino)))
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(scanner)
    copies = (claimed.job_path, claimed.job_path.parent, claimed.folder / "elena.wav", claimed.folder)
    assert {path.stat().st_ino for path in copies} <= set(synced)


def test_nobody_is_told_of_a_claim_that_a_power_cut_could_undo(scanner, inbox, monkeypatch):
    drop(inbox, "hello.toml")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fail)
        assert settled(scanner) == scanner.tick(2.0) == []
        assert "durable" in scanner.problem.message
        assert scanner.busy
    assert len(scanner.tick(3.0)) == 1
    assert scanner.problem is None


def _fail(_descriptor):
    raise OSError(5, "Input/output error")


# ---- restarts and lost inboxes -----------------------------------------------------------------------------------


def test_a_claim_that_was_never_recorded_is_taken_up_by_the_next_runner(instance, scanner, inbox):
    drop(inbox, "a.toml", mtime_s=1)
    drop(inbox, "b.toml", mtime_s=2)
    first, second = settled(scanner)
    again = InboxScanner(instance).recover(lambda claim_id: claim_id == first.claim_id)
    assert again == [second]


def test_an_empty_claim_of_a_dead_runner_is_removed(instance, inbox):
    (inbox / ".claimed" / f"{1:020d}-00000000").mkdir(parents=True)
    assert InboxScanner(instance).recover(lambda _: False) == []
    assert visible(inbox / ".claimed") == set()


def test_an_attachment_copied_before_the_crash_is_used_after_it(instance, scanner, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(scanner)
    (inbox / "elena.wav").unlink()
    assert InboxScanner(instance).recover(lambda _: False) == [claimed]


def test_an_inbox_that_vanishes_and_comes_back_is_watched_again(scanner, inbox):
    drop(inbox, "a.toml")
    scanner.tick(0.0)
    away = inbox.rename(inbox.with_name("away"))
    assert scanner.tick(1.0) == []
    assert "cannot be read" in scanner.problem.message
    assert not inbox.exists()
    away.rename(inbox)
    assert scanner.tick(2.0) == []
    assert len(scanner.tick(3.0)) == 1
    assert scanner.problem is None


def test_claims_in_a_vanished_inbox_are_taken_up_when_it_is_back(scanner, inbox):
    drop(inbox, "lock.toml", LOCK)
    scanner.recover(lambda _: False)
    settled(scanner)
    away = inbox.rename(inbox.with_name("away"))
    scanner.tick(2.0)
    away.rename(inbox)
    drop(inbox, "elena.wav", "RIFF")
    scanner.tick(3.0)
    assert [claimed.stem for claimed in scanner.tick(4.0)] == ["lock"]


def test_a_file_taken_back_in_time_is_nobodys_job(scanner, inbox):
    path = drop(inbox, "a.toml")
    scanner.tick(0.0)
    path.unlink()
    assert scanner.tick(1.0) == []
    assert not scanner.busy


@pytest.mark.bench
def test_ten_thousand_waiting_files_are_scanned_within_a_second(scanner, inbox):
    for index in range(10_000):
        (inbox / f"{index}.wav").touch()
    scanner.tick(0.0)
    started_s = time.monotonic()
    scanner.tick(1.0)
    assert time.monotonic() - started_s < 1.0
    shutil.rmtree(inbox)
