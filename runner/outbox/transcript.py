"""The words that were heard in a recording → its transcript, captions and list of words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.listen.values import HeardWord, TimedWord
from models.protocol import SAMPLE_RATE_HZ
from runner.outbox import captions
from runner.outbox.track import TrackLine

TRANSCRIPT, SRT, VTT, WORDS = "transcript.txt", "captions.srt", "captions.vtt", "words.json"
PAUSE_S = 0.8  # between two phrases
ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟")


def transcript_files(words: Sequence[HeardWord]) -> dict[str, bytes]:
    """The files by name: a phrase a row, captions as those of speech that was made, and when each word is said."""
    lines, timed = _track(list(phrases(words)))
    cues = list(captions.cues(lines, timed, wraps=True))
    files = {
        TRANSCRIPT: "".join(f"{line.text}\n" for line in lines if line.samples),
        SRT: captions.srt(cues),
        VTT: captions.vtt(cues),
        WORDS: captions.word_list(lines, timed),
    }
    return {name: text.encode() for name, text in files.items()}


def phrases(words: Sequence[HeardWord]) -> Iterator[list[HeardWord]]:
    """Words in order, up to a pause or the end of a sentence."""
    phrase: list[HeardWord] = []
    for word in words:
        if phrase and (word.start_s - phrase[-1].end_s >= PAUSE_S or phrase[-1].text.endswith(ENDS)):
            yield phrase
            phrase = []
        phrase.append(word)
    if phrase:
        yield phrase


def _track(found: Sequence[Sequence[HeardWord]]) -> tuple[list[TrackLine], list[list[TimedWord]]]:
    """Phrases as the lines of a track, silence between them, and the words of each by its own time."""
    lines = [TrackLine(number=0, text="", samples=0, pause_samples=_samples(found[0][0].start_s) if found else 0)]
    timed: list[list[TimedWord]] = [[]]
    for number, phrase in enumerate(found, start=1):
        start, end = _samples(phrase[0].start_s), _samples(max(word.end_s for word in phrase))
        after = _samples(found[number][0].start_s) if number < len(found) else end
        end = min(end, max(start, after))
        text, entries = "", []
        for word in phrase:
            text += f" {word.text}" if text else word.text
            start_s, end_s = word.start_s - start / SAMPLE_RATE_HZ, word.end_s - start / SAMPLE_RATE_HZ
            place = len(text) - len(word.text)
            entries.append(TimedWord(text=word.text, place=place, start_s=start_s, end_s=end_s))
        lines.append(
            TrackLine(number=number, text=text, samples=max(1, end - start), pause_samples=max(0, after - end))
        )
        timed.append(entries)
    return lines, timed


def _samples(at_s: float) -> int:
    return round(at_s * SAMPLE_RATE_HZ)
