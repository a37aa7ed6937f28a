"""Candidates: what a design job made, kept for the lock that comes later."""

import pytest

from registry.errors import InvalidInput
from registry.voices.candidates import add_candidate, find_candidates, forget_candidates, get_candidate
from registry.voices.errors import CandidateNotFound
from tests.registry.making import a_candidate, sha256


def keep(db, index, *, job="elena-design", now_s=10.0, **changes):
    with db.write() as session:
        return add_candidate(session, job, index, a_candidate(**changes), now_s=now_s)


def found(db, job="elena-design"):
    with db.read() as snapshot:
        return find_candidates(snapshot, job)


def test_candidates_come_back_as_they_were_kept_in_the_order_of_their_index(db):
    kept = [keep(db, 2, seed=2), keep(db, 1, seed=1, design_state_sha256=None, character=None)]
    assert found(db) == kept[::-1]


def test_a_candidate_made_again_replaces_the_earlier_one(db):
    keep(db, 1)
    again = keep(db, 1, audio_sha256=sha256("again"))
    assert found(db) == [again]


def test_one_candidate_is_found_by_its_index_or_the_answer_names_those_there_are(db):
    kept = keep(db, 2)
    with db.read() as snapshot:
        assert get_candidate(snapshot, "elena-design", 2) == kept
        with pytest.raises(CandidateNotFound, match=r"no candidate 3.*candidates are 2"):
            get_candidate(snapshot, "elena-design", 3)


def test_job_names_are_exact(db):
    keep(db, 1)
    assert found(db, "Elena-Design") == []


def test_what_an_earlier_job_of_the_same_name_designed_can_be_forgotten(db):
    keep(db, 1)
    keep(db, 1, job="other")
    with db.write() as session:
        forget_candidates(session, "elena-design")
    assert found(db) == []
    assert len(found(db, "other")) == 1


def test_a_candidate_without_a_recording_is_refused():
    with pytest.raises(InvalidInput, match="audio_sha256"):
        a_candidate(audio_sha256="")
