"""What was dropped: attachments, whole folders, and entries that can be no job."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from runner.inbox.scanner import Intake
from tests.regimes.fuzzing import make_socket
from tests.runner.inbox.dropping import LOCK, SPEAK, drop, settled, visible

ROOT_ONLY_SKIP = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


# ---- attachments -------------------------------------------------------------------------------------------------


def test_what_a_job_names_is_copied_into_its_claim_and_stays_for_others(intake, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(intake)
    assert claimed.referenced == {"elena.wav": hashlib.sha256(b"RIFF").hexdigest()}
    assert (claimed.folder / "elena.wav").read_text() == "RIFF"
    assert (inbox / "elena.wav").exists()
    assert intake.folder_of(claimed.claim_id) == claimed.folder


def test_the_bytes_of_an_attachment_are_part_of_the_content(intake, inbox):
    drop(inbox, "elena.wav", "one")
    drop(inbox, "lock.toml", LOCK)
    [first] = settled(intake)
    drop(inbox, "elena.wav", "two")
    drop(inbox, "lock.toml", LOCK)
    [second] = settled(intake, start_s=10)
    assert first.content_sha256 != second.content_sha256


def test_an_attachment_is_found_in_its_other_unicode_form_and_case(intake, inbox):
    drop(inbox, "E\u0301lena.WAV", "RIFF")
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "\u00e9lena.wav"))
    [claimed] = settled(intake)
    assert (claimed.folder / "\u00e9lena.wav").read_text() == "RIFF"


def test_a_job_waits_for_an_attachment_that_is_still_growing(intake, inbox):
    drop(inbox, "lock.toml", LOCK)
    intake.tick(0.0)
    path = drop(inbox, "elena.wav", "RI")
    assert intake.tick(1.0) == []
    assert intake.busy
    path.write_text("RIFF")
    assert intake.tick(1.9) == intake.tick(2.5) == []
    [claimed] = intake.tick(2.9)
    assert (claimed.folder / "elena.wav").read_text() == "RIFF"


def test_a_job_waits_for_an_attachment_that_arrives_under_a_temporary_name(intake, inbox):
    drop(inbox, "lock.toml", LOCK)
    part = drop(inbox, "elena.wav.part", "RIFF")
    assert settled(intake) == intake.tick(100.0) == []
    part.rename(inbox / "elena.wav")
    intake.tick(101.0)
    assert len(intake.tick(102.0)) == 1


def test_our_own_hidden_folders_are_no_file_that_is_arriving(intake, inbox):
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "d"))
    settled(intake)
    assert intake.tick(2.0)[0].problem.code == "attachment-missing"


def test_a_job_whose_attachment_never_comes_is_refused(intake, inbox):
    drop(inbox, "lock.toml", LOCK)
    assert settled(intake) == []
    [claimed] = intake.tick(2.0)
    assert claimed.problem.code == "attachment-missing"
    assert "'elena.wav'" in claimed.problem.message


def test_a_job_that_needs_a_waiting_one_is_not_taken_before_it_and_others_are(intake, inbox):
    drop(inbox, "lock.toml", LOCK, mtime_s=1)
    drop(inbox, "speak.toml", mtime_s=2)
    drop(inbox, "other.toml", SPEAK.replace("elena", "marcus"), mtime_s=3)
    assert [claimed.stem for claimed in settled(intake)] == ["other"]
    drop(inbox, "elena.wav", "RIFF")
    intake.tick(1.5)
    assert [claimed.stem for claimed in intake.tick(2.5)] == ["lock", "speak"]


def test_whoever_names_a_voice_waits_for_a_voice_file_that_is_still_arriving(intake, inbox):
    drop(inbox, "bring.toml", 'kind = "import"\nfile = "her.prompt"\n', mtime_s=1)
    drop(inbox, "speak.toml", mtime_s=2)
    drop(inbox, "other.toml", SPEAK.replace("elena", "ryan"), mtime_s=3)
    assert [claimed.stem for claimed in settled(intake)] == ["other"]
    drop(inbox, "her.prompt", "{}")
    intake.tick(1.5)
    assert [claimed.stem for claimed in intake.tick(2.5)] == ["bring", "speak"]


def test_attachments_that_nobody_names_become_orphans_after_a_day(intake, inbox):
    drop(inbox, "elena.wav", "RIFF", mtime_s=1)
    now_s = time.time()
    intake.tick(0.0, wall_s=now_s + 86_000)
    assert visible(inbox) == {"elena.wav"}
    intake.tick(1.0, wall_s=now_s + 86_401)
    assert visible(inbox) == set()
    assert visible(inbox / ".orphans") == {"elena.wav"}


def test_an_old_attachment_stays_while_a_job_that_may_name_it_waits(intake, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    late_s = time.time() + 90_000
    assert intake.tick(0.0, wall_s=late_s) == []
    assert len(intake.tick(1.0, wall_s=late_s)) == 1
    assert visible(inbox / ".orphans") == {"elena.wav"}


# ---- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_dropped_whole_is_one_job(intake, inbox):
    drop(inbox, "scene/job.toml", LOCK)
    drop(inbox, "scene/elena.wav", "RIFF")
    [claimed] = settled(intake)
    assert (claimed.stem, claimed.job_path.name) == ("scene", "job.toml")
    assert claimed.referenced == {"elena.wav": hashlib.sha256(b"RIFF").hexdigest()}
    assert (claimed.folder / "elena.wav").exists()
    assert intake.folder_of(claimed.claim_id) == claimed.folder
    assert visible(inbox) == set()


def test_a_folder_settles_with_its_whole_tree(intake, inbox):
    drop(inbox, "scene/job.toml", LOCK)
    deep = drop(inbox, "scene/elena.wav", "RI")
    intake.tick(0.0)
    deep.write_text("RIFF")
    assert intake.tick(1.0) == []
    assert len(intake.tick(2.0)) == 1


def test_the_only_job_file_of_a_folder_may_have_any_name(intake, inbox):
    drop(inbox, "x.toml/speech.json", '{"kind": "export", "voice": "elena"}')
    [claimed] = settled(intake)
    assert (claimed.stem, claimed.job_path.name) == ("x", "speech.json")


@pytest.mark.parametrize("files", [(), ("readme.txt",), ("a.toml", "b.toml"), ("job.toml", "job.json")])
def test_a_folder_without_exactly_one_job_is_refused_and_kept(intake, inbox, files):
    (inbox / "scene").mkdir()
    for name in files:
        drop(inbox, f"scene/{name}")
    intake.tick(0.0)
    [claimed] = intake.tick(11.0)
    assert claimed.problem.code == "entry-refused"
    intake.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"scene"}


def test_a_folder_whose_files_a_job_names_waits_as_an_attachment(intake, inbox):
    drop(inbox, "clips/elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK.replace("elena.wav", "clips/elena.wav"))
    assert settled(intake) == []  # a file below a folder is first looked at for its own sake
    [claimed] = intake.tick(2.0)
    assert (claimed.folder / "clips" / "elena.wav").read_text() == "RIFF"
    assert intake.tick(100.0) == []
    assert not intake.busy


# ---- hostile entries ---------------------------------------------------------------------------------------------


def test_links_fifos_and_sockets_are_answered_and_removed(intake, inbox, tmp_path):
    secret = drop(tmp_path, "secret.toml")
    (inbox / "link.toml").symlink_to(secret)
    (inbox / "loop").symlink_to(inbox / "loop")
    os.mkfifo(inbox / "fifo.toml")
    make_socket(inbox / "s.toml")
    answers = intake.tick(0.0)
    assert {claimed.problem.code for claimed in answers} == {"entry-refused"}
    assert {claimed.stem for claimed in answers} == {"link", "loop", "fifo", "s"}
    for claimed in answers:
        intake.release(claimed.claim_id, refused=True)
    assert visible(inbox) == visible(inbox / ".claimed") == set()
    assert not (inbox / ".rejected").exists()
    assert secret.read_text() == SPEAK


def test_a_name_that_is_no_utf8_is_refused(intake, inbox):
    raw = os.fsdecode(b"bad\xff.toml")
    drop(inbox, raw)
    [claimed] = settled(intake)
    assert (claimed.problem.code, claimed.stem) == ("entry-refused", "bad_")
    intake.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {raw}


def test_two_unicode_forms_of_one_name_are_two_drops(intake, inbox):
    drop(inbox, "\u00e9.toml", mtime_s=1)
    drop(inbox, "e\u0301.toml", mtime_s=2)
    assert [claimed.stem for claimed in settled(intake)] == ["é", "é"]


def test_the_longest_name_a_disk_allows_is_taken(intake, inbox):
    drop(inbox, "x" * 250 + ".toml")
    [claimed] = settled(intake)
    assert claimed.spec is not None


@pytest.mark.parametrize("size_bytes", [0, 1 << 30])
def test_an_empty_and_a_giant_file_are_refused_without_reading_them(intake, inbox, size_bytes):
    path = drop(inbox, "x.toml", "")
    os.truncate(path, size_bytes)
    [claimed] = settled(intake)
    assert claimed.problem is not None
    intake.release(claimed.claim_id, refused=True)


@pytest.mark.parametrize("kind", ["link", "linked folder", "fifo", "folder"])
def test_an_attachment_that_is_no_plain_file_is_refused(intake, inbox, tmp_path, kind):
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
    answers = [*intake.tick(0.0), *intake.tick(1.0), *intake.tick(2.0), *intake.tick(3.0)]
    refused = next(claimed for claimed in answers if claimed.stem == "lock")
    assert refused.problem is not None
    assert refused.referenced == {}


def test_a_link_inside_a_dropped_folder_is_not_followed(intake, inbox, tmp_path):
    drop(inbox, "scene/job.toml", LOCK)
    (inbox / "scene" / "elena.wav").symlink_to(drop(tmp_path, "secret.wav", "secret"))
    [claimed] = settled(intake)
    assert claimed.problem.code == "entry-refused"


def test_a_job_file_that_is_a_link_inside_a_folder_is_not_followed(intake, inbox, tmp_path):
    (inbox / "scene").mkdir()
    (inbox / "scene" / "job.toml").symlink_to(drop(tmp_path, "secret.toml"))
    intake.tick(0.0)
    [claimed] = intake.tick(11.0)
    assert claimed.problem.code == "entry-refused"


@ROOT_ONLY_SKIP
def test_an_unreadable_file_is_refused(intake, inbox):
    drop(inbox, "x.toml").chmod(0)
    [claimed] = settled(intake)
    assert "Permission denied" in claimed.problem.message


def test_what_cannot_be_moved_is_answered_once_until_it_changes(instance, intake, inbox, monkeypatch):
    drop(inbox, "x.toml")
    monkeypatch.setattr(Path, "rename", _refuse_to_move)
    [claimed] = settled(intake)
    assert "cannot be moved" in claimed.problem.message
    assert intake.tick(2.0) == []
    intake.release(claimed.claim_id, refused=True)
    assert settled(intake, start_s=10) == settled(Intake(instance), start_s=20) == []
    drop(inbox, "x.toml", SPEAK + "seed = 1\n")
    assert len(settled(intake, start_s=30)) == 1


def _refuse_to_move(self, target):
    raise PermissionError(1, "Operation not permitted", str(self), None, str(target))
