"""A recogniser's name → the recogniser, which turns a take into words with times and confidence.

Each is an extra of its own, opened in the process that listens. `faster-whisper` is opened from a folder of weights,
which the caller has found; nothing is downloaded here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.audio.files import resample
from models.checkpoint_format.whisper_files import WEIGHTS, whisper_problems
from models.errors import LanguageNotHeard, UnknownLanguage, UnsupportedRequest
from models.extras import install_command
from models.languages import AUTO, canonical_language, language_code
from models.listen.pieces import pieces
from models.listen.values import HeardWord, TimedWord, readable
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.store.catalog import FASTER_WHISPER, WHISPER_SIZES, entry_named
from registry.errors import InvalidInput, nearest

POCKETSPHINX = "pocketsphinx"
MLX_AUDIO = "mlx-audio"
NAMES = (POCKETSPHINX, FASTER_WHISPER, MLX_AUDIO)
PACKAGES = {  # and extras
    POCKETSPHINX: ("pocketsphinx", "listen"),
    FASTER_WHISPER: ("faster_whisper", "whisper"),
    MLX_AUDIO: ("mlx_audio", "mlx-audio"),
}
EXAMPLES = {FASTER_WHISPER: "faster-whisper:small", MLX_AUDIO: "mlx-audio:mlx-community/parakeet-tdt-0.6b-v3"}
EXAMPLE_OF_ALIGNER = "mlx-audio:mlx-community/Qwen3-ForcedAligner-0.6B-8bit"
POCKETSPHINX_BYTES = 150_000_000  # in memory, with its model of English
RATE_HZ = 16_000
FRAMES_PER_SECOND = 100
PIECE_S = 20.0
WHISPER_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)
_VARIANT = re.compile(r"\(\d+\)$")  # `read(2)`: the second pronunciation


class Recogniser(Protocol):
    """One loaded recogniser. All calls come from one thread."""

    name: str  # with its version, for receipts
    languages: tuple[str, ...]  # canonical names
    language: str  # of the words that it heard last

    def hear(self, waveform: Waveform, language: str) -> list[HeardWord]:
        """Words in `(S,)` at 24 kHz, in order. Raises LanguageNotHeard."""
        ...


def kind_of(recogniser: str) -> tuple[str, str]:
    """The kind of recogniser, and its size or folder. Raises InvalidInput for one that nobody knows."""
    kind, _, model = recogniser.strip().partition(":")
    if kind not in NAMES or bool(model) != (kind != POCKETSPHINX):
        near = nearest(kind, NAMES) or NAMES
        shown = ", ".join(EXAMPLES.get(name, name) for name in near)
        raise InvalidInput(f"There is no recogniser {recogniser!r}.", hint=f"Did you mean {shown}?")
    if kind == MLX_AUDIO and "/" not in model:
        raise InvalidInput(
            f"mlx-audio has no recogniser {model!r}.",
            hint=f"Name a repository, as {EXAMPLES[kind]}, or a folder: ./ears.",
        )
    if kind == FASTER_WHISPER and "/" not in model and entry_named(f"{kind}:{model}") is None:
        sizes = nearest(model, WHISPER_SIZES) or WHISPER_SIZES
        hint = f"Did you mean {', '.join(sizes)}? A folder is written with a slash: {kind}:./{model}."
        raise InvalidInput(f"{FASTER_WHISPER} knows no size {model!r}.", hint=hint)
    return kind, model


def model_of(recogniser: str) -> str:
    """Name, in the catalogue or as a folder, of the model that a recogniser needs; "" where its package has one.

    Raises InvalidInput for a recogniser that nobody knows.
    """
    kind, model = kind_of(recogniser)
    entry = entry_named(f"{kind}:{model}")
    return entry.name if entry else model


def languages_of(recogniser: str) -> tuple[str, ...]:
    """Languages that a recogniser knows, by canonical name, without opening it."""
    kind, model = kind_of(recogniser)
    if kind == MLX_AUDIO:
        return ()  # nobody knows before it is asked
    return ("english",) if kind == POCKETSPHINX or model.casefold().endswith(".en") else _whisper_languages()


@functools.cache
def _whisper_languages() -> tuple[str, ...]:
    found = []
    for code in WHISPER_CODES.split():
        with contextlib.suppress(UnknownLanguage):
            found.append(canonical_language(code))
    return tuple(dict.fromkeys(found))


def check_language(recogniser: str, language: str) -> None:
    """Raise LanguageNotHeard for a language that a recogniser is known not to know; opens nothing."""
    known, language = languages_of(recogniser), canonical_language(language)
    if known and language not in (AUTO, *known):
        raise LanguageNotHeard(language, recogniser=kind_of(recogniser)[0], known=known)


def memory_bytes(recogniser: str) -> int:
    """Bytes that a recogniser takes in memory, one with weights named with their folder."""
    kind, model = kind_of(recogniser)
    if kind == MLX_AUDIO:
        return sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    return POCKETSPHINX_BYTES if kind == POCKETSPHINX else (Path(model) / WEIGHTS).stat().st_size


def is_coarse(recogniser: str) -> bool:
    """Whether it often mistakes single words, so that only long differences count."""
    return kind_of(recogniser)[0] == POCKETSPHINX


class Aligner(Protocol):
    """One loaded model that times the words of a text. All calls come from one thread."""

    name: str

    def word_times(self, waveform: Waveform, *, text: str, language: str) -> list[TimedWord]:
        """Words in `(S,)` at 24 kHz, in order. Raises LanguageNotHeard, UnsupportedRequest."""
        ...


def check_aligner(aligner: str) -> None:
    """Raise InvalidInput for an aligner that nobody knows."""
    if aligner.strip().partition(":")[0] != MLX_AUDIO:
        raise InvalidInput(f"There is no aligner {aligner!r}.", hint=f"Name one of mlx-audio: {EXAMPLE_OF_ALIGNER}.")
    kind_of(aligner)


def open_aligner(aligner: str) -> Aligner:
    """The aligner with a folder of weights. Raises UnsupportedRequest, InvalidInput."""
    check_aligner(aligner)
    check_installed(aligner)
    opener = importlib.import_module("models.mlx_audio.aligner").open_aligner
    found: Aligner = opener(kind_of(aligner)[1])
    return found


def open_recogniser(recogniser: str) -> Recogniser:
    """The recogniser of this name, or with a folder of weights. Raises UnsupportedRequest, InvalidInput."""
    check_installed(recogniser)
    kind, model = kind_of(recogniser)
    if kind == MLX_AUDIO:
        opener = importlib.import_module("models.mlx_audio.recogniser").open_recogniser
        found: Recogniser = opener(model)
        return found
    return PocketSphinx() if kind == POCKETSPHINX else FasterWhisper(model)


@dataclass(init=False)
class PocketSphinx:
    """Coarse English, by the model in the wheel `pocketsphinx`."""

    name: str
    languages: tuple[str, ...] = ("english",)
    language: str = "english"

    def __init__(self) -> None:
        package = importlib.import_module("pocketsphinx")
        self.name = f"pocketsphinx {importlib.metadata.version('pocketsphinx')}"
        self._decoder = package.Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def hear(self, waveform: Waveform, language: str) -> list[HeardWord]:
        if language not in (AUTO, *self.languages):
            raise LanguageNotHeard(language, recogniser=POCKETSPHINX, known=self.languages)
        words: list[HeardWord] = []
        for start_s, piece in pieces(waveform, PIECE_S):
            words += self._heard(piece, start_s)
        return words

    def _heard(self, piece: Waveform, start_s: float) -> Iterator[HeardWord]:
        sound = (np.clip(resample(piece, SAMPLE_RATE_HZ, RATE_HZ), -1, 1) * 32767).astype("<i2")
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(sound.tobytes(), full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return
        for part in decoder.seg():
            if part.word[0] in "<[+":  # silence and noise
                continue
            yield HeardWord(
                text=_VARIANT.sub("", part.word),
                start_s=round(start_s + part.start_frame / FRAMES_PER_SECOND, 3),
                end_s=round(start_s + (part.end_frame + 1) / FRAMES_PER_SECOND, 3),
                confidence=round(min(1.0, float(part.prob)), 3),
            )


class FasterWhisper:
    """Whisper by the package `faster-whisper`, on the processor, from a folder of its weights."""

    language: str = AUTO

    def __init__(self, model: str) -> None:
        self.languages = _whisper_languages()
        package = importlib.import_module("faster_whisper")
        folder = Path(model)
        if problem := next((f"{name} {what}" for name, what in whisper_problems(folder, check_structure=True)), None):
            hint = (
                "Name a size, or a folder as of Systran/faster-whisper-small: model.bin, config.json, tokenizer.json."
            )
            raise InvalidInput(f"{model!r} is no folder of a faster-whisper model: {problem}.", hint=hint)
        self.name = f"faster-whisper {importlib.metadata.version('faster-whisper')} {folder.name}"
        try:
            self._model = package.WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise InvalidInput(f"The recogniser in {model!r} cannot be loaded: {error}.") from error

    def hear(self, waveform: Waveform, language: str) -> list[HeardWord]:
        sound = resample(waveform, SAMPLE_RATE_HZ, RATE_HZ)
        code = None if language == AUTO else language_code(language)
        if code is not None and code not in self._model.supported_languages:
            raise LanguageNotHeard(language, recogniser=self.name, known=())
        segments, found = self._model.transcribe(
            sound, language=code, word_timestamps=True, condition_on_previous_text=False
        )
        with contextlib.suppress(UnknownLanguage):
            self.language = canonical_language(found.language)
        return list(_whisper_words(segments))


def _whisper_words(segments: Iterable[Any]) -> Iterator[HeardWord]:
    for segment in segments:
        for word in segment.words or ():
            if not (text := readable(word.word)):
                continue
            yield HeardWord(
                text=text,
                start_s=round(float(word.start), 3),
                end_s=round(float(word.end), 3),
                confidence=round(float(word.probability), 3),
            )


def check_installed(recogniser: str) -> None:
    """Raise UnsupportedRequest when the package of a recogniser is not installed; opens nothing."""
    module, extra = PACKAGES[kind_of(recogniser)[0]]
    if importlib.util.find_spec(module) is None:
        raise UnsupportedRequest(
            f"The recogniser needs the package {module.replace('_', '-')}, which is not installed.",
            hint=f"Install it: `{install_command(extra)}`.",
        )
