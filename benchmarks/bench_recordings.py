"""Speech and sounds that are none → how much the level of each changes, by which recordings to lock are judged.

    python benchmarks/bench_recordings.py [--recordings FOLDER]

Speech is draft's (every language of bench_spoken_time.py; plain, whispered, shouted; limited, and in noise) and
hibari's; FOLDER may hold recordings of people. A table of extremes, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.bench_spoken_time import PROSE
from models.audio.files import decode_audio
from models.audio.level_change import LEAST_CHANGE_DB, level_change_db
from models.draft.engine import open_draft
from models.hibari.engine import open_engine as open_hibari
from models.protocol import SAMPLE_RATE_HZ, Engine, ModelChoice, PresetVoice, SpeechDone, SpeechWork, Waveform

LONGEST = 15 * SAMPLE_RATE_HZ
SECONDS = np.arange(8 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
Sound = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path)
    chosen = parser.parse_args()
    found: dict[tuple[bool, str], list[float]] = defaultdict(list)
    speech = [*_spoken(), *_recorded(chosen.recordings)]
    for name, waveform in speech:
        found[True, name].append(level_change_db(waveform))
    for name, waveform in _spoiled([waveform for _, waveform in speech[::4]]):
        found[True, name].append(level_change_db(waveform))
    for seed in range(4):
        for name, sound in sounds(np.random.default_rng(seed)):
            found[False, name].append(level_change_db(sound))
    for (is_speech, name), values in found.items():
        kind = "speech" if is_speech else "none  "
        wrong = sum((value < LEAST_CHANGE_DB) is is_speech for value in values)
        print(f"{kind} {name:26} {min(values):5.1f} … {max(values):5.1f} dB   {wrong} of {len(values)} misjudged")
    print(json.dumps({name: [round(min(values), 2), round(max(values), 2)] for (_, name), values in found.items()}))


def _spoken() -> Iterator[tuple[str, Waveform]]:
    draft, hibari = open_draft(), open_hibari(ModelChoice(engine="hibari"))
    for manner in (None, "whispering", "shouting"):
        for language, texts in PROSE.items():
            for preset in ("anna", "ryan"):
                for waveform in _said(draft, preset, language, list(texts)[:2], manner):
                    yield f"draft, {manner or 'plain'}", waveform
    for waveform in _said(hibari, "heart", "english", list(PROSE["english"]), None):
        yield "hibari", waveform


def _said(engine: Engine, preset: str, language: str, texts: list[str], manner: str | None) -> Iterator[Waveform]:
    work = [
        SpeechWork(id=str(n), text=text, voice=PresetVoice(name=preset), seed=n, language=language, instruct=manner)
        for n, text in enumerate(texts)
    ]
    for done in engine.speak(work, progress=lambda _id, _frames: True):
        if isinstance(done, SpeechDone):
            yield done.waveform[:LONGEST]


def _recorded(folder: Path | None) -> Iterator[tuple[str, Waveform]]:
    for path in sorted(folder.glob("*.wav")) if folder else ():
        yield "people", decode_audio(path.read_bytes(), name=path.name)[0]


def _spoiled(speech: list[Waveform]) -> Iterator[tuple[str, Waveform]]:
    """Speech driven into a limiter, and in as much noise as speech."""
    for number, waveform in enumerate(speech):
        yield "limited by 30 dB", np.clip(10 * waveform, -0.3, 0.3).astype(np.float32)
        for slope, name in ((0, "white"), (1, "pink"), (2, "brown")):
            noise = np.resize(coloured(slope, np.random.default_rng(number)), waveform.size)
            noise *= np.sqrt(np.mean(np.square(waveform, dtype=np.float64)) / np.mean(np.square(noise)))
            yield f"in {name} noise, 0 dB", (waveform + noise).astype(np.float32)


def sounds(chance: np.random.Generator) -> Iterator[tuple[str, Waveform]]:
    """Sounds of 8 s that nobody would call speech."""
    fan = coloured(1.5, chance) * (1 + 0.2 * np.sin(2 * np.pi * 3 * SECONDS))
    made = {
        "white noise": coloured(0, chance),
        "pink noise": coloured(1, chance),
        "brown noise": coloured(2, chance),
        "a fan": fan,
        "applause, 1000 claps a s": applause(1000, chance),
        "applause, 200 claps a s": applause(200, chance),
        "a tone": np.sin(2 * np.pi * 440 * SECONDS),
        "beeps": np.sin(2 * np.pi * 440 * SECONDS) * (np.sin(2 * np.pi * SECONDS) > 0),
        "mains hum": hum(50, 0, 0, chance),
        "a motor, twice a s": hum(50, 2, 0.3, chance),
        "a motor, 8 times a s": hum(97, 8, 0.5, chance),
    }
    for name, sound in made.items():
        yield name, (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def coloured(slope: float, chance: np.random.Generator) -> Sound:
    """Noise whose power falls with the frequency to the power of `slope`."""
    spectrum = np.fft.rfft(chance.standard_normal(SECONDS.size))
    frequencies = np.fft.rfftfreq(SECONDS.size, 1 / SAMPLE_RATE_HZ)
    return np.fft.irfft(spectrum / np.maximum(frequencies, 20) ** (slope / 2), SECONDS.size)


def applause(claps_a_s: int, chance: np.random.Generator) -> Sound:
    """Short bursts of noise, at random times and of random loudness."""
    times = chance.integers(0, SECONDS.size, claps_a_s * 8)
    strokes = np.zeros(SECONDS.size)
    np.add.at(strokes, times, chance.exponential(1, times.size) * chance.choice([-1.0, 1.0], times.size))
    decay = np.exp(-np.arange(240) / 48) * chance.standard_normal(240)
    return np.convolve(strokes, decay, "same")


def hum(pitch_hz: float, swells_hz: float, depth: float, chance: np.random.Generator) -> Sound:
    """A tone with its harmonics that swells, and a little noise."""
    harmonics = [np.sin(2 * np.pi * pitch_hz * number * SECONDS + number) / number for number in range(1, 30)]
    swell = 1 + depth * np.sin(2 * np.pi * swells_hz * SECONDS)
    return np.sum(harmonics, axis=0) * swell + 0.05 * chance.standard_normal(SECONDS.size)


if __name__ == "__main__":
    main()
