"""Whether a model hub answers again."""

import socket

import pytest

from runner.engine.hub_watch import ASK_EVERY_S, HubWatch, hub_answers
from tests.patience import PATIENCE_S


@pytest.fixture
def watch():
    return HubWatch(wake=lambda: None)


def ask(watch, now_s, *, answers):
    watch.answers = lambda: answers
    assert watch.is_back(now_s) is False
    watch._asking.join(PATIENCE_S)
    return watch.is_back(now_s)


def test_a_hub_is_back_when_it_answers_after_it_did_not(watch):
    assert ask(watch, 100.0, answers=False) is False
    assert ask(watch, 100.0 + ASK_EVERY_S, answers=True) is True


def test_a_hub_that_took_connections_all_the_time_is_not_back(watch):
    assert [ask(watch, 100.0 + n * ASK_EVERY_S, answers=True) for n in range(3)] == [False] * 3


def test_it_is_asked_no_more_often_than_every_few_seconds(watch):
    ask(watch, 100.0, answers=False)
    assert watch.is_back(100.0 + ASK_EVERY_S / 2) is False
    assert watch._asking is None
    assert watch.next_look_s() == 100.0 + ASK_EVERY_S


def test_a_host_answers_when_it_takes_a_connection(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_answers()
    assert not hub_answers()
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    assert not hub_answers()
