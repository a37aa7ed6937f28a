"""A line of English → natural speech by the package `hibari-tts`, whose weights are in its wheel.

It has preset voices only. The one in the wheel is `heart`; others are files of its repository in the shared model
directory, used only if their bytes are those that the package knows. The package's own downloader never runs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import LanguageNotSpoken, UnknownSpeaker, UnsupportedRequest
from models.extras import install_command
from models.hibari.voices import LANGUAGE, voice_files
from models.languages import AUTO
from models.protocol import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    EngineFacts,
    LockDone,
    LockWork,
    ModelChoice,
    OnProgress,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    Waveform,
    WorkFailed,
    spoken_in_turn,
)
from registry.errors import InvalidInput

ENGINE_NAME = "hibari"
PACKAGE = "hibari-tts"
RENDER = "1"  # raised when this module changes what is heard
FADE_SAMPLES = 240  # 10 ms, where speech is cut
SILENT_PEAK = 0.003


class HibariEngine:
    """Engine that speaks one line after another; a voice is loaded when it is first asked for."""

    def __init__(self, package: Any, *, model: str, folder: Path | None) -> None:
        self._package = package
        self._model = model
        self._assets = Path(package.tts.ASSETS)
        self._voices: Mapping[str, Mapping[str, Any]] = package.voices.VOICES
        self._paths = dict(voice_files(self._voices, assets=self._assets, folder=folder))
        self._digest = _digest_of(self._assets)
        self._speaker = functools.cache(self._loaded)

    def facts(self) -> EngineFacts:
        versions = {name: importlib.metadata.version(name) for name in (PACKAGE, "onnxruntime")}
        return EngineFacts(
            engine=ENGINE_NAME,
            engine_version=versions[PACKAGE],
            render_version=f"{ENGINE_NAME}-{RENDER}-{self._digest[:16]}-onnxruntime-{versions['onnxruntime']}",
            model=self._model,
            model_fingerprint=f"{ENGINE_NAME}:{self._digest}",
            model_revision=versions[PACKAGE],
            abilities=("presets",),
            presets=tuple(self._paths),
            languages=(LANGUAGE,),
            is_seeded=False,  # a seed changes the noise of breath, never how a line is read
            versions=versions,
        )

    def lock(self, work: LockWork) -> LockDone:
        """Raise UnsupportedRequest: it has only its presets."""
        del work
        raise UnsupportedRequest(
            "hibari cannot lock a voice; it has only its presets.",
            hint=f"Use one of them ({', '.join(self._paths)}), or lock with a Qwen3-TTS base model.",
        )

    def speak(
        self, work: Iterable[SpeechWork | None], *, progress: OnProgress
    ) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        return spoken_in_turn(work, lambda line: self._render(line, progress))

    def close(self) -> None:
        """Forget the loaded voices."""
        self._speaker.cache_clear()

    def _render(self, work: SpeechWork, progress: OnProgress) -> Iterator[SpeechDone | SpeechPiece]:
        started_s = time.perf_counter()
        if work.language not in (LANGUAGE, AUTO):
            raise LanguageNotSpoken(work.language, spoken=[LANGUAGE])
        if not isinstance(work.voice, PresetVoice):
            raise UnsupportedRequest(
                "hibari speaks only with its presets.", hint=f"Use one of them: {', '.join(self._paths)}."
            )
        speaker = self._speaker(self._voice_named(work.voice.name))
        pieces: list[Waveform] = []
        reason = ""
        for piece, reason in _pieces(speaker, work, progress):
            pieces.append(piece)
            if work.live and not reason:
                yield SpeechPiece(id=work.id, waveform=piece)
        waveform = np.concatenate(pieces)
        if reason == "eos" and np.abs(waveform).max(initial=0.0) < SILENT_PEAK:
            raise InvalidInput(
                f"There is nothing that hibari can speak in {work.text[:40]!r}.",
                hint="It reads English; use pause_after_s for a silence.",
            )
        yield SpeechDone(
            id=work.id,
            waveform=pieces[-1] if work.live else waveform,
            frames=-(-waveform.size // SAMPLES_PER_FRAME),
            finish_reason=reason,
            seed=work.seed,
            render_s=time.perf_counter() - started_s,
            batch=1,
            warnings=tuple(_warnings(work)),
        )

    def _voice_named(self, wanted: str) -> str:
        name = wanted.casefold()
        if name in self._paths:
            return name
        if name in self._voices:
            raise UnsupportedRequest(
                f"hibari's voice {name!r} is not in the shared model directory.",
                hint=f"Put its file {self._voices[name]['file']} there, as docs/engines.md says.",
            )
        raise UnknownSpeaker(wanted, known=self._paths)

    def _loaded(self, name: str) -> Any:
        return self._package.Hibari(voice=name, model=str(self._paths[name]))


def _digest_of(assets: Path) -> str:
    """SHA-256 over weights, lexica and the list of voices, which holds the digests of all other voices."""
    digest = hashlib.sha256()
    for path in sorted(path for path in assets.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pieces(speaker: Any, work: SpeechWork, progress: OnProgress) -> Iterator[tuple[Waveform, str]]:
    """Samples of a line, sentence by sentence, so that it can be heard early, cancelled or cut.

    With the last of them comes how the line ended, before that "". The end of each sentence comes with the next one: it
    is faded if the line is cut there.
    """
    longest = None if work.max_seconds is None else round(work.max_seconds * SAMPLE_RATE_HZ)
    held: Waveform = np.zeros(0, np.float32)
    samples = 0
    for sentence in speaker.stream(_plain(work.text), seed=work.seed):
        given = samples - held.size
        samples += sentence.size
        held = np.concatenate([held, np.asarray(sentence, np.float32)])
        if not progress(work.id, samples // SAMPLES_PER_FRAME):
            yield held, "cancelled"
            return
        if longest is not None and samples > longest:
            yield _cut(held, longest - given), "length"
            return
        ready = max(0, held.size - FADE_SAMPLES)
        yield held[:ready], ""
        held = held[ready:]
    yield held, "eos"


def _plain(text: str) -> str:
    """The text with nothing that the package reads as its own notation for phonemes, `[word](/ipa/)`."""
    return text.replace("](", "] (")


def _cut(waveform: Waveform, samples: int) -> Waveform:
    """The beginning, faded out so that it does not click."""
    cut: Waveform = waveform[:samples].copy()
    fade = min(FADE_SAMPLES, cut.size)
    cut[cut.size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def _warnings(work: SpeechWork) -> Iterator[str]:
    if work.instruct:
        yield "hibari takes no instructions; instruct was ignored."
    foreign = sorted({letter for letter in work.text if letter.isalpha() and not _is_latin(letter)})
    if foreign:
        shown = "".join(foreign[:10])
        yield f"hibari reads English: letters of other scripts ({shown}) are left out or spelled wrongly."


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith(("LATIN", "MODIFIER", "FEMININE", "MASCULINE"))


def open_engine(choice: ModelChoice) -> HibariEngine:
    """The engine; `choice.folder` may hold further voices. Raises UnsupportedRequest when it is not installed."""
    try:
        package = importlib.import_module("hibari")
        importlib.import_module("hibari.voices")
    except ImportError as error:
        raise UnsupportedRequest(
            f"The engine hibari needs the package {PACKAGE}, which is not installed.",
            hint=f"Install it: `{install_command('natural')}`.",
        ) from error
    folder = None if choice.folder is None else Path(choice.folder)
    return HibariEngine(package, model=choice.model or ENGINE_NAME, folder=folder)
