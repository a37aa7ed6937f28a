"""A book of twelve hours: streamed, never held."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from runner.master.make_master import MODULE
from runner.master.request import ChapterSource, MasterRequest, Tags
from tests.runner.master.sounds import speech

HOURS = 12
MOST_BYTES = 300 << 20


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_book_of_twelve_hours_is_made_in_less_than_300_mb(tmp_path):
    hour = tmp_path / "hour.flac"
    with soundfile.SoundFile(hour, "w", 24_000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(60):
            file.write(np.concatenate([speech(55, level=0.2), np.zeros(5 * 24_000, np.float32)]))
    chapters = [ChapterSource(title=f"Hour {number}", file=str(hour)) for number in range(1, HOURS + 1)]
    request = MasterRequest(
        folder=str(tmp_path), runner=os.getpid(), preset="audiobook", formats=["m4b"], split="chapters",
        chapters=chapters, tags=Tags(title="Twelve hours"),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(json.dumps(request.to_json()).encode() + b"\n")
    process.stdin.close()
    answer = json.loads(process.stdout.readline())
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    assert answer["files"] == ["Twelve hours.m4b"] and len(answer["mastering"]["chapters"]) == HOURS
    assert answer["mastering"]["files"][0]["duration_s"] > HOURS * 3_600
    assert used.ru_maxrss * (1024 if sys.platform == "linux" else 1) < MOST_BYTES
