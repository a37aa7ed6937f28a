"""The process that listens: takes on one pipe → when their words are spoken and what is heard in them, on another.

Run as `python -m models.processes.listen LIFELINE READ WRITE`, as the engine process is. eSpeak NG and recognisers are
foreign code: whatever becomes of them, the runner goes on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from models.audio.files import read_audio
from models.audio.quality import SILENT_RMS, loudest_rms
from models.draft.espeak import EspeakLibrary, find_library
from models.errors import EngineFailure, LanguageNotSpoken, WireError
from models.languages import canonical_language
from models.listen.extra_speech import text_end_s
from models.listen.judgement import judged
from models.listen.noise import NoiseRater, network_path
from models.listen.recognisers import Aligner, Recogniser, open_aligner, open_recogniser
from models.listen.values import Hear, Heard, TimeWords, WordsTimed
from models.listen.word_times import word_times
from models.processes.requests import take_pipe, write_all
from models.processes.wire import Hello, Message, Reply, encode
from models.protocol import PROTOCOL_VERSION, SAMPLE_RATE_HZ, Waveform, WorkFailed
from registry.errors import VoiceJobsError


class Listener:
    """Requests → answers; libraries and recognisers are opened when they are first needed, one model at a time."""

    def __init__(self) -> None:
        self._espeak: EspeakLibrary | None = None
        self._recogniser: tuple[str, Recogniser] | None = None
        self._aligner: tuple[str, Aligner] | None = None
        self._rater: NoiseRater | None = None

    def answer(self, message: Message) -> Reply:
        """The answer to a request; an error of any kind becomes a failure of this request alone."""
        if not isinstance(message, TimeWords | Hear):
            raise WireError(f"The runner sent a {type(message).__name__}, which is no request.")
        try:
            return self._hear(message) if isinstance(message, Hear) else self._time_words(message)
        except VoiceJobsError as error:
            return WorkFailed.from_error(message.id, error)
        except Exception as error:
            traceback.print_exception(error)
            return WorkFailed(id=message.id, code=EngineFailure.code, message=f"Listening failed: {error!r}.")

    @property
    def _library(self) -> EspeakLibrary:
        self._espeak = self._espeak or find_library()
        return self._espeak

    def _time_words(self, request: TimeWords) -> WordsTimed:
        waveform, _ = read_audio(Path(request.path))
        if request.aligner:
            language = canonical_language(request.language)
            words = self._opened_aligner(request.aligner).word_times(waveform, text=request.text, language=language)
            return WordsTimed(id=request.id, words=tuple(words))
        words = word_times(
            waveform,
            text=request.text,
            spoken=request.spoken,
            language=request.language,
            library=self._library,
        )
        return WordsTimed(id=request.id, words=tuple(words))

    def _hear(self, request: Hear) -> Heard:
        waveform = request.waveform
        noise = self._rated(waveform) if request.rates else None
        text_end_s = self._text_end_s(request) if request.finds_end else None
        if not request.recogniser:
            return Heard(id=request.id, words=(), recogniser="", noise=noise, text_end_s=text_end_s)
        recogniser = self._opened(request.recogniser)
        duration_s = waveform.size / SAMPLE_RATE_HZ
        is_silent = loudest_rms(waveform) < SILENT_RMS  # recognisers imagine words in silence
        words = () if is_silent else tuple(recogniser.hear(waveform, canonical_language(request.language)))
        heard = Heard(
            id=request.id,
            words=words,
            language=recogniser.language,
            noise=noise,
            text_end_s=text_end_s,
            recogniser=recogniser.name,
            duration_s=round(duration_s, 3),
        )
        if not request.expected:
            return heard
        found, passes = judged(
            heard.words,
            expected=request.expected,
            language=request.language,
            recogniser=request.recogniser,
            duration_s=duration_s,
            library=self._library,
        )
        worst = found.worst
        place = (
            None
            if worst is None
            else {
                "expected": worst.expected,
                "heard": worst.heard,
                "start_s": round(worst.start_s, 2),
                "end_s": round(worst.end_s, 2),
            }
        )
        return replace(heard, distance=found.distance, worst=place, passes=passes)

    def _text_end_s(self, request: Hear) -> float | None:
        with contextlib.suppress(LanguageNotSpoken):
            return text_end_s(request.waveform, text=request.expected, language=request.language, library=self._library)
        return None

    def _rated(self, waveform: Waveform) -> Mapping[str, float] | None:
        if self._rater is None and (path := network_path()) is not None:
            self._rater = NoiseRater(path)
        return self._rater.rated(waveform) if self._rater is not None else None

    def _opened(self, name: str) -> Recogniser:
        if self._recogniser is None or self._recogniser[0] != name:
            self._recogniser = self._aligner = None  # their memory first
            self._recogniser = (name, open_recogniser(name))
        return self._recogniser[1]

    def _opened_aligner(self, name: str) -> Aligner:
        if self._aligner is None or self._aligner[0] != name:
            self._recogniser = self._aligner = None
            self._aligner = (name, open_aligner(name))
        return self._aligner[1]


def main(arguments: list[str]) -> None:
    """Serve the pipe whose descriptors are given, until it closes."""
    requests, write_descriptor = take_pipe(arguments)
    listener = Listener()
    write_all(write_descriptor, encode(Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid())))
    while True:
        write_all(write_descriptor, encode(listener.answer(requests.take())))


if __name__ == "__main__":
    main(sys.argv[1:])
