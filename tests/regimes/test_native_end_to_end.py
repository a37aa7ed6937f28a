"""Job files in, native speech out: the three verbs through the runner, on tiny checkpoints and on full-size ones."""

import json
import shutil
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from tests.checkpoints import write_checkpoint
from tests.patience import PATIENCE_S
from tests.reference import REFERENCE
from tests.regimes.yard import ROOT, Yard
from tests.sharing import shared_folder

VARIANTS = ("base", "voice_design", "custom_voice")
JOBS = {
    "elena-design": """
        kind = "design"
        id = "elena-design"
        voice = "elena"
        model = "lab/voice_design"
        description = "A warm female voice, 30s, confident and clear."
        text = "Hello there, my friend."
        candidates = 2
    """,
    "elena-lock": """
        kind = "lock"
        voice = "elena"
        model = "lab/base"
        from = { job = "elena-design", candidate = 1 }
    """,
    "scene": """
        kind = "synthesize"
        voice = "elena"
        [[lines]]
        text = "I won't let you down."
        [[lines]]
        text = "You never have."
        voice = "preset:ryan"
        model = "lab/custom_voice"
    """,
}


class Lab(Yard):
    """An instance whose shared model directory holds one checkpoint of each variant."""

    def __init__(self, root, *, max_seconds):
        super().__init__(root)
        self.models = root / "models"
        self.models.mkdir(exist_ok=True)
        self.environment["VOICEJOBS_MODELS_DIR"] = str(self.models)
        self.environment["VOICEJOBS_SAMPLING_MAX_SECONDS"] = str(max_seconds)

    def drop_text(self, name, text):
        part = self.inbox / f".{name}.tmp"
        part.write_text(text, encoding="utf-8")
        part.rename(self.inbox / f"{name}.toml")

    def lines(self, job):
        return self.receipts()[job]["lines"]


def speak(lab, *, timeout_s):
    """Drop all the jobs at once, in the wrong order, and run them."""
    for name in reversed(JOBS):
        lab.drop_text(name, JOBS[name])
    lab.drain(timeout_s=timeout_s)
    return lab


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """An instance where the jobs are done; a copy, since the jobs are done once in a run of the tests."""

    def make(folder):
        lab = Lab(folder / "lab", max_seconds=6)
        for variant in VARIANTS:
            shutil.copytree(REFERENCE / variant, lab.models / f"lab_{variant}")
        speak(lab, timeout_s=PATIENCE_S)

    made = shared_folder(tmp_path_factory, "native", make)
    root = shutil.copytree(made / "lab", tmp_path_factory.mktemp("native-copy") / "lab")
    return Lab(root, max_seconds=6)


def test_design_lock_and_synthesize_dropped_at_once_are_all_done(spoken):
    receipts = spoken.receipts()
    assert {name: receipt["status"] for name, receipt in receipts.items()} == dict.fromkeys(JOBS, "done")
    assert receipts["elena-lock"]["voice"]["name"] == "elena"
    assert receipts["elena-lock"]["voice"]["version"] == 1


def test_the_receipts_name_model_fingerprint_and_backend(spoken):
    for receipt in spoken.receipts().values():
        assert receipt["engine"]["name"] == "qwen3-tts"
        assert len(receipt["engine"]["fingerprint"]) >= 16
        assert receipt["engine"]["backend"] in ("cpu", "metal", "cuda")
        assert receipt["versions"]["mlx"]
    assert [line["model"] for line in spoken.lines("scene")] == ["lab/base", "lab/custom_voice"]


def test_every_line_is_sound_of_the_length_its_receipt_says(spoken):
    for line in spoken.lines("scene"):
        waveform, rate_hz = soundfile.read(spoken.outbox / "scene" / line["file"])
        assert rate_hz == 24_000
        assert waveform.size / rate_hz == pytest.approx(line["duration_s"], abs=0.01)
        assert np.abs(waveform).max() > 0.01


def test_the_same_lines_asked_for_again_are_the_same_bytes_and_render_nothing(spoken, tmp_path):
    lab = Lab(shutil.copytree(spoken.root, tmp_path / "lab"), max_seconds=6)
    lab.drop_text("encore", JOBS["scene"])
    lab.drain(timeout_s=PATIENCE_S)
    assert [line["reused"] for line in lab.lines("encore")] == [True, True]
    assert [line["sha256"] for line in lab.lines("encore")] == [line["sha256"] for line in lab.lines("scene")]


def test_a_voice_that_travels_speaks_the_same_take_elsewhere(spoken, tmp_path):
    archive = tmp_path / "elena.vox"
    command = [sys.executable, "-m", "runner", "--root"]
    exported = [*command, str(spoken.root), "voices", "export", "elena", "-o", str(archive)]
    subprocess.run(exported, cwd=ROOT, env=spoken.environment, check=True, capture_output=True)
    elsewhere = Lab(tmp_path / "elsewhere", max_seconds=6)
    elsewhere.models.rmdir()
    elsewhere.models.symlink_to(spoken.models)
    imported = [*command, str(elsewhere.root), "voices", "import", str(archive)]
    subprocess.run(imported, cwd=ROOT, env=elsewhere.environment, check=True, capture_output=True)
    elsewhere.drop_text("scene", JOBS["scene"])
    elsewhere.drain(timeout_s=PATIENCE_S)
    here, there = spoken.lines("scene"), elsewhere.lines("scene")
    assert [line["take"] for line in there] == [line["take"] for line in here]
    assert [line["sha256"] for line in there] == [line["sha256"] for line in here]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_full_size_checkpoints_speak_through_the_runner(tmp_path):
    lab = Lab(tmp_path / "lab", max_seconds=2)
    for variant in VARIANTS:
        write_checkpoint(lab.models / f"lab_{variant}", variant=variant, size="0.6b", dtype=mx.bfloat16)
    speak(lab, timeout_s=3000)
    for name, receipt in lab.receipts().items():
        print(name, json.dumps(receipt["timings"]), receipt["status"])
        made = receipt["lines"] or receipt["candidates"]
        assert all(line["frames"] > 0 for line in made if line["status"] == "done")
        assert receipt["engine"]["name"] == "qwen3-tts"
