"""One attempt at one receiver: what counts as delivered, what does not, and that it ends."""

import json
import socket
import sys
import threading
import time

import psutil
import pytest

from registry.jobs.hook_deliveries import Delivery
from runner.config.hook_settings import HookSettings
from runner.hooks.delivery import Attempt, NotDelivered
from tests.patience import PATIENCE_S, wait_until

NOTICE = Delivery(id=1, webhook_id="msg_1", type="job.done", at_s=0.0, data=b'{"job": "hello"}', attempts=0)


def attempt(tmp_path, *, timeout_s=PATIENCE_S, **more):
    return Attempt(HookSettings(on=["job.done"], **more), tmp_path, timeout_s=timeout_s)


def test_a_post_carries_json_and_the_headers_of_standard_webhooks(tmp_path, receiver):
    attempt(tmp_path, url=f"{receiver.url}/a b".replace(" ", "%20") + "?x=1").deliver(NOTICE)
    ((path, headers, body),) = receiver.requests
    assert path == "/a%20b?x=1"
    assert json.loads(body)["data"] == {"job": "hello"}
    assert (headers["webhook-id"], headers["Content-Type"]) == ("msg_1", "application/json")
    assert headers["User-Agent"].startswith("voicejobs/") and "webhook-signature" not in headers


def test_headers_of_a_person_win(tmp_path, receiver):
    more = {"Title": "voicejobs", "content-type": "text/markdown"}
    attempt(tmp_path, url=receiver.url, template="*{{data.job}}*", headers=more).deliver(NOTICE)
    ((_, headers, body),) = receiver.requests
    assert body == b"*hello*"
    assert (headers["Title"], headers["content-type"]) == ("voicejobs", "text/markdown")


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_answer_of_success_counts(tmp_path, make_receiver, status):
    attempt(tmp_path, url=make_receiver(status).url).deliver(NOTICE)


@pytest.mark.parametrize("status", [301, 302, 400, 410, 500, 503])
def test_no_other_answer_does_and_none_leads_elsewhere(tmp_path, make_receiver, status):
    receiver, elsewhere = make_receiver(status), make_receiver()
    receiver.headers_of_answers = {"Location": elsewhere.url}
    with pytest.raises(NotDelivered, match=f"it answered {status}"):
        attempt(tmp_path, url=receiver.url).deliver(NOTICE)
    assert elsewhere.requests == []


def test_a_receiver_that_does_not_answer_is_left_after_a_while(tmp_path, make_receiver):
    with pytest.raises(NotDelivered, match=r"no answer within 0\.2 s"):
        attempt(tmp_path, url=make_receiver(None).url, timeout_s=0.2).deliver(NOTICE)


def test_a_receiver_that_answers_drop_by_drop_is_left_too(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                while True:
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return
                    time.sleep(0.01)

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(NotDelivered):
            attempt(tmp_path, url=f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.3).deliver(NOTICE)
        dripping.join()


def test_nobody_there_is_said(tmp_path, make_receiver):
    receiver = make_receiver()
    receiver.close()
    with pytest.raises(NotDelivered, match="not reached: Connection refused"):
        attempt(tmp_path, url=receiver.url).deliver(NOTICE)
    receiver.close = lambda: None


def test_a_secret_that_cannot_be_read_is_said_and_nothing_is_sent(tmp_path, receiver):
    (tmp_path / "wrong").write_text("secret")
    for name, said in (("gone", "No such file"), ("wrong", "holds no secret")):
        with pytest.raises(NotDelivered, match=said):
            attempt(tmp_path, url=receiver.url, secret_file=name).deliver(NOTICE)
    assert receiver.requests == []


def test_a_command_gets_the_notice_on_standard_input(tmp_path):
    program = "import sys, pathlib; pathlib.Path('got.json').write_bytes(sys.stdin.buffer.read())"
    attempt(tmp_path, command=[sys.executable, "-c", program]).deliver(NOTICE)
    assert json.loads((tmp_path / "got.json").read_bytes())["data"] == {"job": "hello"}


def test_no_shell_reads_a_command(tmp_path):
    attempt(tmp_path, command=["/bin/echo", "x; touch made", "$(touch made)"]).deliver(NOTICE)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [(["/bin/sh", "-c", "exit 3"], "it ended with 3"), (["/no/such/program"], "No such file"), (["/"], "not reached")],
)
def test_a_command_that_fails_is_said(tmp_path, command, said):
    with pytest.raises(NotDelivered, match=said):
        attempt(tmp_path, command=command).deliver(NOTICE)


def test_a_command_that_hangs_is_ended_with_its_children_whatever_it_reads(tmp_path):
    large = Delivery(id=1, webhook_id="m", type="job.done", at_s=0.0, data=b'"' + b"x" * 1_000_000 + b'"', attempts=0)
    program = "sleep 1000 & echo $! > child; wait"
    with pytest.raises(NotDelivered, match="no answer"):
        attempt(tmp_path, command=["/bin/sh", "-c", program], timeout_s=1.0).deliver(large)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not psutil.pid_exists(child) or _is_zombie(child), what="the end of its child")


def _is_zombie(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_command_that_reads_nothing_and_is_done_counts(tmp_path):
    large = Delivery(id=1, webhook_id="m", type="job.done", at_s=0.0, data=b'"' + b"x" * 1_000_000 + b'"', attempts=0)
    attempt(tmp_path, command=[sys.executable, "-c", "pass"]).deliver(large)
