"""A line's request between the ledger's columns and the values that leave it."""

import json

import pytest

from registry.jobs.line_request import LineRequest, VoiceSource
from registry.jobs.values import JobStatus, LineStatus
from registry.storage.digests import canonical_json

PLAIN = '"instruct":null,"language":"auto","max_seconds":null,"pause_after_s":0.0,"sampling":{},"text":"Hi."'
# As version 0.1.0 wrote them.
STORED = {
    "preset": f'{{{PLAIN},"voice":{{"name":"ryan","source":"preset"}},"voice_digest":"preset:ryan"}}',
    "description": f'{{{PLAIN},"voice":{{"description":"","source":"description"}},"voice_digest":"description:0f"}}',
    "lock": (
        '{"instruct":"softly","language":"de","max_seconds":2.5,"pause_after_s":0.4,'
        '"sampling":{"temperature":0.7,"top_k":50},"spoken":"Herr Win.","text":"Herr Nguyen.",'
        '"voice":{"digest":"d1","name":"elena","prompt":"p1","source":"lock","version":2},"voice_digest":"d1"}'
    ),
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
def test_a_request_is_stored_again_with_the_same_bytes(stored):
    assert canonical_json(LineRequest.from_json(json.loads(stored)).to_json()) == stored


def test_a_line_without_respellings_is_spoken_as_it_is_written():
    assert LineRequest.from_json(json.loads(STORED["preset"])).spoken == "Hi."
    assert LineRequest.from_json(json.loads(STORED["lock"])).spoken == "Herr Win."


def test_a_voice_has_only_what_its_kind_has():
    voice = LineRequest.from_json(json.loads(STORED["preset"])).voice
    assert voice == VoiceSource(kind="preset", name="ryan")
    assert voice.to_json() == {"source": "preset", "name": "ryan"}


@pytest.mark.parametrize("status", [*JobStatus, *LineStatus], ids=repr)
def test_a_status_is_its_plain_word_wherever_it_is_written(status, db):
    word = status.value
    assert f"{status}, {status:>9}" == f"{word}, {word:>9}"
    assert "%s" % status == word  # noqa: UP031 - as loggers do
    assert json.dumps([status]) == canonical_json([status]) == f'["{word}"]'
    with db.read() as session:
        assert session.rows("SELECT :status AS status", {"status": status}) == [{"status": word}]
