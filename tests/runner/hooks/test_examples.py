"""The examples of docs/hooks.md: each table is one that is read, and does what the page says."""

import json
import re
import sys
from pathlib import Path

import pytest
import standardwebhooks

from registry.jobs.hook_deliveries import Delivery
from runner.config.settings import load_settings
from runner.hooks.delivery import Attempt

PAGE = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
PROGRAM = next(text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "stdin" in text)
RECEIPT = {"job": "hello", "status": "failed", "error": {"message": 'It "broke".'}, "lines": []}
NOTICE = Delivery(id=1, webhook_id="msg_1", type="job.failed", at_s=0.0, data=json.dumps(RECEIPT).encode(), attempts=0)


def deliver(tmp_path, number, **changes):
    path = tmp_path / "voicejobs.toml"
    path.write_text(TABLES[number], encoding="utf-8")
    (hook,) = load_settings(path).hooks
    Attempt(hook.model_copy(update=changes), tmp_path).deliver(NOTICE)


def test_the_page_has_the_four_examples():
    assert len(TABLES) == 4


def test_ntfy_gets_a_sentence(tmp_path, receiver):
    deliver(tmp_path, 0, url=receiver.url)
    ((_, headers, body),) = receiver.requests
    assert body == b'hello: failed It "broke".'
    assert headers["Title"] == "voicejobs"


def test_home_assistant_gets_json(tmp_path, receiver):
    deliver(tmp_path, 1, url=receiver.url)
    assert receiver.notices[0]["data"]["job"] == "hello"


def test_the_signed_webhook_is_verified_by_the_library(tmp_path, receiver):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    (tmp_path / "hook-secret").write_text(secret + "\n")
    deliver(tmp_path, 2, url=receiver.url)
    ((_, headers, body),) = receiver.requests
    assert standardwebhooks.Webhook(secret).verify(body, headers)["type"] == "job.failed"
    assert headers["Authorization"] == "Bearer something"


def test_the_program_writes_its_line(tmp_path):
    (tmp_path / "notify.py").write_text(PROGRAM)
    deliver(tmp_path, 3, command=[sys.executable, "notify.py"])
    assert (tmp_path / "done.log").read_text() == "hello failed\n"


@pytest.mark.parametrize("number", range(len(TABLES)))
def test_a_receiver_is_not_named_with_its_path(tmp_path, number):
    path = tmp_path / "voicejobs.toml"
    path.write_text(TABLES[number], encoding="utf-8")
    (hook,) = load_settings(path).hooks
    assert "secret" not in hook.receiver and "8f3a1c" not in hook.receiver
