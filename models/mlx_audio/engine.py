"""A line of text → speech by any model of mlx-audio, one line after another.

What a model can do is read from its own code and files; the rest is refused, or named in a warning.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from models.errors import EngineFailure, UnsupportedRequest
from models.extras import command_for
from models.mlx_audio.load import PACKAGE, LoadedModel, load_model
from models.mlx_audio.pulse import Stopped, pulse
from models.mlx_audio.request import (
    OUTETTS,
    cap_arguments,
    clones,
    language_arguments,
    longest_s,
    sampling_arguments,
    streams,
    voice_arguments,
)
from models.protocol import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    EngineFacts,
    LockDone,
    LockWork,
    ModelChoice,
    OnProgress,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    Waveform,
    WorkFailed,
    spoken_in_turn,
)
from models.text.sentences import Piece, split_pieces
from models.text.spoken_form import has_word
from models.text.spoken_time import spoken_time
from models.voices.recorded_prompt import RecordedPrompt
from registry.errors import InvalidInput

RENDER = "1"  # raised when this package changes what is heard
FADE_SAMPLES = 240  # 10 ms, where speech is cut
MOST_CHARACTERS = 400
EOS, LENGTH, CANCELLED = "eos", "length", "cancelled"


class MlxAudioEngine:
    """Engine with one model of mlx-audio."""

    def __init__(self, model: LoadedModel, *, name: str) -> None:
        self._model = model
        self._name = name

    def facts(self) -> EngineFacts:
        import mlx.core as mx

        model, family = self._model, self._model.family
        abilities = [name for name, has in (("clone", clones(model)), ("presets", bool(self._model.presets))) if has]
        if "instruct" in model.arguments - set(family.ignored):
            abilities.append("instruct")
        render_version = f"{PACKAGE}-{RENDER}-{model.package_version}-{family.name}"
        return EngineFacts(
            engine=PACKAGE,
            engine_version=model.package_version,
            render_version=render_version,
            live_render_version=f"{render_version}-live" if streams(model) else "",
            model=self._name,
            model_fingerprint=f"{PACKAGE}:{model.fingerprint}",
            backend="metal" if mx.metal.is_available() else "cuda" if mx.cuda.is_available() else "cpu",
            abilities=tuple(abilities),
            presets=self._model.presets,
            languages=family.languages,
            versions={PACKAGE: model.package_version, "mlx": importlib.metadata.version("mlx")},
            details={"family": family.name, "native_sample_rate_hz": model.native_hz},
            is_seeded=family.is_seeded,
        )

    def lock(self, work: LockWork) -> LockDone:
        """The recording itself is the prompt. Raises UnsupportedRequest for a model that cannot clone."""
        if not clones(self._model) or work.waveform is None:
            raise UnsupportedRequest(
                f"{self._name} cannot lock a voice; it has only its presets ({', '.join(self._model.presets)}).",
                hint="Lock with a Qwen3-TTS base model, or with a model that clones (docs/engines.md).",
            )
        profile = None
        if self._model.family.name == OUTETTS:
            from models.mlx_audio.outetts import profile_of

            profile = profile_of(work)
        prompt = RecordedPrompt(waveform=work.waveform, transcript=work.transcript, profile=profile)
        facts: dict[str, Any] = {"family": self._model.family.name, "samples": int(work.waveform.size)}
        if profile is not None:
            facts |= {"words": len(profile["words"]), "codes": sum(len(word["c1"]) for word in profile["words"])}
        return LockDone(id=work.id, prompt=prompt.to_bytes(), facts=facts)

    def speak(
        self, work: Iterable[SpeechWork | None], *, progress: OnProgress
    ) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        return spoken_in_turn(work, lambda line: self._render(line, progress))

    def close(self) -> None:
        """Forget the model."""
        import mlx.core as mx

        del self._model
        mx.clear_cache()

    def _render(self, work: SpeechWork, progress: OnProgress) -> Iterator[SpeechDone | SpeechPiece]:
        started_s = time.perf_counter()
        sampling, warnings = sampling_arguments(self._model, work)
        reading = _Reading(work, progress)
        with tempfile.TemporaryDirectory(prefix="voicejobs-") as scratch:
            arguments = {
                **sampling,
                **language_arguments(self._model, work),
                **voice_arguments(self._model, work, scratch=Path(scratch)),
            }
            _seed(work.seed)
            for samples in self._spoken(work, arguments, reading):
                reading.add(samples)
                if work.live and reading.parts:
                    yield SpeechPiece(id=work.id, waveform=reading.take())
        if reading.reason == EOS and reading.is_silent:
            raise InvalidInput(f"{self._name} made no sound of {work.text[:40]!r}.")
        yield SpeechDone(
            id=work.id,
            waveform=reading.take(),
            frames=-(-reading.samples // SAMPLES_PER_FRAME),
            finish_reason=reading.reason,
            seed=work.seed,
            render_s=time.perf_counter() - started_s,
            batch=1,
            warnings=tuple(warnings),
        )

    def _spoken(self, work: SpeechWork, arguments: dict[str, Any], reading: _Reading) -> Iterator[Waveform]:
        """Samples of a line at the protocol's rate, piece by piece; how it ended is in `reading`."""
        pieces = _pieces_of(work, most_words=self._model.family.most_words)
        expected_s = [spoken_time(piece.text, work.language).expected_s for piece in pieces]
        for piece, own_s in zip(pieces, expected_s, strict=True):
            cap_s = longest_s(piece.text, work, share=own_s / sum(expected_s))
            resampler = _Resampler(self._model.native_hz)
            spoken = 0
            for native in self._generated(piece.text, {**arguments, **cap_arguments(self._model, cap_s)}, reading):
                samples = resampler.more(native)
                room = round(cap_s * SAMPLE_RATE_HZ) - spoken
                spoken += samples.size
                if samples.size > room:
                    reading.reason = LENGTH
                    yield _cut(samples, max(0, room))
                    break
                yield samples
            yield resampler.rest() if reading.reason == EOS else np.zeros(0, np.float32)
            if reading.reason != EOS:
                return
            yield np.zeros(round(piece.pause_after_s * SAMPLE_RATE_HZ), np.float32)

    def _generated(self, text: str, arguments: dict[str, Any], reading: _Reading) -> Iterator[npt.NDArray[np.float32]]:
        """Samples of a text at the model's own rate, as it gives them out."""
        if reading.work.live and streams(self._model):
            arguments = {**arguments, "stream": True, "streaming_interval": 1.0}
        most_tokens = arguments.get("max_tokens")
        results = self._model.network.generate(text, **arguments)
        with contextlib.closing(results):
            while True:
                try:
                    with pulse(reading.goes_on):
                        result = next(results, None)
                        samples = None if result is None else _mono(result.audio)
                except Stopped:
                    reading.reason = CANCELLED
                    return
                except ImportError as error:
                    raise UnsupportedRequest(
                        f"{self._name} needs the package {error.name}, which is not installed.",
                        hint=f"Install it: `{command_for([str(error.name)])}`.",
                    ) from error
                except Exception as error:
                    raise EngineFailure(f"{self._name} failed over {text[:40]!r}: {error}") from error
                if result is None or samples is None:
                    return
                if most_tokens is not None and result.token_count >= most_tokens:
                    reading.reason = LENGTH
                yield samples


@dataclass
class _Reading:
    """One line while it is spoken."""

    work: SpeechWork
    progress: OnProgress
    reason: str = EOS
    samples: int = 0  # spoken so far
    is_silent: bool = True
    parts: list[Waveform] = field(default_factory=list)  # not given out yet

    def goes_on(self) -> bool:
        """Tell that it lives; false once nobody wants it."""
        return self.progress(self.work.id, self.samples // SAMPLES_PER_FRAME)

    def add(self, samples: Waveform) -> None:
        if samples.size:
            self.samples += samples.size
            self.is_silent = self.is_silent and not samples.any()
            self.parts.append(samples)

    def take(self) -> Waveform:
        """Samples not given out yet."""
        parts, self.parts = self.parts, []
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Resampler:
    """Samples at a model's own rate → at the protocol's, in pieces."""

    def __init__(self, native_hz: int) -> None:
        same = native_hz == SAMPLE_RATE_HZ
        self._stream = None if same else soxr.ResampleStream(native_hz, SAMPLE_RATE_HZ, 1, dtype="float32")

    def more(self, samples: Waveform) -> Waveform:
        return samples if self._stream is None else _within_full_scale(self._stream.resample_chunk(samples))

    def rest(self) -> Waveform:
        nothing = np.zeros(0, np.float32)
        if self._stream is None:
            return nothing
        return _within_full_scale(self._stream.resample_chunk(nothing, last=True))


def _mono(audio: Any) -> npt.NDArray[np.float32]:
    """Samples `(S,)` of what a model gave out: an array of MLX or NumPy, perhaps with an axis of channels."""
    import mlx.core as mx

    if isinstance(audio, mx.array):
        audio = audio.astype(mx.float32)
    samples = np.asarray(audio, np.float32)
    if samples.ndim > 1:
        samples = samples.reshape(-1, samples.shape[-1]) if samples.shape[-1] > 8 else samples.T
        samples = samples.mean(axis=0)
    return _within_full_scale(samples)


def _within_full_scale(samples: npt.ArrayLike) -> Waveform:
    """Samples within ±1: what models give out may be louder, and so may be loud sound that was resampled."""
    return np.clip(np.asarray(samples, np.float32), -1.0, 1.0)


def _pieces_of(work: SpeechWork, *, most_words: int) -> list[Piece]:
    pieces = split_pieces(work.text, language=work.language, max_characters=MOST_CHARACTERS, max_words=most_words)
    return [piece for piece in pieces if has_word(piece.text)] or [Piece(work.text, "text")]


def _seed(seed: int) -> None:
    """Set every generator that models draw from."""
    import mlx.core as mx

    mx.random.seed(seed)
    np.random.seed(seed % (1 << 32))
    random.seed(seed)


def _cut(waveform: Waveform, samples: int) -> Waveform:
    """The beginning, faded out so that it does not click."""
    cut: Waveform = waveform[:samples].copy()
    fade = min(FADE_SAMPLES, cut.size)
    cut[cut.size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def open_engine(choice: ModelChoice) -> MlxAudioEngine:
    """The engine with the model of `choice.folder`. Raises an error that names what is missing."""
    if choice.folder is None:
        raise UnsupportedRequest(f"The model {choice.model!r} needs the folder of its weights.")
    cache = None if choice.hub_cache is None else Path(choice.hub_cache)
    return MlxAudioEngine(load_model(Path(choice.folder), name=choice.model, cache=cache), name=choice.model)
