"""Speech that is heard while it is spoken, by an engine that does not go on until the test lets it."""

import http.client
import json

import pytest

from tests.patience import PATIENCE_S, wait_until
from tests.runner.serve.served import Served

MODEL = "tests.engines.paced:open_engine"
TEXT = "A line that is longer than its first piece."
PIECE_BYTES = 4_800


class Listener:
    """A client that reads as much as it wants, and may go at any moment."""

    def __init__(self, served, text):
        body = {"model": MODEL, "voice": "ryan", "input": text, "response_format": "pcm"}
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
        self.connection.request("POST", "/v1/audio/speech", json.dumps(body), {"Content-Type": "application/json"})
        self.answer = self.connection.getresponse()
        self.job = self.answer.headers.get("X-Voicejobs-Job")

    def read(self, size=None):
        return self.answer.read(size)

    def go(self):
        self.answer.close()
        self.connection.close()


@pytest.fixture(scope="module")
def one_live(tmp_path_factory):
    root = tmp_path_factory.mktemp("live")
    made = Served(root)
    made.gate = root / "gate"
    made.start_runner(VOICEJOBS_TEST_GATE=str(made.gate))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def listen():
    """Listeners, who go at the end of the test."""
    made = []

    def begin(served, text):
        made.append(Listener(served, text))
        return made[-1]

    yield begin
    for listener in made:
        listener.go()


@pytest.fixture
def live(one_live):
    """An instance whose engine waits at a closed gate after the first piece of a line."""
    one_live.gate.unlink(missing_ok=True)
    return one_live


def status_of(live, job):
    return live.get(f"/api/jobs/{job}").json["status"]


def test_a_line_is_heard_before_it_is_spoken_to_its_end_and_is_the_take_that_is_kept(live, listen):
    listener = listen(live, TEXT)
    first = listener.read(PIECE_BYTES)
    assert any(first)
    assert status_of(live, listener.job) == "running"
    live.gate.touch()
    whole = first + listener.read()
    assert live.ended(listener.job)["status"] == "done"
    assert listen(live, TEXT).read() == whole
    assert live.get(f"/api/jobs/{listener.job}/files/track.wav").body[44:] == whole


def test_lines_and_their_pauses_are_heard_in_order(live, listen):
    live.gate.touch()
    listener = listen(live, "The first paragraph.\n\nThe second one is longer.\n\nThe third.")
    whole = listener.read()
    live.ended(listener.job)
    assert live.get(f"/api/jobs/{listener.job}/files/track.wav").body[44:] == whole


def test_two_who_ask_for_the_same_hear_one_job_to_its_end(live, listen):
    early = listen(live, f"{TEXT} Twice.")
    first = early.read(PIECE_BYTES)
    late = listen(live, f"{TEXT} Twice.")
    assert late.job == early.job
    assert late.read(PIECE_BYTES) == first
    live.gate.touch()
    assert early.read() == late.read()


def test_a_client_that_goes_frees_its_row_at_once(live, listen):
    gone = listen(live, "Nobody hears this to its end.")
    gone.read(PIECE_BYTES)
    gone.go()
    listener = listen(live, "The engine has one row, and this line is in it now.")
    assert any(listener.read(PIECE_BYTES))
    wait_until(lambda: status_of(live, gone.job) == "cancelled", what="the end of the job that nobody hears")
    live.gate.touch()
    listener.read()
    assert live.ended(listener.job)["status"] == "done"


def test_a_runner_that_dies_in_the_middle_of_a_line_breaks_the_sound_off(tmp_path, listen):
    dying = Served(tmp_path)
    dying.start_runner(VOICEJOBS_TEST_GATE=str(tmp_path / "never")).start()
    try:
        listener = listen(dying, TEXT)
        listener.read(PIECE_BYTES)
        dying.runner.kill()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            listener.read()
    finally:
        assert dying.stop() == 0
