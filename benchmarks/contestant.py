"""One speech implementation, driven by JSON commands on stdin → JSON measurements on stdout.

Each contestant runs in a process of its own, under the interpreter that has its packages: the peers pin versions
of `transformers` that exclude each other. Commands: load, speak, first_audio, decode, bytes_read, peak,
launches. All speech is greedy (or as close as the peer allows) and of a fixed number of frames, so that all do the same
work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

SPEAKER = "ryan"
DESCRIPTION = "A warm female voice, 30s, confident and clear."
REFERENCE_TEXT = "The reference recording says these words and nothing else at all."
SAMPLE_RATE_HZ = 24_000


class Contestant(Protocol):
    def load(self, folder: Path, *, dtype: str) -> None: ...

    def speak(self, texts: list[str], *, voice: str, frames: int) -> int:
        """Speak all the texts, each for `frames` codec frames, to waveforms; returns the frames really made."""
        ...

    def first_audio(self, text: str, *, voice: str) -> float | None:
        """Seconds until the first chunk of audio; None when the implementation cannot stream."""
        ...

    def decode(self, codes: np.ndarray) -> None:
        """Codec frames `(T, Q)` to a waveform."""
        ...

    def take_gpu_form(self) -> None:
        """Compute as on a GPU from now on, traced again: `launches` counts what is launched there."""
        ...


def reference_waveform() -> np.ndarray:
    """Four seconds of a voiced sound with pauses, mono float32 at 24 kHz."""
    time_s = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    voiced = sum(np.sin(2 * np.pi * 140 * harmonic * time_s) / harmonic for harmonic in range(1, 20))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 2.5 * time_s)
    return (0.1 * voiced * envelope).astype(np.float32)


class Ours:
    """This project's engine, through its public API."""

    def load(self, folder: Path, *, dtype: str) -> None:
        from models.hardware.blas import load_blas

        load_blas()  # the fast BLAS must be in place before mlx is imported
        from models.qwen3_tts import load_speech_model

        self.folder = folder
        self.model = load_speech_model(folder, dtype=dtype)
        self.prompt: Any = None

    def take_gpu_form(self) -> None:
        from models.qwen3_tts import load_speech_model
        from models.qwen3_tts.network.mlx_ops import FastOps

        del self.model  # two of them need not be in memory at once
        ops = FastOps(fused=True)
        self.model = load_speech_model(self.folder, dtype="float32", backend="mlx", ops=ops)

    def _request(self, text: str, *, voice: str, frames: int) -> Any:
        from models.qwen3_tts import SpeechRequest

        common: dict[str, Any] = {"text": text, "language": "english", "max_frames": frames}
        if voice == "preset":
            return SpeechRequest(speaker=SPEAKER, **common)
        if voice == "design":
            return SpeechRequest(instruct=DESCRIPTION, **common)
        if self.prompt is None:
            self.prompt = self.model.make_clone_prompt(reference_waveform(), REFERENCE_TEXT)
        return SpeechRequest(clone_prompt=self.prompt, **common)

    def speak(self, texts: list[str], *, voice: str, frames: int) -> int:
        from models.qwen3_tts import Sampling

        requests = [self._request(text, voice=voice, frames=frames) for text in texts]
        spoken = self.model.synthesize_batch(requests, sampling=Sampling.greedy(), batch=len(texts))
        return sum(len(speech.codes) for _, speech in spoken)

    def first_audio(self, text: str, *, voice: str) -> float | None:
        from models.qwen3_tts import Sampling

        started_s = time.perf_counter()
        next(iter(self.model.stream(self._request(text, voice=voice, frames=50), Sampling.greedy())))
        return time.perf_counter() - started_s

    def decode(self, codes: np.ndarray) -> None:
        self.model.decode_codes(codes)

    def weight_bytes_per_s(self, text: str, *, frames: int) -> float:
        """Bytes of weights read a second by one line, prompt and decoder left out."""
        from benchmarks.frame_parts import weight_bytes, weights_of
        from models.qwen3_tts import Sampling
        from models.qwen3_tts.network.generate import Row

        request = self._request(text, voice="preset", frames=frames)
        prepared = self.model.prepare(request, Sampling.greedy())
        made = self.model.make_generator(1).frames(iter([Row(id=0, prepared=prepared)]))
        next(made)
        started_s = time.perf_counter()
        further = sum(1 for _ in made)
        return further * weights_of(self.model) * weight_bytes(self.model) / (time.perf_counter() - started_s)


class MlxAudio:
    """Blaizzy's mlx-audio, one line after the other, as its command line does it."""

    def load(self, folder: Path, *, dtype: str) -> None:
        del dtype  # it computes in the checkpoint's own
        from mlx_audio.tts.utils import load_model

        self.model = load_model(folder)

    def take_gpu_form(self) -> None:
        pass  # it has one form for every backend

    def _generate(self, text: str, *, voice: str, frames: int, stream: bool = False) -> Iterator[Any]:
        import mlx.core as mx

        common = {"temperature": 0.0, "max_tokens": frames, "stream": stream, "lang_code": "english"}
        if voice == "preset":
            return iter(self.model.generate(text, voice=SPEAKER, **common))
        if voice == "design":
            return iter(self.model.generate(text, instruct=DESCRIPTION, **common))
        reference = mx.array(reference_waveform())
        return iter(self.model.generate(text, ref_audio=reference, ref_text=REFERENCE_TEXT, **common))

    def speak(self, texts: list[str], *, voice: str, frames: int) -> int:
        made = 0
        for text in texts:
            made += sum(result.token_count for result in self._generate(text, voice=voice, frames=frames))
        return made

    def first_audio(self, text: str, *, voice: str) -> float | None:
        started_s = time.perf_counter()
        next(self._generate(text, voice=voice, frames=50, stream=True))
        return time.perf_counter() - started_s

    def decode(self, codes: np.ndarray) -> None:
        import mlx.core as mx

        waveform, _ = self.model.speech_tokenizer.decode(mx.array(codes)[None])
        mx.eval(waveform)


class Official:
    """The official PyTorch package, all lines as one batch."""

    def load(self, folder: Path, *, dtype: str) -> None:
        import torch
        from qwen_tts import Qwen3TTSModel

        self.model = Qwen3TTSModel.from_pretrained(str(folder), dtype=getattr(torch, dtype), device_map="cpu")
        self.prompt: Any = None

    def take_gpu_form(self) -> None:
        raise NotImplementedError("only MLX graphs can be counted")

    def speak(self, texts: list[str], *, voice: str, frames: int) -> int:
        # N new tokens give N - 1 frames: the last sampled code never becomes one.
        common: dict[str, Any] = {
            "text": texts, "language": ["english"] * len(texts), "do_sample": False, "subtalker_dosample": False,
            "max_new_tokens": frames + 1,
        }  # fmt: skip
        if voice == "preset":
            waveforms, _ = self.model.generate_custom_voice(speaker=[SPEAKER] * len(texts), **common)
        elif voice == "design":
            waveforms, _ = self.model.generate_voice_design(instruct=[DESCRIPTION] * len(texts), **common)
        else:
            if self.prompt is None:
                self.prompt = self.model.create_voice_clone_prompt(
                    ref_audio=(reference_waveform(), SAMPLE_RATE_HZ), ref_text=REFERENCE_TEXT
                )
            waveforms, _ = self.model.generate_voice_clone(voice_clone_prompt=self.prompt * len(texts), **common)
        return sum(round(len(waveform) / 1_920) for waveform in waveforms)

    def first_audio(self, text: str, *, voice: str) -> float | None:
        del text, voice
        return None  # the package returns whole waveforms only

    def decode(self, codes: np.ndarray) -> None:
        import torch

        self.model.model.speech_tokenizer.decode([{"audio_codes": torch.from_numpy(codes).long()}])


class ByC:
    """The C engine, one process a line; its dtype is its way of quantising, and its seconds are its own."""

    binary = ""

    def load(self, folder: Path, *, dtype: str) -> None:
        from benchmarks.c_engine import CEngine

        if not Path(self.binary).is_file():
            raise FileNotFoundError(f"there is no C engine at {self.binary!r}")
        self.engine = CEngine(binary=self.binary, folder=folder, mode=dtype)
        self.own_s: float | None = None  # seconds of the last call, as the engine states them

    def take_gpu_form(self) -> None:
        raise NotImplementedError("only MLX graphs can be counted")

    def speak(self, texts: list[str], *, voice: str, frames: int) -> int:
        if voice != "preset":
            raise NotImplementedError("only preset voices are compared with it")
        runs = [self.engine.speak(text, speaker=SPEAKER, frames=frames) for text in texts]
        self.own_s = sum(run.took_s for run in runs)
        return sum(run.frames for run in runs)

    def first_audio(self, text: str, *, voice: str) -> float | None:
        del voice
        return self.engine.speak(text, speaker=SPEAKER, frames=10, options=("--stream",)).first_audio_s

    def decode(self, codes: np.ndarray) -> None:
        raise NotImplementedError("its decoder cannot be called alone")


CONTESTANTS: dict[str, type[Contestant]] = {
    "voicejobs": Ours,
    "mlx-audio": MlxAudio,
    "qwen-tts": Official,
    "c-engine": ByC,
}


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    started_s = time.perf_counter()
    result = run()
    return time.perf_counter() - started_s, result


def measure_launches(contestant: Contestant, *, text: str, voice: str, frames: int) -> dict[str, float]:
    """Kernel launches of one more frame, by the difference of two lengths, and milliseconds to build its graph.

    Building is measured twice: as the CPU backend builds it, where every `mx.fast` call is a dozen nodes, and with one
    node each, as on a GPU.
    """
    from benchmarks.launches import fast_calls_count_once, watched_evaluations

    lengths = (frames, 2 * frames)
    with fast_calls_count_once():
        contestant.take_gpu_form()
        counted = []
        for length in lengths:
            with watched_evaluations(count=True) as counting:
                made = contestant.speak([text], voice=voice, frames=length)
            counted.append((made, counting.total()["launches"]))
    contestant.take_gpu_form()
    contestant.speak([text], voice=voice, frames=frames)  # traces what is compiled
    with watched_evaluations(count=False) as clocked:
        made = contestant.speak([text], voice=voice, frames=lengths[1])
    return {
        "launches_per_frame": (counted[1][1] - counted[0][1]) / (counted[1][0] - counted[0][0]),
        "build_ms_per_frame": 1_000 * clocked.of_a_frame_s(made),
        "build_ms_per_frame_on_gpu": 1_000 * counting.of_a_frame_s(counted[1][0]),
    }


def answer(contestant: Contestant, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command."""
    what = command.pop("do")
    if what == "load":
        seconds, _ = timed(lambda: contestant.load(Path(command["folder"]), dtype=command["dtype"]))
        return {"load_s": seconds, "memory_bytes": memory_bytes()}
    if what == "speak":
        seconds, frames = timed(lambda: contestant.speak(**command))
        return {"wall_s": getattr(contestant, "own_s", None) or seconds, "frames": frames, "peak_bytes": peak_bytes()}
    if what == "first_audio":
        return {"first_audio_s": contestant.first_audio(**command)}
    if what == "decode":
        codes = np.random.default_rng(7).integers(0, 2_048, (command["frames"], 16), dtype=np.int32)
        seconds, _ = timed(lambda: contestant.decode(codes))
        return {"decode_s": seconds}
    if what == "bytes_read":
        assert isinstance(contestant, Ours)
        return {"bytes_per_s": contestant.weight_bytes_per_s(**command)}
    if what == "launches":
        return measure_launches(contestant, **command)
    return {"peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory that this process, or one that it has started, has had so far."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else 1_024 * peak


def memory_bytes() -> int | None:
    """The memory that this process has now; None where psutil is not installed."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.Process().memory_info().rss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=CONTESTANTS)
    parser.add_argument("--binary", default="", help="of the C engine")
    options = parser.parse_args()
    who, ByC.binary = options.who, options.binary
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the peers print must not mix with the replies
    contestant = CONTESTANTS[who]()
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            try:
                reply = answer(contestant, json.loads(line))
            except Exception as error:  # the parent prints it beside the contestant's name and goes on
                reply = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
