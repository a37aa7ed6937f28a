"""Voices: immutable versions under a name, aliases that move, and tombstones."""

import dataclasses
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import DamagedData, InvalidInput, NotFound
from registry.voices.errors import AliasNotFound, AmbiguousDigest, VersionInUse, VersionNotFound, VoiceNotFound
from registry.voices.lookup import alias_log, aliases, history, list_voices, resolve
from registry.voices.names import VoiceReference
from registry.voices.tombstones import remove_alias, remove_version, remove_voice, restore_version
from registry.voices.versions import add_version, set_alias
from tests.registry.making import a_version, sha256

ROOT = Path(__file__).parents[3]


def add(db, voice="elena", *, now_s=100.0, set_current=True, **changes):
    with db.write() as session:
        return add_version(session, a_version(voice, **changes), now_s=now_s, set_current=set_current)


def found(db, reference, **options):
    with db.read() as snapshot:
        return resolve(snapshot, reference, **options)


def test_a_version_comes_back_with_everything_that_went_in(db):
    new = a_version(made_by_job="elena-lock")
    with db.write() as session:
        add_version(session, new, now_s=100.0)
    version = found(db, "elena@1")
    same = {field.name for field in dataclasses.fields(new)} - {"idempotency_key"}
    assert {name: getattr(version, name) for name in same} == {name: getattr(new, name) for name in same}
    assert (version.number, version.created_s, version.name) == (1, 100.0, "elena@1")


def test_each_lock_is_the_next_version_and_moves_current(db):
    assert [add(db, transcript=str(number)).name for number in range(3)] == ["elena@1", "elena@2", "elena@3"]
    assert found(db, "elena").number == 3
    assert found(db, "elena@current").number == 3


def test_a_lock_can_leave_current_where_it_is(db):
    add(db)
    add(db, set_current=False)
    assert found(db, "elena").number == 1


def test_the_same_job_makes_one_version_however_often_it_runs(db):
    first = add(db, made_by_job="lock-7")
    add(db, made_by_job="lock-8")
    assert add(db, made_by_job="lock-7", transcript="changed") == first
    assert found(db, "elena").number == 2


def test_a_job_may_make_versions_of_several_voices(db):
    assert add(db, "elena", made_by_job="import-1").number == 1
    assert add(db, "marcus", made_by_job="import-1").name == "marcus@1"


def test_names_are_one_whatever_their_case_and_unicode_form(db):
    add(db, "Zoë")
    assert add(db, "zoe\u0308").number == 2
    assert found(db, "ZOË@1").voice == "Zoë"


def test_processes_that_lock_one_voice_at_once_get_consecutive_versions(db):
    program = """if True:
        import sys, pathlib
        from registry.storage.database import Database
        from registry.voices.versions import add_version
        from tests.registry.making import a_version
        with Database.open(pathlib.Path(sys.argv[1])) as db:
            for number in range(5):
                with db.write() as session:
                    add_version(session, a_version(made_by_job=f"{sys.argv[2]}-{number}"), now_s=1.0)
    """
    command = [sys.executable, "-c", program, str(db.path)]
    started = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("a", "b", "c")]
    assert [process.wait() for process in started] == [0, 0, 0]
    with db.read() as snapshot:
        versions = history(snapshot, "elena")
    assert [version.number for version in versions] == list(range(15, 0, -1))
    assert len({version.made_by_job for version in versions}) == 15


def test_a_version_is_found_by_its_digest_or_the_beginning_of_it(db):
    version = add(db)
    assert found(db, f"elena@sha256:{version.digest}") == version
    assert found(db, f"elena@sha256:{version.digest[:8].upper()}") == version


def test_the_beginning_of_a_digest_that_fits_two_versions_is_refused(db):
    add(db, transcript="one")
    add(db, transcript="two")
    with db.write() as session:
        session.rows("DROP TRIGGER IF EXISTS version_is_immutable")
        session.rows("UPDATE version SET digest = 'abcdef12' || substr(digest, 9)")
    with pytest.raises(AmbiguousDigest, match=r"elena@1 .* elena@2 .* more digits"):
        found(db, "elena@sha256:abcdef12")


def test_a_version_that_was_tampered_with_no_longer_answers_to_its_digest(db):
    version = add(db)
    with db.write() as session:
        session.rows("DROP TRIGGER IF EXISTS version_is_immutable")
        session.rows("UPDATE version SET transcript = 'other words'")
    with pytest.raises(DamagedData, match="no longer has the digest"):
        found(db, f"elena@sha256:{version.digest}")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_sha256": sha256("other")},
        {"reference_sha256": None},
        {"transcript": "other"},
        {"description": None},
        {"language": "german"},
        {"seed": 8},
        {"sampling": {"temperature": 0.8}},
        {"pronunciations": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_covers_what_the_voice_is(db, change):
    assert add(db).digest != add(db, **change).digest


@pytest.mark.parametrize(
    "change",
    [{"made_by_job": "x"}, {"consent": "unknown"}, {"metadata": {}}, {"sampling": {"temperature": 0.9, "top_k": 50.0}}],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_is_the_same_for_the_same_voice_in_any_registry(db, change):
    assert add(db).digest == add(db, "marcus", now_s=5.0, **change).digest


def test_an_unknown_voice_is_answered_with_the_nearest_names(db):
    for name in ("elena", "marcus", "narrator"):
        add(db, name)
    with pytest.raises(VoiceNotFound, match=r"'elana'.*Did you mean elena\?.*voices list"):
        found(db, "elana")


def test_an_unknown_version_or_alias_says_how_to_see_those_there_are(db):
    add(db)
    with pytest.raises(VersionNotFound, match=r"elena@9 does not exist.*voices history elena"):
        found(db, "elena@9")
    with pytest.raises(AliasNotFound, match=r"no alias 'soft'.*aliases: current"):
        found(db, "elena@soft")
    with pytest.raises(VersionNotFound, match="is a preset"):
        found(db, "preset:ryan")


def test_a_parent_is_a_version_of_the_same_voice_and_must_exist(db):
    add(db)
    assert add(db, parent=1, origin="relock").parent == 1
    with pytest.raises(VersionNotFound, match="elena@7"):
        add(db, parent=7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_sha256": "abc"},
        {"attachments": {"x": "../etc"}},
        {"consent": "yes"},
        {"origin": "theft"},
        {"seed": 1 << 63},
        {"seed": 1.5},
        {"metadata": {"x": float("nan")}},
        {"transcript": "\ud800"},
    ],
    ids=str,
)
def test_a_value_that_could_not_be_kept_is_refused_before_anything_is_written(db, wrong):
    with pytest.raises(InvalidInput):
        add(db, **wrong)
    with pytest.raises(VoiceNotFound):
        found(db, "elena")


def test_aliases_move_and_every_move_is_logged(db):
    add(db)
    add(db)
    with db.write() as session:
        set_alias(session, "elena@1", "soft", now_s=5.0)
        set_alias(session, "elena@2", "Soft", now_s=6.0, why="sounds better")
        remove_alias(session, "elena", "SOFT", now_s=7.0)
    with db.read() as snapshot:
        moves = [(move.from_number, move.to_number, move.why) for move in alias_log(snapshot, "elena")]
        assert [alias.name for alias in aliases(snapshot, "elena")] == ["current"]
    assert moves[:3] == [(2, None, "removed by hand"), (1, 2, "sounds better"), (None, 1, "set by hand")]
    assert moves[3:] == [(1, 2, "lock"), (None, 1, "lock")]


def test_an_alias_that_is_a_number_is_refused(db):
    add(db)
    with db.write() as session, pytest.raises(InvalidInput, match="numbers stand for versions"):
        set_alias(session, "elena@1", "2", now_s=5.0)


def test_removing_an_alias_that_is_not_there_names_those_that_are(db):
    add(db)
    with db.write() as session, pytest.raises(AliasNotFound, match="current"):
        remove_alias(session, "elena", "soft", now_s=5.0)


def remove(db, reference, **options):
    with db.write() as session:
        return remove_version(session, reference, now_s=200.0, **options)


def test_a_removed_version_answers_to_nothing_until_it_is_restored(db):
    add(db)
    add(db)
    assert remove(db, "elena@1", why="hiss").deleted_why == "hiss"
    with pytest.raises(VersionNotFound, match="voices restore elena@1"):
        found(db, "elena@1")
    with db.write() as session:
        assert restore_version(session, "elena@1", now_s=201.0).deleted_s is None
    assert found(db, "elena@1").number == 1
    assert found(db, "elena").number == 2


def test_a_version_that_an_alias_needs_is_not_removed(db):
    add(db)
    add(db)
    with pytest.raises(VersionInUse, match="alias current"):
        remove(db, "elena@2")
    with db.write() as session:
        set_alias(session, "elena@1", "soft", now_s=5.0)
    with pytest.raises(VersionInUse, match="alias soft"):
        remove(db, "elena@1")


@pytest.mark.parametrize("voice", ["elena", "elena@1", "ELENA@current"])
def test_a_version_that_a_waiting_job_needs_is_not_removed(db, voice):
    add(db)
    with pytest.raises(VersionInUse, match="needed by night-7"):
        remove(db, "elena@1", needed_by=[("other", "marcus@1"), ("other", "preset:ryan"), ("night-7", voice)])


def test_current_goes_with_the_last_version_and_comes_back_with_it(db):
    add(db)
    remove(db, "elena@1")
    with pytest.raises(AliasNotFound):
        found(db, "elena")
    with db.write() as session:
        restore_version(session, "elena@1", now_s=201.0)
    assert found(db, "elena").number == 1


def test_a_whole_voice_is_removed_at_once_or_not_at_all(db):
    for _ in range(3):
        add(db)
    with db.write() as session:
        set_alias(session, "elena@2", "current", now_s=5.0)
        set_alias(session, "elena@1", "soft", now_s=5.0)
    with pytest.raises(VersionInUse, match="soft"), db.write() as session:
        remove_voice(session, "elena", now_s=6.0)
    assert found(db, "elena@3")
    with db.write() as session:
        remove_alias(session, "elena", "soft", now_s=7.0)
        assert len(remove_voice(session, "elena", now_s=8.0, needed_by=[("j", "marcus")])) == 3
        with pytest.raises(VersionNotFound, match="no version left"):
            remove_voice(session, "elena", now_s=9.0)


def test_a_number_is_never_given_twice(db):
    add(db)
    remove(db, "elena@1")
    assert add(db).number == 2


def test_a_tombstone_cannot_be_put_on_twice(db):
    add(db)
    add(db)
    remove(db, "elena@1")
    with pytest.raises(VersionNotFound, match="was removed"):
        remove(db, "elena@1")


def test_voices_are_listed_by_name_in_pages(db):
    for name in ("marcus", "Elena", "anna-lena", "zed"):
        add(db, name, now_s=3.0)
    add(db, "elena", now_s=9.0, set_current=False, description="newer")
    with db.read() as snapshot:
        first = list_voices(snapshot, limit=2)
        assert [voice.name for voice in list_voices(snapshot, after=first[-1].name)] == ["marcus", "zed"]
        assert [voice.name for voice in list_voices(snapshot, containing="LENA")] == ["anna-lena", "Elena"]
    elena = first[1]
    assert (elena.versions, elena.newest, elena.current, elena.changed_s) == (2, 2, 1, 9.0)
    assert elena.description == "A warm female voice, 30s."


def test_a_voice_without_versions_left_is_not_listed_but_keeps_its_history(db):
    add(db)
    remove(db, "elena@1")
    with db.read() as snapshot:
        assert list_voices(snapshot) == []
        assert [version.deleted_s for version in history(snapshot, "elena")] == [200.0]


def test_history_is_newest_first_in_pages(db):
    for _ in range(5):
        add(db)
    with db.read() as snapshot:
        first = history(snapshot, "elena", limit=2)
        rest = history(snapshot, "elena", before=first[-1].number)
    assert [version.number for version in (*first, *rest)] == [5, 4, 3, 2, 1]


def test_questions_are_answered_the_same_in_either_kind_of_transaction(db):
    add(db)
    with db.read() as session:
        assert resolve(session, VoiceReference(name="elena")) == found(db, "elena")
        with pytest.raises(NotFound):
            resolve(session, "marcus")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE version SET transcript = 'other words'",
        "UPDATE version SET number = 7",
        "UPDATE version SET prompt_object = NULL",
        "DELETE FROM version",
    ],
)
def test_the_database_itself_refuses_to_change_a_version(db, change):
    before = add(db)
    with pytest.raises(sqlite3.IntegrityError, match="version"), db.write() as session:
        session.rows(change)
    assert found(db, "elena@1") == before


def test_every_column_of_a_version_is_either_immutable_or_part_of_its_removal(db):
    question = (
        "SELECT sql FROM sqlite_master WHERE name LIKE 'version_%is_immutable' OR name = 'version_keeps_its_objects'"
    )
    with db.read() as snapshot:
        guarded = " ".join(row["sql"] for row in snapshot.rows(question))
        columns = {row["name"] for row in snapshot.rows("PRAGMA table_info(version)")}
    unguarded = {name for name in columns if not re.search(rf"\b{name}\b", guarded)}
    assert unguarded == {"deleted_why", "purged_s"}
