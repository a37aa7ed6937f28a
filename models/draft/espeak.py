"""Text and parameters → samples, by eSpeak NG's own library, which is loaded afresh for every line.

eSpeak keeps state between two utterances (voice, pitch, the random source of its noise), so that a line would sound
different after another one. Unloading the library forgets all of it. All calls come from one thread.
"""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import hashlib
import importlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import EngineFailure, UnsupportedRequest
from models.extras import install_command

LONGEST_DATA_PATH_BYTES = 120  # eSpeak fails above about 150, with "/phontab" and the like appended
SYNCHRONOUS_OUTPUT = 2
DO_NOT_EXIT = 0x8000
UTF8_TEXT = 1
IPA = 0x02
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # espeak_PARAMETER
VOLUME_PERCENT = 50  # at the default of 100 loud variants clip inside the library
RTLD_NOLOAD = 0x10 if sys.platform == "darwin" else 0x4

LIST_TERMINATED, WORD = 0, 1  # espeak_EVENT_TYPE
PLAIN_RATE_WPM, PLAIN_PITCH, PLAIN_RANGE = 175, 50, 50  # eSpeak's own


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # in milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_int64),  # a union of 8 bytes
    )


Events = ctypes.POINTER(_Event)
SamplesCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, Events)
WordStarts = list[tuple[int, int]]  # (index of its first character in the text, milliseconds), in order
OnSamples = Callable[[int], bool]  # samples so far -> False ends the utterance


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Text and parameters for eSpeak, in its own terms."""

    text: str
    voice: str  # "en-us+f2": a language of eSpeak, and a variant
    pitch: int  # 0 … 99; 50 is the variant's own
    range: int  # 0 … 99; how lively
    rate_wpm: int


class EspeakLibrary:
    """eSpeak NG's library and data, of which every call gets a fresh copy."""

    def __init__(self, *, library_path: Path, data_path: Path) -> None:
        self.library_path = library_path
        self.data_path = data_path
        with self._opened() as (library, _):
            version: Any = library.espeak_Info
            version.restype = ctypes.c_char_p
            self.version = version(None).decode("ascii", "replace").split()[0]

    def variants(self) -> frozenset[str]:
        """Names of the existing voice variants; eSpeak accepts any other name in silence."""
        return frozenset(path.name for path in (self.data_path / "voices" / "!v").iterdir())

    def fingerprint(self) -> str:
        """SHA-256 over the library and all its data; equal fingerprints make equal sounds."""
        digest = hashlib.sha256(self.library_path.read_bytes())
        for path in sorted(path for path in self.data_path.rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(self.data_path)).encode() + b"\0")
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def speak(
        self, utterance: Utterance, *, on_samples: OnSamples, words: WordStarts | None = None
    ) -> tuple[npt.NDArray[np.int16], int]:
        """The samples `(S,)` of an utterance, and their rate in Hz; `words` are filled in with their beginnings.

        Raises UnsupportedRequest for a voice that eSpeak lacks, EngineFailure when it cannot speak.
        """
        _, _, variant = utterance.voice.partition("+")
        if variant and variant not in self.variants():
            raise UnsupportedRequest(f"This eSpeak NG has no voice variant {variant!r}.")
        blocks: list[bytes] = []
        with self._opened() as (library, rate_hz):
            callback = SamplesCallback(_collector(blocks, on_samples, words))
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(utterance.voice.encode("ascii")) != 0:
                raise UnsupportedRequest(f"This eSpeak NG has no voice {utterance.voice!r}.")
            for parameter, value in (
                (RATE, utterance.rate_wpm),
                (VOLUME, VOLUME_PERCENT),
                (PITCH, utterance.pitch),
                (RANGE, utterance.range),
            ):
                library.espeak_SetParameter(parameter, value, 0)
            text = utterance.text.encode("utf-8") + b"\0"
            if library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, UTF8_TEXT, None, None) != 0:
                raise EngineFailure("eSpeak NG could not speak the text.")
        return np.frombuffer(b"".join(blocks), np.int16), rate_hz

    def phonemes(self, texts: Sequence[str], *, voice: str) -> list[str]:
        """The phonemes of each text in the International Phonetic Alphabet, as a voice reads it."""
        with self._opened() as (library, _):
            if library.espeak_SetVoiceByName(voice.encode("ascii")) != 0:
                raise UnsupportedRequest(f"This eSpeak NG has no voice {voice!r}.")
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            return [" ".join(_clauses(library, text)) for text in texts]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, int]]:
        """A fresh, initialised library and its sample rate; unloaded again afterwards."""
        data_path = os.fsencode(short_path(self.data_path))
        with _loaded(self.library_path) as library:
            rate_hz = library.espeak_Initialize(SYNCHRONOUS_OUTPUT, 0, data_path, DO_NOT_EXIT)
            if rate_hz <= 0:
                raise EngineFailure(f"eSpeak NG could not read its data in {self.data_path}.")
            _fix_chance(library)
            try:
                yield library, rate_hz
            finally:
                library.espeak_Terminate()


def _clauses(library: Any, text: str) -> Iterator[str]:
    content = ctypes.create_string_buffer(text.encode("utf-8"))
    place = ctypes.c_void_p(ctypes.addressof(content))
    while place.value:
        yield (library.espeak_TextToPhonemes(ctypes.byref(place), UTF8_TEXT, IPA) or b"").decode("utf-8")


def _fix_chance(library: Any) -> None:
    """Seed both random sources of its noise: its own starts with the time of day, the C library's is never reset."""
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    ctypes.CDLL(None).srand(1)


def _collector(blocks: list[bytes], on_samples: OnSamples, words: WordStarts | None) -> Callable[[Any, int, Any], int]:
    """The function that eSpeak calls with every piece of sound; it answers 1 to end the utterance."""
    count = 0

    def collect(samples: Any, size: int, events: Any) -> int:
        nonlocal count
        if samples and size > 0:
            blocks.append(ctypes.string_at(samples, 2 * size))
            count += size
        if words is not None and events:
            words.extend(_word_starts(events))
        return 0 if on_samples(count) else 1

    return collect


def _word_starts(events: Any) -> Iterator[tuple[int, int]]:
    at = 0
    while events[at].type != LIST_TERMINATED:
        if events[at].type == WORD:
            yield events[at].text_position - 1, events[at].audio_position
        at += 1


@contextlib.contextmanager
def _loaded(library_path: Path) -> Iterator[Any]:
    """The library, freshly loaded: as a copy under a new name where the system would not unload it."""
    with contextlib.ExitStack() as stack:
        if _is_loaded(library_path):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="voicejobs-espeak-"))
            library_path = Path(shutil.copy(library_path, folder))
        try:
            library = ctypes.CDLL(str(library_path))
        except OSError as error:
            raise EngineFailure(f"eSpeak NG's library cannot be loaded: {error}.") from error
        stack.callback(_ctypes.dlclose, library._handle)
        yield library


def _is_loaded(library_path: Path) -> bool:
    """Whether the system holds this library in memory, with whatever state it has."""
    try:
        handle = _ctypes.dlopen(str(library_path), RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return False
    _ctypes.dlclose(handle)
    return True


def short_path(path: Path) -> Path:
    """A path of the same folder that is short enough for eSpeak: the path itself, or a link in the temporary folder."""
    if len(os.fsencode(path)) <= LONGEST_DATA_PATH_BYTES:
        return path
    folder = Path(tempfile.gettempdir()) / f"voicejobs-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) & 0o022:
        raise EngineFailure(f"{folder} is not a private folder of this user.", hint="Remove it, or set TMPDIR.")
    link = folder / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != path:
        fresh = folder / f"{link.name}.{os.getpid()}"
        fresh.symlink_to(path)
        fresh.replace(link)
    if len(os.fsencode(link)) > LONGEST_DATA_PATH_BYTES:
        raise EngineFailure(f"The temporary folder {folder.parent} has too long a name for eSpeak NG.")
    return link


def find_library() -> EspeakLibrary:
    """eSpeak NG as the `espeakng-loader` wheel brings it. Raises UnsupportedRequest when it is not installed."""
    try:
        loader: Any = importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise UnsupportedRequest(
            "The draft engine needs eSpeak NG, which is not installed.",
            hint=f"Install it: `{install_command('draft')}`.",
        ) from error
    return EspeakLibrary(library_path=Path(loader.get_library_path()), data_path=Path(loader.get_data_path()))
