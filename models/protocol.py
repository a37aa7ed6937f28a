"""Values that runner and engine exchange: two kinds of work, and the answers to them.

An engine holds one model. It *speaks* (text + where the voice comes from → waveform) and it *locks*
(recording + transcript → clone prompt). Designing a voice is speaking from a description, once for each candidate.
These values change only by addition; a new field has a default. They cross a pipe between two processes
(`models/processes/wire.py`), so they hold nothing but numbers, strings, bytes, arrays and one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from registry.errors import VoiceJobsError

PROTOCOL_VERSION = 2
SAMPLE_RATE_HZ = 24_000
SAMPLES_PER_FRAME = 1_920
FRAMES_PER_SECOND = SAMPLE_RATE_HZ / SAMPLES_PER_FRAME

Waveform = npt.NDArray[np.float32]  # (S,) mono, -1 … 1, at SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Model that an engine process is to open, and how."""

    engine: str  # a name of `models.engine_kinds`
    model: str = ""  # catalogue name, repository id or folder, as requested; echoed in EngineFacts
    folder: str | None = None  # absolute path of weights, or of further voices, for engines that have any
    dtype: str | None = None  # None: the checkpoint's own
    batch: int | None = None  # rows to render together; None: the engine's own default
    memory_limit_bytes: int | None = None
    blas: str | None = None  # library of products on a CPU; None: the engine's own choice
    formulation: str | None = None  # backend on a CPU: "llvm" | "numpy" | "mlx"; None: the engine's own choice
    memory_factor: float = 1.5  # free memory that a load needs, as a multiple of the weights
    memory_check: str = "warn"  # | "refuse": when there is less
    hub_cache: str | None = None  # absolute path of links to all models here, in the layout of `huggingface_hub`
    python: str | None = None  # absolute path of the Python of its own environment; None: the one of voicejobs


@dataclass(frozen=True, kw_only=True)
class PresetVoice:
    """A voice built into the model, by name (`ryan`, `anna`, …)."""

    name: str


@dataclass(frozen=True, kw_only=True)
class LockedVoice:
    """A locked voice: the clone prompt's bytes, as `LockDone.prompt` gave them."""

    prompt: bytes
    prompt_sha256: str  # engines cache what they derive from the bytes under this key


@dataclass(frozen=True, kw_only=True)
class DescribedVoice:
    """A voice that exists only as a description; each seed makes another one.

    The candidates of one design job have consecutive seeds, and an engine may rely on that to keep them apart.
    """

    description: str


VoiceSource = PresetVoice | LockedVoice | DescribedVoice


@dataclass(frozen=True, kw_only=True)
class SpeechWork:
    """Speak one line. A text longer than the model's safe length is split and joined by the engine."""

    id: str  # unique among the work in flight; echoed in every answer
    text: str
    voice: VoiceSource
    seed: int
    language: str = "auto"  # canonical English name in lower case, as `models.languages` gives it
    instruct: str | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)  # temperature, top_k, top_p, repetition_penalty
    max_seconds: float | None = None  # None: a cap derived from the text
    live: bool = False  # somebody listens: it takes the next free row, and its sound is wanted as it is made
    # (characters of the text before it, seconds) of each pause; the engine process keeps them, no engine sees any
    pauses: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LockWork:
    """Turn a recording and its exact transcript into a clone prompt, or with `embedding_only` its sound alone."""

    id: str
    transcript: str
    waveform: Waveform | None = None
    design_state: bytes | None = None  # `SpeechDone.design_state` of the chosen candidate, where the engine gave one
    language: str = "auto"
    embedding_only: bool = False  # a speaker embedding without codes; the transcript is ""


@dataclass(frozen=True, kw_only=True)
class SpeechPiece:
    """The next samples of a line that is being spoken; all its pieces, in order, are its take."""

    id: str
    waveform: Waveform


@dataclass(frozen=True, kw_only=True)
class SpeechDone:
    """One line, spoken; of a line in pieces the waveform is the rest, perhaps nothing."""

    id: str
    waveform: Waveform
    frames: int  # codec frames, or their equivalent of 80 ms
    finish_reason: str  # "eos" | "length" | "cancelled"
    seed: int
    render_s: float
    batch: int  # rows the engine was rendering with: audio is bit-identical only for the same batch
    design_state: bytes | None = None  # with the audio, enough for this engine to lock the voice exactly
    warnings: tuple[str, ...] = ()
    piece_samples: int = 0  # in the pieces before; the engine process counts them
    similarity: float | None = None  # cosine of the take's speaker embedding with its lock's, where the model has one
    codes_sha256: str = ""  # of the codec's codes, where there are any: equal codes are one reading


@dataclass(frozen=True, kw_only=True)
class LockDone:
    """A clone prompt, ready to be stored and used as `LockedVoice`."""

    id: str
    prompt: bytes
    facts: Mapping[str, Any]  # shapes and dimensions, for the registry: {"embedding_size": 1024, "frames": 69, …}
    speaker_embedding: npt.NDArray[np.float32] | None = None  # (D,), for comparing versions
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkFailed:
    """Work that could not be done; the engine goes on."""

    id: str
    code: str
    message: str
    hint: str = ""
    retryable: bool = False

    @classmethod
    def from_error(cls, work_id: str, error: VoiceJobsError) -> WorkFailed:
        return cls(id=work_id, code=error.code, message=error.message, hint=error.hint, retryable=error.retryable)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Codec frames made so far for one piece of work."""

    id: str
    frames: int


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """Facts about the loaded model, for scheduling, receipts and take keys."""

    engine: str  # "qwen3-tts", "draft", "hibari", …
    engine_version: str
    render_version: str  # part of every take key; changes whenever equal requests may sound different
    model: str  # catalogue name, repository id or folder, as requested
    model_fingerprint: str  # equal fingerprints → equal weights
    model_revision: str | None = None
    quantization: str | None = None
    backend: str = "cpu"  # "metal" | "cuda" | "cpu"
    dtype: str = "float32"
    batch: int = 1  # rows it renders together at most
    abilities: tuple[str, ...] = ()  # of "design", "clone", "presets", "instruct"
    presets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # canonical names; () when the engine takes any
    versions: Mapping[str, str] = field(default_factory=dict)  # {"mlx": "0.32.4", …}
    details: Mapping[str, Any] = field(default_factory=dict)  # how it computes, for receipts: formulation, blas, …
    is_seeded: bool = True  # whether another seed makes another take of a line
    live_render_version: str = ""  # of live speech, where its sound may differ from the same line's otherwise
    warnings: tuple[str, ...] = ()  # about the load, for the receipts of the jobs that waited for it


OnProgress = Callable[[str, int], bool]  # (work id, frames so far) -> False cancels that work alone


@runtime_checkable
class WorkFeed(Protocol):
    """Work as the engine process hands it to an engine: an iterator that also tells what cannot wait."""

    def __iter__(self) -> Iterator[SpeechWork | None]: ...

    def __next__(self) -> SpeechWork | None: ...

    def next_live(self) -> SpeechWork | None:
        """Live work that waits, ahead of everything else; None when there is none."""
        ...


class Engine(Protocol):
    """One loaded model. All calls come from one thread, the main thread of the engine process."""

    def facts(self) -> EngineFacts: ...

    def lock(self, work: LockWork) -> LockDone:
        """The clone prompt. Raises an error of the project's tree when the recording cannot be used."""
        ...

    def speak(
        self, work: Iterable[SpeechWork | None], *, progress: OnProgress
    ) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        """Render work as rows of one running batch; results come as they finish, in any order.

        `work` is pulled whenever a row is free, and live work comes first in it; a None means "nothing waits at this
        moment, ask again after the next frame"; its end means that no more comes. Work that cannot be done becomes a
        WorkFailed and does not disturb the other rows. An engine that gives several rows to one line asks a `WorkFeed`
        for live work between two of them. An engine may answer a line in `SpeechPiece`s, and does so for live work
        from its first frames on, if it can; of one that does not, the engine process cuts the take into pieces.
        """
        ...

    def close(self) -> None:
        """Give the model's memory back."""
        ...


def spoken_in_turn(
    work: Iterable[SpeechWork | None], render: Callable[[SpeechWork], Iterable[SpeechDone | SpeechPiece]]
) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
    """Answers of an engine that speaks one line after another; an error of the project's tree fails its line alone."""
    for line in work:
        if line is None:
            continue
        try:
            yield from render(line)
        except VoiceJobsError as error:
            yield WorkFailed.from_error(line.id, error)
