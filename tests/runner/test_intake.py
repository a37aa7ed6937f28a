"""The inbox: what settles, what is claimed in which order, and what is refused."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from runner.instance import Instance
from runner.intake import Intake
from runner.jobfile import ImportSpec
from runner.settings import Settings
from tests.regimes.fuzzing import make_socket

SPEAK = 'kind = "synthesize"\nvoice = "elena"\ntext = "Hello."\n'
LOCK = 'kind = "lock"\nvoice = "elena"\naudio = "elena.wav"\ntranscript = "Hi."\n'
ROOT_ONLY_SKIP = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


@pytest.fixture
def instance(tmp_path) -> Instance:
    made = Instance(tmp_path, Settings(min_free_bytes=0))
    made.prepare()
    return made


@pytest.fixture
def inbox(instance) -> Path:
    return instance.inbox


@pytest.fixture
def intake(instance) -> Intake:
    return Intake(instance)


def drop(inbox: Path, name: str, content: str = SPEAK, *, mtime_s: float | None = None) -> Path:
    path = inbox / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))
    return path


def settled(intake: Intake, *, start_s: float = 0.0, wait_s: float = 1.0):
    intake.tick(start_s)
    return intake.tick(start_s + wait_s)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


# ---- the settle rule ---------------------------------------------------------------------------------------------


def test_a_file_is_taken_once_it_was_still_for_settle_s(intake, inbox):
    drop(inbox, "hello.toml")
    assert intake.tick(10.0) == []
    assert intake.tick(10.9) == []
    [claimed] = intake.tick(11.0)
    assert (claimed.dropped_name, claimed.stem, claimed.spec.text) == ("hello.toml", "hello", "Hello.")
    assert visible(inbox) == set()


def test_a_file_that_grows_waits_from_its_last_change(intake, inbox):
    path = drop(inbox, "hello.toml", SPEAK[:-1])
    intake.tick(0.0)
    with path.open("a") as file:
        file.write("\n")
    assert intake.tick(1.0) == []
    assert intake.tick(1.9) == []
    assert len(intake.tick(2.0)) == 1


def test_a_file_that_a_move_event_names_is_taken_at_once(intake, inbox):
    drop(inbox, "hello.toml")
    intake.note_moved("hello.toml")
    assert len(intake.tick(0.0)) == 1


@pytest.mark.parametrize("temporary", [".hello.toml", "hello.toml.part", "x.tmp", ".x1Y2"])
def test_a_file_seen_before_under_a_temporary_name_is_taken_at_once(intake, inbox, temporary):
    path = drop(inbox, temporary, "half")
    assert intake.tick(0.0) == []
    path.write_text(SPEAK)
    path.rename(inbox / "hello.toml")
    assert len(intake.tick(0.5)) == 1


def test_a_new_file_is_not_taken_for_the_temporary_one_that_still_lies_there(intake, inbox):
    drop(inbox, ".hello.toml.swp")
    intake.tick(0.0)
    os.link(inbox / ".hello.toml.swp", inbox / "hello.toml")
    assert intake.tick(0.5) == []


def test_a_moved_file_that_is_written_to_afterwards_has_to_settle(intake, inbox):
    drop(inbox, "hello.toml")
    intake.tick(0.0)
    intake.note_moved("other.toml")
    drop(inbox, "hello.toml", SPEAK + "seed = 1\n")
    assert intake.tick(0.5) == []


@pytest.mark.parametrize(
    "name",
    [".hidden.toml", "a.toml~", "#a.toml#", ".#a.toml", "a.toml.swp", "a.toml.part", "a.toml.tmp", "~$a.toml", "4913",
     "a.crdownload", "Thumbs.db", "desktop.ini", ".DS_Store", "._a.toml", "a.toml.bak", "a.toml.sb-1a2b3c4d-AbCdEf"],
)  # fmt: skip
def test_litter_of_editors_sync_tools_and_systems_is_ignored(intake, inbox, name):
    drop(inbox, name)
    assert settled(intake) == []
    assert not intake.busy
    assert (inbox / name).exists()


def test_nothing_in_the_inbox_means_nothing_to_wait_for(intake, inbox):
    intake.tick(0.0)
    assert not intake.busy
    assert intake.next_look_s(0.0) >= 2.0
    drop(inbox, "hello.toml")
    intake.tick(1.0)
    assert intake.busy
    assert intake.next_look_s(1.25) == pytest.approx(0.75)


# ---- claiming ----------------------------------------------------------------------------------------------------


def test_drops_are_claimed_in_the_order_of_mtime_then_name(intake, inbox):
    for name, mtime_s in (("b", 200), ("c", 100), ("a", 200), ("future", 4_000_000_000)):
        drop(inbox, f"{name}.toml", mtime_s=mtime_s)
    assert [claimed.stem for claimed in settled(intake)] == ["c", "a", "b", "future"]
    assert intake.claim_ids() == sorted(intake.claim_ids())


def test_the_claimed_file_keeps_its_bytes_and_name_until_it_is_released(intake, inbox):
    drop(inbox, "Hello World.TOML", SPEAK + "# note\n")
    [claimed] = settled(intake)
    assert claimed.job_path.name == "Hello World.TOML"
    assert claimed.job_path.read_text() == SPEAK + "# note\n"
    assert claimed.job_path.is_relative_to(inbox / ".claimed" / claimed.claim_id)
    intake.release(claimed.claim_id)
    assert intake.claim_ids() == []
    intake.release(claimed.claim_id)


def test_a_full_inbox_is_claimed_in_several_ticks_and_in_order(intake, inbox):
    for index in range(300):
        drop(inbox, f"job-{index:03d}.toml", mtime_s=1_000 + index)
    names = [claimed.stem for claimed in settled(intake)]
    names += [claimed.stem for claimed in intake.tick(1.1)]
    assert names == [f"job-{index:03d}" for index in range(300)]


def test_equal_jobs_have_equal_content_whatever_their_spelling(intake, inbox):
    drop(inbox, "a.toml")
    drop(inbox, "b.json", '{"voice": "elena", "kind": "synthesize", "text": "Hello."}')
    drop(inbox, "c.toml", SPEAK + "seed = 1\n")
    first, second, third = settled(intake)
    assert first.content_sha256 == second.content_sha256 != third.content_sha256


def test_an_invalid_job_is_claimed_with_the_problem(intake, inbox):
    drop(inbox, "hello.toml", SPEAK + "sede = 1")
    [claimed] = settled(intake)
    assert claimed.spec is None
    assert "hello.toml, line 4" in claimed.problem.message
    intake.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"hello.toml"}


def test_refused_files_of_one_name_are_all_kept(intake, inbox):
    for start_s in (0, 10, 20):
        drop(inbox, "hello.toml", "x")
        [claimed] = settled(intake, start_s=start_s)
        intake.release(claimed.claim_id, refused=True)
    assert visible(inbox / ".rejected") == {"hello.toml", "hello-2.toml", "hello-3.toml"}


def test_nothing_is_claimed_while_the_disk_is_short_and_it_goes_on_by_itself(instance, inbox, caplog):
    short = Intake(Instance(instance.root, Settings(min_free_bytes=2**62)))
    drop(inbox, "hello.toml")
    assert settled(short) == short.tick(2.0) == []
    assert "min_free_bytes" in short.problem.message
    assert len(caplog.records) == 1
    assert visible(inbox) == {"hello.toml"}


def test_a_voice_file_is_an_import_job(intake, inbox):
    drop(inbox, "Élena.vox", "PK")
    [claimed] = settled(intake)
    assert isinstance(claimed.spec, ImportSpec)
    assert claimed.job_path.name == "Élena.vox"
    assert claimed.referenced == {"Élena.vox": hashlib.sha256(b"PK").hexdigest()}
    assert (claimed.folder / "Élena.vox").read_bytes() == b"PK"
    assert intake.folder_of(claimed.claim_id) == claimed.folder


def test_the_inbox_forgets_names_only_when_their_claims_are_durable(intake, inbox, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(os.fstat(descriptor).st_ino)))
    for number in range(3):
        drop(inbox, f"{number}.toml")
    settled(intake)
    claims = {path.stat().st_ino for path in (inbox / ".claimed").iterdir()}
    assert claims <= set(synced[:-1])
    assert synced[-1] == inbox.stat().st_ino


def test_nobody_is_told_of_a_claim_that_a_power_cut_could_undo(intake, inbox, monkeypatch):
    drop(inbox, "hello.toml")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fail)
        assert settled(intake) == intake.tick(2.0) == []
        assert "durable" in intake.problem.message
        assert intake.busy
    assert len(intake.tick(3.0)) == 1
    assert intake.problem is None


def _fail(_descriptor):
    raise OSError(5, "Input/output error")


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


# ---- restarts and lost inboxes -----------------------------------------------------------------------------------


def test_a_claim_that_was_never_recorded_is_taken_up_by_the_next_runner(instance, intake, inbox):
    drop(inbox, "a.toml", mtime_s=1)
    drop(inbox, "b.toml", mtime_s=2)
    first, second = settled(intake)
    again = Intake(instance).recover(lambda claim_id: claim_id == first.claim_id)
    assert again == [second]


def test_an_empty_claim_of_a_dead_runner_is_removed(instance, inbox):
    (inbox / ".claimed" / f"{1:020d}-00000000").mkdir(parents=True)
    assert Intake(instance).recover(lambda _: False) == []
    assert visible(inbox / ".claimed") == set()


def test_an_attachment_copied_before_the_crash_is_used_after_it(instance, intake, inbox):
    drop(inbox, "elena.wav", "RIFF")
    drop(inbox, "lock.toml", LOCK)
    [claimed] = settled(intake)
    (inbox / "elena.wav").unlink()
    assert Intake(instance).recover(lambda _: False) == [claimed]


def test_an_inbox_that_vanishes_and_comes_back_is_watched_again(intake, inbox):
    drop(inbox, "a.toml")
    intake.tick(0.0)
    away = inbox.rename(inbox.with_name("away"))
    assert intake.tick(1.0) == []
    assert "cannot be read" in intake.problem.message
    assert not inbox.exists()
    away.rename(inbox)
    assert intake.tick(2.0) == []
    assert len(intake.tick(3.0)) == 1
    assert intake.problem is None


def test_claims_in_a_vanished_inbox_are_taken_up_when_it_is_back(intake, inbox):
    drop(inbox, "lock.toml", LOCK)
    intake.recover(lambda _: False)
    settled(intake)
    away = inbox.rename(inbox.with_name("away"))
    intake.tick(2.0)
    away.rename(inbox)
    drop(inbox, "elena.wav", "RIFF")
    intake.tick(3.0)
    assert [claimed.stem for claimed in intake.tick(4.0)] == ["lock"]


def test_a_file_taken_back_in_time_is_nobodys_job(intake, inbox):
    path = drop(inbox, "a.toml")
    intake.tick(0.0)
    path.unlink()
    assert intake.tick(1.0) == []
    assert not intake.busy


@pytest.mark.bench
def test_ten_thousand_waiting_files_are_scanned_within_a_second(intake, inbox):
    for index in range(10_000):
        (inbox / f"{index}.wav").touch()
    intake.tick(0.0)
    started_s = time.monotonic()
    intake.tick(1.0)
    assert time.monotonic() - started_s < 1.0
    shutil.rmtree(inbox)
