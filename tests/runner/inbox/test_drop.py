"""What was dropped: attachments, whole folders, and entries that can be no job."""

import hashlib
import os
import time

import pytest

from runner.inbox.scanner import InboxScanner
from tests.regimes.fuzzing import make_socket
from tests.runner.inbox.dropping import LOCK, SPEAK, drop, settled, visible

ROOT_ONLY_SKIP = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


# ---- attachments -------------------------------------------------------------------------------------------------


def test_what_a_job_names_is_copied_into_its_claim_and_stays_for_others(scanner, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(scanner)
    assert claimed.referenced == {"elena.wav": hashlib.sha256(b"RIFF").hexdigest()}
    assert (claimed.folder / "elena.wav").read_text() == "RIFF"
    assert (inbox / "elena.wav").exists()
    assert scanner.folder_of(claimed.claim_id) == claimed.folder


def test_the_bytes_of_an_attachment_are_part_of_the_content(scanner, inbox):
    drop(inbox, "elena.wav", "one")
    drop(inbox, "lock.toml", LOCK)
    [first] = settled(scanner)
    drop(inbox, "elena.wav", "two")
    drop(inbox, "lock.toml", LOCK)
    [second] = settled(scanner, start_s=10)
    assert first.content_sha256 != second.content_sha256


def test_an_attachment_is_found_in_its_other_unicode_form_and_case(scanner, inbox):
    drop(inbox, "E\u0301lena.WAV", "RIFF")
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "\u00e9lena.wav"))
    [claimed] = settled(scanner)
    assert (claimed.folder / "\u00e9lena.wav").read_text() == "RIFF"


def test_a_job_waits_for_an_attachment_that_is_still_growing(scanner, inbox):
    drop(inbox, "lock.toml", LOCK)
    scanner.tick(0.0)
    path = drop(inbox, "elena.wav", "RI")
    assert scanner.tick(1.0) == []
    assert scanner.busy
    path.write_text("RIFF")
    assert scanner.tick(1.9) == scanner.tick(2.5) == []
    [claimed] = scanner.tick(2.9)
    assert (claimed.folder / "elena.wav").read_text() == "RIFF"


def test_a_job_waits_for_an_attachment_that_arrives_under_a_temporary_name(scanner, inbox):
    drop(inbox, "lock.toml", LOCK)
    part = drop(inbox, "elena.wav.part", "RIFF")
    assert settled(scanner) == scanner.tick(100.0) == []
    part.rename(inbox / "elena.wav")
    scanner.tick(101.0)
    assert len(scanner.tick(102.0)) == 1


def test_our_own_hidden_folders_are_no_file_that_is_arriving(scanner, inbox):
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "d"))
    settled(scanner)
    assert scanner.tick(2.0)[0].problem.code == "attachment-missing"


def test_a_job_whose_attachment_never_comes_is_refused(scanner, inbox):
    drop(inbox, "lock.toml", LOCK)
    assert settled(scanner) == []
    [claimed] = scanner.tick(2.0)
    assert claimed.problem.code == "attachment-missing"
    assert "'elena.wav'" in claimed.problem.message


def test_a_job_that_needs_a_waiting_one_is_not_taken_before_it_and_others_are(scanner, inbox):
    drop(inbox, "lock.toml", LOCK, mtime_s=1)
    drop(inbox, "speak.toml", mtime_s=2)
    drop(inbox, "other.toml", SPEAK.replace("elena", "marcus"), mtime_s=3)
    assert [claimed.stem for claimed in settled(scanner)] == ["other"]
    drop(inbox, "elena.wav", "RIFF")
    scanner.tick(1.5)
    assert [claimed.stem for claimed in scanner.tick(2.5)] == ["lock", "speak"]


def test_whoever_names_a_voice_waits_for_a_voice_file_that_is_still_arriving(scanner, inbox):
    drop(inbox, "bring.toml", 'kind = "import"\nfile = "her.prompt"\n', mtime_s=1)
    drop(inbox, "speak.toml", mtime_s=2)
    drop(inbox, "other.toml", SPEAK.replace("elena", "ryan"), mtime_s=3)
    assert [claimed.stem for claimed in settled(scanner)] == ["other"]
    drop(inbox, "her.prompt", "{}")
    scanner.tick(1.5)
    assert [claimed.stem for claimed in scanner.tick(2.5)] == ["bring", "speak"]


def test_attachments_that_nobody_names_become_orphans_after_a_day(scanner, inbox):
    drop(inbox, "elena.wav", "RIFF", mtime_s=1)
    now_s = time.time()
    scanner.tick(0.0, wall_s=now_s + 86_000)
    assert visible(inbox) == {"elena.wav"}
    scanner.tick(1.0, wall_s=now_s + 86_401)
    assert visible(inbox) == set()
    assert visible(inbox / ".orphans") == {"elena.wav"}


def test_an_old_attachment_stays_while_a_job_that_may_name_it_waits(scanner, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    late_s = time.time() + 90_000
    assert scanner.tick(0.0, wall_s=late_s) == []
    assert len(scanner.tick(1.0, wall_s=late_s)) == 1
    assert visible(inbox / ".orphans") == {"elena.wav"}


# ---- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_dropped_whole_is_one_job(scanner, inbox):
    drop(inbox, "scene/job.toml", LOCK)
    drop(inbox, "scene/elena.wav", "RIFF")
    [claimed] = settled(scanner)
    assert (claimed.stem, claimed.job_path.name) == ("scene", "job.toml")
    assert claimed.referenced == {"elena.wav": hashlib.sha256(b"RIFF").hexdigest()}
    assert (claimed.folder / "elena.wav").exists()
    assert scanner.folder_of(claimed.claim_id) == claimed.folder
    assert visible(inbox) == set()


def test_a_folder_settles_with_its_whole_tree(scanner, inbox):
    drop(inbox, "scene/job.toml", LOCK)
    deep = drop(inbox, "scene/elena.wav", "RI")
    scanner.tick(0.0)
    deep.write_text("RIFF")
    assert scanner.tick(1.0) == []
    assert len(scanner.tick(2.0)) == 1


def test_the_only_job_file_of_a_folder_may_have_any_name(scanner, inbox):
    drop(inbox, "x.toml/speech.json", '{"kind": "export", "voice": "elena"}')
    [claimed] = settled(scanner)
    assert (claimed.stem, claimed.job_path.name) == ("x", "speech.json")


@pytest.mark.parametrize("files", [(), ("readme.txt",), ("a.toml", "b.toml"), ("job.toml", "job.json")])
def test_a_folder_without_exactly_one_job_is_refused_and_kept(scanner, inbox, files):
    (inbox / "scene").mkdir()
    for name in files:
        drop(inbox, f"scene/{name}")
    scanner.tick(0.0)
    [claimed] = scanner.tick(11.0)
    assert claimed.problem.code == "entry-refused"
    scanner.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"scene"}


def test_a_folder_whose_files_a_job_names_waits_as_an_attachment(scanner, inbox):
    drop(inbox, "clips/elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "clips/elena.wav"))
    assert settled(scanner) == []  # a file below a folder is first looked at for its own sake
    [claimed] = scanner.tick(2.0)
    assert (claimed.folder / "clips" / "elena.wav").read_text() == "RIFF"
    assert scanner.tick(100.0) == []
    assert not scanner.busy


# ---- hostile entries ---------------------------------------------------------------------------------------------


def test_links_fifos_and_sockets_are_answered_and_removed(scanner, inbox, tmp_path):
    secret = drop(tmp_path, "secret.toml")
    (inbox / "link.toml").symlink_to(secret)
    (inbox / "loop").symlink_to(inbox / "loop")
    os.mkfifo(inbox / "fifo.toml")
    make_socket(inbox / "s.toml")
    answers = scanner.tick(0.0)
    assert {claimed.problem.code for claimed in answers} == {"entry-refused"}
    assert {claimed.stem for claimed in answers} == {"link", "loop", "fifo", "s"}
    for claimed in answers:
        scanner.release(claimed.claim_id, refused=True)
    assert visible(inbox) == visible(inbox / ".claimed") == set()
    assert not (inbox / ".rejected").exists()
    assert secret.read_text() == SPEAK


def test_a_name_that_is_no_utf8_is_refused(scanner, inbox):
    raw = os.fsdecode(b"bad\xff.toml")
    drop(inbox, raw)
    [claimed] = settled(scanner)
    assert (claimed.problem.code, claimed.stem) == ("entry-refused", "bad_")
    scanner.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {raw}


def test_two_unicode_forms_of_one_name_are_two_drops(scanner, inbox):
    drop(inbox, "\u00e9.toml", mtime_s=1)
    drop(inbox, "e\u0301.toml", mtime_s=2)
    assert [claimed.stem for claimed in settled(scanner)] == ["é", "é"]


def test_the_longest_name_a_disk_allows_is_taken(scanner, inbox):
    drop(inbox, "x" * 250 + ".toml")
    [claimed] = settled(scanner)
    assert claimed.spec is not None


@pytest.mark.parametrize("size_bytes", [0, 1 << 30])
def test_an_empty_and_a_giant_file_are_refused_without_reading_them(scanner, inbox, size_bytes):
    path = drop(inbox, "x.toml", "")
    os.truncate(path, size_bytes)
    [claimed] = settled(scanner)
    assert claimed.problem is not None
    scanner.release(claimed.claim_id, refused=True)


@pytest.mark.parametrize("kind", ["link", "linked folder", "fifo", "folder"])
def test_an_attachment_that_is_no_plain_file_is_refused(scanner, inbox, tmp_path, kind):
    drop(tmp_path, "outside/elena.wav", "secret")
    name = "sub/elena.wav" if kind == "linked folder" else "elena.wav"
    if kind == "link":
        (inbox / "elena.wav").symlink_to(tmp_path / "outside" / "elena.wav")
    elif kind == "linked folder":
        (inbox / "sub").symlink_to(tmp_path / "outside")
    elif kind == "fifo":
        os.mkfifo(inbox / "elena.wav")
    else:
        (inbox / "elena.wav").mkdir()
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", name))
    answers = [*scanner.tick(0.0), *scanner.tick(1.0), *scanner.tick(2.0), *scanner.tick(3.0)]
    refused = next(claimed for claimed in answers if claimed.stem == "lock")
    assert refused.problem is not None
    assert refused.referenced == {}


def test_a_link_inside_a_dropped_folder_is_not_followed(scanner, inbox, tmp_path):
    drop(inbox, "scene/job.toml", LOCK)
    (inbox / "scene" / "elena.wav").symlink_to(drop(tmp_path, "secret.wav", "secret"))
    [claimed] = settled(scanner)
    assert claimed.problem.code == "entry-refused"


def test_a_job_file_that_is_a_link_inside_a_folder_is_not_followed(scanner, inbox, tmp_path):
    (inbox / "scene").mkdir()
    (inbox / "scene" / "job.toml").symlink_to(drop(tmp_path, "secret.toml"))
    scanner.tick(0.0)
    [claimed] = scanner.tick(11.0)
    assert claimed.problem.code == "entry-refused"


@ROOT_ONLY_SKIP
def test_an_unreadable_file_is_refused(scanner, inbox):
    drop(inbox, "x.toml").chmod(0)
    [claimed] = settled(scanner)
    assert "Permission denied" in claimed.problem.message


def test_what_cannot_be_moved_is_answered_once_until_it_changes(instance, scanner, inbox, monkeypatch):
    drop(inbox, "x.toml")
    monkeypatch.setattr(os, "rename", _refuse_to_move)
    [claimed] = settled(scanner)
    assert "cannot be moved" in claimed.problem.message
    assert scanner.tick(2.0) == []
    scanner.release(claimed.claim_id, refused=True)
    assert settled(scanner, start_s=10) == settled(InboxScanner(instance), start_s=20) == []
    drop(inbox, "x.toml", SPEAK + "seed = 1\n")
    assert len(settled(scanner, start_s=30)) == 1


def _refuse_to_move(source, target, **_folders):
    raise PermissionError(1, "Operation not permitted", str(source), None, str(target))
