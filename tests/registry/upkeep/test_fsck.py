"""`fsck`: everything is read, and what is wrong is named with its owner and a remedy."""

import pytest

from registry.upkeep.fsck import fsck
from registry.voices.candidates import add_candidate
from registry.voices.versions import add_version
from tests.registry.making import a_candidate, a_version, sha256, take_facts


@pytest.fixture
def filled(db, objects, takes):
    """A registry with one voice, one candidate and one take, all whole."""
    new = a_version(
        prompt_sha256=objects.put(b"prompt"),
        reference_sha256=objects.put(b"reference"),
        audition_sha256=None,
        attachments={"portrait": objects.put(b"portrait")},
    )
    candidate = a_candidate(audio_sha256=objects.put(b"candidate"), design_state_sha256=None)
    audio = takes.audio.put(b"take")
    with db.write() as session:
        add_version(session, new, now_s=1.0)
        add_candidate(session, "design-1", 2, candidate, now_s=1.0)
        takes.add(session, sha256("key"), audio, take_facts(), now_s=1.0)
    return db


def found(db, objects, takes):
    report = fsck(db, objects, takes.audio)
    return report, [f"{finding.where}: {finding.problem}" for finding in report.findings]


def test_a_whole_registry_has_no_findings_and_everything_was_read(filled, objects, takes):
    heard = []
    report = fsck(filled, objects, takes.audio, progress=heard.append)
    assert report.sound
    assert (report.versions, report.objects, report.takes, report.findings) == (1, 4, 1, ())
    assert heard[-1] == report.read_bytes == len(b"promptreferenceportraitcandidatetake")


@pytest.mark.parametrize(
    ("content", "owner"),
    [
        (b"prompt", "elena@1: its prompt"),
        (b"reference", "elena@1: its reference"),
        (b"portrait", "elena@1 portrait: its attachment"),
        (b"candidate", "candidate 2 of job design-1: its audio"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("accident", ["is gone", "has changed on disk"])
def test_lost_bytes_are_named_by_who_needs_them(filled, objects, takes, content, owner, accident):
    path = objects.path(objects.put(content))
    if accident == "is gone":
        path.unlink()
    else:
        path.write_bytes(b"?")
    report, findings = found(filled, objects, takes)
    assert not report.sound
    assert findings == [f"{owner} {accident} ({path})"]
    assert "voicejobs restore" in report.findings[0].remedy


def test_a_lost_take_is_reported_but_nothing_is_lost(filled, objects, takes):
    takes.audio.path(takes.audio.put(b"take")).unlink()
    report, findings = found(filled, objects, takes)
    assert report.sound
    assert "its audio is missing" in findings[0]
    assert "rendered again" in report.findings[0].remedy


def test_a_version_that_was_tampered_with_is_found(filled, objects, takes):
    with filled.write() as session:
        session.rows("DROP TRIGGER IF EXISTS version_is_immutable")
        session.rows("UPDATE version SET transcript = 'other words'")
    _, findings = found(filled, objects, takes)
    assert "elena@1: no longer has the digest" in findings[0]


def test_a_row_that_refers_to_nothing_is_found(filled, objects, takes):
    with filled.write() as session:
        session.rows("PRAGMA defer_foreign_keys = ON")
    import sqlite3

    vandal = sqlite3.connect(filled.path)
    vandal.execute("DELETE FROM voice")
    vandal.commit()
    vandal.close()
    _, findings = found(filled, objects, takes)
    assert any("refers to a voice that does not exist" in finding for finding in findings)


def test_an_alias_of_a_removed_version_is_found(filled, objects, takes):
    with filled.write() as session:
        session.rows("UPDATE version SET deleted_s = 1")
    _, findings = found(filled, objects, takes)
    assert findings == ["elena@current: points at a version that was removed, 1"]


def test_a_damaged_database_is_a_finding_and_not_a_crash(filled, objects, takes):
    with filled.read() as snapshot:
        (row,) = snapshot.rows("SELECT rootpage FROM sqlite_master WHERE name = 'version'")
    filled.close()
    with filled.path.open("r+b") as file:
        file.seek((row["rootpage"] - 1) * 4096)
        file.write(b"\xff" * 4096)
    report, findings = found(filled, objects, takes)
    assert not report.sound
    assert findings


def test_a_foreign_file_in_the_store_is_mentioned(filled, objects, takes):
    foreign = objects.path(objects.put(b"prompt")).with_name("notes.txt")
    foreign.write_text("mine")
    report, findings = found(filled, objects, takes)
    assert report.sound
    assert findings == [f"{foreign}: is a file that voicejobs did not put there"]


def test_a_lost_folder_is_counted_whole_but_told_in_part(filled, objects, takes, monkeypatch):
    monkeypatch.setattr("registry.upkeep.fsck.FINDINGS_LIMIT", 2)
    for stored in list(objects):
        objects.path(stored.sha256).unlink()
    report, findings = found(filled, objects, takes)
    assert (len(findings), report.lost, report.mendable, report.sound) == (2, 4, 0, False)
