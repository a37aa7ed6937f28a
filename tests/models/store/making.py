"""Small models and whole home folders for tests: real layouts, random weights of a few kilobytes."""

import os
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.forked import run_program
from tests.reference import REFERENCE

ROOT = Path(__file__).parents[3]
BASE = "mlx-community/Qwen3-TTS-12Hz-0.6B-Base-bf16"
DESIGN = "mlx-community/Qwen3-TTS-12Hz-1.7B-VoiceDesign-bf16"
CUSTOM = "mlx-community/Qwen3-TTS-12Hz-0.6B-CustomVoice-bf16"
CRASHED = 137
CACHES = "Library/Caches/intrusive-memory/Models"
COMMIT = "c" * 40


def weights(path, *, seed=0, elements=2_000):
    """A safetensors file with three random tensors, one of them empty-shaped."""
    draw = np.random.default_rng(seed)
    tensors = {
        "talker.weight": draw.standard_normal((elements // 10, 10)).astype(np.float32),
        "talker.bias": draw.standard_normal(7).astype(np.float16),
        "codes": draw.integers(0, 9, 5).astype(np.uint32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={"format": "mlx"})


def speech_model(folder, *, seed=0, kind="base"):
    """A whole, tiny Qwen3-TTS model; another seed makes other weights of the same shape."""
    for source in sorted(path for path in (REFERENCE / kind).rglob("*") if path.is_file()):
        copied = folder / source.relative_to(REFERENCE / kind)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(source.read_bytes())
        if seed and copied.suffix == ".safetensors":
            with copied.open("r+b") as file:
                file.seek(-4, os.SEEK_END)
                file.write(struct.pack("<f", seed / 1000))
    return folder


def other_model(folder, *, seed=0):
    """A language model's folder: a config and one weight file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    weights(folder / "model.safetensors", seed=seed)
    return folder


def slug(model_id):
    return model_id.replace("/", "_")


def home_environment(home, **more):
    """The environment of a fake home folder, without any variable of the real one."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], **{key: str(value) for key, value in more.items()}}


def contents(folder):
    """Every file below `folder` with its bytes; links are followed."""
    if not folder.exists():
        return {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def model_contents(folder):
    """The files of a model without hidden ones: records and marks."""
    return {path: data for path, data in contents(folder).items() if not Path(path).name.startswith(".")}


def run_python(program, *, environment, crash_at="", check=True):
    """Run `program` in a process of its own, dying at a named point if asked; returns the finished process."""
    full = {**environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    if crash_at:
        full["VOICEJOBS_CRASH_AT"] = crash_at
    finished = run_program(program, environment=full)
    if check and finished.returncode not in (0, CRASHED):
        raise AssertionError(finished.stderr)
    return finished


def hub_cache(cache, model_id, folder, *, commit=COMMIT, main=COMMIT):
    """`folder` as the Hugging Face library would have cached it: blobs, and links in a snapshot."""
    from huggingface_hub.file_download import _create_symlink, repo_folder_name

    repository = cache / repo_folder_name(repo_id=model_id, repo_type="model")
    for path, content in contents(folder).items():
        blob = repository / "blobs" / f"{abs(hash((path, content))):x}"
        link = repository / "snapshots" / commit / path
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        _create_symlink(str(blob), str(link))
    (repository / "refs").mkdir(exist_ok=True)
    if main:
        (repository / "refs" / "main").write_text(main)
    return repository
