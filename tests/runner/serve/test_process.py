"""The server as a process: how it starts, what it refuses to be, how it ends, and what it takes along."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.config.instance import open_instance
from tests.patience import PATIENCE_S, has_ended, wait_until
from tests.runner.serve.served import Served, synthesize

ROOT = Path(__file__).parents[3]


def test_it_never_loads_mlx():
    program = (
        "import sys, runner.cli.commands.serve, runner.serve.serving; print([n for n in sys.modules if 'mlx' in n])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_with_runner_works_alone_starts_a_dead_one_again_and_takes_it_along(tmp_path):
    alone = Served(tmp_path).start("--with-runner")
    try:
        instance = open_instance(tmp_path, environment={})
        wait_until(instance.runner_is_active, what="its runner")
        (runner,) = psutil.Process(alone.server.pid).children()
        runner.kill()
        wait_until(lambda: has_ended(runner), what="the end of its runner")
        wait_until(lambda: alone.get("/health").status == 200, what="another runner")
        assert alone.post_job(synthesize("Hello."), name="hello").status == 202
        assert alone.ended("hello")["status"] == "done"
        (runner,) = psutil.Process(alone.server.pid).children()
    finally:
        started_s = time.monotonic()
        assert alone.stop() == 0
        assert time.monotonic() - started_s < PATIENCE_S
    assert has_ended(runner)
    assert not instance.runner_is_active()


def test_a_runner_of_somebody_else_is_used_and_left_alone(tmp_path):
    beside = Served(tmp_path).start_runner().start("--with-runner")
    try:
        assert beside.post_job(synthesize("Hello."), name="hello").status == 202
        beside.ended("hello")
    finally:
        beside.server.send_signal(signal.SIGTERM)
        assert beside.server.wait(PATIENCE_S) == 0
        assert beside.runner.poll() is None
        beside.stop()


def test_after_a_kill_it_starts_again_at_once_on_its_port(tmp_path):
    killed = Served(tmp_path).start()
    port = killed.port
    assert killed.get("/health").status == 503
    os.kill(killed.server.pid, signal.SIGKILL)
    killed.server.wait(PATIENCE_S)
    try:
        assert killed.start().port == port
        assert killed.get("/health").status == 503
    finally:
        assert killed.stop(number=signal.SIGINT) == 130


def test_a_listener_to_events_does_not_hold_up_the_end(tmp_path):
    listened = Served(tmp_path).start()
    client = http.client.HTTPConnection("127.0.0.1", listened.port, timeout=PATIENCE_S)
    client.request("GET", "/api/events")
    response = client.getresponse()
    assert response.readline() == b": connected\n"
    assert listened.stop() == 0
    client.close()
    assert "Traceback" not in listened.output.read_text()


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        (("--host", "0.0.0.0"), "", 2, "no key is set"),
        (("--host", "no.such.host.invalid"), "", 2, "no key is set"),
        ((), 'key_file = "gone"', 2, "There is no key file"),
        ((), 'key_file = "voicejobs.toml"', 2, "no usable key"),
        (("--port", "70000"), "", 2, "70000"),
        ((), "prot = 1", 2, "did you mean 'port'?"),
    ],
)
def test_what_cannot_be_served_is_a_sentence_and_an_exit_code(tmp_path, arguments, settings, code, said):
    wrong = Served(tmp_path, serve=settings).start(*arguments, wait=False)
    assert wrong.server.wait(PATIENCE_S) == code
    assert said in wrong.output.read_text()
    assert "Traceback" not in wrong.output.read_text()


def test_a_port_that_is_in_use_is_named(tmp_path, served):
    second = Served(tmp_path)
    second.port = served.port
    second.start(wait=False)
    assert second.server.wait(PATIENCE_S) == 75
    assert f"Port {served.port} of 127.0.0.1 is in use" in second.output.read_text()


def test_events_tell_each_change_of_a_job(served):
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    client.request("GET", "/api/events")
    response = client.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.readline() == b": connected\n"
    served.post_job(synthesize("An event."), name="eventful")
    seen = []
    while "done" not in seen:
        line = response.readline()
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["job"] == "eventful":
                seen.append(event["status"])
    client.close()
    assert seen[-1] == "done"
