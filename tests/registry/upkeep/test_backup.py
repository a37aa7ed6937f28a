"""Backup and restore: one archive, whole or not at all, readable on another machine."""

import contextlib
import dataclasses
import io
import os
import random
import sqlite3
import tarfile
import threading
import time
from pathlib import Path

import pytest

from registry.errors import Conflict, DamagedData, InvalidInput, NotFound, StorageError, VoiceJobsError
from registry.registry import open_registry
from registry.upkeep import backup as registry_backup
from registry.upkeep.backup import backup
from registry.upkeep.restore import restore
from registry.voices.candidates import add_candidate
from registry.voices.versions import add_version
from tests.forked import run_program
from tests.registry.making import a_candidate, a_version, sha256, take_facts


def lock(registry, name="elena", prompt=b"prompt"):
    stored = registry.objects.put(prompt)
    with registry.db.write() as session:
        new = a_version(
            name, prompt_sha256=stored, reference_sha256=None, audition_sha256=None, attachments={}, seed=len(prompt)
        )
        return add_version(session, new, now_s=1.0)


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "state") as opened:
        lock(opened)
        audio = opened.takes.audio.put(b"take")
        candidate = a_candidate(audio_sha256=opened.objects.put(b"candidate"), design_state_sha256=None)
        with opened.db.write() as session:
            add_candidate(session, "design-1", 1, candidate, now_s=1.0)
            opened.takes.add(session, sha256("key"), audio, take_facts(), now_s=1.0)
        yield opened


@pytest.fixture
def archive(registry, tmp_path):
    registry.backup(tmp_path / "backup.tar", now_s=50.0)
    return tmp_path / "backup.tar"


def test_a_restored_registry_answers_as_the_first_one_did(registry, archive, tmp_path):
    report = restore(archive, tmp_path / "other", now_s=60.0)
    assert (report.objects, report.takes, report.former_database) == (2, 1, None)
    with open_registry(tmp_path / "other") as restored:
        assert restored.show("elena@1") == registry.show("elena@1")
        assert restored.objects.read(restored.show("elena").prompt_sha256) == b"prompt"
        with restored.db.write() as session:
            assert restored.takes.find(session, sha256("key"), now_s=2.0)
        assert restored.fsck().findings == ()


def test_takes_can_be_left_out(registry, tmp_path):
    registry.backup(tmp_path / "small.tar", now_s=50.0, with_takes=False)
    assert restore(tmp_path / "small.tar", tmp_path / "other", now_s=60.0).takes == 0
    with open_registry(tmp_path / "other") as restored:
        assert restored.fsck().findings == ()


def test_extra_files_travel_along(registry, tmp_path):
    (tmp_path / "voicejobs.toml").write_text("settle_s = 2\n")
    registry.backup(tmp_path / "b.tar", now_s=50.0, extras={"voicejobs.toml": tmp_path / "voicejobs.toml"})
    report = restore(
        tmp_path / "b.tar", tmp_path / "other", now_s=60.0, extras={"voicejobs.toml": tmp_path / "new.toml"}
    )
    assert report.extras == ("voicejobs.toml",)
    assert (tmp_path / "new.toml").read_text() == "settle_s = 2\n"


def test_a_registry_with_content_is_replaced_only_when_asked_and_its_database_is_kept(registry, archive):
    lock(registry, "marcus")
    with pytest.raises(Conflict, match="--replace"):
        restore(archive, registry.state_dir, now_s=60.0)
    report = restore(archive, registry.state_dir, now_s=60.0, replace=True)
    assert [voice.name for voice in registry.voices()] == ["elena"]  # an open registry sees the restored one at once
    assert report.former_database == registry.state_dir / "registry.before-restore-60.sqlite"
    assert not list(registry.state_dir.glob(".restoring*"))


def test_a_backup_while_others_write_holds_one_moment(registry, tmp_path):
    done = threading.Event()

    def write():
        number = 0
        while not done.is_set():
            number += 1
            lock(registry, f"voice-{number}", prompt=str(number).encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reports = [registry.backup(tmp_path / f"{number}.tar", now_s=1.0) for number in range(5)]
    finally:
        done.set()
        writer.join()
    assert [report.manifest.missing for report in reports] == [()] * 5
    restore(tmp_path / "4.tar", tmp_path / "other", now_s=2.0)
    with open_registry(tmp_path / "other") as restored:
        assert restored.fsck().findings == ()


def test_a_lost_object_does_not_stop_a_backup_but_is_named(registry, tmp_path):
    lost = registry.show("elena").prompt_sha256
    registry.objects.path(lost).unlink()
    report = registry.backup(tmp_path / "b.tar", now_s=50.0)
    assert report.manifest.missing == (lost,)
    assert restore(tmp_path / "b.tar", tmp_path / "other", now_s=60.0).manifest.missing == (lost,)


def rewritten(archive, change):
    """The archive with each member's `(name, content)` passed through `change`; None leaves it out."""
    target = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            changed = change(member.name, file.read() if file else b"")
            if changed is not None:
                name, content = changed
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return target


@pytest.mark.parametrize("victim", ["registry.sqlite", "objects/", "takes/"])
def test_an_archive_with_a_changed_byte_is_refused_before_anything_is_written(archive, tmp_path, victim):
    def change(name, content):
        return name, content[:-1] + bytes([content[-1] ^ 1]) if name.startswith(victim) else content

    with pytest.raises(DamagedData, match="not what was put there"):
        restore(rewritten(archive, change), tmp_path / "other", now_s=1.0)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("victim", ["registry.sqlite", "objects/", "manifest.json"])
def test_an_archive_that_lacks_something_is_refused(archive, tmp_path, victim):
    def change(name, content):
        return None if name.startswith(victim) else (name, content)

    with pytest.raises(DamagedData):
        restore(rewritten(archive, change), tmp_path / "other", now_s=1.0)


def test_an_archive_cut_anywhere_is_refused(archive, tmp_path):
    content = archive.read_bytes().rstrip(b"\0")  # a tar ends in zeros that carry nothing
    for length in range(0, len(content), len(content) // 23):
        (tmp_path / "cut.tar").write_bytes(content[:length])
        with pytest.raises((DamagedData, InvalidInput)):
            restore(tmp_path / "cut.tar", tmp_path / "other", now_s=1.0)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "objects/../../evil", "extra/../evil", "objects/ab/link", "x"]
)
def test_an_archive_with_names_of_its_own_is_refused(archive, tmp_path, name):
    target = rewritten(archive, lambda old, content: (name if old.startswith("objects") else old, content))
    with pytest.raises(InvalidInput, match="no backup of voicejobs"):
        restore(target, tmp_path / "other", now_s=1.0)


def test_something_else_is_no_backup(tmp_path):
    (tmp_path / "x.tar").write_text("hello")
    with pytest.raises(InvalidInput, match="no backup of voicejobs"):
        restore(tmp_path / "x.tar", tmp_path / "other", now_s=1.0)
    with pytest.raises(StorageError, match="No such file"):
        restore(tmp_path / "none.tar", tmp_path / "other", now_s=1.0)


def test_the_name_of_an_extra_file_cannot_lead_elsewhere(registry, tmp_path):
    with pytest.raises(InvalidInput):
        registry.backup(tmp_path / "b.tar", now_s=1.0, extras={"../x": tmp_path / "x"})


@pytest.mark.parametrize("point", ["backup.database-copied", "backup.written", "restore.objects-put"])
def test_dying_half_way_leaves_the_old_archive_and_the_old_registry(registry, archive, point):
    before = archive.read_bytes()
    program = """if True:
        import sys, pathlib
        from registry.registry import open_registry
        from registry.upkeep.restore import restore
        state, archive = map(pathlib.Path, sys.argv[1:])
        with open_registry(state) as registry:
            registry.backup(archive, now_s=99.0)
        restore(archive, state, now_s=100.0, replace=True)
    """
    lock(registry, "marcus")
    environment = {**os.environ, "VOICEJOBS_CRASH_AT": point}
    assert run_program(program, str(registry.state_dir), str(archive), environment=environment).returncode == 137
    assert (archive.read_bytes() == before) == point.startswith("backup")
    assert [voice.name for voice in registry.voices()] == ["elena", "marcus"]
    assert registry.fsck().sound


def test_no_user_name_of_the_machine_is_in_an_archive(archive):
    with tarfile.open(archive) as tar:
        assert {(member.uname, member.gname, member.uid) for member in tar} == {("", "", 0)}


def test_the_report_says_where_and_how_much(registry, tmp_path):
    report = backup(registry.db, registry.objects, None, tmp_path / "new" / "b.tar", now_s=1.0)
    assert report.path.stat().st_size == report.size_bytes
    assert dataclasses.asdict(report.manifest)["takes"] == 0


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The archive with a few bytes changed, a stretch missing, or a stretch twice."""
    start, length = chance.randrange(len(content)), chance.randrange(1, 2_000)
    kind = chance.choice(["change", "remove", "repeat"])
    if kind == "change":
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 5)):
            changed[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(changed)
    if kind == "remove":
        return content[:start] + content[start + length :]
    return content[: start + length] + content[start:]


def test_a_damaged_archive_is_restored_whole_or_refused_with_a_reason(archive, tmp_path):
    content, chance = archive.read_bytes(), random.Random(11)
    refused = 0
    for number in range(50):
        (tmp_path / "damaged.tar").write_bytes(damaged(content, chance))
        target = tmp_path / f"other-{number}"
        try:
            restore(tmp_path / "damaged.tar", target, now_s=1.0)
        except VoiceJobsError as error:
            refused += 1
            assert error.message
            assert not any(target.iterdir())
        else:
            with open_registry(target) as restored:
                assert restored.fsck().findings == ()
    assert refused > 30


@pytest.mark.parametrize("folder", ["{}/no/where", "/Volumes/NAS-of-a-test", "/media/nobody-here/NAS"])
def test_no_backup_is_written_where_a_disk_is_not_mounted(registry, tmp_path, folder):
    target = Path(folder.format(tmp_path))
    with pytest.raises(NotFound, match="There is no folder"):
        registry.backup(target / "voices.backup", now_s=1.0)
    assert not target.exists()


def test_a_folder_is_made_on_a_mounted_disk_alone(registry, tmp_path, monkeypatch):
    (tmp_path / "nas").mkdir()
    monkeypatch.setattr(registry_backup, "DISKS_IN", (str(tmp_path),))
    with pytest.raises(NotFound, match="Mount its disk"):
        registry.backup(tmp_path / "nas" / "voices" / "b.tar", now_s=1.0)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "nas")
    assert registry.backup(tmp_path / "nas" / "voices" / "b.tar", now_s=1.0).path.is_file()


def test_an_archive_that_holds_more_is_replaced_only_when_asked(archive, tmp_path):
    before = archive.read_bytes()
    with open_registry(tmp_path / "fresh") as fresh:
        with pytest.raises(Conflict, match=r"holds more .* 1 versions of voices, now 0.* --force"):
            fresh.backup(archive, now_s=60.0)
        assert archive.read_bytes() == before
        fresh.backup(archive, now_s=60.0, force=True)
    assert archive.read_bytes() != before


def test_an_archive_is_not_replaced_by_one_that_lacks_lost_recordings(registry, archive):
    registry.objects.path(registry.show("elena").prompt_sha256).unlink()
    with pytest.raises(Conflict, match="0 lost recordings and prompts, now 1"):
        registry.backup(archive, now_s=60.0)


def test_an_archive_with_takes_is_not_replaced_by_one_whose_takes_are_lost(registry, archive):
    for stored in list(registry.takes.audio):
        registry.takes.audio.path(stored.sha256).unlink()
    with pytest.raises(Conflict, match="1 takes, now 0"):
        registry.backup(archive, now_s=60.0)
    registry.backup(archive, now_s=60.0, with_takes=False)  # who leaves them out means it


def test_removed_versions_and_pruned_jobs_do_not_hold_up_the_next_backup(registry, archive):
    registry.remove("elena@1", now_s=2.0)
    registry.gc(now_s=time.time() + 1e8, grace_s=0.0)
    registry.backup(archive, now_s=60.0)


def test_a_file_that_is_no_backup_is_not_replaced(registry, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="no backup of voicejobs"):
        registry.backup(tmp_path / "thesis.txt", now_s=1.0)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_archive_and_registry_are_private(registry, archive):
    kept = [archive, registry.db.path, registry.objects.path(registry.show("elena").prompt_sha256)]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def spoil(state, *, how):
    for end in ("-wal", "-shm"):
        state.joinpath(f"registry.sqlite{end}").unlink(missing_ok=True)
    path = state / "registry.sqlite"
    path.unlink()
    if how == "noise":
        path.write_bytes(os.urandom(50_000))
    elif how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "foreign":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE bookmarks (url)")


@pytest.mark.parametrize("how", ["noise", "empty", "gone", "folder", "foreign"])
def test_a_backup_is_restored_where_the_database_cannot_be_used(registry, archive, how):
    expected = registry.show("elena")
    registry.close()
    spoil(registry.state_dir, how=how)
    report = restore(archive, registry.state_dir, now_s=60.0)
    assert (report.former_database is None) == (how == "gone")
    with open_registry(registry.state_dir) as restored:
        assert restored.show("elena") == expected
        assert restored.fsck().sound


def test_a_database_with_damaged_pages_is_kept_beside_the_restored_one(registry, archive):
    registry.close()
    content = bytearray(registry.db.path.read_bytes())
    content[4096 * 3 : 4096 * 8] = os.urandom(4096 * 5)
    registry.db.path.write_bytes(content)
    report = restore(archive, registry.state_dir, now_s=60.0, replace=True)
    assert report.former_database
    with open_registry(registry.state_dir) as restored:
        assert restored.fsck().sound


def test_a_restored_registry_keeps_the_id_of_its_place(archive, tmp_path):
    with open_registry(tmp_path / "other" / "state", root=tmp_path / "other"):
        pass
    restore(archive, tmp_path / "other" / "state", now_s=60.0, root=tmp_path / "other")
    with open_registry(tmp_path / "other" / "state", root=tmp_path / "other") as restored:
        assert restored.show("elena@1")
