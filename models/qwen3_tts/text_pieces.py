"""Work of the engine protocol → requests to the model; and their speech → one answer.

A text too long for a voice to stay steady is split at sentence ends; its pieces are rows of the same batch, all
conditioned on the same voice, and are joined with natural pauses.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.protocol import (
    FRAMES_PER_SECOND,
    SAMPLE_RATE_HZ,
    DescribedVoice,
    LockedVoice,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    VoiceSource,
    Waveform,
)
from models.qwen3_tts.prompt.request import Speech, SpeechRequest
from models.qwen3_tts.prompt.sampling import Sampling
from models.text.sentences import Piece, split_pieces
from models.text.spoken_form import has_word
from models.text.spoken_time import spoken_time
from models.voices.clone_prompt import ClonePrompt
from registry.errors import InvalidInput

SAFE_S = 24.0  # a voice stays steady over this much speech in one go
WHOLE = ("top_k", "predictor_top_k")
SEED_STRIDE = 0x9E3779B97F4A7C15  # odd, so that the pieces of one seed never meet those of a near one
SEED_MASK = (1 << 63) - 1


@dataclass
class ActiveSpeech:
    """Work whose text is being spoken, piece by piece."""

    work: SpeechWork
    pieces: list[Piece]
    started_s: float = field(default_factory=time.monotonic)
    frames: dict[int, int] = field(default_factory=dict)  # piece -> frames so far
    spoken: dict[int, Speech] = field(default_factory=dict)
    cancelled: bool = False
    _chunks: dict[int, list[Waveform]] = field(default_factory=dict)  # piece -> sound of live work, to be sent
    _sending: int = 0  # the piece whose sound is sent as it comes; that of later ones waits

    @classmethod
    def of(cls, work: SpeechWork) -> ActiveSpeech:
        return cls(work, pieces_of(work.text, work.language))

    @property
    def is_done(self) -> bool:
        """Whether every piece is spoken, or every one begun before it was cancelled."""
        return len(self.spoken) == len(self.frames if self.cancelled else self.pieces)

    def add_chunk(self, piece: int, waveform: Waveform) -> None:
        """Sound of a piece of live work has come."""
        self._chunks.setdefault(piece, []).append(waveform)

    def next_chunks(self) -> Iterator[SpeechPiece]:
        """The sound of live work that can be heard now, with the pauses between its pieces; together its waveform."""
        while self._sending < len(self.pieces) and not self.cancelled:
            for waveform in self._chunks.pop(self._sending, ()):
                yield SpeechPiece(id=self.work.id, waveform=waveform)
            if self._sending not in self.spoken:
                return
            pause = _silence(self.pieces[self._sending].pause_after_s)
            self._sending += 1
            if self._sending < len(self.pieces) and pause.size:
                yield SpeechPiece(id=self.work.id, waveform=pause)

    def requests(
        self, *, sampling: Sampling, clone_prompt: ClonePrompt | None, added_tokens: Sequence[str]
    ) -> list[SpeechRequest]:
        """A request for each piece. Raises InvalidInput."""
        work = self.work
        speaker, instruct = _voice_and_manner(work.voice, work.instruct)
        return [
            SpeechRequest(
                text=as_plain_text(piece.text, added_tokens),
                language=work.language,
                speaker=speaker,
                instruct=None if instruct is None else as_plain_text(instruct, added_tokens),
                clone_prompt=clone_prompt,
                sampling=with_settings(sampling, work.sampling),
                seed=(work.seed + number * SEED_STRIDE) & SEED_MASK if number else work.seed,
                max_frames=cap,
            )
            for number, (piece, cap) in enumerate(zip(self.pieces, _caps(self.pieces, work), strict=True))
        ]

    def done(self, *, batch: int) -> SpeechDone:
        """The spoken pieces as one speech; the sound of live work was sent before."""
        spoken = [self.spoken[number] for number in sorted(self.spoken)]
        reasons = {speech.finish_reason for speech in spoken}
        reason = next((reason for reason in ("cancelled", "length") if reason in reasons), "eos")
        warnings = list(dict.fromkeys(warning for speech in spoken for warning in speech.warnings))
        if isinstance(self.work.voice, DescribedVoice) and len(spoken) > 1:
            warnings.append("The text was spoken in pieces; a voice that is only described may change between them.")
        return SpeechDone(
            id=self.work.id,
            waveform=np.zeros(0, np.float32) if self.work.live else _joined(spoken, self.pieces),
            frames=sum(len(speech.codes) for speech in spoken),
            finish_reason="cancelled" if self.cancelled else reason,
            seed=self.work.seed,
            render_s=time.monotonic() - self.started_s,
            batch=batch,
            warnings=tuple(warnings),
            codes_sha256=hashlib.sha256(
                b"".join(speech.codes.astype("<i4").tobytes() for speech in spoken)
            ).hexdigest(),
        )


def pieces_of(text: str, language: str) -> list[Piece]:
    """The pieces in which a text is spoken; a short one is left as it is."""
    expected_s = spoken_time(text, language).expected_s
    if expected_s <= SAFE_S:
        return [Piece(text, "text")]
    longest = math.floor(len(text) * SAFE_S / expected_s)
    pieces = split_pieces(text, language=language, max_characters=longest)
    return [piece for piece in pieces if has_word(piece.text)] or [Piece(text, "text")]


def _voice_and_manner(voice: VoiceSource, instruct: str | None) -> tuple[str | None, str | None]:
    """Preset name and instruct; a description is an instruct, and the manner of speaking is added to it."""
    if isinstance(voice, PresetVoice):
        return voice.name, instruct
    if isinstance(voice, DescribedVoice):
        return None, f"{voice.description}\n{instruct}" if instruct else voice.description
    assert isinstance(voice, LockedVoice)
    return None, instruct


def _caps(pieces: Sequence[Piece], work: SpeechWork) -> list[int | None]:
    """Frames that each piece may take: its share of `max_seconds`; None has the model derive them from the text."""
    if work.max_seconds is None:
        return [None] * len(pieces)
    expected_s = [spoken_time(piece.text, work.language).expected_s for piece in pieces]
    share = work.max_seconds / sum(expected_s)
    return [max(1, math.floor(share * own_s * FRAMES_PER_SECOND)) for own_s in expected_s]


def with_settings(sampling: Sampling, settings: Mapping[str, float]) -> Sampling:
    """`sampling` with the settings of a job. Raises InvalidInput."""
    known = {entry.name for entry in dataclasses.fields(Sampling)}
    if unknown := sorted(settings.keys() - known):
        raise InvalidInput(f"sampling has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    values = {name: int(value) if name in WHOLE and value == int(value) else value for name, value in settings.items()}
    return dataclasses.replace(sampling, **values)  # type: ignore[arg-type]


def as_plain_text(text: str, added_tokens: Sequence[str]) -> str:
    """The text without control tokens: those of the tokenizer are split by a space."""
    for token in added_tokens:
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def _joined(spoken: Sequence[Speech], pieces: Sequence[Piece]) -> Waveform:
    parts: list[Waveform] = []
    for speech, piece in zip(spoken, pieces, strict=False):  # a cancelled work has fewer of the first
        parts += [speech.waveform, _silence(piece.pause_after_s)]
    return np.concatenate(parts[:-1]) if parts else np.zeros(0, np.float32)


def _silence(duration_s: float) -> Waveform:
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)
