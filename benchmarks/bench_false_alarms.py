"""How often right takes are taken for wrong ones: hibari speaks 200 sentences, pocketsphinx hears them.

    python benchmarks/bench_false_alarms.py [--takes 200]

Each take is judged as `verify = "asr"` judges it. Takes about as long as the speech lasts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from models.draft.espeak import find_library
from models.hibari.engine import open_engine
from models.listen.judgement import judged
from models.listen.recognisers import POCKETSPHINX, open_recogniser
from models.protocol import SAMPLE_RATE_HZ, ModelChoice, PresetVoice, SpeechDone, SpeechWork

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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--takes", type=int, default=200)
    wanted = arguments.parse_args().takes
    voice, recogniser, library = (
        open_engine(ModelChoice(engine="hibari")),
        open_recogniser(POCKETSPHINX),
        find_library(),
    )
    texts = [f"{subject} {predicate}" for predicate, subject in itertools.product(PREDICATES, SUBJECTS)][:wanted]
    alarms, distances, runs, spoken_s, heard_s = [], [], [], 0.0, 0.0
    for number, text in enumerate(texts):
        work = SpeechWork(id="x", text=text, voice=PresetVoice(name="heart"), seed=number, language="english")
        done = next(iter(voice.speak([work], progress=lambda *_: True)))
        assert isinstance(done, SpeechDone)
        duration_s, started_s = done.waveform.size / SAMPLE_RATE_HZ, time.perf_counter()
        found, passes = judged(
            recogniser.hear(done.waveform, "english"),
            expected=text,
            language="english",
            recogniser=POCKETSPHINX,
            duration_s=duration_s,
            library=library,
        )
        heard_s, spoken_s = heard_s + time.perf_counter() - started_s, spoken_s + duration_s
        distances.append(found.distance)
        runs.append(found.worst.phonemes if found.worst else 0)
        if not passes:
            alarms.append((text, found))
    for text, found in alarms:
        print(f"{text}\n    {found}")
    print(f"{'right takes':<44}{len(texts):>8}")
    print(f"{'taken for wrong ones':<44}{len(alarms):>8}")
    print(f"{'distance, median and largest':<44}{statistics.median(distances):>8.2f}{max(distances):>8.2f}")
    print(f"{'longest run of phonemes, median and largest':<44}{statistics.median(runs):>8.0f}{max(runs):>8}")
    print(f"{'hearing, seconds a second of speech':<44}{heard_s / spoken_s:>8.2f}")
    print(json.dumps({"takes": len(texts), "alarms": len(alarms), "distances": distances, "runs": runs}))


if __name__ == "__main__":
    main()
