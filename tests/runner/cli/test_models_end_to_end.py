"""A job that names a model which lies only in a legacy cache, from the inbox to the receipt."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.models.store.making import CACHES, CUSTOM, ROOT, contents, home_environment, slug
from tests.patience import PATIENCE_S
from tests.reference import REFERENCE

pytest.importorskip("mlx.core")

JOB = """
kind = "synthesize"
voice = "ryan"
model = "qwen3-tts-0.6b-customvoice"
text = "Hello there."
"""


def voicejobs(*arguments, environment, folder):
    full = {**environment, "PYTHONPATH": str(ROOT), "VOICEJOBS_SETTLE_S": "0", "VOICEJOBS_MIN_FREE_BYTES": "0"}
    command = [sys.executable, "-m", "runner", *arguments]
    return subprocess.run(
        command, cwd=folder, env=full, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.fixture
def instance(tmp_path, home):
    folder = tmp_path / "instance"
    folder.mkdir()
    made = voicejobs("init", ".", environment=home_environment(home), folder=folder)
    assert made.returncode == 0, made.stderr
    (folder / "inbox/hello.toml").write_text(JOB)
    return folder


def test_a_model_of_a_legacy_cache_speaks_and_the_receipt_says_what_was_moved(instance, home):
    legacy = home / CACHES / "TTS" / slug(CUSTOM)
    shutil.copytree(REFERENCE / "custom_voice", legacy)
    before = contents(legacy)
    environment = home_environment(home, VOICEJOBS_MODELS_DIR=home / "models", HF_HUB_OFFLINE=1)
    finished = voicejobs("run", "--once", environment=environment, folder=instance)
    assert finished.returncode == 0, finished.stderr
    receipt = json.loads((instance / "outbox/hello/result.json").read_text())
    assert receipt["status"] == "done"
    moved = home / "models" / slug(CUSTOM)
    assert receipt["warnings"] == [f"{CUSTOM} was moved from {legacy} to {moved}."]
    assert contents(moved) == before
    shown = voicejobs("jobs", "show", "hello", environment=environment, folder=instance)
    assert "model-moved" in shown.stdout


def test_a_job_whose_model_is_broken_fails_and_names_the_remedy(instance, home):
    broken = home / "models" / slug(CUSTOM)
    shutil.copytree(REFERENCE / "custom_voice", broken)
    (broken / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    environment = home_environment(home, VOICEJOBS_MODELS_DIR=home / "models", HF_HUB_OFFLINE=1)
    assert voicejobs("run", "--once", environment=environment, folder=instance).returncode == 1
    error = json.loads((instance / "outbox/hello/result.json").read_text())["error"]
    assert error["code"] == "model-incomplete"
    assert "model.safetensors" in error["message"]
    assert f"models pull {CUSTOM}" in error["hint"]
