"""Recorded calls of the official package → requests of ours, and the reference checkpoints as loaded models."""

from __future__ import annotations

import functools
import shutil
from typing import Any

from models.qwen3_tts import ClonePrompt, Sampling, SpeechModel, SpeechRequest, load_speech_model
from models.qwen3_tts.network.mlx_ops import FastOps
from tests.reference import REFERENCE, call, golden

BACKENDS = ("numpy", "mlx", "mlx-fast")


@functools.cache
def model(checkpoint: str, backend: str = "numpy") -> SpeechModel:
    """A reference checkpoint; "mlx-fast" computes as on a GPU, with the kernels of `mx.fast`."""
    name, _, fast = backend.partition("-")
    ops = FastOps(fused=shutil.which("g++") is not None) if fast else None
    return load_speech_model(REFERENCE / checkpoint, dtype="float32", backend=name, ops=ops)


def requests_of(checkpoint: str, case: str) -> list[SpeechRequest]:
    """The requests that a recorded call amounts to, one for each text.

    Recorded with `max_new_tokens=N`, a run that does not end by itself has N - 1 frames.
    """
    arguments = call(checkpoint, case)
    texts = as_list(arguments["text"])

    def each(name: str) -> list[Any]:
        value = arguments.get(name)
        return value if isinstance(value, list) else [value] * len(texts)

    streaming = arguments["kwargs"].get("non_streaming_mode")
    return [
        SpeechRequest(
            text,
            language=each("language")[index],
            speaker=each("speaker")[index],
            instruct=each("instruct")[index],
            clone_prompt=recorded_prompt(case, index) if checkpoint == "base" else None,
            interleave_text=None if streaming is None else not streaming,
            sampling=Sampling.greedy(arguments["kwargs"].get("repetition_penalty", 1.05)),
            max_frames=arguments["kwargs"]["max_new_tokens"] - 1,
        )
        for index, text in enumerate(texts)
    ]


def recorded_prompt(case: str, index: int) -> ClonePrompt:
    """The clone prompt that the official package made for one text of a recorded call."""
    arrays, arguments = golden("base", case), call("base", case)
    x_vector_only, transcript = arguments.get("x_vector_only_mode", False), arguments.get("ref_text")
    if isinstance(x_vector_only, list):
        x_vector_only = x_vector_only[index]
    if isinstance(transcript, list):
        transcript = transcript[index]
    return ClonePrompt(
        speaker_embedding=arrays[f"spk_embedding.{index}"],
        reference_codes=None if x_vector_only else arrays[f"ref_codes.{index}"],
        transcript=None if x_vector_only else transcript,
    )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
