"""How fast a master is made, and in how much memory: `python benchmarks/bench_master.py [HOURS]`.

The process that makes finished files is run as the runner runs it, on chapters of an hour each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from runner.master.make_master import MODULE
from runner.master.request import ChapterSource, MasterRequest, Tags

RATE_HZ = 24_000
CHAPTER_S = 3_600
ROOT = Path(__file__).resolve().parents[1]


def write_hour(path: Path) -> None:
    """An hour of syllables and pauses."""
    at = np.arange(60 * RATE_HZ) / RATE_HZ
    voice = sum(np.sin(2 * np.pi * 130 * k * at) / k for k in range(1, 20))
    minute = 0.15 * voice * np.clip(np.sin(2 * np.pi * 2.7 * at), 0, 1) * (np.sin(2 * np.pi * at / 5) > -0.6)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16", format="FLAC") as file:
        for _ in range(CHAPTER_S // 60):
            file.write(minute)


def made(hours: int, kind: str, folder: Path, hour: Path) -> tuple[float, float]:
    """(seconds, most memory in MB) of a book of so many chapters."""
    chapters = [ChapterSource(title=f"Chapter {number}", file=str(hour)) for number in range(1, hours + 1)]
    request = MasterRequest(
        folder=str(folder),
        runner=os.getpid(),
        preset="audiobook",
        formats=[kind],
        split="none",
        chapters=chapters,
        tags=Tags(title="A long book"),
    )
    begun_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request.to_json()) + "\n")
    process.stdin.close()
    answer = json.loads(process.stdout.readline())
    _, _, used = os.wait4(process.pid, 0)
    assert "error" not in answer, answer
    most_mb = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)
    return time.monotonic() - begun_s, most_mb


def main(hours: int) -> None:
    print(f"{'format':8}{'hours':>6}{'seconds':>9}{'x real time':>13}{'memory':>10}")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        hour = Path(name) / "hour.flac"
        write_hour(hour)
        for kind in ("m4b", "mp3", "flac"):
            took_s, most_mb = made(hours, kind, Path(name), hour)
            ratio = hours * CHAPTER_S / took_s
            print(f"{kind:8}{hours:6}{took_s:9.1f}{ratio:13.0f}{most_mb:7.0f} MB")
            rows.append({"format": kind, "hours": hours, "realtime_x": round(ratio, 1), "most_mb": round(most_mb)})
    print(json.dumps({"bench": "master", "rows": rows}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
