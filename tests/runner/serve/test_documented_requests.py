"""Every `curl` line of docs/serve.md, sent to a server as it is written there."""

import re
import shutil
import subprocess

import pytest

from tests.printed_commands import ROOT

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\$ (curl .*)$", PAGE, re.M)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_each_line_is_answered_as_the_page_says(served, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for line in LINES:
        line = line.replace("localhost:8880", f"127.0.0.1:{served.port}")
        done = subprocess.run(
            ["/bin/sh", "-c", f"{line} --silent --show-error --fail-with-body"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        is_over = "DELETE" in line and " already." in done.stdout  # a short book is spoken before it can be cancelled
        assert done.returncode == 0 or is_over, (line, done)
        if "hello.toml" in line:
            assert served.ended("job")["status"] == "done"
    assert (tmp_path / "hello.wav").read_bytes()[:4] == b"RIFF"
    assert (tmp_path / "hello.mp3").stat().st_size > 1_000
