"""Two hundred clients of the server at once, slow readers among them: each gets its own sound; memory stays flat."""

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.patience import PATIENCE_S
from tests.runner.serve.served import Served

pytestmark = pytest.mark.slow

CLIENTS, SLOW_CLIENTS = 200, 20
MOST_BYTES_A_CLIENT = 1 << 19  # while all of them are answered at once
MOST_GROWTH_BYTES = 15 << 20  # from one crowd to the next of its kind
NOOP = "tests.engines.noop:open_engine"
TEXT = "Client {} listens to a sentence of its own, which is long enough to be sent in several pieces. "


@pytest.fixture
def served(tmp_path):
    served = Served(tmp_path / "instance", serve=f"max_waiting = {2 * CLIENTS}")
    served.start_runner().start()
    yield served
    served.stop()


def body_of(number):
    text = TEXT.format(number) * 5
    return {"model": NOOP, "voice": "ryan", "input": text, "response_format": "wav"}


def heard(served, number):
    """Status and sound that a client gets; every tenth reads slowly."""
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    try:
        client.request("POST", "/v1/audio/speech", json.dumps(body_of(number)))
        answer = client.getresponse()
        if number % (CLIENTS // SLOW_CLIENTS):
            return answer.status, answer.read()
        sound = b""
        while piece := answer.read(50_000):
            sound += piece
            time.sleep(0.1)
        return answer.status, sound
    finally:
        client.close()


class Memory:
    """The most that a process takes while it is watched."""

    def __init__(self, process):
        self.process, self.most_bytes, self._end = psutil.Process(process.pid), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._end.wait(0.1):
            self.most_bytes = max(self.most_bytes, self.process.memory_info().rss)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def crowd(served, numbers):
    """Sounds that a crowd of clients gets, and the most memory that the server took meanwhile."""
    with Memory(served.server) as memory, ThreadPoolExecutor(len(numbers)) as pool:
        found = list(pool.map(lambda number: heard(served, number), numbers))
    assert [status for status, _ in found] == [200] * len(numbers)
    return [sound for _, sound in found], memory.most_bytes


def test_two_hundred_clients_at_once_are_all_served_in_flat_memory(served):
    heard(served, CLIENTS)  # everything that speaks is loaded
    rest_bytes = psutil.Process(served.server.pid).memory_info().rss
    first, first_bytes = crowd(served, range(CLIENTS))
    assert len(set(first)) == CLIENTS
    again, again_bytes = crowd(served, range(CLIENTS))  # from the take store: nobody waits for the engine
    assert again == first
    assert max(first_bytes, again_bytes) - rest_bytes < CLIENTS * MOST_BYTES_A_CLIENT
    last, last_bytes = crowd(served, range(CLIENTS))
    assert last == first
    assert last_bytes - again_bytes < MOST_GROWTH_BYTES
    _, other_bytes = crowd(served, range(CLIENTS + 1, 2 * CLIENTS + 1))
    assert other_bytes - max(first_bytes, last_bytes) < MOST_GROWTH_BYTES
    assert served.get("/health").status == 200
