"""Time to the first sound of live speech → a table and one JSON line: as ratios to the engine alone.

    python benchmarks/bench_live.py [--engine draft --engine paced --engine qwen] [--rounds 9] [--lines 5000]

For each engine: its first piece of a live line when it is asked directly; the first byte of `POST /v1/audio/speech`
from an instance that has nothing else to do; and the same beside a batch of many lines. Server, runner and engine are
the product's own processes. `paced` is a test engine that speaks at five times real time; `qwen` is a tiny checkpoint
of random weights.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bench_speech import machine  # noqa: E402 (the path above comes first)
from models.protocol import ModelChoice, PresetVoice, SpeechDone, SpeechPiece, SpeechWork  # noqa: E402
from runner.engine.client import EngineClient, EngineReady  # noqa: E402

PACED = "tests.engines.paced:open_engine"
QWEN = str(ROOT / "tests" / "data" / "reference" / "custom_voice")
CHOICES = {
    "draft": ModelChoice(engine="draft", model="draft"),
    "paced": ModelChoice(engine=PACED, model=PACED),
    "qwen": ModelChoice(engine="qwen3-tts", model=QWEN, folder=QWEN),
}
ENVIRONMENT = {
    **os.environ, "VOICEJOBS_TEST_ENGINES": "1", "VOICEJOBS_TEST_PIECE_S": "0.02", "PYTHONPATH": str(ROOT)
}  # fmt: skip
TEXT = "Live line {} of this benchmark is as long as a sentence in a conversation."
NUMBERS = itertools.count()
PATIENCE_S = 120.0


def fresh_text() -> str:
    """A text that nobody has spoken."""
    return TEXT.format(next(NUMBERS))


# ---- the engine alone ----------------------------------------------------------------------------------------------


class Alone:
    """One engine process, asked directly."""

    def __init__(self, choice: ModelChoice, folder: Path) -> None:
        self.client = EngineClient(log_path=folder / "engine.log", environment=ENVIRONMENT)
        self.client.load(choice)
        self._wait_for(lambda event: isinstance(event, EngineReady))

    def first_sound_s(self) -> float:
        """From the request to the first piece; the line is spoken to its end before this returns."""
        started_s = time.perf_counter()
        self._say(live=True)
        self._wait_for(lambda event: isinstance(event, SpeechPiece | SpeechDone))
        first_s = time.perf_counter() - started_s
        self._wait_for(lambda event: isinstance(event, SpeechDone))
        return first_s

    def line_s(self) -> float:
        """A whole line of the batch."""
        started_s = time.perf_counter()
        self._say(live=False)
        self._wait_for(lambda event: isinstance(event, SpeechDone))
        return time.perf_counter() - started_s

    def _say(self, *, live: bool) -> None:
        text = fresh_text()
        self._seen: list[Any] = []
        self.client.submit(SpeechWork(id=text, text=text, voice=PresetVoice(name="ryan"), seed=1, live=live))

    def _wait_for(self, is_wanted: Callable[[Any], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        seen = getattr(self, "_seen", [])
        while not any(map(is_wanted, seen)):
            assert time.monotonic() < end_s, f"waited in vain; seen: {seen}"
            if (descriptor := self.client.fileno()) is not None:
                select.select([descriptor], [], [], 0.2)
            seen += self.client.tick(time.monotonic())


# ---- served --------------------------------------------------------------------------------------------------------


class Served:
    """A server and a runner on an instance in a temporary folder."""

    def __init__(self, root: Path, *, model: str) -> None:
        self.root, self.model = root, model
        settings = f'model = "{model}"\nsettle_s = 0.0\nmin_free_bytes = 0\nunload_after_s = 0\n'
        (root / "voicejobs.toml").write_text(settings, encoding="utf-8")
        self._log = (root / "log").open("wb")
        self.runner = self._start("run", "--quiet")
        self.server = self._start("serve", "--port", "0")
        self.port = self._port()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runner", "--root", str(self.root), *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=self._log, stderr=self._log)

    def _port(self) -> int:
        end_s = time.monotonic() + PATIENCE_S
        while (said := re.search(r"http://[^ ]+:(\d+)\.", (self.root / "log").read_text(errors="replace"))) is None:
            assert time.monotonic() < end_s, "the server says no port"
            time.sleep(0.05)
        while not self._is_healthy(int(said[1])):
            assert time.monotonic() < end_s, "no runner is active"
            time.sleep(0.05)
        return int(said[1])

    def _is_healthy(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def first_sound_s(self, text: str | None = None) -> float:
        """From the request to the first byte of sound; the rest is heard before this returns."""
        body = {"voice": "ryan", "input": text or fresh_text(), "response_format": "pcm"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        started_s = time.perf_counter()
        connection.request("POST", "/v1/audio/speech", json.dumps(body))
        answer = connection.getresponse()
        answer.read(1)
        first_s = time.perf_counter() - started_s
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()
        return first_s

    def drop_batch(self, lines: int) -> None:
        """Drop a long job and wait until some of it is spoken."""
        texts = [
            {"text": f"Line {number} of a batch, as long as those that are listened to."} for number in range(lines)
        ]
        part = self.root / "inbox" / ".batch.tmp"
        part.write_text(json.dumps({"kind": "synthesize", "voice": "preset:ryan", "lines": texts}), encoding="utf-8")
        part.rename(part.with_name("batch.json"))
        end_s = time.monotonic() + PATIENCE_S
        while not any((self.root / "outbox").glob("batch/line-*")):
            assert time.monotonic() < end_s, "the batch does not begin"
            time.sleep(0.05)

    def batch_goes_on(self) -> bool:
        """Whether the batch has not come to its end meanwhile."""
        return not (self.root / "outbox" / "batch" / "result.json").exists()

    def stop(self) -> None:
        for process in (self.server, self.runner):
            process.terminate()
            process.wait(PATIENCE_S)
        self._log.close()


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="voicejobs-bench-") as folder:
        yield Path(folder)


def measure(name: str, *, rounds: int, lines: int) -> dict[str, float]:
    """Medians for one engine, in milliseconds."""

    def median_ms(ask: Callable[[], float]) -> float:
        return 1_000 * statistics.median(ask() for _ in range(rounds))

    choice = CHOICES[name]
    with scratch() as folder:
        alone = Alone(choice, folder)
        alone.first_sound_s()  # warm-up
        found = {"alone": median_ms(alone.first_sound_s), "line": median_ms(alone.line_s)}
        alone.client.stop()
    with scratch() as folder:
        served = Served(folder, model=choice.model)
        try:
            served.first_sound_s()
            found["idle"] = median_ms(served.first_sound_s)
            found["repeated"] = median_ms(lambda: served.first_sound_s(TEXT.format("repeated")))
            served.drop_batch(lines)
            found["beside batch"] = median_ms(served.first_sound_s)
            assert served.batch_goes_on(), "the batch ended before the last measurement: take more lines"
        finally:
            served.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=CHOICES, action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lines", type=int, default=5_000)
    options = parser.parse_args()
    results = {}
    titles = ("alone", "idle", "more, ms", "a line", "in batch", "more, lines")
    print("first sound, ms ".ljust(16) + "".join(f"{title:>13}" for title in titles))
    for name in options.engine or CHOICES:
        found = results[name] = measure(name, rounds=options.rounds, lines=options.lines)
        alone, idle, line, beside = (found[key] for key in ("alone", "idle", "line", "beside batch"))
        row = "".join(f"{value:>13.0f}" for value in (alone, idle, idle - alone, line, beside))
        print(f"{name:<16}{row}{(beside - idle) / line:>13.1f}", flush=True)
    rounded = {name: {key: round(value, 1) for key, value in found.items()} for name, found in results.items()}
    print(json.dumps({"bench": "live", **machine(), "ms": rounded}))


if __name__ == "__main__":
    main()
