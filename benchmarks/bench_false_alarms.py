"""How often right takes are taken for wrong ones: hibari speaks 200 sentences, and every gate judges them.

    python benchmarks/bench_false_alarms.py [--takes 200] [--processes 2]

Each take is judged as `verify = "basic"` judges it (its sound, and whether more is said after its text), and as
`verify = "asr"` does, for which pocketsphinx hears it. Two processes take about as long as the speech lasts.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from models.audio.quality import Quality, measure
from models.audio.speech_detector import find_detector
from models.draft.espeak import find_library
from models.hibari.engine import open_engine
from models.listen.comparison import Comparison
from models.listen.extra_speech import text_end_s
from models.listen.judgement import judged
from models.listen.recognisers import POCKETSPHINX, open_recogniser
from models.protocol import SAMPLE_RATE_HZ, ModelChoice, PresetVoice, SpeechDone, SpeechWork, Waveform

LANGUAGE = "english"
SUBJECTS = (
    "The old captain of the ship", "A young woman with a red umbrella", "My grandmother", "The teacher of the village",
    "An honest merchant", "The boy behind the counter", "Every child in the street", "The doctor from the next town",
    "A tired musician", "The man with the grey beard", "Our neighbour across the river",
    "The last guest of the evening",
    "The girl at the window", "A stranger in a long coat", "The owner of the small hotel", "The captain's daughter",
    "The night watchman", "A clever student", "The farmer and his brother", "The king of that distant country",
)  # fmt: skip
PREDICATES = (
    "walked slowly down the road and never looked back.", "had 50 letters to read before the train arrived.",
    "opened the door, listened for a while, and went to bed.", "told us a story that nobody could believe.",
    "waited in the rain until the shop was open again.", "bought three apples and a loaf of bread on Monday.",
    "could not remember where the golden key was hidden.", "laughed so loudly that the birds flew away.",
    "wrote down every word of the song in a little book.", "asked whether the bridge was safe after the storm.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A right take, and the verdicts on it."""

    text: str
    duration_s: float
    was_compared: bool  # with eSpeak's reading of its text
    failed: tuple[str, ...]  # gates of `verify = "basic"`
    found: Comparison
    passes: bool  # what was heard
    heard_s: float  # of the clock, for hearing it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takes", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    texts = [f"{subject} {predicate}" for predicate, subject in itertools.product(PREDICATES, SUBJECTS)]
    with ProcessPoolExecutor(chosen.processes) as pool:
        takes = list(pool.map(_judged, range(chosen.takes), texts))
    basic = [take for take in takes if take.failed]
    either = [take for take in takes if take.failed or not take.passes]
    for take in either:
        print(f"{take.text}\n    {take.failed} {'' if take.passes else take.found}")
    distances = [take.found.distance for take in takes]
    runs = [take.found.worst.phonemes if take.found.worst else 0 for take in takes]
    spoken_s = sum(take.duration_s for take in takes)
    print(f"{'right takes':<52}{len(takes):>8}")
    print(f"{'compared with another reading of their text':<52}{sum(take.was_compared for take in takes):>8}")
    print(f"{'taken for wrong ones by their sound (basic)':<52}{len(basic):>8}")
    print(f"{'by their sound or by what is heard (asr)':<52}{len(either):>8}")
    print(f"{'distance, median and largest':<52}{statistics.median(distances):>8.2f}{max(distances):>8.2f}")
    print(f"{'longest run of phonemes, median and largest':<52}{statistics.median(runs):>8.0f}{max(runs):>8}")
    print(f"{'hearing, seconds a second of speech':<52}{sum(take.heard_s for take in takes) / spoken_s:>8.2f}")
    alarms = {"basic": len(basic), "asr": len(either)}
    print(json.dumps({"takes": len(takes), "alarms": alarms, "distances": distances, "runs": runs}))


def _judged(seed: int, text: str) -> Judged:
    work = SpeechWork(id="x", text=text, voice=PresetVoice(name="heart"), seed=seed, language=LANGUAGE)
    done = next(iter(_voice().speak([work], progress=lambda *_: True)))
    assert isinstance(done, SpeechDone)
    quality, was_compared = _by_sound(done.waveform, text)
    started_s = time.perf_counter()
    found, passes = judged(
        _recogniser().hear(done.waveform, LANGUAGE),
        expected=text,
        language=LANGUAGE,
        recogniser=POCKETSPHINX,
        duration_s=quality.duration_s,
        library=_library(),
    )
    return Judged(
        text=text,
        duration_s=done.waveform.size / SAMPLE_RATE_HZ,
        was_compared=was_compared,
        failed=quality.failed,
        found=found,
        passes=passes,
        heard_s=time.perf_counter() - started_s,
    )


def _by_sound(waveform: Waveform, text: str) -> tuple[Quality, bool]:
    """Quality of a take as `verify = "basic"` finds it, and whether it was compared with eSpeak's reading."""
    quality = measure(waveform, text=text, language=LANGUAGE, speech_end=_detector())
    if not quality.may_run_on:
        return quality, False
    end_s = text_end_s(waveform, text=text, language=LANGUAGE, library=_library())
    return (quality if end_s is None else quality.with_more_said(is_seeded=True)), True


_voice = functools.cache(lambda: open_engine(ModelChoice(engine="hibari")))
_recogniser = functools.cache(lambda: open_recogniser(POCKETSPHINX))
_library = functools.cache(find_library)
_detector = functools.cache(find_detector)


if __name__ == "__main__":
    main()
