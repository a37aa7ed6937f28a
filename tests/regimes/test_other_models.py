"""Models of mlx-audio through the runner: random weights, real processes, no network."""

import importlib.util
import shutil

import numpy as np
import psutil
import pytest
import soundfile

from tests.natural_speech import BREEZE
from tests.natural_speech import spoken as speech
from tests.patience import PATIENCE_S, wait_until
from tests.reference import REFERENCE
from tests.regimes.test_native_end_to_end import Lab
from tests.regimes.yard import engines_of, kill
from tests.sharing import shared_folder

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(importlib.util.find_spec("mlx_audio") is None, reason="mlx-audio is an optional dependency"),
]

TEXT = "Hello there, my friend."
SPEAK = f'kind = "synthesize"\nvoice = "preset:default"\nmodel = "lab/soprano"\ntext = "{TEXT}"\n'
JOBS = {
    "design": 'kind = "design"\nvoice = "ann"\nmodel = "lab/soprano"\ndescription = "A warm voice."\ncandidates = 1\n',
    "unknown": SPEAK.replace("preset:default", "preset:nobody"),
    "german": f'{SPEAK}language = "de"\n',
    "plain": f"{SPEAK}[sampling]\ntop_k = 5\n",
    "lock": f'kind = "lock"\nvoice = "elena"\nmodel = "dia"\naudio = "elena.wav"\ntranscript = "{TEXT}"\n',
    "cloned": f'kind = "synthesize"\nvoice = "elena"\ntext = "{TEXT}"\ninstruct = "whispering"\n',
    "lock-outetts": f'kind = "lock"\nvoice = "ann"\nmodel = "lab/outetts"\naudio = "breeze.wav"\n'
    f'transcript = "{BREEZE}"\n',
    "profiled": SPEAK.replace("preset:default", "ann").replace('model = "lab/soprano"\n', ""),
    "by-soprano": SPEAK.replace("preset:default", "elena"),
    "lock-qwen": f'kind = "lock"\nvoice = "maria"\nmodel = "lab/base"\naudio = "breeze.wav"\ntranscript = "{BREEZE}"\n',
    "lock-both": f'kind = "lock"\nvoice = "rosa"\nmodel = "lab/base"\naudio = "breeze.wav"\ntranscript = "{BREEZE}"\n'
    'profile = "outetts"\n',
    "rosa-itself": SPEAK.replace("preset:default", "rosa@1").replace('model = "lab/soprano"\n', ""),
    "rosa-outetts": SPEAK.replace("preset:default", "rosa@1").replace("lab/soprano", "lab/outetts"),
    "rosa-dia": SPEAK.replace("preset:default", "rosa@1").replace("lab/soprano", "dia"),
    "relock": 'kind = "relock"\nvoice = "maria@1"\nmodel = "dia"\n',
    "relock-outetts": 'kind = "relock"\nvoice = "maria@1"\nmodel = "lab/outetts"\n',
    "relocked": SPEAK.replace("preset:default", "maria@2").replace('model = "lab/soprano"\n', ""),
    "not-relocked": SPEAK.replace("preset:default", "maria@1").replace("lab/soprano", "dia"),
}


def swept_tone(seconds=2.0):
    """A recording whose level changes as speech does."""
    at_s = np.arange(round(seconds * 24_000)) / 24_000
    return (0.3 * np.sin(2 * np.pi * 220 * at_s) * np.sin(2 * np.pi * 2 * at_s) ** 2).astype(np.float32)


def lab_at(root, *, max_seconds=0.4):
    lab = Lab(root, max_seconds=max_seconds)
    lab.environment["VOICEJOBS_OFFLINE"] = "1"
    return lab


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from tests.other_models import write_dia, write_outetts, write_soprano

    def make(folder):
        write_soprano(folder / "lab_soprano")
        write_dia(folder)
        write_outetts(folder)
        shutil.copytree(REFERENCE / "base", folder / "lab_base")

    return shared_folder(tmp_path_factory, "other-models", make)


@pytest.fixture(scope="module")
def spoken(models, tmp_path_factory):
    """The receipts of all the jobs, dropped at once."""
    lab = lab_at(tmp_path_factory.mktemp("others") / "lab")
    lab.environment["VOICEJOBS_MODELS_DIR"] = str(models)
    soundfile.write(lab.inbox / "elena.wav", swept_tone(), 24_000)
    soundfile.write(lab.inbox / "breeze.wav", speech(BREEZE), 24_000)
    for name, text in JOBS.items():
        lab.drop_text(name, text)
    lab.drain(timeout_s=2 * PATIENCE_S)
    return lab


def test_a_model_speaks_and_its_receipt_says_family_versions_and_native_rate(spoken):
    receipt = spoken.receipts()["plain"]
    assert receipt["status"] == "done"
    assert receipt["engine"]["name"] == "mlx-audio"
    assert receipt["engine"]["family"] == "soprano"
    assert receipt["engine"]["native_sample_rate_hz"] == 32_000
    [line] = receipt["lines"]
    waveform, rate_hz = soundfile.read(spoken.outbox / "plain" / line["file"])
    assert rate_hz == 24_000 and np.abs(waveform).max() > 0.01


def test_what_a_model_would_swallow_is_said(spoken):
    assert any("does not use top_k" in warning for warning in spoken.receipts()["plain"]["warnings"])
    assert any("instruct" in warning for warning in spoken.receipts()["cloned"]["warnings"])


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        ("design", "unsupported-request", "cannot design voices"),
        ("unknown", "unknown-speaker", "nobody"),
        ("german", "language-not-spoken", "german"),
        ("by-soprano", "unsupported-request", "only its presets"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_name(spoken, job, code, words):
    receipt = spoken.receipts()[job]
    [line] = receipt["lines"] or receipt["candidates"]
    assert (receipt["status"], line["error"]["code"]) == ("failed", code)
    assert words in line["error"]["message"]


def test_a_recording_is_locked_and_speaks_again_with_its_companion_codec(spoken):
    receipts = spoken.receipts()
    assert receipts["lock"]["voice"]["name"] == "elena"
    assert receipts["cloned"]["status"] == "done"
    assert receipts["cloned"]["engine"]["family"] == "dia"


def test_a_lock_for_outetts_makes_a_speaker_profile_and_speaks_with_it(spoken):
    receipts = spoken.receipts()
    assert (receipts["lock-outetts"]["status"], receipts["profiled"]["status"]) == ("done", "done")
    assert receipts["profiled"]["engine"]["family"] == "outetts"


def test_a_voice_locked_for_qwen3_speaks_by_other_models_after_a_relock(spoken):
    receipts = spoken.receipts()
    assert receipts["lock-qwen"]["engine"]["name"] == "qwen3-tts"
    relocks = [receipts[name] for name in ("relock", "relock-outetts")]
    assert {receipt["voice"]["version"] for receipt in relocks} == {2, 3}
    assert {receipt["engine"]["family"] for receipt in relocks} == {"dia", "outetts"}
    assert (receipts["relocked"]["status"], receipts["relocked"]["engine"]["name"]) == ("done", "mlx-audio")
    error = receipts["not-relocked"]["error"]
    assert error["code"] == "prompt-model-mismatch" and "relock maria@1 --model dia" in error["hint"]


def test_a_lock_with_a_profile_beside_its_own_prompt_speaks_by_its_model_and_by_those_of_mlx_audio(spoken):
    receipts = spoken.receipts()
    assert receipts["lock-both"]["engine"]["name"] == "qwen3-tts"
    assert receipts["rosa-itself"]["engine"]["name"] == "qwen3-tts"
    by_others = [receipts[name] for name in ("rosa-outetts", "rosa-dia")]
    assert [receipt["engine"].get("family") for receipt in by_others] == ["outetts", "dia"]
    assert {receipts[name]["status"] for name in ("lock-both", "rosa-itself", "rosa-outetts", "rosa-dia")} == {"done"}


def test_a_killed_engine_costs_no_line(models, tmp_path):
    lab = lab_at(tmp_path / "lab", max_seconds=2)
    lab.environment["VOICEJOBS_MODELS_DIR"] = str(models)
    lines = "".join(f'[[lines]]\ntext = "Line number {n}."\n' for n in range(2))
    lab.drop_text("scene", f'kind = "synthesize"\nvoice = "preset:default"\nmodel = "lab/soprano"\n{lines}')
    runner = lab.start("run", "--once")
    wait_until(lambda: len(list((lab.outbox / "scene").glob("*.wav"))) == 1, what="the first line's file")
    for engine in engines_of(runner):
        if "models.processes.engine" in " ".join(engine.cmdline()):
            kill(engine)
    runner.wait(timeout=2 * PATIENCE_S)
    assert [line["status"] for line in lab.lines("scene")] == ["done", "done"]
    assert not psutil.pid_exists(runner.pid) or runner.poll() is not None


def test_a_model_whose_companion_is_missing_is_refused_by_the_companions_name(tmp_path):
    from tests.other_models import write_dia

    lab = lab_at(tmp_path / "lab")
    write_dia(lab.models, codec=False)
    lab.drop_text("scene", SPEAK.replace("lab/soprano", "dia"))
    lab.drain()
    error = lab.receipts()["scene"]["error"]
    assert error["code"] == "model-incomplete"
    assert "mlx-community/descript-audio-codec-44khz" in error["message"]
