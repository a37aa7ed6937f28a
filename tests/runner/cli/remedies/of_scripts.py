"""Remedies of messages about scripts, masters and work that was broken off, each with the state that prints it."""

import signal
import subprocess
import sys
from pathlib import Path

from runner.exit_codes import FAILED, INTERRUPTED, OK
from tests.patience import PATIENCE_S, wait_until
from tests.printed_commands import ROOT
from tests.runner.cli.remedies.of_jobs import MASTER_OF
from tests.runner.cli.remedies.place import Place, Remedy
from tests.runner.script.analyzer.stub_server import StubServer, good
from tests.runner.worker.bench import MODEL, Bench, speak
from tests.runner.worker.books.test_script_jobs import PLAY, SCRIPT
from tests.runner.worker.test_dying_loads import DyingEngine

DYING = """\
import os, pathlib, sys
flag = pathlib.Path({flag!r})
if "runner.master.make_master" in sys.orig_argv and flag.exists():
    flag.unlink()
    os._exit(9)
"""
SLOW_ENGINE = "tests.engines.noop:open_slow_engine"


def produced(place: Place, keys: str = "") -> None:
    """A screenplay that was dropped as `play`, and what came of it by now."""
    place.set(model=MODEL)
    folder = place.root / "inbox" / "play"
    folder.mkdir()
    (folder / "play.fountain").write_text(PLAY)
    (folder / "job.toml").write_text(f"{SCRIPT}{keys}")
    place.drain()


def with_an_analyzer_that_refuses(place: Place) -> None:
    server = place.at_the_end.enter_context(StubServer((401, {}, b"no")))
    place.analyzer = server
    keys = f'[analyzer]\nbackend = "openai"\nmodel = "tiny"\nurl = "{server.url}"\non_failure = "fail"\n'
    produced(place, keys)


def produced_without_respellings(place: Place) -> None:
    place.set(model=MODEL, pronunciations="absent.toml")
    folder = place.root / "inbox" / "play"
    folder.mkdir()
    (folder / "play.fountain").write_text(PLAY)
    (folder / "job.toml").write_text(SCRIPT)
    place.drain()


def with_a_master_that_died(place: Place) -> None:
    flag = place.elsewhere / "flag"
    flag.touch()
    (place.elsewhere / "sitecustomize.py").write_text(DYING.format(flag=str(flag)))
    place.patch.setenv("PYTHONPATH", str(place.elsewhere))
    place.did(book=MASTER_OF.format(job="hello"))


def removed_again_and_again(place: Place) -> None:
    """A file of a job that was removed before its end, and again when it had been published once more."""
    place.set(model=MODEL)
    bench = Bench(place.root)
    bench.engine.answers_per_tick = 1
    bench.drop("book.toml", speak("One.", "Two.", "Three.", "Four."))
    file = place.root / "outbox" / "book" / "line-1.wav"
    while not (place.root / "outbox" / "book" / "result.json").exists():
        bench.tick()
        file.unlink(missing_ok=True)
    bench.context.database.close()


def with_an_engine_that_dies(place: Place) -> None:
    bench = Bench(place.root, engine=DyingEngine())
    bench.drop("dies.toml", speak("One."))
    bench.run()
    bench.context.database.close()
    place.execute("UPDATE job SET claimed_s = claimed_s - 1e9 WHERE name = 'dies'")  # the bench's clock is ahead


def heed_interrupts() -> None:
    """In a new process: as in a terminal, also where these tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def broken_off(place: Place) -> str:
    """What `submit --wait` says that was interrupted while it worked."""
    place.set(model=SLOW_ENGINE)
    place.patch.setenv("VOICEJOBS_TEST_GATE", str(place.elsewhere / "gate"))
    job = place.elsewhere / "scene.toml"
    job.write_text(speak(*(f"Line {number}." for number in range(6))))
    command = [sys.executable, "-m", "runner", "--root", str(place.root), "submit", "--wait", str(job)]
    waiting = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    wait_until(Path(place.root, "outbox/scene/line-3.wav").exists, what="three lines")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == INTERRUPTED, said
    return said


def status_is(job: str, status: str):
    def check(place: Place) -> None:
        assert f"{status}," in place.type(f"jobs show {job}").text

    return check


def opened(place: Place) -> None:
    (place.elsewhere / "gate").touch()


REMEDIES = [
    Remedy(
        "registry/voices/candidates.py", "jobs show {job_name}", "script choose play ELENA 9",
        lambda place: produced(place, 'cast = "ask"\n'), FAILED, tells="candidate-1",
        then="script choose play ELENA 1",
    ),
    Remedy(
        "runner/worker/books/master_jobs.py", "jobs retry {master.job.name}", "jobs show book",
        with_a_master_that_died, OK, then=status_is("book", "done"),
    ),
    Remedy(
        "runner/worker/finisher.py", "jobs retry {job.name}", "jobs show book", removed_again_and_again, OK,
        then="jobs play book 1",
    ),
]  # fmt: skip
SLOW = [
    Remedy("runner/cli/progress.py", "jobs cancel {job.name}", broken_off, also=opened,
           then=status_is("scene", "cancelled")),
    Remedy("runner/cli/progress.py", "run", broken_off, also=opened, then=status_is("scene", "done")),
    Remedy(
        "runner/script/analyzer/analyses.py", "jobs retry {self.job}", "jobs show play", with_an_analyzer_that_refuses,
        OK, also=lambda place: place.analyzer.replies.__setitem__(0, good()), then=status_is("play", "done"),
    ),
    Remedy(
        "runner/worker/books/script_children.py", "jobs retry {self.script.name}", "jobs show play",
        produced_without_respellings, OK, also=lambda place: place.set(model=MODEL), then=status_is("play", "done"),
    ),
    Remedy(
        "runner/engine/model_loader.py", "doctor --engine", "jobs show dies", with_an_engine_that_dies, OK,
        tells="the draft engine speaks",
    ),
]  # fmt: skip
