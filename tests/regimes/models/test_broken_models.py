"""A runner and every broken model folder that we know: each job answered, the runner alive, the good ones done."""

import os
import re
import shutil
import signal
import time

import pytest

from tests.checkpoints import write_checkpoint
from tests.models.checkpoint_format.test_one_opinion import BROKEN, sharded
from tests.patience import PATIENCE_S
from tests.regimes.yard import Yard

JOB = 'kind = "synthesize"\nvoice = "preset:ryan"\nmodel = "{model}"\ntext = "Hello there."\n'
GOOD = "tests.engines.noop:open_engine"
LOOK_S = 0.5


def in_place_of(make):
    """Ways to break a folder: something else in the place of each of its files."""

    def breaking(name):
        def breaks(folder):
            (folder / name).unlink()
            make(folder / name)

        return breaks

    return breaking


OTHERS = {
    "nothing": lambda folder: shutil.rmtree(folder),
    "an empty folder": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
    "a file": lambda folder: [shutil.rmtree(folder), folder.write_text("a model")],
    "a config of no bytes": lambda folder: (folder / "config.json").write_bytes(b""),
    "a config of 5 MB": lambda folder: (folder / "config.json").write_bytes(b'{"a":"' + b"x" * 5_000_000 + b'"}'),
    "a config of another family": lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
    "a config that nests deeply": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "a manifest that lies": lambda folder: (folder / "manifest.json").write_text('{"manifestVersion": 1}'),
    "an index of noise": lambda folder: sharded(folder, lambda index: index.clear()),
} | {
    f"{kind} for {name}": in_place_of(make)(name)
    for kind, make in (("a pipe", os.mkfifo), ("an endless device", lambda path: path.symlink_to("/dev/zero")))
    for name in (
        "config.json", "generation_config.json", "model.safetensors", "vocab.json", "merges.txt",
        "tokenizer_config.json", "speech_tokenizer/config.json", "speech_tokenizer/model.safetensors",
    )
}  # fmt: skip
KNOWN = {name: breaks for name, (breaks, _) in BROKEN.items()} | OTHERS


def drop(yard, name, model):
    part = yard.inbox / f".{name}.tmp"
    part.write_text(JOB.format(model=model), encoding="utf-8")
    part.rename(yard.inbox / f"{name}.toml")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["elsewhere", "models"])
def test_a_runner_answers_a_job_for_every_broken_model_and_does_all_others(tmp_path, place):
    whole = write_checkpoint(tmp_path / "whole", variant="custom_voice")
    base = write_checkpoint(tmp_path / "base")
    yard = Yard(tmp_path / "yard")
    yard.environment |= {"VOICEJOBS_MODELS_DIR": str(tmp_path / "models"), "VOICEJOBS_OFFLINE": "true"}
    for number, (name, breaks) in enumerate(KNOWN.items()):
        folder = tmp_path / place / f"lab_m{number}"
        shutil.copytree(base if "speaker" in name or "codebook" in name else whole, folder)
        breaks(folder)
        drop(yard, f"broken-{number}", f"lab/m{number}" if place == "models" else folder)
        drop(yard, f"good-{number}", GOOD)
    daemon = yard.start()
    try:
        drop(yard, "native", whole)
        ends_s = time.monotonic() + 20 * PATIENCE_S
        while len(yard.receipts()) < 2 * len(KNOWN) + 1 and time.monotonic() < ends_s:
            assert daemon.poll() is None
            time.sleep(LOOK_S)
        receipts = yard.receipts()
    finally:
        daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=PATIENCE_S) == 0
    assert receipts["native"]["status"] == "done"
    for number, name in enumerate(KNOWN):
        assert receipts[f"good-{number}"]["status"] == "done", name
        answer = receipts[f"broken-{number}"]
        assert answer["status"] in ("failed", "rejected"), name
        assert answer["error"]["code"] != "internal" and answer["error"]["message"], (name, answer["error"])
    assert not re.search("Traceback|unforeseen", (yard.state_dir / "logs" / "runner.log").read_text())
