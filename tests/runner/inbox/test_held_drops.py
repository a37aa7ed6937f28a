"""Drops that somebody is still writing, changes after they were claimed, or puts links and FIFOs into."""

import fcntl
import os
import signal
import sys

import pytest

from runner.held_folders import Folder, remove_tree
from runner.inbox.open_files import OpenFiles
from runner.inbox.scanner import InboxScanner
from tests.runner.inbox.dropping import LOCK, SPEAK, drop, settled, visible

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux who writes a file")

SPEAK_FILE = 'kind = "synthesize"\nvoice = "elena"\ntext_file = "text.txt"\n'


def drop_folder(inbox, text="One."):
    drop(inbox, "book/job.toml", SPEAK_FILE)
    return drop(inbox, "book/text.txt", text)


def held(folder):
    """A descriptor of a folder, as a dropper may keep it."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


# ---- open for writing --------------------------------------------------------------------------------------------


def test_a_file_that_is_open_for_writing_is_not_taken_however_still_it_lies(scanner, inbox):
    with drop(inbox, "hello.toml").open("a") as writer:
        assert settled(scanner, wait_s=60) == []
        assert scanner.busy
        writer.write("# more\n")
    [claimed] = settled(scanner, start_s=61)
    assert claimed.job_path.read_text() == SPEAK + "# more\n"


def test_a_move_event_does_not_prove_whole_what_is_open_for_writing(scanner, inbox):
    with (inbox / ".hello.tmp").open("w") as writer:
        writer.write(SPEAK)
        writer.flush()
        scanner.tick(0.0)
        (inbox / ".hello.tmp").rename(inbox / "hello.toml")
        scanner.note_moved("hello.toml")
        assert scanner.tick(0.1) == scanner.tick(5.0) == []
    assert len(scanner.tick(6.0)) == 1


@pytest.mark.parametrize("name", ["job.toml", "text.txt", "unnamed/notes.md", ".part.tmp"])
def test_a_folder_waits_while_any_file_in_it_is_open_for_writing(scanner, inbox, name):
    drop_folder(inbox)
    (inbox / "book" / "unnamed").mkdir()
    with (inbox / "book" / name).open("a"):
        assert settled(scanner, wait_s=60) == []
    assert len(scanner.tick(70.0)) == 1


def test_an_attachment_that_is_open_for_writing_is_waited_for(scanner, inbox):
    drop(inbox, "lock.toml", LOCK)
    with (inbox / "elena.wav").open("w") as writer:
        writer.write("RI")
        writer.flush()
        assert settled(scanner, wait_s=60) == []
        writer.write("FF")
    [claimed] = settled(scanner, start_s=70)
    assert (claimed.folder / "elena.wav").read_text() == "RIFF"


def test_a_file_that_is_only_read_by_others_is_taken(scanner, inbox):
    with drop(inbox, "hello.toml").open():
        assert len(settled(scanner)) == 1


def test_others_are_taken_while_one_is_written_and_the_log_names_it_once(scanner, inbox, caplog):
    caplog.set_level("INFO")
    with drop(inbox, "a.toml").open("a"):
        drop(inbox, "b.toml")
        [claimed] = settled(scanner)
        for now_s in range(5, 20):
            scanner.tick(float(now_s))
    assert claimed.dropped_name == "b.toml"
    assert caplog.text.count("a.toml waits: a program still has it open for writing") == 1


def test_a_file_that_is_never_finished_does_not_keep_a_run_that_ends_by_itself(scanner, inbox):
    with drop(inbox, "a.toml").open("a"):
        for now_s in range(0, 700, 50):
            scanner.tick(float(now_s))
        assert not scanner.busy


def test_a_look_leaves_no_lease_and_a_writer_meanwhile_kills_nobody(tmp_path):
    path = drop(tmp_path, "a.toml")
    assert OpenFiles(tmp_path).written(Folder(tmp_path), "a.toml") is None
    descriptor = os.open(path, os.O_RDONLY)
    assert fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    os.close(descriptor)
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL  # our leases tell by a signal that harms nobody


# ---- changed after the claim -------------------------------------------------------------------------------------


def test_a_claimed_file_that_its_dropper_goes_on_writing_is_what_it_was(scanner, inbox, caplog):
    path = drop(inbox, "hello.toml")
    reader = os.open(path, os.O_RDONLY)
    [claimed] = settled(scanner)
    with open(f"/proc/self/fd/{reader}", "a") as writer:  # noqa: PTH123 - the file, wherever it is now
        writer.write("# the rest\n")
    assert claimed.job_path.read_text() == SPEAK
    assert scanner.changes(claimed.claim_id)[0].startswith("hello.toml changed after it had been read")
    scanner.release(claimed.claim_id)
    assert (inbox / ".rejected" / "hello.toml").read_text() == SPEAK + "# the rest\n"
    assert "hello.toml was changed after it had been read" in caplog.text
    os.close(reader)


@pytest.mark.parametrize("name", ["job.toml", "text.txt", "later/more.txt"])
def test_a_claimed_folder_that_is_changed_is_kept_and_the_copy_is_used(scanner, inbox, name):
    drop_folder(inbox)
    (inbox / "book" / "later").mkdir()
    folder = held(inbox / "book")
    [claimed] = settled(scanner)
    with open(name, "a", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as writer:
        writer.write("And the rest.")
    assert (claimed.folder / "text.txt").read_text() == "One."
    assert scanner.changes(claimed.claim_id)[0].startswith(f"book/{name} changed")
    scanner.release(claimed.claim_id)
    assert (inbox / ".rejected" / "book" / name).read_text().endswith("And the rest.")
    assert visible(inbox / ".claimed") == set()
    os.close(folder)


def test_what_was_only_touched_or_not_changed_is_deleted_with_its_claim(scanner, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    drop_folder(inbox)
    drop(inbox, "book/notes.md", "not read by anybody")
    for claimed in settled(scanner):
        for path in (inbox / ".claimed" / claimed.claim_id).rglob("*"):
            os.utime(path, (1, 1))
        assert scanner.changes(claimed.claim_id) == []
        scanner.release(claimed.claim_id)
    assert not (inbox / ".rejected").exists()


def test_an_attachment_that_is_changed_after_its_copy_is_named_and_stays(scanner, inbox):
    attachment = drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(scanner)
    attachment.write_text("RIFF and more")
    assert [change.split(" changed")[0] for change in scanner.changes(claimed.claim_id)] == ["elena.wav"]
    scanner.release(claimed.claim_id)
    assert attachment.read_text() == "RIFF and more"


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_links_and_fifos_swapped_in_after_the_claim_change_nothing(scanner, inbox, tmp_path, kind):
    secret = drop(tmp_path, "secret.txt", "the secret")
    drop_folder(inbox)
    folder = held(inbox / "book")
    [claimed] = settled(scanner)
    os.unlink("text.txt", dir_fd=folder)
    os.symlink(secret, "text.txt", dir_fd=folder) if kind == "link" else os.mkfifo("text.txt", dir_fd=folder)
    assert (claimed.folder / "text.txt").read_text() == "One."
    assert scanner.changes(claimed.claim_id) == []
    scanner.release(claimed.claim_id)
    assert visible(inbox / ".claimed") == set()
    assert secret.read_text() == "the secret"
    os.close(folder)


def test_the_copies_are_for_the_runners_user_alone_and_go_with_the_claim(instance, scanner, inbox):
    drop_folder(inbox)
    [claimed] = settled(scanner)
    assert instance.claim_copies_dir.stat().st_mode & 0o777 == 0o700
    assert claimed.folder.is_relative_to(instance.claim_copies_dir)
    scanner.release(claimed.claim_id)
    assert list(instance.claim_copies_dir.iterdir()) == []


def test_copies_whose_claim_is_gone_are_found_and_released(instance, scanner, inbox):
    drop_folder(inbox)
    [claimed] = settled(scanner)
    with (Folder(inbox) / ".claimed").held() as folder:
        remove_tree(claimed.claim_id, dir_fd=folder)
    assert scanner.claim_ids() == [claimed.claim_id]
    scanner.release(claimed.claim_id)
    assert InboxScanner(instance).claim_ids() == []


# ---- folders of ours that neighbours replace ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [".claimed", ".rejected", ".orphans"])
def test_nothing_is_moved_through_a_link_in_the_place_of_our_folder(scanner, inbox, tmp_path, name):
    (tmp_path / "private").mkdir()
    (inbox / name).symlink_to(tmp_path / "private")
    drop(inbox, "bad.toml", "?")
    drop(inbox, "authorized_keys", "a key")
    for claimed in settled(scanner):
        scanner.release(claimed.claim_id, refused=True)
    scanner.tick(3.0, wall_s=2**33)
    assert list((tmp_path / "private").iterdir()) == []
    assert (scanner.problem is not None) == (name == ".claimed")


def test_a_tree_of_any_depth_is_removed_and_links_in_it_are_not_followed(tmp_path):
    kept = drop(tmp_path, "kept/file.txt", "kept")
    folder = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=folder)
    inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
    os.symlink(kept.parent, "link", dir_fd=inner)
    for _ in range(1_500):
        os.mkdir("d", dir_fd=inner)
        below = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.close(inner)
    remove_tree("deep", dir_fd=folder)
    os.close(folder)
    assert not (tmp_path / "deep").exists()
    assert kept.read_text() == "kept"


# ---- permissions -------------------------------------------------------------------------------------------------


def refuse_to_move(monkeypatch):
    def rename(source, *_places, **_folders):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(os, "rename", rename)


@pytest.mark.parametrize("mended", ["hello.toml", "book", "book/text.txt", ".", ".claimed"])
def test_an_entry_refused_for_its_permissions_is_seen_again_when_they_change(scanner, inbox, monkeypatch, mended):
    name = "book" if mended.startswith("book") else "hello.toml"
    drop_folder(inbox) if name == "book" else drop(inbox, name)
    (inbox / ".claimed").mkdir()
    with monkeypatch.context() as patch:
        refuse_to_move(patch)
        [refused] = settled(scanner)
        assert "Permission denied" in refused.problem.message
        assert settled(scanner, start_s=5) == []
        scanner.release(refused.claim_id, refused=True)
    assert settled(scanner, start_s=10) == []
    (inbox / mended).chmod(0o740)
    [claimed] = [*scanner.tick(15.0), *scanner.tick(16.0)]
    assert (claimed.dropped_name, claimed.problem) == (name, None)
