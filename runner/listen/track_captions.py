"""The lines of a finished job → its captions, and its words with their times where those are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.engine_kinds import DRAFT
from models.errors import EngineFailure
from models.extras import install_command
from models.listen.values import TimedWord
from models.listen.written_words import written_words
from models.protocol import SAMPLE_RATE_HZ
from registry.storage.object_store import ObjectStore
from runner.listen.listen_process import ListenProcess
from runner.outbox import captions
from runner.outbox.job_summary import Spoken
from runner.outbox.track import TrackLine

EXTRA = "draft"  # of which eSpeak NG is a part
SRT, VTT, WORDS = "captions.srt", "captions.vtt", "words.json"


def in_proportion(line: TrackLine) -> list[TimedWord]:
    """The words of a line with times by their letters alone: good enough to cut it into captions."""
    second = line.samples / SAMPLE_RATE_HZ / max(1, len(line.text))
    return [
        TimedWord(text=word.text, place=word.start, start_s=word.start * second, end_s=word.end * second)
        for word in written_words(line.text)
    ]


@dataclass(frozen=True)
class TrackCaptions:
    """Makes captions, in any thread."""

    listen: ListenProcess
    audio: ObjectStore  # of takes

    def times_words(self, spoken: Sequence[Spoken], *, kind: str) -> bool:
        """Whether words are timed for such captions, which takes a tenth of a second and more for each line."""
        return kind == "words" or (kind == "lines" and any(captions.is_long(line.part) for line in spoken))

    def files_of(self, spoken: Sequence[Spoken], *, kind: str) -> tuple[dict[str, bytes], list[str]]:
        """The files by name, and warnings. Raises EngineFailure when the runner is stopping."""
        parts = [line.part for line in spoken]
        if kind != "words":
            timed = [line if kind == "lines" and captions.is_long(line.part) else None for line in spoken]
            words, _ = self._words(timed)
            if kind == "untimed":
                words = [in_proportion(part) if captions.is_long(part) else () for part in parts]
            cues = list(captions.cues(parts, words))
            return {SRT: captions.srt(cues).encode(), VTT: captions.vtt(cues).encode()}, []
        words, warnings = self._words(spoken)
        cues = list(captions.cues(parts, words, wraps=True))
        files = {SRT: captions.srt(cues), VTT: captions.vtt(cues), WORDS: captions.word_list(parts, words)}
        return {name: text.encode() for name, text in files.items()}, warnings

    def _words(self, wanted: Sequence[Spoken | None]) -> tuple[list[Sequence[TimedWord]], list[str]]:
        """The words of the lines that are wanted, none where they cannot be timed, and warnings that say so."""
        words: list[Sequence[TimedWord]] = [()] * len(wanted)
        if not self.listen.aligner and not DRAFT.is_installed:
            how = f"Install it with `{install_command(EXTRA)}`, and drop the job again."
            return words, [f"The words have no times: that needs eSpeak NG. {how}"]
        failed: list[tuple[int, str]] = []
        for index, line in enumerate(wanted):
            if line is None or not line.part.samples:
                continue
            try:
                words[index] = self.listen.word_times(
                    self.audio.path(line.audio_sha256),
                    samples=line.part.samples,
                    text=line.part.text,
                    spoken=line.said,
                    language=line.language,
                )
            except EngineFailure as error:
                if self.listen.is_closed:
                    raise
                failed.append((line.part.number, str(error)))
        if not failed:
            return words, []
        numbers = ", ".join(str(number) for number, _ in failed[:10]) + (", …" if len(failed) > 10 else "")
        return words, [f"The words of {len(failed)} lines ({numbers}) have no times: {failed[0][1]}"]
