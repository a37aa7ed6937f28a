"""Right takes, and the same with faults put in → how many of each the gates of silences and tails stop.

    python benchmarks/bench_gates.py [--recordings FOLDER] [--no-detector]

The voices are draft (every language of bench_spoken_time.py) and hibari. FOLDER may hold recordings of people with
their words beside them (`a.wav`, `a.txt`); they must all pass. A table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.bench_spoken_time import PROSE
from models.audio.files import decode_audio
from models.audio.quality import measure
from models.audio.speech_detector import find_detector
from models.draft.engine import open_draft
from models.draft.espeak import find_library
from models.hibari.engine import open_engine as open_hibari
from models.listen.extra_speech import text_end_s
from models.protocol import SAMPLE_RATE_HZ, Engine, ModelChoice, PresetVoice, SpeechDone, SpeechWork, Waveform

LISTENED_FOR = {"long-silence", "runs-on", "click"}
TAIL_S = 3.0
Take = tuple[str, str, str, Waveform]  # voice, text, language, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--no-detector", action="store_true")
    chosen = parser.parse_args()
    detector = None if chosen.no_detector else find_detector()
    espeak = None if chosen.no_detector else find_library()
    takes = [*_spoken(), *_recorded(chosen.recordings)]
    stopped, counted = Counter[str](), Counter[str]()
    for number, take in enumerate(takes):
        voice, text, language, waveform = take
        for fault, faulty in _faults(waveform, other=takes[number - 1][3], chance=np.random.default_rng(number)):
            quality = measure(faulty, text=text, language=language, speech_end=detector)
            if espeak and quality.may_run_on:
                end_s = text_end_s(faulty, text=text, language=language, library=espeak)
                quality = quality if end_s is None else quality.with_more_said(is_seeded=True)
            found = bool(LISTENED_FOR & set(quality.failed))
            name = f"{fault} ({voice})" if fault == "right" else fault
            counted[name] += 1
            stopped[name] += found
            if fault == "right" and found:
                print(f"stopped: {voice} {text[:60]!r} {quality.failed} {quality.silences}", file=sys.stderr)
    for name in counted:
        print(f"{name:28} {stopped[name]:4} of {counted[name]}")
    longest = [measure(waveform, text=text).silences.longest_s for _, text, _, waveform in takes]
    figures = {
        "takes": len(takes),
        "detector": detector is not None,
        "median_longest_silence_s": statistics.median(longest),
    }
    print(json.dumps({**figures, "stopped": {name: [stopped[name], counted[name]] for name in counted}}))


def _spoken() -> Iterator[Take]:
    draft, hibari = open_draft(), open_hibari(ModelChoice(engine="hibari"))
    for language, texts in PROSE.items():
        yield from _said(draft, "draft", "anna", language, texts)
    yield from _said(hibari, "hibari", "heart", "english", [*PROSE["english"], "\n\n".join(PROSE["english"])])


def _said(engine: Engine, name: str, preset: str, language: str, texts: Any) -> Iterator[Take]:
    work = [
        SpeechWork(id=str(number), text=text, voice=PresetVoice(name=preset), seed=number, language=language)
        for number, text in enumerate(texts)
    ]
    for done in engine.speak(work, progress=lambda _id, _frames: True):
        if isinstance(done, SpeechDone):
            yield name, texts[int(done.id)], language, done.waveform


def _recorded(folder: Path | None) -> Iterator[Take]:
    for path in sorted(folder.glob("*.wav")) if folder else ():
        waveform, _ = decode_audio(path.read_bytes(), name=path.name, max_duration_s=3_600)
        yield "recording", path.with_suffix(".txt").read_text(encoding="utf-8"), "auto", waveform


def _faults(waveform: Waveform, *, other: Waveform, chance: np.random.Generator) -> Iterator[tuple[str, Waveform]]:
    yield "right", waveform
    samples = round(TAIL_S * SAMPLE_RATE_HZ)
    level = float(np.abs(waveform).max()) / 3
    for name, make in NOISES.items():
        noise = make(samples, chance)
        yield (
            f"{TAIL_S:g} s of {name}",
            np.concatenate([waveform, (level * noise / np.abs(noise).max()).astype(np.float32)]),
        )
    yield "another line after it", np.concatenate([waveform, np.zeros(12_000, np.float32), other])
    middle = waveform.size // 2
    for hole_s in (2.5, 8.0):
        hole = np.zeros(round(hole_s * SAMPLE_RATE_HZ), np.float32)
        yield f"{hole_s:g} s silent inside", np.concatenate([waveform[:middle], hole, waveform[middle:]])
    for samples, height in ((1, 0.5), (5, 0.8)):
        at = int(chance.integers(waveform.size - samples))
        clicking = waveform.copy()
        clicking[at : at + samples] += np.float32(height) * np.bartlett(samples + 2)[1:-1].astype(np.float32)
        yield f"a click of {samples / 24:.2f} ms, {height:g}", clicking
    yield "8 s silent after it", np.concatenate([waveform, np.zeros(8 * SAMPLE_RATE_HZ, np.float32)])


def _shaped(power: float) -> Callable[[int, np.random.Generator], npt.NDArray[np.float64]]:
    def noise(samples: int, chance: np.random.Generator) -> npt.NDArray[np.float64]:
        spectrum = np.fft.rfft(chance.standard_normal(samples))
        spectrum[1:] /= np.arange(1, spectrum.size) ** power
        spectrum[: int(20 * TAIL_S)] = 0
        return np.fft.irfft(spectrum, samples)

    return noise


def _applause(samples: int, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    sound = np.zeros(samples)
    for start in chance.integers(0, samples - 600, 100 * int(TAIL_S)):
        sound[start : start + 600] += chance.standard_normal(600) * np.exp(-np.arange(600) / 100)
    return sound


def _hum(samples: int, _chance: np.random.Generator) -> npt.NDArray[np.float64]:
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    return np.sin(2 * np.pi * 50 * time_s) + 0.5 * np.sin(2 * np.pi * 150 * time_s)


NOISES = {
    "white noise": _shaped(0),
    "pink noise": _shaped(0.5),
    "brown noise": _shaped(1),
    "hum": _hum,
    "applause": _applause,
}

if __name__ == "__main__":
    main()
