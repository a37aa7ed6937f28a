"""A tiny model made from a seed → gaps between what this machine computes and recorded results.

`python -m models.qwen3_tts.selftest` prints a report as JSON. Run it with MLX_ENABLE_TF32=0 to test the arithmetic
itself, and without to see what production settings cost in precision. The recorded results come from the backend that
the parity tests hold equal to the official package, in float32 on a CPU.
This module writes a few files to a temporary folder, which it removes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from tokenizers.pre_tokenizers import ByteLevel

from models.checkpoint_format.codec_config import codec_config, speaker_encoder_config
from models.checkpoint_format.config import model_config
from models.checkpoint_format.tensor_plan import codec_plan, model_plan
from models.hardware.compute import mlx_device
from models.qwen3_tts.load import load_speech_model
from models.qwen3_tts.prompt.request import SpeechRequest
from models.qwen3_tts.prompt.sampling import Sampling
from models.qwen3_tts.random_checkpoint import write_tensors
from models.qwen3_tts.selftest_results import RECORDED
from models.qwen3_tts.speech_model import SpeechModel, to_numpy

SEED = 20
FRAMES = 12
SAMPLED = 24  # numbers kept of each stage's array, spread evenly over it
# Relative to the largest recorded number. With TF32 off, sound arithmetic stays far below these; wrong kernels do not.
TOLERANCES = {"prompt": 1e-4, "hidden": 1e-3, "logits": 1e-3, "waveform": 1e-3, "speaker": 1e-3}
# Rounding costs bfloat16, the coarsest dtype of a product, up to 0.015 here. A wrong kernel costs about 1.
NONSENSE = 0.1
EXACT = ("codes", "encoded")
TEXT = "Testing, one, two, three."
SPECIAL_TOKENS = ("<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")

_ATTENTION = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
_MODEL: dict[str, Any] = {
    "model_type": "qwen3_tts", "tts_model_type": "base", "tts_model_size": "0b6", "im_start_token_id": 257,
    "im_end_token_id": 258, "tts_pad_token_id": 259, "tts_bos_token_id": 260, "tts_eos_token_id": 261,
    "talker_config": {
        **_ATTENTION, "hidden_size": 48, "intermediate_size": 96, "num_code_groups": 4, "vocab_size": 1088,
        "text_hidden_size": 32, "text_vocab_size": 264, "codec_pad_id": 164, "codec_bos_id": 165,
        "codec_eos_token_id": 166, "codec_think_id": 170, "codec_nothink_id": 171, "codec_think_bos_id": 172,
        "codec_think_eos_id": 173, "codec_language_id": {"english": 66},
        "code_predictor_config": {
            **_ATTENTION, "hidden_size": 32, "intermediate_size": 64, "num_code_groups": 4, "vocab_size": 64,
        },
    },
    "speaker_encoder_config": {
        "enc_dim": 48, "enc_channels": [16, 16, 16, 16, 48], "enc_attention_channels": 8, "enc_se_channels": 8,
        "enc_res2net_scale": 4,
    },
}  # fmt: skip
_CODEC: dict[str, Any] = {
    "encoder_valid_num_quantizers": 4,
    "decoder_config": {
        **_ATTENTION, "num_key_value_heads": 4, "codebook_dim": 16, "codebook_size": 64, "latent_dim": 24,
        "hidden_size": 32, "intermediate_size": 48, "num_quantizers": 4, "sliding_window": 5, "decoder_dim": 32,
    },
    "encoder_config": {
        **_ATTENTION, "num_key_value_heads": 4, "head_dim": 8, "hidden_size": 32, "intermediate_size": 64,
        "num_filters": 4, "codebook_dim": 16, "codebook_size": 64, "num_quantizers": 8,
        "vector_quantization_hidden_dimension": 16,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SelftestReport:
    """Gaps of this machine to the recorded results, relative; `differing` counts codes, of which none may differ."""

    passed: bool
    sane: bool  # low precision explains the gaps
    device: str
    backend: str
    codec: str  # backend of its convolutions
    dtype: str
    tf32: bool  # whether MLX may round products to TF32
    gaps: Mapping[str, float]
    differing: Mapping[str, int]
    tolerances: Mapping[str, float]
    took_s: float


def run_selftest(*, dtype: str = "float32", backend: str | None = None, codec: str | None = None) -> SelftestReport:
    """Run the tiny model, and compare every stage with the recorded one.

    `backend` and `codec` are as `models.hardware.compute.choose` gives them; None leaves them to the load.
    """
    started_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="voicejobs-selftest-") as folder:
        write_tiny_checkpoint(Path(folder))
        model = load_speech_model(folder, dtype=dtype, backend=backend, codec_backend=codec)
        found = stages(model)
    gaps = {name: relative_gap(found[name], np.array(RECORDED[name], np.float32)) for name in TOLERANCES}
    differing = {name: int((found[name] != np.array(RECORDED[name])).sum()) for name in EXACT}
    within = all(gap <= TOLERANCES[name] for name, gap in gaps.items())  # false for NaN, too
    return SelftestReport(
        passed=within and not any(differing.values()),
        sane=is_sane(gaps),
        device=mlx_device(),
        backend=model.network.name,
        codec=model.codec.ops.name,
        dtype=dtype,
        tf32=os.environ.get("MLX_ENABLE_TF32", "1") != "0",
        gaps=gaps,
        differing=differing,
        tolerances=TOLERANCES,
        took_s=time.perf_counter() - started_s,
    )


def is_sane(gaps: Mapping[str, float]) -> bool:
    """Whether low precision explains the gaps; nothing explains NaN."""
    return all(gap <= NONSENSE for gap in gaps.values())


def relative_gap(found: npt.NDArray[Any], recorded: npt.NDArray[Any]) -> float:
    """The largest difference, relative to the largest recorded number."""
    return float(np.max(np.abs(found - recorded)) / np.max(np.abs(recorded)))


def stages(model: SpeechModel) -> dict[str, npt.NDArray[Any]]:
    """Results of the model by stage: samples of the numbers, and all codes.

    Later stages start from recorded codes, so that each gap is the stage's own.
    """
    request = SpeechRequest(TEXT, language="english", max_frames=FRAMES)
    codes = np.array(RECORDED["codes"], np.int32).reshape(-1, 4) if RECORDED else None
    spoken = model.synthesize(request, Sampling.greedy()).codes
    fed = spoken if codes is None else codes
    hidden, logits = _teacher_forced(model, request, fed)
    recording = _tone()
    return {
        "codes": spoken.ravel() if codes is None else _of_length(spoken.ravel(), codes.size),
        "encoded": model.encode_audio(recording).ravel(),
        "prompt": sampled(model.prefill(request)[0]),
        "hidden": sampled(hidden),
        "logits": sampled(logits),
        "waveform": sampled(model.decode_codes(fed)),
        "speaker": sampled(model.speaker_embedding(recording)),
    }


def _of_length(codes: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """Codes cut, or padded with -1, so that speech that ended elsewhere differs there."""
    return np.concatenate([codes, np.full(max(0, length - len(codes)), -1)])[:length]


def _teacher_forced(
    model: SpeechModel, request: SpeechRequest, codes: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Hidden states and logits of a run whose codes are given."""
    network, plan = model.network, model.prepare(request).plan
    cache = network.make_cache()
    cache.reserve(slots=1, positions=len(plan) + len(codes))
    padding = network.embed_text(np.array([model.config.tts_pad_token_id], np.int32))
    states = [network.prefill([plan], cache=cache, slots=[0], shared=0)]
    for number, frame in enumerate(codes):
        own: Any = mx.array(frame[None]) if network.name == "mlx" else frame[None].astype(np.int64)
        states.append(network.step(own, padding, cache=cache, positions=[len(plan) + number]))
    hidden = network.concat(states)
    return to_numpy(hidden), to_numpy(network.logits(hidden))


def sampled(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A few numbers of an array, spread evenly."""
    flat = np.asarray(array, np.float32).ravel()
    kept: npt.NDArray[np.float32] = flat[np.linspace(0, len(flat) - 1, SAMPLED).astype(int)]
    return kept


def _tone() -> npt.NDArray[np.float32]:
    """Half a second of a gliding tone at 24 kHz."""
    time_s = np.arange(12_000) / 24_000
    return (0.3 * np.sin(2 * np.pi * (180 * time_s + 150 * time_s**2))).astype(np.float32)


def write_tiny_checkpoint(folder: Path) -> None:
    """Write a complete checkpoint of a few hundred kilobytes, the same on every machine."""
    codec = folder / "speech_tokenizer"
    codec.mkdir()
    _write(folder / "config.json", _MODEL)
    _write(codec / "config.json", _CODEC)
    vocabulary = {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}
    _write(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    added = {str(256): {"content": "assistant", "special": False}}
    added |= {str(257 + number): {"content": token, "special": True} for number, token in enumerate(SPECIAL_TOKENS)}
    _write(folder / "tokenizer_config.json", {"added_tokens_decoder": added})
    speaker = speaker_encoder_config(_MODEL["speaker_encoder_config"], where="the self-test")
    plan = model_plan(model_config(_MODEL), speaker)
    write_tensors(folder / "model.safetensors", plan, seed=SEED, dtype=mx.bfloat16)  # like published ones
    write_tensors(codec / "model.safetensors", codec_plan(codec_config(_CODEC)), seed=SEED, dtype=mx.float32)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def record() -> str:
    """The table of `selftest_results.py`, computed again by the reference backend."""
    with tempfile.TemporaryDirectory(prefix="voicejobs-selftest-") as folder:
        write_tiny_checkpoint(Path(folder))
        found = stages(load_speech_model(folder, dtype="float32", backend="mlx"))
    lines = [f'"{name}": {[_short(number) for number in values.tolist()]},' for name, values in found.items()]
    wrapped = [textwrap.fill(line, 120, initial_indent=" " * 4, subsequent_indent=" " * 8) for line in lines]
    return "RECORDED: dict[str, list[float]] = {\n" + "\n".join(wrapped) + "\n}  # fmt: skip\n"


def _short(number: float) -> float:
    return number if isinstance(number, int) else float(f"{number:.7g}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        sys.stdout.write(record())
    else:
        report = run_selftest()
        sys.stdout.write(json.dumps(dataclasses.asdict(report), indent=2) + "\n")
        sys.exit(0 if report.passed else 1)
