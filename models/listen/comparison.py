"""Text that should be spoken, and words that were heard → how far they are apart as phonemes, and where most. Pure.

Both are turned into phonemes by eSpeak NG, so that "50" and "fifty", "night" and "knight" are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein, Opcode

from models.listen.values import HeardWord

ACCIDENTAL = 2  # phonemes alike in the middle of what differs
FEWEST_WORDS = 3  # shorter lines are not judged: a recogniser needs context
# Longest run of phonemes that differ, and share of all that do; a coarse recogniser mistakes a word or two.
LONGEST_RUN, COARSE_RUN = 8, 11
FARTHEST, COARSE_FARTHEST = 0.35, 0.5


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The longest run in which something else was heard, and its place in seconds."""

    expected: str
    heard: str
    phonemes: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Distance of what was heard from what was expected."""

    distance: float  # differing phonemes over expected ones; 1 or more: nothing alike
    worst: Divergence | None

    def passes(self, *, coarse: bool) -> bool:
        """Whether this is the text, as far as the recogniser can tell."""
        run = self.worst.phonemes if self.worst else 0
        longest, farthest = (COARSE_RUN, COARSE_FARTHEST) if coarse else (LONGEST_RUN, FARTHEST)
        return run < longest and self.distance <= farthest


def compared(
    expected: Sequence[tuple[str, str]], heard: Sequence[tuple[HeardWord, str]], *, duration_s: float
) -> Comparison:
    """Expected words with their phonemes, and heard words with theirs, compared."""
    ours = [(symbol, index) for index, (_, phonemes) in enumerate(expected) for symbol in phonemes]
    theirs = [(symbol, index) for index, (_, phonemes) in enumerate(heard) for symbol in phonemes]
    left, right = [symbol for symbol, _ in ours], [symbol for symbol, _ in theirs]
    operations = Levenshtein.opcodes(left, right)
    count = sum(
        max(part.src_end - part.src_start, part.dest_end - part.dest_start)
        for part in operations
        if part.tag != "equal"
    )
    worst = max(_runs(operations), key=lambda run: max(run[1] - run[0], run[3] - run[2]), default=None)
    divergence = None
    if worst is not None:
        said = [expected[index][0] for index in _words(ours[worst[0] : worst[1]])]
        found = [heard[index][0] for index in _words(theirs[worst[2] : worst[3]])]
        start_s, end_s = _place(heard, theirs, worst, duration_s)
        divergence = Divergence(
            expected=" ".join(said),
            heard=" ".join(word.text for word in found),
            phonemes=max(worst[1] - worst[0], worst[3] - worst[2]),
            start_s=start_s,
            end_s=end_s,
        )
    return Comparison(distance=round(count / max(1, len(left)), 3), worst=divergence)


def _runs(operations: Iterable[Opcode]) -> list[tuple[int, int, int, int]]:
    """Places of what differs in both; a few phonemes alike do not end a run."""
    runs: list[tuple[int, int, int, int]] = []
    for part in operations:
        if part.tag == "equal":
            continue
        if runs and part.src_start - runs[-1][1] <= ACCIDENTAL and part.dest_start - runs[-1][3] <= ACCIDENTAL:
            runs[-1] = (runs[-1][0], part.src_end, runs[-1][2], part.dest_end)
        else:
            runs.append((part.src_start, part.src_end, part.dest_start, part.dest_end))
    return runs


def _words(phonemes: Sequence[tuple[str, int]]) -> list[int]:
    return sorted({index for _, index in phonemes})


def _place(
    heard: Sequence[tuple[HeardWord, str]],
    theirs: Sequence[tuple[str, int]],
    run: tuple[int, int, int, int],
    duration_s: float,
) -> tuple[float, float]:
    """When the run is heard; of words that are missing, the time between their neighbours."""
    if indices := _words(theirs[run[2] : run[3]]):
        return heard[indices[0]][0].start_s, heard[indices[-1]][0].end_s
    before = heard[theirs[run[2] - 1][1]][0].end_s if run[2] else 0.0
    after = heard[theirs[run[2]][1]][0].start_s if run[2] < len(theirs) else duration_s
    return before, max(before, after)
