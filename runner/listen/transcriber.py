"""A recording of any length → the words that a recogniser hears in it, piece by piece.

It is decoded by a process of its own into a file, of which no more than a piece is ever in memory. Waits for both, so
it is called in a thread.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from models.languages import AUTO
from models.listen.pieces import quiet_cut
from models.listen.values import Heard, HeardWord
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import StorageError, storage_error
from runner.listen.listen_process import ListenProcess
from runner.reading_process import DECODING, LONGEST_DECODING_S, ReadingProcess, refused_recording

PIECE_S = 60.0  # others have their turn after each
LOOK_S = 0.2
SAMPLE_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class HeardRecording:
    """A whole recording's words, and what was mended."""

    heard: Heard
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Transcriber:
    """Hears recordings, in any thread."""

    listen: ListenProcess
    folder: Path  # for the samples of a recording while it is heard

    def heard(
        self,
        path: Path,
        *,
        recogniser: str,
        language: str,
        stopped: threading.Event,
        on_progress: Callable[[float, float], None] = lambda _heard_s, _total_s: None,
    ) -> HeardRecording:
        """The words in a file; `on_progress` is told how many seconds of how many have been heard.

        Raises InvalidReferenceAudio, EngineFailure and StorageError, this one when stopped.
        """
        words: list[HeardWord] = []
        used, samples = "", 0
        with self._decoded(path, stopped) as (file, said):
            total_s = os.fstat(file.fileno()).st_size / SAMPLE_BYTES / SAMPLE_RATE_HZ
            for piece in _pieces(file):
                if stopped.is_set():
                    raise _given_up(path)
                heard = self.listen.hear(piece, recogniser=recogniser, language=language)
                start_s = samples / SAMPLE_RATE_HZ
                words += [
                    replace(word, start_s=round(start_s + word.start_s, 3), end_s=round(start_s + word.end_s, 3))
                    for word in heard.words
                ]
                used, samples = heard.recogniser, samples + piece.size
                on_progress(samples / SAMPLE_RATE_HZ, total_s)
                if heard.words and language == AUTO:
                    language = heard.language  # one recording is in one language
        duration_s = round(samples / SAMPLE_RATE_HZ, 3)
        whole = Heard(id="", words=tuple(words), recogniser=used, language=language, duration_s=duration_s)
        return HeardRecording(heard=whole, said=said)

    @contextlib.contextmanager
    def _decoded(self, path: Path, stopped: threading.Event) -> Iterator[tuple[BinaryIO, tuple[str, ...]]]:
        """A file of the recording's samples, open and without a name, and what was mended."""
        target = self.folder / f"recording-{secrets.token_hex(8)}"
        request = {"name": path.name, "path": str(path), "target": str(target)}
        process = ReadingProcess(DECODING, request, folder=self.folder, longest_s=LONGEST_DECODING_S)
        try:
            while (reading := process.poll()) is None:
                if stopped.is_set():
                    raise _given_up(path)
                process.wait_for_end(LOOK_S)
            if reading.header is None:
                raise refused_recording(reading, path.name)
            try:
                file = target.open("rb")
            except OSError as error:
                raise storage_error(error, f"reading the samples of {path.name}") from error
        finally:
            process.close()
            with contextlib.suppress(OSError):
                target.unlink()
        with file:
            yield file, tuple(reading.header["said"])


def _given_up(path: Path) -> StorageError:
    return StorageError(f"{path.name} was not heard to its end: the job was cancelled, or the runner stops.")


def _pieces(file: BinaryIO) -> Iterator[Waveform]:
    """The sound of a file of samples, cut where it is quietest."""
    wanted = round(PIECE_S * SAMPLE_RATE_HZ) + 1  # one more, to see whether it is the last
    rest = np.zeros(0, np.float32)
    while True:
        content = file.read((wanted - rest.size) * SAMPLE_BYTES)
        sound = np.concatenate([rest, np.frombuffer(content, "<i2").astype(np.float32) / np.float32(32768)])
        if not sound.size:
            return
        end = quiet_cut(sound, PIECE_S)
        yield sound[:end]
        rest = sound[end:]
