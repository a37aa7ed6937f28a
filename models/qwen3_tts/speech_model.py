"""A checkpoint folder → a model that speaks: the engine's Python API. Arrays cross it as NumPy.

model = load_speech_model(folder)
speech = model.synthesize(SpeechRequest("Good evening.", speaker="ryan"))
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import numbers
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.checkpoint_format.config import GenerationConfig, ModelConfig
from models.errors import UnsupportedRequest
from models.protocol import Waveform
from models.qwen3_tts.checkpoint.fingerprint import checkpoint_fingerprint
from models.qwen3_tts.codec.codec import Codec
from models.qwen3_tts.codec.decoder import DecoderState
from models.qwen3_tts.codec.speaker_encoder import SpeakerEncoder
from models.qwen3_tts.network.backend import Array, Network
from models.qwen3_tts.network.generate import BatchGenerator, Codes, Frames, Row, RowFrame
from models.qwen3_tts.prompt.request import Prepared, Preparer, Speech, SpeechRequest, languages_of
from models.qwen3_tts.prompt.sampling import Sampling
from models.qwen3_tts.prompt.tokenizer import TextTokenizer
from models.voices.clone_prompt import ClonePrompt
from registry.errors import InvalidInput

DEFAULT_BATCH = 16
STREAM_FRAMES = (4, 8, 16, 25)  # the first chunks are short, so that sound begins early
REMEMBERED_VOICES = 16

Progress = Callable[[int, int], Any]  # (index, frames so far) -> False cancels that row alone


@dataclass
class _PendingSpeech:
    """A request while its codes are being generated, or wait to be decoded."""

    prepared: Prepared
    frames: list[Codes] = field(default_factory=list)
    finish_reason: str | None = None
    decoder: DecoderState | None = None  # of speech that is decoded in chunks, while it is made,
    decoded: int = 0  # after so many of its frames
    chunk_sizes: Iterator[int] = field(default_factory=lambda: chunk_sizes())
    next_chunk: int = 0

    @property
    def has_chunk(self) -> bool:
        """Whether enough frames have come for another chunk."""
        waiting = len(self.frames) - self.decoded
        return self.decoder is not None and bool(waiting) and (waiting >= self.next_chunk or bool(self.finish_reason))

    def codes(self, codebooks: int) -> Codes:
        return np.ascontiguousarray(np.stack(self.frames)) if self.frames else np.zeros((0, codebooks), np.int32)


class SpeechModel:
    """One loaded checkpoint."""

    def __init__(
        self,
        *,
        folder: Path,
        config: ModelConfig,
        generation: GenerationConfig,
        tokenizer: TextTokenizer,
        network: Network,
        dtype: str,
        codec: Codec,
        speaker_encoder: SpeakerEncoder | None,
        host_bytes: int = 0,
        quantization: str | None = None,
        quantized_to: str | None = None,
    ) -> None:
        self.host_bytes = host_bytes  # of weights that are not MLX's
        self.quantization = quantization  # of the linears: "4-bit", or None
        self.quantized_to = (
            quantized_to  # the dtype that they were quantised to while they were loaded: "int4", or None
        )
        self.folder, self.config, self.generation = folder, config, generation
        self.network, self.dtype, self.codec, self.speaker_encoder = network, dtype, codec, speaker_encoder
        self.tokenizer = tokenizer
        self.variant = config.tts_model_type
        self.speakers = tuple(config.talker_config.spk_id) if self.variant == "custom_voice" else ()
        self.languages = languages_of(config.talker_config)
        self.pipelined = network.runs_beside_python
        codec_config = codec.config
        self._prepare = Preparer(
            config=config,
            tokenize=self.tokenizer,
            codebook_size=codec_config.decoder_config.codebook_size,
            frames_per_second=codec_config.output_sample_rate / codec_config.decode_upsample_rate,
            max_frames=max(1, generation.max_new_tokens - 1),  # officially, the last code never becomes a frame
        )
        self._voices: OrderedDict[bytes, DecoderState] = OrderedDict()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Equal for equal weights; see `fingerprint.py`."""
        return checkpoint_fingerprint(self.folder)

    def tokenize(self, text: str) -> list[int]:
        """Token ids, as the official processor gives them."""
        return self.tokenizer(text)

    def prepare(self, request: SpeechRequest, sampling: Sampling | None = None) -> Prepared:
        """A request checked against this checkpoint. Raises a child of InvalidInput when it cannot be spoken."""
        if not isinstance(request, SpeechRequest):
            raise InvalidInput(f"A request must be a SpeechRequest, not {type(request).__name__}.")
        if sampling is not None and not isinstance(sampling, Sampling):
            raise InvalidInput(f"The sampling must be a Sampling, not {type(sampling).__name__}.")
        return self._prepare(request, sampling=sampling or Sampling.defaults(self))

    def prefill(self, request: SpeechRequest) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The prompt's input embeddings `(L, D)`, and those of the text added while frames are made `(N, D)`."""
        plan = self.prepare(request).plan
        return to_numpy(self.network.embed_prompt(plan)), to_numpy(self.network.embed_text(plan.trailing_ids))

    def synthesize(self, request: SpeechRequest, sampling: Sampling | None = None) -> Speech:
        """Speak one request. Its own sampling wins over `sampling`, which wins over the checkpoint's."""
        _, speech = next(iter(self.synthesize_batch([request], sampling, batch=1)))
        return speech

    def synthesize_batch(
        self,
        requests: Iterable[SpeechRequest | None],
        sampling: Sampling | None = None,
        batch: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Speech]]:
        """Speak requests as rows of one running batch; yields (index, speech) as they finish.

        `requests` is pulled whenever a row is free; a None in it means that nothing waits at this moment.
        `progress(index, frames)` returning False cancels that row alone.
        """
        rows = DEFAULT_BATCH if batch is None else batch
        if not isinstance(rows, numbers.Integral) or rows < 1:
            raise InvalidInput(f"A batch of {rows} rows speaks nothing; give 1 or more, or None.")
        if not isinstance(requests, Iterable):
            raise InvalidInput(f"Requests come in an iterable; this is a {type(requests).__name__}.")
        rendered = self.render(requests, sampling=sampling, batch=rows, progress=progress)
        return (speech for finished in rendered for speech in finished)

    def render(
        self,
        requests: Iterable[SpeechRequest | None],
        *,
        batch: int,
        sampling: Sampling | None = None,
        progress: Progress | None = None,
        in_chunks: Callable[[int], bool] = lambda _: False,
        on_chunk: Callable[[int, Waveform], None] = lambda _index, _waveform: None,
    ) -> Iterator[list[tuple[int, Speech]]]:
        """`synthesize_batch`, as a list after every frame: the speeches that have finished with it, mostly none.

        `on_chunk` is given the sound of a speech while it is made, where `in_chunks(index)`, in chunks as those of
        `stream`; the waveform of that speech is empty.
        """
        speaking: dict[int, _PendingSpeech] = {}
        frames = self.make_generator(batch).frames(self._rows(requests, sampling, speaking, in_chunks))
        try:
            events = next(frames, None)
            while events is not None:
                for frame in events:
                    speaking[frame.id].frames.append(frame.codes)
                    speaking[frame.id].finish_reason = frame.finish_reason
                dropped = _cancelled(speaking, progress)
                self._decode_chunks(speaking, on_chunk)
                yield self._finished(speaking, batch=batch)
                events = _next_of(frames, dropped)
        finally:
            frames.close()
            mx.clear_cache()

    def stream(self, request: SpeechRequest, sampling: Sampling | None = None) -> Iterator[Waveform]:
        """Speak one request as chunks of at most 25 frames, while it is being made. Refuses at once."""
        return self._stream(self.prepare(request, sampling))

    def _stream(self, prepared: Prepared) -> Iterator[Waveform]:
        state = self._decoder_state_of(prepared)
        pending: list[Codes] = []
        sizes = chunk_sizes()
        size = next(sizes)
        for events in self.make_generator(1).frames(iter([Row(id=0, prepared=prepared)])):
            pending += [frame.codes for frame in events]
            if len(pending) == size or events[-1].finish_reason:
                waveform, state = self.codec.decode_next(np.stack(pending), state)
                pending, size = [], next(sizes)
                yield waveform

    def speaker_embedding(self, waveform: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The x-vector `(D,)` of a voice, from mono float32 `(S,)` at 24 kHz. Raises InvalidReferenceAudio."""
        if self.speaker_encoder is None:
            raise UnsupportedRequest(f"This {self.variant} checkpoint has no speaker encoder.", hint=USE_BASE)
        return self.speaker_encoder.embed(waveform)

    def encode_audio(self, waveform: npt.ArrayLike) -> Codes:
        """Mono float32 `(S,)` at 24 kHz -> codes `(T, Q)`."""
        return self.codec.encode(waveform)

    def decode_codes(self, codes: npt.ArrayLike, chunk_frames: int | None = None, context_frames: int = 25) -> Waveform:
        """Codes `(T, Q)` -> `(S,)`; None is seamless, 300 and 25 are the official package's seams."""
        return self.codec.decode(codes, chunk_frames, context_frames)

    def decoder_state(self, reference_codes: npt.ArrayLike | None = None) -> DecoderState:
        """The decoder after the reference frames `(T, Q)`. States are never changed in place."""
        return self.codec.state(reference_codes)

    def decode_next(self, codes: npt.ArrayLike, state: DecoderState) -> tuple[Waveform, DecoderState]:
        """The sound of the frames that follow `state`, and the state after them."""
        return self.codec.decode_next(codes, state)

    def make_clone_prompt(
        self, waveform: npt.ArrayLike, transcript: str | None, language: str = "auto", x_vector_only: bool = False
    ) -> ClonePrompt:
        """A voice from a recording, mono float32 `(S,)` at 24 kHz, and the exact words in it.

        With `x_vector_only` the transcript is not needed, and the recording's manner of speaking is not kept.
        """
        if self.variant != "base":
            raise UnsupportedRequest(f"A {self.variant} model cannot clone a voice.", hint=USE_BASE)
        if not x_vector_only and not (isinstance(transcript, str) and transcript.strip()):
            hint = "Give the exact words of the recording, or ask for x_vector_only."
            raise UnsupportedRequest("Cloning from a recording needs its transcript.", hint=hint)
        return ClonePrompt(
            speaker_embedding=self.speaker_embedding(waveform),
            reference_codes=None if x_vector_only else self.encode_audio(waveform),
            transcript=None if x_vector_only else transcript,
            language=language,
            model_fingerprint=self.fingerprint,
            model_size=self.config.tts_model_size,
        )

    def make_generator(self, batch: int) -> BatchGenerator:
        """An empty batch of at most so many rows."""
        pad_id = self.config.tts_pad_token_id
        return BatchGenerator(self.network, pad_id=pad_id, batch=batch, pipelined=self.pipelined)

    def _rows(
        self,
        requests: Iterable[SpeechRequest | None],
        sampling: Sampling | None,
        speaking: dict[int, _PendingSpeech],
        in_chunks: Callable[[int], bool] = lambda _: False,
    ) -> Iterator[Row | None]:
        index = 0
        for request in requests:
            if request is None:
                yield None
                continue
            pending = speaking[index] = _PendingSpeech(self.prepare(request, sampling))
            if in_chunks(index):
                pending.decoder, pending.next_chunk = (
                    self._decoder_state_of(pending.prepared),
                    next(pending.chunk_sizes),
                )
            yield Row(id=index, prepared=pending.prepared)
            index += 1

    def _decode_chunks(self, speaking: dict[int, _PendingSpeech], on_chunk: Callable[[int, Waveform], None]) -> None:
        """Pass on the sound of every row of which enough frames have come, decoded together."""
        due = [(index, row) for index, row in speaking.items() if row.has_chunk and row.finish_reason != "cancelled"]
        if not due:
            return
        codes = [np.ascontiguousarray(np.stack(row.frames[row.decoded :])) for _, row in due]
        states = [row.decoder for _, row in due if row.decoder is not None]
        for (index, row), (waveform, state) in zip(due, self.codec.decode_next_rows(codes, states), strict=True):
            row.decoder, row.decoded, row.next_chunk = state, len(row.frames), next(row.chunk_sizes)
            on_chunk(index, waveform)

    def _finished(self, speaking: dict[int, _PendingSpeech], *, batch: int) -> list[tuple[int, Speech]]:
        """Decode the rows that have just ended, together, and forget them; those in chunks are decoded already."""
        done = [index for index, row in speaking.items() if row.finish_reason is not None]
        rows = [speaking.pop(index) for index in done]
        codes = [row.codes(self.codec.codebooks) for row in rows]
        undecoded = [own[:0] if row.decoder is not None else own for row, own in zip(rows, codes, strict=True)]
        sounds = self.codec.decode_next_rows(undecoded, [self._decoder_state_of(row.prepared) for row in rows])
        if done:
            mx.clear_cache()
        return [
            (
                index,
                Speech(
                    codes=own_codes,
                    waveform=waveform,
                    finish_reason=row.finish_reason or "",
                    seed=row.prepared.seed,
                    batch=batch,
                    warnings=row.prepared.warnings,
                ),
            )
            for index, row, own_codes, (waveform, _) in zip(done, rows, codes, sounds, strict=True)
        ]

    def _decoder_state_of(self, prepared: Prepared) -> DecoderState:
        """The decoder after the reference, computed once a voice."""
        codes = prepared.reference_codes
        key = b"" if codes is None else hashlib.blake2b(codes.tobytes()).digest()
        if key not in self._voices:
            self._voices[key] = self.codec.state(codes)
        self._voices.move_to_end(key)
        while len(self._voices) > REMEMBERED_VOICES:
            self._voices.popitem(last=False)
        return self._voices[key]


USE_BASE = "Use a base model (…-base) for cloning."


def chunk_sizes() -> Iterator[int]:
    """Frames of each chunk of a stream."""
    return itertools.chain(STREAM_FRAMES, itertools.repeat(STREAM_FRAMES[-1]))


def _next_of(frames: Frames, dropped: set[int]) -> list[RowFrame] | None:
    """The next frame of the batch, or None at its end."""
    try:
        return frames.send(dropped)
    except StopIteration:
        return None


def _cancelled(speaking: dict[int, _PendingSpeech], progress: Progress | None) -> set[int]:
    """Ids of the rows that `progress`, told of every row, no longer wants; they are marked."""
    cancelled = set()
    for index, row in speaking.items():
        if progress is None or not row.frames:
            continue
        verdict = progress(index, len(row.frames))
        if isinstance(verdict, (bool, np.bool_)) and not verdict and not row.finish_reason:
            row.finish_reason = "cancelled"
            cancelled.add(index)
    return cancelled


def to_numpy(array: Array) -> npt.NDArray[np.float32]:
    """Floats as float32, whatever they were computed in."""
    return np.array(array.astype(mx.float32) if isinstance(array, mx.array) else array, order="C")
