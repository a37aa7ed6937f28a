"""One engine at a steady pace, once for each format of the files → the speed in each, as a share of that in WAV.

    python benchmarks/bench_formats.py [--lines 3000] [--pace 20] [--lines-of-a-job 50] [--no-track]

What a format costs must not be what a person waits for: while lines are coded and joined, the engine speaks the next.
The engine is one of the tests, which says lines of some seconds at so many times real time; goal: 0.8 for each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.bench_speech import machine  # noqa: E402 (the path above comes first)

ENGINE = "tests.engines.paced:open_engine"
SETTINGS = f'model = "{ENGINE}"\nsettle_s = 0.0\nmin_free_bytes = 0\n'
FORMATS = ("wav", "flac", "mp3", "opus", "vorbis")
GOAL = 0.8
PIECE_S = 0.1  # of speech, which the engine says in one go
WORDS = "It is a line of a few seconds, as a game or a book has thousands of them, and its number is"


def measured_s(kind: str, *, lines: int, of_a_job: int, pace: float, track: bool) -> tuple[float, float]:
    """Wall time from the start of the runner to its end, and length of the speech."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "voicejobs.toml").write_text(SETTINGS, encoding="utf-8")
        (root / "inbox").mkdir()
        for start in range(0, lines, of_a_job):
            texts = [{"text": f"{WORDS} {number}."} for number in range(start, min(start + of_a_job, lines))]
            job = {"kind": "synthesize", "voice": "preset:ryan", "format": kind, "track": track, "lines": texts}
            (root / "inbox" / f"job-{start:05d}.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, "VOICEJOBS_TEST_ENGINES": "1", "PYTHONPATH": str(ROOT)}
        environment["VOICEJOBS_TEST_PIECE_S"] = str(PIECE_S / pace)
        command = [sys.executable, "-m", "runner", "--root", folder, "run", "--once", "--quiet"]
        started_s = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        wall_s = time.perf_counter() - started_s
        receipts = [json.loads(path.read_bytes()) for path in (root / "outbox").glob("*/result.json")]
        return wall_s, sum(line["duration_s"] for receipt in receipts for line in receipt["lines"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=3_000)
    parser.add_argument("--lines-of-a-job", type=int, default=50)
    parser.add_argument("--pace", type=float, default=20.0, help="times real time")
    parser.add_argument("--no-track", action="store_true")
    given = parser.parse_args()
    print(f"{'format':<8} {'wall s':>8} {'x real time':>12} {'of wav':>8}")
    found: dict[str, float] = {}
    for kind in FORMATS:
        wall_s, speech_s = measured_s(
            kind, lines=given.lines, of_a_job=given.lines_of_a_job, pace=given.pace, track=not given.no_track
        )
        found[kind] = speech_s / wall_s
        share = found[kind] / found["wav"]
        mark = "" if share >= GOAL else f"  below the goal of {GOAL}"
        print(f"{kind:<8} {wall_s:>8.1f} {found[kind]:>12.1f} {share:>8.2f}{mark}", flush=True)
    figures = {kind: round(speed / found["wav"], 3) for kind, speed in found.items()}
    print(json.dumps({"formats": figures, "lines": given.lines, "pace": given.pace, **machine()}))


if __name__ == "__main__":
    main()
