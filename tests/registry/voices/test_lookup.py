"""What changed between two versions."""

import pytest

from registry.voices.lookup import compare, cosine_of, resolve
from registry.voices.versions import add_version
from tests.registry.making import a_version


def versions(db, **changes):
    with db.write() as session:
        first = add_version(session, a_version(), now_s=1.0)
        return first, add_version(session, a_version(**changes), now_s=2.0)


def test_a_diff_names_every_field_that_changed_and_nothing_else(db):
    before, after = versions(db, transcript="Other words.", seed=8)
    diff = compare(before, after)
    assert (diff.before, diff.after) == ("elena@1", "elena@2")
    assert {change.field: (change.before, change.after) for change in diff.changes} == {
        "digest": (before.digest, after.digest),
        "transcript": ("That quick beige fox jumped.", "Other words."),
        "seed": (7, 8),
    }


def test_equal_versions_differ_in_nothing_and_have_the_same_speaker(db):
    diff = compare(*versions(db))
    assert diff.changes == ()
    assert diff.speaker_cosine == pytest.approx(1.0)


def test_the_cosine_says_how_alike_two_speakers_are(db):
    diff = compare(*versions(db, speaker_embedding=(-1.0, 0.5, -2.0)))
    assert diff.speaker_cosine == pytest.approx(-1.0)


@pytest.mark.parametrize("other", [None, (1.0,), (0.0, 0.0, 0.0), (float("nan"), 0.0, 0.0)], ids=str)
def test_there_is_no_cosine_without_two_comparable_embeddings(other):
    assert cosine_of((1.0, 0.0, 0.0), other) is None


def test_changes_of_the_model_are_listed_by_field(db):
    before, _ = versions(db)
    with db.read() as snapshot:
        same = resolve(snapshot, "elena@1")
    assert compare(before, same).changes == ()
