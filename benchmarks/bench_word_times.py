"""When words begin by `models/listen/word_times.py`, against known times → its errors, as a table and one JSON line.

    python benchmarks/bench_word_times.py [--recordings FOLDER]

Known are the word times of eSpeak NG, here with two other voices and paces in every language of bench_spoken_time.py;
those of hibari, and of recordings of people with their words beside them (`a.wav`, `a.txt`, English), are those that
PocketSphinx finds by aligning the same words, a hundredth of a second or two from the truth.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.bench_spoken_time import PROSE
from models.audio.files import decode_audio, resample
from models.draft.espeak import EspeakLibrary, Utterance, WordStarts, find_library
from models.draft.languages import VOICES
from models.hibari.engine import open_engine as open_hibari
from models.listen.word_times import word_times
from models.protocol import SAMPLE_RATE_HZ, ModelChoice, PresetVoice, SpeechDone, SpeechWork, Waveform

VARIANTS = (("+f2", 65, 140), ("+m3", 40, 210))
Known = tuple[str, str, Waveform, Mapping[int, float]]  # text, language, take, start in seconds of the word at a place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path)
    chosen = parser.parse_args()
    library = find_library()
    groups = {f"eSpeak NG, {language}": list(_espeak(library, language)) for language in PROSE}
    groups["hibari"] = list(_hibari())
    if chosen.recordings:
        groups["recordings"] = list(_recordings(chosen.recordings))
    figures = {}
    print(f"{'':24} {'words':>5} {'median':>7} {'90 %':>7} {'most':>7}  ms   processor s per s")
    for name, takes in groups.items():
        figures[name] = _figures(takes, library)
        print(f"{name:24} {figures[name]['words']:5} " + " ".join(f"{figures[name][key]:7}" for key in FIGURES))
    print(json.dumps(figures))


FIGURES = ("median_ms", "ninetieth_ms", "most_ms", "cpu_per_s")


def _figures(takes: list[Known], library: EspeakLibrary) -> dict[str, float]:
    errors_ms: list[float] = []
    cpu_s = audio_s = 0.0
    for text, language, take, known_s in takes:
        started_s = time.process_time()
        words = word_times(take, text=text, language=language, library=library)
        cpu_s += time.process_time() - started_s
        audio_s += take.size / SAMPLE_RATE_HZ
        errors_ms += [1000 * abs(word.start_s - known_s[word.place]) for word in words if word.place in known_s]
    return {
        "words": len(errors_ms),
        "median_ms": round(float(np.median(errors_ms))),
        "ninetieth_ms": round(float(np.percentile(errors_ms, 90))),
        "most_ms": round(max(errors_ms)),
        "cpu_per_s": round(cpu_s / audio_s, 3),
    }


def _espeak(library: EspeakLibrary, language: str) -> Iterator[Known]:
    for variant, pitch, rate_wpm in VARIANTS:
        for text in PROSE[language]:
            words: WordStarts = []
            utterance = Utterance(text=text, voice=VOICES[language] + variant, pitch=pitch, range=60, rate_wpm=rate_wpm)
            samples, rate_hz = library.speak(utterance, on_samples=lambda _: True, words=words)
            take = resample(samples.astype(np.float32) / np.float32(32768), rate_hz, SAMPLE_RATE_HZ)
            yield text, language, take, {place: at_ms / 1000 for place, at_ms in words}


def _hibari() -> Iterator[Known]:
    engine, decoder = open_hibari(ModelChoice(engine="hibari")), _decoder()
    for text in PROSE["english"]:
        work = SpeechWork(id="one", text=text, voice=PresetVoice(name="heart"), seed=1, language="english")
        for done in engine.speak([work], progress=lambda _id, _frames: True):
            if isinstance(done, SpeechDone):
                yield text, "english", done.waveform, _recognised(decoder, done.waveform, text)


def _recordings(folder: Path) -> Iterator[Known]:
    decoder = _decoder()
    for path in sorted(folder.glob("*.wav")):
        text = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        take, _ = decode_audio(path.read_bytes(), name=path.name)
        yield text, "english", take, _recognised(decoder, take, text)


def _decoder() -> Any:
    import pocketsphinx

    return pocketsphinx.Decoder(samprate=16_000, lm=None, loglevel="FATAL")


def _recognised(decoder: Any, take: Waveform, text: str) -> dict[int, float]:
    words = list(re.finditer(r"\S+", text))
    decoder.set_align_text(" ".join(re.sub(r"[^a-z']", "", word[0].lower()) for word in words))
    decoder.start_utt()
    sound = resample(take, SAMPLE_RATE_HZ, 16_000)
    decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    starts_s = [part.start_frame / 100 for part in decoder.seg() if part.word[0] not in "<["]
    return {word.start(): start_s for word, start_s in zip(words, starts_s, strict=True)}


if __name__ == "__main__":
    main()
