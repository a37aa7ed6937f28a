"""Requests of the runner: work that is cancelled, answered, and asked for again under its id."""

from models.processes.requests import Requests
from models.processes.wire import Cancel
from models.protocol import PresetVoice, SpeechWork


def work(id_):
    return SpeechWork(id=id_, text="Hello.", voice=PresetVoice(name="ryan"), seed=1)


def test_work_is_cancelled_while_it_has_no_answer():
    requests = Requests()
    requests.put(work("line-1"))
    requests.put(Cancel(id="line-1"))
    assert requests.is_cancelled("line-1")
    requests.forget("line-1")
    assert not requests.is_cancelled("line-1")


def test_a_cancellation_that_crosses_the_answer_does_not_cancel_the_next_work_of_that_id():
    requests = Requests()
    requests.put(work("line-1"))
    requests.take()
    requests.forget("line-1")  # answered; the runner has not read it yet
    requests.put(Cancel(id="line-1"))
    requests.put(work("line-1"))
    assert not requests.is_cancelled("line-1")
