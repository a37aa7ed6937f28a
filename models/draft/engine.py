"""A line → intelligible speech by eSpeak NG, with nothing downloaded: the draft engine, behind the engine protocol.

Its sound is a pure function of the request. It designs voices from descriptions and locks them, but it cannot clone a
recording.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

from models.audio.files import resample
from models.draft.espeak import EspeakLibrary, Utterance, find_library
from models.draft.instruct import delivered
from models.draft.languages import PITCH_FACTORS, VOICES, han_warning, spoken_language, unknown_accent_in
from models.draft.pitch import median_pitch_hz
from models.draft.voice import PRESET_ALIASES, PRESETS, DraftVoice, designed_voice, drift, espeak_pitch, espeak_range
from models.errors import UnknownSpeaker, UnsupportedRequest
from models.protocol import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    DescribedVoice,
    EngineFacts,
    LockDone,
    LockWork,
    ModelChoice,
    OnProgress,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    VoiceSource,
    Waveform,
    WorkFailed,
    spoken_in_turn,
)
from registry.errors import InvalidInput

ENGINE_NAME = "draft"
RENDER_VERSION = f"draft-1-soxr-{soxr.__version__}"
LOUDNESS_RMS = 0.08
LOUDEST_PEAK = 0.9
SILENT_PEAK = 0.003
FADE_SAMPLES = 240  # 10 ms, where speech is cut
PROGRESS_FRAMES = 12
MOST_CORRECTIONS = 3
COLOUR_DB = 4.5
COLOUR_CENTRES_HZ = (250.0, 690.0, 1400.0, 2500.0, 5000.0)
COLOUR_TAPS = 129


class DraftEngine:
    """Engine that speaks one line after another, each with a fresh eSpeak NG."""

    def __init__(self, library: EspeakLibrary, *, model: str) -> None:
        self._library = library
        self._model = model
        self._fingerprint = library.fingerprint()

    def facts(self) -> EngineFacts:
        return EngineFacts(
            engine=ENGINE_NAME,
            engine_version=self._library.version,
            render_version=RENDER_VERSION,
            model=self._model,
            model_fingerprint=f"espeak-ng:{self._fingerprint}",
            model_revision=self._library.version,
            abilities=("design", "presets", "instruct"),
            presets=(*PRESETS, *PRESET_ALIASES),
            languages=tuple(VOICES),
            is_seeded=False,
            versions={"espeak-ng": self._library.version, "soxr": soxr.__version__},
        )

    def lock(self, work: LockWork) -> LockDone:
        """The parameters of a designed voice as its prompt. Raises UnsupportedRequest for a recording."""
        if work.embedding_only:
            raise UnsupportedRequest(
                "The draft engine knows no speaker embeddings, so it cannot lock a voice with embedding_only.",
                hint="Leave embedding_only out, or choose a Qwen3-TTS base model.",
            )
        if work.design_state is None:
            raise UnsupportedRequest(
                "The draft engine cannot clone a recording; it locks only voices that it designed itself.",
                hint="Lock a candidate of a draft design job, or choose a Qwen3-TTS base model.",
            )
        voice = DraftVoice.from_bytes(work.design_state)
        facts = {"variant": voice.variant, "pitch_hz": voice.pitch_hz, "rate_wpm": voice.rate_wpm}
        return LockDone(id=work.id, prompt=voice.to_bytes(), facts=facts)

    def speak(
        self, work: Iterable[SpeechWork | None], *, progress: OnProgress
    ) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        return spoken_in_turn(work, lambda line: (self._render(line, progress),))

    def close(self) -> None:
        """Do nothing: nothing is held between two lines."""

    def _render(self, work: SpeechWork, progress: OnProgress) -> SpeechDone:
        started_s = time.perf_counter()
        voice, warnings = _voice_of(work.voice, work.seed)
        language = spoken_language(work.language, work.text)
        changed, gain, ignored = delivered(voice, work.instruct)
        language_voice = f"{voice.accents.get(language, VOICES[language])}+{changed.variant}"
        watch = _Watch(work, progress)
        samples, rate_hz = self._spoken(
            changed, speakable(work.text), (language_voice, PITCH_FACTORS.get(language, 1.0)), watch
        )
        if not watch.ended and np.abs(samples.astype(np.int32)).max(initial=0) < SILENT_PEAK * 32768:
            raise InvalidInput(
                f"There is nothing to speak in {work.text[:40]!r}.", hint="Use pause_after_s for a silence."
            )
        waveform = _finished(samples, rate_hz, colour=voice.colour, gain=gain)
        if watch.ended == "length":
            waveform = _cut(waveform, work.max_seconds)
        return SpeechDone(
            id=work.id,
            waveform=waveform,
            frames=-(-waveform.size // SAMPLES_PER_FRAME),
            finish_reason=watch.ended or "eos",
            seed=work.seed,
            render_s=time.perf_counter() - started_s,
            batch=1,
            design_state=voice.to_bytes() if isinstance(work.voice, DescribedVoice) else None,
            warnings=(*warnings, *([ignored] if ignored else []), *_reading_warnings(work.text, language)),
        )

    def _spoken(
        self, voice: DraftVoice, text: str, language: tuple[str, float], watch: _Watch
    ) -> tuple[npt.NDArray[np.int16], int]:
        """Samples of a text and their rate; spoken again, corrected, where the voice left its register."""
        language_voice, factor = language
        for _ in range(MOST_CORRECTIONS + 1):
            utterance = Utterance(
                text=text,
                voice=language_voice,
                pitch=espeak_pitch(voice, factor=factor),
                range=espeak_range(voice),
                rate_wpm=voice.rate_wpm,
            )
            samples, rate_hz = self._library.speak(utterance, on_samples=watch.on_samples)
            measured_hz = median_pitch_hz(samples, rate_hz, near_hz=voice.pitch_hz)
            correction = drift(voice, measured_hz) if measured_hz and not watch.ended else 1.0
            if correction == 1.0:
                break
            factor *= correction
        return samples, rate_hz


class _Watch:
    """An utterance as eSpeak makes it; ended when it is cancelled or too long."""

    def __init__(self, work: SpeechWork, progress: OnProgress) -> None:
        self._work = work
        self._progress = progress
        self._reported_frames = 0
        self.ended = ""  # "" | "length" | "cancelled"

    def on_samples(self, samples: int) -> bool:
        seconds = samples / 22_050  # every eSpeak voice has this rate
        if self._work.max_seconds is not None and seconds > self._work.max_seconds:
            self.ended = "length"
        frames = int(seconds * SAMPLE_RATE_HZ) // SAMPLES_PER_FRAME
        if not self.ended and frames >= self._reported_frames + PROGRESS_FRAMES:
            self._reported_frames = frames
            if not self._progress(self._work.id, frames):
                self.ended = "cancelled"
        return not self.ended


def _voice_of(source: VoiceSource, seed: int) -> tuple[DraftVoice, list[str]]:
    if isinstance(source, PresetVoice):
        name = source.name.casefold()
        name = PRESET_ALIASES.get(name, name)
        if name not in PRESETS:
            raise UnknownSpeaker(source.name, known=[*PRESETS, *PRESET_ALIASES])
        return PRESETS[name], []
    if isinstance(source, DescribedVoice):
        accent = unknown_accent_in(source.description)
        warnings = [f"eSpeak NG has no {accent!r} accent; the ordinary one is used."] if accent else []
        return designed_voice(source.description, seed), warnings
    voice = DraftVoice.from_bytes(source.prompt)
    return voice, []


def _reading_warnings(text: str, language: str) -> Iterator[str]:
    if (warning := han_warning(text, language)) is not None:
        yield warning
    if speakable(text) != text:
        yield "Control characters in the text were replaced by spaces."


def speakable(text: str) -> str:
    """The text without what would cut it short (NUL) or cannot be encoded (lone surrogates)."""
    return "".join(
        " " if (ord(letter) < 0x20 and letter not in "\n\t") or 0xD800 <= ord(letter) <= 0xDFFF else letter
        for letter in text
    )


def _finished(samples: npt.NDArray[np.int16], rate_hz: int, *, colour: str, gain: float) -> Waveform:
    """The samples at 24 kHz, coloured, at an even loudness."""
    waveform = resample(samples.astype(np.float32) / np.float32(32768), rate_hz, SAMPLE_RATE_HZ)
    if waveform.size == 0:
        return waveform
    if colour:
        padded = np.pad(waveform, COLOUR_TAPS // 2)
        waveform = np.convolve(padded, colour_filter(colour), "valid")
    sounding = waveform[np.abs(waveform) > SILENT_PEAK]
    rms = float(np.sqrt(np.mean(np.square(sounding, dtype=np.float64)))) if sounding.size else 1.0
    peak = float(np.abs(waveform).max())
    level = min(gain * LOUDNESS_RMS / rms, LOUDEST_PEAK / max(peak, SILENT_PEAK))
    levelled: Waveform = (waveform * np.float32(level)).astype(np.float32)
    return levelled


def _cut(waveform: Waveform, max_seconds: float | None) -> Waveform:
    """The beginning, faded out so that it does not click."""
    cut: Waveform = waveform[: round((max_seconds or 0.0) * SAMPLE_RATE_HZ)].copy()
    fade = min(FADE_SAMPLES, cut.size)
    cut[cut.size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


@functools.cache
def colour_filter(colour: str) -> Waveform:
    """The impulse response `(COLOUR_TAPS,)` that raises a band for each + and lowers it for each -."""
    size = 4096
    frequencies_hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    wanted_db = [COLOUR_DB if sign == "+" else -COLOUR_DB for sign in colour]
    gain_db = np.interp(np.log(np.maximum(frequencies_hz, 50.0)), np.log(COLOUR_CENTRES_HZ), wanted_db)
    response = np.roll(np.fft.irfft(10 ** (gain_db / 20)), COLOUR_TAPS // 2)[:COLOUR_TAPS]
    windowed: Waveform = (response * np.hanning(COLOUR_TAPS + 2)[1:-1]).astype(np.float32)
    return windowed


def open_engine(choice: ModelChoice) -> DraftEngine:
    """The engine that a choice of the model "draft" opens."""
    return open_draft(model=choice.model or ENGINE_NAME)


def open_draft(*, model: str = ENGINE_NAME) -> DraftEngine:
    """The draft engine. Raises UnsupportedRequest when eSpeak NG is not installed."""
    return DraftEngine(find_library(), model=model)
