"""A daemon beside others on its machine: swapped entries of inbox and outbox, and a corpus of hostile job files."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S, wait_until
from tests.regimes.yard import ENGINE, Yard, a_seed

SECRET = "the secret of another folder"
PRIVATE = ("secret.txt", "result.json")
STORIES = 60
AT_ONCE = 25
JOB = {"kind": "synthesize", "model": ENGINE, "voice": "preset:ryan"}
LONG = "n" * 300
PATHS = (
    "../secret.txt", "/etc/passwd", "~root/x", "~nosuch/x", ".claimed/x", "a/../../b", "a//b", "./a", "", ".", "C:\\x",
    "\\\\host\\x", "x" * 300, "x/" * 600, "dev/null", "\u202etxt.a", "a\u0000b", "a\nb", "e\u0301.txt", "link", "fifo",
)  # fmt: skip
MODELS = (
    "~nosuch/m", "~/m", "/", "/dev/null", "/dev/zero", "/proc/self/mem", "/" + LONG, LONG, "a/b/c/d", "../x", "\u202em",
    " ", "draft ", "DRAFT", "hub:x", "https://example.org/m", "tests.engines.noop:no_such", "os:system", ":", "a:b:c",
)  # fmt: skip
NAMES = ("../x", "..", "CON", LONG, "é" * 70, "a/b", "\u202ex", "x\x1b[2J", "-rf", "$(reboot)", "%s%n", "ryan", " ")


def corpus():
    """Name of a drop → a job that cannot be done, or should not."""
    wrong = [{**JOB, "text_file": path} for path in PATHS]
    wrong += [{"kind": "lock", "voice": "e", "audio": path, "transcript": "Hi."} for path in PATHS]
    wrong += [{**JOB, "text": "Hi.", "model": model} for model in MODELS]
    wrong += [{**JOB, "lines": [{"text": "Hi.", "model": model}]} for model in MODELS]
    wrong += [{"kind": "design", "voice": f"d{n}", "description": "A.", "model": m} for n, m in enumerate(MODELS)]
    wrong += [{**JOB, "text": "Hi.", "voice": name} for name in NAMES]
    wrong += [{**JOB, "text": "Hi.", "id": name} for name in NAMES]
    wrong += [{"kind": "export", "voice": name, "file": f"{name}.vox"} for name in NAMES]
    wrong += [{"kind": "lock", "voice": "e", "from": {"job": name, "candidate": 1}} for name in NAMES]
    return {f"wrong-{number}": job for number, job in enumerate(wrong)}


@contextlib.contextmanager
def running(yard):
    """A daemon, which must live to the end; gives a question whether it has died."""
    daemon = yard.start()
    try:
        yield lambda: daemon.poll() is not None
        assert daemon.poll() is None, yard.errors.read_text()[-3_000:]
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=PATIENCE_S) == 0


def answers(yard):
    return sum(1 for _ in yard.outbox.glob("*/result.json"))


def put(yard, name, job):
    part = yard.inbox / f".{name}.tmp"
    part.write_bytes(json.dumps(job).encode("utf-8", "surrogatepass"))
    part.rename(yard.inbox / f"{name}.json")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_daemon_answers_every_file_of_a_hostile_corpus_and_the_job_beside_each(tmp_path):
    yard = Yard(tmp_path / "yard")
    os.mkfifo(yard.inbox / "fifo")
    (yard.inbox / "link").symlink_to("/etc/passwd")
    wrong = corpus()
    with running(yard) as is_over:
        for number, (name, job) in enumerate(wrong.items()):
            put(yard, name, job)
            yard.drop(f"good-{number}", lines=[f"A good line, number {number}."])
            if number % AT_ONCE == 0:
                wait_until(lambda n=number: is_over() or answers(yard) > 2 * n, what="answers")
        wait_until(lambda: is_over() or answers(yard) == 2 * len(wrong) + 2, what="answers")
    receipts = yard.receipts()
    assert [receipts[f"good-{number}"]["status"] for number in range(len(wrong))] == ["done"] * len(wrong)
    bad = [each for each in receipts.values() if each["status"] in ("failed", "rejected")]
    assert all(each["error"]["message"] and each["error"]["code"] != "internal" for each in bad)
    assert not any("root:" in path.read_text(errors="replace") for path in yard.outbox.glob("*/*.json"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_neighbour_who_swaps_entries_leads_a_daemon_nowhere_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SEED", str(a_seed()))
    yard, private, go_on = Yard(tmp_path / "yard"), tmp_path / "private", tmp_path / "go-on"
    private.mkdir()
    for name in PRIVATE:
        (private / name).write_text(SECRET)
    go_on.touch()
    yard.outbox.mkdir()
    neighbour = [sys.executable, Path(__file__).with_name("neighbour.py"), yard.inbox, yard.outbox, private, go_on]
    with running(yard) as is_over, subprocess.Popen(neighbour) as swapping:
        try:
            for number in range(STORIES):
                folder = yard.inbox / f".story-{number}.tmp"
                folder.mkdir()
                (folder / "text.txt").write_text(f"Story number {number}.")
                (folder / "job.json").write_text(json.dumps({**JOB, "text_file": "text.txt"}))
                with contextlib.suppress(OSError):  # the neighbour has it just now
                    folder.rename(yard.inbox / f"story-{number}")
            wait_until(lambda: is_over() or answers(yard) >= STORIES // 2, what="answers")
        finally:
            go_on.unlink()
            assert swapping.wait(timeout=60) == 0
        yard.drop("after", lines=["A line after all that."])
        wait_until(lambda: is_over() or (yard.outbox / "after" / "result.json").exists(), what="an answer")
    assert yard.receipts()["after"]["status"] == "done"
    assert {path.name: path.read_text() for path in private.iterdir()} == dict.fromkeys(PRIVATE, SECRET)
    written = [path for path in yard.outbox.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
