"""The runner with an engine that costs nothing → a table and one JSON line: throughput, latency, idling, memory.

    python benchmarks/bench_runner.py [--jobs 2000] [--lines 100000] [--versions 100000] [--only NAME]

Everything is the product's own path, driven from outside through files and the command line; the engine is a test
engine that makes a tone at once, in a process of its own like any other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bench_speech import machine  # noqa: E402 (the path above comes first)

ENGINE = "tests.engines.noop:open_engine"
SETTINGS = f'model = "{ENGINE}"\nsettle_s = 0.2\nmin_free_bytes = 0\n'
ENVIRONMENT = {**os.environ, "VOICEJOBS_TEST_ENGINES": "1", "PYTHONPATH": str(ROOT)}
MIB = 1 << 20


@dataclass(frozen=True)
class Figure:
    """One measured number and what it should be."""

    name: str
    value: float
    unit: str
    goal: str


class Scratch:
    """An instance in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.inbox, self.outbox = folder / "inbox", folder / "outbox"
        self.inbox.mkdir()
        (folder / "voicejobs.toml").write_text(SETTINGS, encoding="utf-8")

    def drop(self, name: str, *, lines: int = 1) -> None:
        texts = [{"text": f"{name} says line {number}."} for number in range(lines)]
        job = json.dumps({"kind": "synthesize", "voice": "preset:ryan", "lines": texts})
        part = self.inbox / f".{name}.tmp"
        part.write_text(job, encoding="utf-8")
        part.rename(self.inbox / f"{name}.json")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runner", "--root", str(self.root), *arguments]

    def run_once(self) -> float:
        started_s = time.perf_counter()
        subprocess.run(self.command("run", "--once"), cwd=ROOT, env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started_s

    @contextmanager
    def daemon(self) -> Iterator[psutil.Process]:
        """A running `voicejobs run` that has come to rest."""
        process = subprocess.Popen(self.command("run"), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            self.drop("warm-up")
            wait_for(lambda: (self.outbox / "warm-up" / "result.json").exists())
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 600.0) -> None:
    end_s = time.perf_counter() + timeout_s
    while not condition():
        if time.perf_counter() > end_s:
            raise TimeoutError("what the benchmark waits for did not happen")
        time.sleep(0.001)


@contextmanager
def scratch() -> Iterator[Scratch]:
    with tempfile.TemporaryDirectory(prefix="voicejobs-bench-") as folder:
        yield Scratch(Path(folder))


def throughput_of_jobs(options: argparse.Namespace) -> Iterator[Figure]:
    """Short jobs from inbox to receipt, start of the processes included, each step durable."""
    with scratch() as instance:
        empty_s = instance.run_once()
        for number in range(options.jobs):
            instance.drop(f"job{number:05d}")
        wall_s = instance.run_once()
        done = sum(1 for _ in instance.outbox.glob("*/result.json"))
        assert done == options.jobs, f"{done} of {options.jobs} jobs have a receipt"
        yield Figure("short jobs", options.jobs / (wall_s - empty_s), "jobs/s", ">= 200")


def throughput_of_lines(options: argparse.Namespace) -> Iterator[Figure]:
    """Lines of a few long jobs, and the runner's memory from the first tenth to the end."""
    per_job = 5_000
    with scratch() as instance:
        process = None
        for number in range(max(1, options.lines // per_job)):
            instance.drop(f"book{number:03d}", lines=min(per_job, options.lines))
        started_s = time.perf_counter()
        process = subprocess.Popen(
            instance.command("run", "--once"), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL
        )
        samples: list[int] = []
        while process.poll() is None:
            samples.append(_rss_bytes(process.pid))
            time.sleep(0.5)
        wall_s = time.perf_counter() - started_s
        made = sum(1 for _ in instance.outbox.glob("*/line-*.wav"))
        assert made == options.lines, f"{made} of {options.lines} lines were published"
        yield Figure("lines", made / wall_s, "lines/s", "")
        early = statistics.median(samples[len(samples) // 10 : len(samples) // 5] or samples)
        late = statistics.median(samples[-max(1, len(samples) // 10) :])
        yield Figure(f"growth over {made} lines", (late - early) / MIB, "MiB", "flat")
        yield Figure("runner's memory at work", max(samples) / MIB, "MiB", "<= 100")


def _rss_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0  # it ended between two looks


def scan_of_a_full_inbox(options: argparse.Namespace) -> Iterator[Figure]:
    """One full scan over waiting files that are not jobs yet: attachments and jobs still settling."""
    from runner.config.instance import Instance
    from runner.config.settings import Settings
    from runner.inbox.scanner import InboxScanner

    with scratch() as instance:
        for number in range(options.files):
            (instance.inbox / f"waiting{number:05d}.wav").write_bytes(b"x")
        scanner = InboxScanner(Instance(instance.root, Settings(settle_s=3_600)))
        scanner.tick(time.monotonic())
        seconds = [_timed_s(lambda: scanner.tick(time.monotonic())) for _ in range(5)]
        yield Figure(f"scan of {options.files} waiting files", statistics.median(seconds), "s", "<= 1")


def _timed_s(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


def latency_and_idling(options: argparse.Namespace) -> Iterator[Figure]:
    """From the rename to the claim, with file events; then what the resting runner costs."""
    with scratch() as instance, instance.daemon() as process:
        latencies_s = []
        for number in range(20):
            time.sleep(0.3)
            instance.drop(f"late{number}")
            started_s = time.perf_counter()
            wait_for(lambda number=number: not (instance.inbox / f"late{number}.json").exists())
            latencies_s.append(time.perf_counter() - started_s)
        yield Figure("rename to claim", 1_000 * statistics.median(latencies_s), "ms", "<= 100")
        wait_for(lambda: (instance.outbox / "late19" / "result.json").exists())
        time.sleep(2)
        before = process.cpu_times()
        time.sleep(options.idle_s)
        after = process.cpu_times()
        busy_s = after.user + after.system - before.user - before.system
        yield Figure("idle CPU", 100 * busy_s / options.idle_s, "%", "<= 0.2")
        yield Figure("runner's memory at rest", process.memory_info().rss / MIB, "MiB", "<= 100")


def command_line(options: argparse.Namespace) -> Iterator[Figure]:
    """How long the quick commands take, interpreter included."""
    del options
    for name in ("--help", "jobs list --help", "run --help"):
        command = [sys.executable, "-m", "runner", *name.split()]
        run = lambda command=command: subprocess.run(command, cwd=ROOT, capture_output=True, check=True)  # noqa: E731
        yield Figure(f"voicejobs {name}", statistics.median(_timed_s(run) for _ in range(7)), "s", "<= 0.6")


def large_registry(options: argparse.Namespace) -> Iterator[Figure]:
    """`voices list` and `voices show` in a registry of many versions, interpreter included."""
    from tests.registry.voices.test_many_voices import fill

    with scratch() as instance:
        (instance.root / ".voicejobs").mkdir()
        fill(instance.root / ".voicejobs" / "registry.sqlite", options.versions)
        for arguments in (("voices", "list"), ("voices", "show", "voice-7@3")):
            command = instance.command(*arguments)
            run = lambda command=command: subprocess.run(  # noqa: E731
                command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True
            )
            seconds = statistics.median(_timed_s(run) for _ in range(5))
            yield Figure(f"{' '.join(arguments[:2])}, {options.versions} versions", seconds, "s", "<= 0.5 + start")


MEASUREMENTS = {
    "jobs": throughput_of_jobs,
    "lines": throughput_of_lines,
    "scan": scan_of_a_full_inbox,
    "idle": latency_and_idling,
    "cli": command_line,
    "registry": large_registry,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--idle-s", type=float, default=30.0)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append")
    options = parser.parse_args()
    figures: list[Figure] = []
    for name in options.only or MEASUREMENTS:
        for figure in MEASUREMENTS[name](options):
            figures.append(figure)
            print(f"{figure.name:<38} {figure.value:>10,.2f} {figure.unit:<8} {figure.goal}", flush=True)
    values: dict[str, Any] = {figure.name: round(figure.value, 4) for figure in figures}
    print(json.dumps({"bench": "runner", **machine(), **values}))


if __name__ == "__main__":
    main()
