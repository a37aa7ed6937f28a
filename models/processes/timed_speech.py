"""Work with pauses in its text → work for each part of it; and the engine's answers to these → one answer.

Engines know nothing of it: each part is a piece of work like any other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.audio.timed_join import TimedJoin
from models.protocol import DescribedVoice, SpeechDone, SpeechPiece, SpeechWork, Waveform, WorkFailed
from models.text.spoken_time import spoken_time
from models.text.timed_text import parts_of

SEED_STRIDE = 0x9E3779B1  # odd, so that the parts of one seed never meet those of a near one
SEED_LIMIT = 1 << 31


@dataclass(kw_only=True)
class TimedSpeech:
    """Work whose parts are being spoken, in any order."""

    work: SpeechWork
    number: int  # tells its parts from those of another try
    waiting: list[SpeechWork] = field(init=False)  # parts that the engine has not been given, the next one last
    started_s: float = field(default_factory=time.monotonic)
    frames: dict[str, int] = field(default_factory=dict)  # so far, by the id of a part that the engine was given
    failed: WorkFailed | None = None
    _open: set[str] = field(default_factory=set)  # parts that the engine has not answered
    _done: dict[int, SpeechDone] = field(default_factory=dict)
    _chunks: dict[int, list[Waveform]] = field(default_factory=dict)  # sound that is not joined yet
    _join: TimedJoin = field(default_factory=TimedJoin)
    _joining: int = -1  # part whose sound is joined as it comes; that of later ones waits
    _joined: list[Waveform] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parts = parts_of(self.work.text, self.work.pauses)
        shares = _shares([text for _, text in self._parts], self.work)
        self.waiting = [
            replace(
                self.work,
                id=f"{self.work.id}/{self.number}.{n}",
                text=text,
                pauses=(),
                seed=self._seed(n),
                max_seconds=share,
            )
            for n, ((_, text), share) in enumerate(zip(self._parts, shares, strict=True))
        ][::-1]
        self._begin_part()

    def _seed(self, part: int) -> int:
        """A described voice is another one with each seed."""
        is_described = isinstance(self.work.voice, DescribedVoice)
        return self.work.seed if is_described or not part else (self.work.seed + part * SEED_STRIDE) % SEED_LIMIT

    def _begin_part(self) -> None:
        self._joining += 1
        if self._joining < len(self._parts) and (pause_s := self._parts[self._joining][0]):
            self._join.pause(pause_s)

    @property
    def is_given_up(self) -> bool:
        """Whether what is still spoken of it is of no use."""
        return self.failed is not None or any(done.finish_reason == "cancelled" for done in self._done.values())

    def next_part(self) -> SpeechWork:
        """The next part that the engine has not been given."""
        part = self.waiting.pop()
        self.frames[part.id] = 0
        self._open.add(part.id)
        return part

    def add(self, outcome: SpeechDone | SpeechPiece | WorkFailed) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        """The engine's answers to the whole work, of its next answer to a part."""
        part = int(outcome.id.rpartition(".")[2])
        if isinstance(outcome, SpeechPiece):
            self._chunks.setdefault(part, []).append(outcome.waveform)
        else:
            if isinstance(outcome, WorkFailed):
                self.failed = self.failed or replace(outcome, id=self.work.id)
            else:
                self._chunks.setdefault(part, []).append(outcome.waveform)
                self._done[part] = replace(outcome, waveform=np.zeros(0, np.float32))
            self._open.remove(outcome.id)
            if self.is_given_up:
                self.waiting.clear()
        yield from self._pieces()
        if not self._open and not self.waiting:
            yield self._answer()

    def _pieces(self) -> Iterator[SpeechPiece]:
        """Sound that is in its place now; of live work it is sent, else kept."""
        while self._joining < len(self._parts) and not self.is_given_up:
            for waveform in self._chunks.pop(self._joining, ()):
                yield from self._heard(self._join.add(waveform))
            if self._joining not in self._done:
                return
            self._begin_part()

    def _heard(self, waveforms: Iterator[Waveform]) -> Iterator[SpeechPiece]:
        for waveform in waveforms:
            if self.work.live:
                yield SpeechPiece(id=self.work.id, waveform=waveform)
            else:
                self._joined.append(waveform)

    def _answer(self) -> SpeechDone | WorkFailed:
        if self.failed is not None:
            return self.failed
        done = [self._done[part] for part in sorted(self._done)]
        reasons = {part.finish_reason for part in done}
        codes = "".join(part.codes_sha256 for part in done)
        rest = [*self._joined, *self._join.end()]
        return replace(
            done[0],
            id=self.work.id,
            waveform=np.concatenate(rest) if rest else np.zeros(0, np.float32),
            frames=sum(part.frames for part in done),
            finish_reason=next((reason for reason in ("cancelled", "length") if reason in reasons), "eos"),
            seed=self.work.seed,
            render_s=time.monotonic() - self.started_s,
            batch=max(part.batch for part in done),
            warnings=tuple(dict.fromkeys(warning for part in done for warning in part.warnings)),
            similarity=_mean_similarity(done),
            codes_sha256=hashlib.sha256(codes.encode()).hexdigest() if codes else "",
        )


def _shares(texts: Sequence[str], work: SpeechWork) -> list[float | None]:
    """Seconds that each part may take, of those that all may."""
    if work.max_seconds is None:
        return [None] * len(texts)
    expected_s = [spoken_time(text, work.language).expected_s for text in texts]
    return [work.max_seconds * own_s / sum(expected_s) for own_s in expected_s]


def _mean_similarity(done: Sequence[SpeechDone]) -> float | None:
    """Similarity of all parts to their lock, each by its length."""
    measured = [(part.similarity, max(1, part.frames)) for part in done if part.similarity is not None]
    if not measured:
        return None
    return sum(similarity * frames for similarity, frames in measured) / sum(frames for _, frames in measured)
