"""A whole instance driven from outside, as its users drive it: files in, processes started and killed, folders read.

What every line must sound like is worked out beforehand by an instance that nobody disturbs, and kept in memory
here: nothing that the instance under test stores can make a wrong output look right.
"""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from registry.durable_files import CRASH_EXIT_STATUS
from registry.storage.database import Database
from tests.forked import CAN_FORK, Forked
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parent.parent.parent
ENGINE = "tests.engines.noop:open_slow_engine"  # takes VOICEJOBS_TEST_LINE_S seconds a line
SETTINGS = "settle_s = 0.0\nscan_interval_s = 0.1\nmin_free_bytes = 0\nmax_takes = 1\n"


class Yard:
    """One instance. `line_s` is how long the engine pretends to work on a line."""

    def __init__(self, root, *, line_s=0.0):
        self.root, self.errors = root, root / "stderr.log"
        self.inbox, self.outbox, self.state_dir = root / "inbox", root / "outbox", root / ".voicejobs"
        self.inbox.mkdir(parents=True, exist_ok=True)
        (root / "voicejobs.toml").write_text(SETTINGS, encoding="utf-8")
        self.environment = {
            **os.environ,
            "VOICEJOBS_TEST_ENGINES": "1",
            "VOICEJOBS_TEST_LINE_S": str(line_s),
            "PYTHONPATH": str(ROOT),
        }

    # ---- what a user does --------------------------------------------------------------------------------------

    def drop(self, name, *, lines, priority=0):
        """A synthesize job of `lines` texts, put into the inbox by a rename."""
        job = {
            "kind": "synthesize",
            "id": name,
            "model": ENGINE,
            "voice": "preset:ryan",
            "priority": priority,
            "lines": [{"id": f"{name}-{number}", "text": text} for number, text in enumerate(lines)],
        }
        part = self.inbox / f".{name}.tmp"
        part.write_text(json.dumps(job), encoding="utf-8")
        part.rename(self.inbox / f"{name}.json")

    def start(self, *arguments, **environment):
        """A runner process: `run` by default."""
        arguments = ["--root", str(self.root), *(arguments or ("run",))]
        environment = {**self.environment, **environment}
        if CAN_FORK and "LD_PRELOAD" not in environment:
            return Forked(arguments, environment=environment, errors=self.errors)
        with self.errors.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "runner", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def drain(self, *, timeout_s=PATIENCE_S, **environment):
        """`run --once` to its end; returns the exit code."""
        return self.start("run", "--once", **environment).wait(timeout=timeout_s)

    # ---- what came of it ---------------------------------------------------------------------------------------

    def receipts(self):
        found = {}
        for path in sorted(self.outbox.glob("*/result.json")):
            found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def published(self):
        """Line id -> SHA-256 of its audio, of everything that lies in the outbox, complete or not."""
        return {
            line["id"]: sha256(path.parent / line["file"])
            for path in self.outbox.glob("*/result.json")
            for line in json.loads(path.read_text(encoding="utf-8"))["lines"]
            if line.get("file")
        }

    def audio_files(self):
        return [path for path in self.outbox.glob("*/*.wav") if not path.name.startswith(("track", "."))]

    def assert_sound(self):
        """The database is whole, and no half-made file is left where a consumer looks."""
        database = Database.open(self.state_dir / "registry.sqlite")
        with database.read() as session:
            assert session.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
            assert session.rows("PRAGMA foreign_key_check") == []
        database.close()
        litter = [path for path in self.outbox.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
        assert litter == []
        assert [path for path in self.inbox.iterdir() if not path.name.startswith(".")] == []


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def texts(count, *, start=0):
    """Distinct short lines."""
    return [f"Line {start + number} of the long night." for number in range(count)]


def engines_of(process):
    """The engine processes below a runner, as psutil sees them at this moment."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def a_seed():
    """Another one in every run, but where a change is checked: that must not fail by chance."""
    seed = 20_261 if os.environ.get("CI") else secrets.randbits(32)
    print(f"seed {seed}")
    return seed


def kill(process):
    """As `kill -9` from outside; returns once the process is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE_S)


def undisturbed_hashes(root, jobs):
    """Line id -> SHA-256 as an instance makes them that nobody disturbs. `jobs`: name -> texts."""
    yard = Yard(root)
    for name, lines in jobs.items():
        yard.drop(name, lines=lines)
    assert yard.drain(timeout_s=1800) == 0
    hashes = yard.published()
    assert len(hashes) == sum(map(len, jobs.values()))
    return hashes


__all__ = ["CRASH_EXIT_STATUS", "Yard", "a_seed", "engines_of", "kill", "sha256", "texts", "undisturbed_hashes"]
