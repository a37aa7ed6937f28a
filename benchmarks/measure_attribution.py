"""Who speaks in prose: labelled passages → share of quotes that are right, wrong, or left to the narrator.

    python benchmarks/measure_attribution.py [--wrong]

The passages are of Jane Austen, Lewis Carroll, the brothers Grimm, Jules Verne and Charles Perrault, some of them
shortened. Before each quote stands who speaks it, in braces: names of which one must be in the name that is found.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from runner.script.dialogue.attribution import attribute
from runner.script.sources.read import read_source

FOLDER = Path(__file__).parent / "attribution"
LABEL = re.compile(r"\{([^{}]+)\}")


def measure(path: Path) -> tuple[Counter[str], list[str]]:
    """Counts of `right`, `wrong` and `narrator`, and a line for each quote that is not right."""
    labelled = path.read_text(encoding="utf-8")
    document = read_source(LABEL.sub("", labelled).encode(), name="passage.txt")
    found = attribute(document, language=path.stem)
    said = [(line.text, line.speaker, line.rule) for line in found.document.lines]
    counts: Counter[str] = Counter()
    misses = []
    here = 0
    for match in LABEL.finditer(labelled):
        quote = " ".join(LABEL.sub("", labelled[match.end() : match.end() + 60]).split())[:24]
        at = next((number for number in range(here, len(said)) if quote[:8].strip() in said[number][0]), None)
        if at is None:
            raise SystemExit(f"{path.name}: the quote {quote!r} is not found again")
        here = at + (said[at][1] is not None)  # a line of the narrator may hold several quotes
        speaker, rule = said[at][1], said[at][2]
        names = match[1].split("|")
        if speaker is None:
            result = "narrator"
        else:
            result = "right" if any(_is_same(name, speaker) for name in names) else "wrong"
        counts[result] += 1
        if result != "right":
            misses.append(f"{result:9} {rule:12} {quote!r}: {match[1]}, not {speaker}")
    return counts, misses


def _is_same(label: str, speaker: str) -> bool:
    own = {"Mr. Bennet's lady": ("lady", "wife", "Mrs. Bennet")}.get(label)
    if own:
        return speaker in own
    return label.casefold() in speaker.casefold() or speaker.casefold() in label.casefold()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--wrong", action="store_true", help="list every quote that is not right")
    wants_list = arguments.parse_args().wrong
    for path in sorted(FOLDER.glob("*.txt")):
        counts, misses = measure(path)
        total = counts.total()
        shares = ", ".join(f"{result} {counts[result] / total:.0%}" for result in ("right", "narrator", "wrong"))
        print(f"{path.stem}: {total} quotes: {shares}")
        for miss in misses if wants_list else ():
            print(f"    {miss}")


if __name__ == "__main__":
    main()
