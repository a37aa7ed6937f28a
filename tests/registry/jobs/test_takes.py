"""The take store: a line that was rendered once is not rendered again."""

import os
from typing import Any

import pytest

from registry.errors import InvalidInput, StorageError
from registry.storage.digests import take_key
from tests.registry.making import sha256, take_facts

LINE: dict[str, Any] = {
    "voice_digest": "d" * 64,
    "text": "I won't let you down.",
    "instruct": None,
    "language": "english",
    "sampling": {"temperature": 0.9, "top_k": 50},
    "seed": 7,
    "model_fingerprint": "f" * 64,
    "render_version": "1",
}


def add(db, takes, name, *, content=None, now_s=10.0, **changes):
    audio = takes.audio.put(content if content is not None else name.encode() * 100)
    os.utime(takes.audio.path(audio), (0, 0))
    with db.write() as session:
        return takes.add(session, sha256(name), audio, take_facts(**changes), now_s=now_s)


def find(db, takes, name, *, now_s=20.0):
    with db.write() as session:
        return takes.find(session, sha256(name), now_s=now_s)


def test_a_take_comes_back_with_its_audio_and_facts(db, takes):
    add(db, takes, "a", content=b"audio")
    take = find(db, takes, "a")
    assert take.facts == take_facts()
    assert (take.key, take.size_bytes, take.created_s, take.last_used_s) == (sha256("a"), 5, 10.0, 20.0)
    assert takes.read(take) == b"audio"


def test_a_key_that_was_never_rendered_has_no_take(db, takes):
    assert find(db, takes, "a") is None


@pytest.mark.parametrize("accident", ["gone", "changed", "cut"])
def test_a_take_whose_audio_is_not_whole_is_no_take_and_can_be_added_anew(db, takes, accident):
    path = takes.audio.path(add(db, takes, "a", content=b"audio").audio_sha256)
    if accident == "gone":
        path.unlink()
    else:
        path.write_bytes(b"audiX" if accident == "changed" else b"aud")
    assert find(db, takes, "a") is None
    add(db, takes, "a", content=b"rendered again")
    assert takes.read(find(db, takes, "a")) == b"rendered again"


def test_the_first_take_of_a_key_stays(db, takes):
    first = add(db, takes, "a", content=b"first")
    assert add(db, takes, "a", content=b"second").audio_sha256 == first.audio_sha256


def test_a_take_without_stored_audio_is_refused(db, takes):
    with pytest.raises(StorageError, match="audio of a new take"), db.write() as session:
        takes.add(session, sha256("a"), sha256("nothing"), take_facts(), now_s=1.0)


@pytest.mark.parametrize("field", LINE)
def test_everything_that_decides_the_sound_is_in_the_key(field):
    changed = {"seed": 8, "sampling": {}, "instruct": "whispering"}.get(field, "other")
    assert take_key(**LINE) != take_key(**{**LINE, field: changed})


def test_the_key_does_not_depend_on_how_a_number_or_a_missing_instruction_is_written():
    same = {**LINE, "sampling": {"top_k": 50.0, "temperature": 0.9}, "instruct": ""}
    assert take_key(**LINE) == take_key(**same)


def test_the_key_is_the_same_in_every_release():
    assert take_key(**LINE) == "d95e104802c9fe3bf4b3b4eae22643aa54696ce0411d7e0651c787d57aca8f3d"


def test_a_key_of_what_json_cannot_hold_is_refused():
    with pytest.raises(InvalidInput):
        take_key(**{**LINE, "sampling": {"temperature": float("inf")}})


def evict(db, takes, max_bytes, **options):
    return takes.evict(db, max_bytes=max_bytes, now_s=10_000.0, **options)


def test_eviction_forgets_what_was_used_least_recently_until_the_rest_fits(db, takes):
    for now_s, name in enumerate("abcd"):
        add(db, takes, name, now_s=now_s)
    find(db, takes, "a")
    done = evict(db, takes, 250)
    assert (done.takes, done.freed_bytes, done.left_bytes) == (2, 200, 200)
    assert [name for name in "abcd" if find(db, takes, name)] == ["a", "d"]
    assert len(list(takes.audio)) == 2


def test_eviction_below_the_limit_does_nothing(db, takes):
    add(db, takes, "a")
    assert evict(db, takes, 100).takes == 0


def test_takes_of_open_jobs_are_never_evicted(db, takes):
    for name in "abc":
        add(db, takes, name)
    done = evict(db, takes, 0, pinned={sha256("a"), sha256("c")})
    assert (done.takes, done.left_bytes) == (1, 200)
    assert find(db, takes, "a")


def test_audio_that_another_take_shares_stays_until_the_last_of_them_goes(db, takes):
    add(db, takes, "a", content=b"x" * 100, now_s=1.0)
    add(db, takes, "b", content=b"x" * 100, now_s=2.0)
    add(db, takes, "c", now_s=3.0)
    evict(db, takes, 150, pinned={sha256("b")})
    assert takes.read(find(db, takes, "b")) == b"x" * 100
    assert find(db, takes, "c") is None


def test_audio_that_was_just_put_again_survives_the_eviction_of_its_old_take(db, takes):
    add(db, takes, "a", content=b"audio")
    audio = takes.audio.put(b"audio")
    os.utime(takes.audio.path(audio), (9_999, 9_999))
    evict(db, takes, 0)
    assert takes.audio.read(audio) == b"audio"


def test_eviction_goes_on_past_more_pinned_takes_than_one_transaction_holds(db, takes, monkeypatch):
    monkeypatch.setattr("registry.jobs.takes.ROWS_AT_ONCE", 2)
    for now_s, name in enumerate("abcdefg"):
        add(db, takes, name, now_s=now_s)
    assert evict(db, takes, 500, pinned={sha256(name) for name in "abcd"}).takes == 2
    assert [name for name in "abcdefg" if find(db, takes, name)] == ["a", "b", "c", "d", "g"]
