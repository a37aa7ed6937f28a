"""Credentials never reach a log."""

import json
import logging
import os

import pytest

from registry.jobs import jobs
from runner.cli.program import run_command
from runner.config.instance import Instance
from runner.config.logs import LOG_FILE, Redacting, set_up_logging
from runner.config.settings import Settings
from runner.outbox.receipt import receipt
from runner.redaction import REDACTED, redact
from tests.runner.worker.bench import speak

SECRETS = [
    "hf_abcdefghijklmnopqrstuv",
    "ghp_0123456789abcdefghij0123",
    "sk-abcdefghijklmnopqrstuvwx",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijkl",
    "jwt_eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijkl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_tokens_are_known_by_their_shape(secret):
    assert redact(f"login with {secret}, please") == f"login with {REDACTED}, please"


@pytest.mark.parametrize(
    "text",
    ["Authorization: Bearer s3cr3t-value", "token=s3cr3t-value", '{"api_key": "s3cr3t-value"}', "HF_TOKEN=s3cr3t-value",
     "https://me:s3cr3t-value@example.org/x", "password: s3cr3t-value"],
)  # fmt: skip
def test_what_stands_behind_a_telling_name_is_taken_out(text):
    assert "s3cr3t" not in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text", ["41 tokens in 2 s", "the token was refused", "https://example.org/a:b", "line 3: key"]
)
def test_plain_sentences_stay_as_they_are(text):
    assert redact(text) == text


def test_a_traceback_is_redacted_as_well():
    try:
        raise ValueError(SECRETS[0])
    except ValueError as error:
        record = logging.LogRecord("x", 40, "f", 1, "failed", (), (ValueError, error, error.__traceback__))
    assert SECRETS[0] not in Redacting().format(record)


def test_the_log_goes_to_the_instance(tmp_path):
    instance = Instance(tmp_path, Settings())
    instance.prepare()
    before = logging.root.handlers[:], logging.root.level
    set_up_logging(instance, to_stderr=False)
    logging.getLogger("runner.test").info("hello %s", SECRETS[0])
    for handler in logging.root.handlers:
        handler.close()
    logging.root.handlers[:], logging.root.level = before
    assert f"hello {REDACTED}" in (instance.logs_dir / LOG_FILE).read_text()


def test_receipts_and_lists_of_jobs_hold_no_tokens(bench, capsys):
    bench.drop("a.toml", speak("Hello.", voice="elena"))
    bench.run()
    with bench.context.database.write() as session:
        session.rows("UPDATE job SET error_message = 'tried with " + SECRETS[0] + "'")
    with bench.context.database.read() as session:
        content = receipt(jobs.by_name(session, "a"), [])
    (bench.instance.root / "voicejobs.toml").touch()
    assert run_command(["--root", str(bench.instance.root), "jobs", "list", "--json"]) == 0
    assert run_command(["--root", str(bench.instance.root), "jobs", "show", "a"]) == 0
    printed = capsys.readouterr().out
    assert SECRETS[0] not in printed + json.dumps(content)
    assert printed.count(REDACTED) == 2


@pytest.mark.parametrize(
    "piece",
    ["a-", "a.", "eyJ-", "eyJa.", "token-", "token ", "authorization: ", "http://a:", "hf_ab ", "sk-a", "bearer  "],
)
def test_redaction_is_linear_in_a_long_line(piece):
    redact(piece * (1_000_000 // len(piece)) + " token authorization: bearer ://")  # the time limit of the suite judges


def test_a_log_whose_place_a_pipe_takes_is_written_on_where_it_was(tmp_path):
    instance = Instance(tmp_path, Settings())
    instance.prepare()
    before = logging.root.handlers[:], logging.root.level
    set_up_logging(instance, to_stderr=False)
    log, moved = instance.logs_dir / LOG_FILE, instance.logs_dir / "moved.log"
    log.rename(moved)
    os.mkfifo(log)
    logging.getLogger("voicejobs").warning("first")
    logging.getLogger("voicejobs").warning("second")
    for handler in logging.root.handlers:
        handler.close()
    logging.root.handlers[:], logging.root.level = before
    assert "first" in moved.read_text() and "second" in moved.read_text()
