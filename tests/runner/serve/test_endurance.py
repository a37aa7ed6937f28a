"""Servers and runners killed in the middle of streams, many clients at once, and clients that dawdle."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import time

import psutil
import pytest

from runner.serve.http_server import HEADERS_WITHIN_S
from tests.patience import PATIENCE_S, wait_until
from tests.runner.serve.served import Served

ENGINE = "tests.engines.noop:open_slow_engine"  # takes VOICEJOBS_TEST_LINE_S seconds a line


def story(number, *, lines):
    return "\n\n".join(f"Line {line} of the story {number}." for line in range(lines))


def spoken(port, body):
    """The whole sound; None when the answer is an error, or broke off."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        client.request("POST", "/v1/audio/speech", json.dumps(body), {"Content-Type": "application/json"})
        answer = client.getresponse()
        content = answer.read()
        return content if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        client.close()


def body_of(number, *, lines=8):
    return {"model": ENGINE, "voice": "ryan", "input": story(number, lines=lines), "response_format": "pcm"}


def kill_by_turns(root, *, times, seed):
    """Kill the server or the runner in the middle of a stream; afterwards each story is spoken once, and whole."""
    chance = random.Random(seed)
    served = Served(root, settings="batch = 1\n").start().start_runner(VOICEJOBS_TEST_LINE_S="0.02")
    try:
        for number in range(times):
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                stream = pool.submit(spoken, served.port, body_of(number))
                time.sleep(chance.uniform(0.0, 0.5))  # when it is killed is what is tried
                victim = served.server if number % 2 else served.runner
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait(PATIENCE_S)
                cut = stream.result(PATIENCE_S)  # every client is told
            if victim is served.server:
                served.start()
            else:
                served.start_runner(VOICEJOBS_TEST_LINE_S="0.02")
            wait_until(lambda: served.get("/health").status == 200, what="server and runner")
            whole = spoken(served.port, body_of(number))
            assert whole is not None, (number, served.output.read_text())
            assert cut in (None, whole), f"seed {seed}: half of story {number} passed for all of it"
        return served.get(f"/api/jobs?limit={min(500, 4 * times)}").json["jobs"]
    finally:
        assert served.stop() == 0


def test_server_and_runner_are_killed_by_turns_and_every_client_is_told(tmp_path):
    found = kill_by_turns(tmp_path, times=4, seed=20_261)
    assert len({each["job"] for each in found}) == len(found)
    assert {each["status"] for each in found} <= {"done", "cancelled"}


@pytest.mark.slow
def test_server_and_runner_are_killed_a_hundred_times(tmp_path):
    found = kill_by_turns(tmp_path, times=100, seed=random.randrange(1 << 30))
    assert {each["status"] for each in found} <= {"done", "cancelled"}


@pytest.mark.slow
def test_two_hundred_clients_at_once_are_served_in_little_memory(tmp_path):
    served = Served(tmp_path, serve="max_waiting = 1000\n").start_runner().start()
    try:
        warm = {**body_of(-1), "model": "draft"}
        assert spoken(served.port, warm)
        before = psutil.Process(served.server.pid).memory_info().rss
        slow = [connected(served.port, {**warm, "input": story(-1, lines=300)}) for _ in range(20)]
        with concurrent.futures.ThreadPoolExecutor(180) as pool:
            bodies = [{**body_of(number % 60), "model": "draft"} for number in range(180)]
            sounds = list(pool.map(lambda body: spoken(served.port, body), bodies))
        assert all(sounds)
        assert all(sounds[number] == sounds[number % 60] for number in range(180))
        grown = psutil.Process(served.server.pid).memory_info().rss - before
        for client in slow:
            client.close()
        assert grown < 150_000_000
    finally:
        assert served.stop() == 0


def connected(port, body):
    """A client that asks and does not read."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    content = json.dumps(body).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    client.sendall(head.encode() + content)
    return client


@pytest.mark.slow
def test_headers_that_do_not_come_are_not_waited_for(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        started_s = time.monotonic()
        client.settimeout(1.0)
        while time.monotonic() - started_s < 4 * HEADERS_WITHIN_S:
            try:
                client.sendall(b"X-Slow: 1\r\n")
                if client.recv(1_000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - started_s < 2 * HEADERS_WITHIN_S


def test_headers_without_end_are_refused(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 100_000)
        with contextlib.suppress(ConnectionError):  # closed while it was being sent
            assert b" 400 " in client.recv(1_000)
    assert served.get("/health").status == 200


def test_an_idle_server_is_small_and_still(tmp_path):
    idle = Served(tmp_path).start()
    try:
        assert idle.get("/health").status == 503
        process = psutil.Process(idle.server.pid)
        assert process.memory_info().rss < 80_000_000
    finally:
        idle.stop()
