"""The codec: waveform -> codec frames -> waveform. Arrays cross this boundary as NumPy.

`open_codec(folder)` opens a checkpoint's `speech_tokenizer`. Decoding whole, in pieces and as a stream is one
computation that carries its state along, so all three give the same samples.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mlx import nn

from models.checkpoint_format.codec_config import CodecConfig, codec_config
from models.checkpoint_format.fit import LoadErrors
from models.checkpoint_format.tensor_plan import KNOWN_PARTS, UNREAD_BY_THE_DECODER, UNREAD_BY_THE_ENCODER
from models.errors import InvalidReferenceAudio, UnsupportedRequest
from models.qwen3_tts.checkpoint.checkpoint import read_checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads
from models.qwen3_tts.codec.decoder import CodecDecoder, DecoderState
from models.qwen3_tts.codec.encoder import CodecEncoder
from models.qwen3_tts.codec.ops import Array, Ops, default_ops
from models.qwen3_tts.codec.rvq import ResidualQuantizer
from models.qwen3_tts.codec.weights import load_network, load_quantizers
from registry.errors import InvalidInput

Codes = npt.NDArray[np.int32]  # (T, Q)
Waveform = npt.NDArray[np.float32]  # (S,)


class Codec:
    """Both directions of the codec. `encoder` is None where the checkpoint has none."""

    def __init__(
        self,
        *,
        config: CodecConfig,
        decoder: CodecDecoder,
        encoder: CodecEncoder | None,
        quantizers: tuple[ResidualQuantizer, ...],
        ops: Ops,
        encoder_reads: DeferredReads | None = None,
    ) -> None:
        self.config = config
        self.ops = ops
        self.samples_per_frame = config.decoder_config.samples_per_frame
        self.codebooks = config.decoder_config.num_quantizers
        self.decoder = decoder
        self._encoder, self._quantizers = encoder, quantizers
        self._encoder_reads = encoder_reads or DeferredReads()  # and of the quantizers

    @property
    def encoder(self) -> CodecEncoder | None:
        """The encoder, which is read when it is first needed. Raises ModelChanged."""
        self._encoder_reads.finish()
        return self._encoder

    @property
    def encoder_bytes(self) -> int:
        """Memory of the encoder outside MLX, whether it has been read or not."""
        return self._encoder_reads.nbytes

    def encode(self, waveform: npt.ArrayLike) -> Codes:
        """Mono float32 `(S,)` at 24 kHz, any length above 0 -> codes `(T, Q)`, T = S / 1920 rounded up."""
        encoder = self.encoder
        if encoder is None:
            raise UnsupportedRequest("This checkpoint has no codec encoder, so it cannot take a recording.")
        samples = checked_waveform(waveform)
        vectors = encoder(samples, self.ops)
        frames = -(-len(samples) // self.config.encode_downsample_rate)
        codes = np.concatenate([quantizer(vectors) for quantizer in self._quantizers], axis=1)
        return np.ascontiguousarray(codes[:frames])

    def decode(self, codes: npt.ArrayLike, chunk_frames: int | None = None, context_frames: int = 25) -> Waveform:
        """Codes `(T, Q)` -> samples `(T * 1920,)`, seamless.

        With `chunk_frames` every chunk is decoded from scratch behind at most `context_frames` frames before it,
        which are then cut off: 300 and 25 are the official package's seams.
        """
        checked = self.checked_codes(codes)
        whole = all(isinstance(count, numbers.Integral) for count in (chunk_frames or 0, context_frames))
        if not whole or context_frames < 0 or (chunk_frames is not None and chunk_frames < 1):
            raise InvalidInput(
                f"Chunks of {chunk_frames} frames behind {context_frames} cannot be decoded; "
                "chunk_frames is 1 or more, or None, and context_frames 0 or more."
            )
        if chunk_frames is None:
            return self.decode_rows([checked])[0]
        chunks = []
        for start in range(0, len(checked), chunk_frames):
            context = min(context_frames, start)
            chunk = self.decode_rows([checked[start - context : start + chunk_frames]])[0]
            chunks.append(chunk[context * self.samples_per_frame :])
        return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)

    def decode_rows(self, rows: Sequence[npt.ArrayLike]) -> list[Waveform]:
        """Waveforms of rows of any lengths, decoded together, each as `decode` makes it alone."""
        states = [self.state()] * len(rows)
        return [waveform for waveform, _ in self.decode_next_rows(rows, states)]

    def state(self, reference_codes: npt.ArrayLike | None = None) -> DecoderState:
        """Decoder state after `reference_codes` `(T, Q)`, or at the very start. States are never changed in place."""
        start = self.decoder.initial_state(self.ops)
        if reference_codes is None:
            return start
        return self.decode_next(reference_codes, start)[1]

    def decode_next(self, codes: npt.ArrayLike, state: DecoderState) -> tuple[Waveform, DecoderState]:
        """The samples of the frames `(T, Q)` that follow `state`, and the state after them."""
        return self.decode_next_rows([codes], [state])[0]

    def decode_next_rows(
        self, rows: Sequence[npt.ArrayLike], states: Sequence[DecoderState]
    ) -> list[tuple[Waveform, DecoderState]]:
        """`decode_next` for many streams at once. Rows with as many frames to go are computed as one batch."""
        checked = [self.checked_codes(codes) for codes in rows]
        waveforms: list[list[Waveform]] = [[] for _ in checked]
        after = list(states)
        for indices, start, frames in batches([len(codes) for codes in checked], at_once=self.ops.frames_at_once):
            batch = np.stack([checked[index][start : start + frames] for index in indices])
            samples, state = self.decoder(batch, join_states([after[index] for index in indices], self.ops), self.ops)
            self.ops.eval([samples, *state.keys, *state.values, *state.conv_state])
            rendered = self.ops.to_numpy(samples)
            for position, index in enumerate(indices):
                waveforms[index].append(rendered[position].copy())
                after[index] = row_of_state(state, position) if len(indices) > 1 else state
        return [
            (np.concatenate(parts) if parts else np.zeros(0, np.float32), state)
            for parts, state in zip(waveforms, after, strict=True)
        ]

    def checked_codes(self, codes: npt.ArrayLike) -> Codes:
        """`codes` as `(T, Q)` int32. Raises InvalidInput for another shape, or a code that is in no codebook."""
        try:
            checked = np.asarray(codes)
        except ValueError as error:
            raise InvalidInput(
                f"Codes must be whole numbers in the shape (frames, {self.codebooks}): {error}."
            ) from None
        if checked.ndim != 2 or checked.shape[1] != self.codebooks or not np.issubdtype(checked.dtype, np.integer):
            raise InvalidInput(
                f"Codes must be whole numbers in the shape (frames, {self.codebooks}), "
                f"not {checked.dtype} in the shape {checked.shape}."
            )
        size = self.config.decoder_config.codebook_size
        if checked.size and (int(checked.min()) < 0 or int(checked.max()) >= size):
            raise InvalidInput(f"Codes must be within 0 … {size - 1}; found {checked.min()} … {checked.max()}.")
        return checked.astype(np.int32)


def checked_waveform(waveform: npt.ArrayLike) -> Waveform:
    """`waveform` as `(S,)` float32. Raises InvalidReferenceAudio when it is not mono, empty, or not finite."""
    try:
        samples = np.asarray(waveform, np.float32)
    except (ValueError, TypeError) as error:
        raise InvalidReferenceAudio(f"A waveform must be an array of samples: {error}.") from None
    if samples.ndim != 1 or not len(samples):
        raise InvalidReferenceAudio(f"A waveform must be mono and hold samples; its shape is {samples.shape}.")
    if not np.isfinite(samples).all():
        raise InvalidReferenceAudio("The waveform holds samples that are not finite numbers.")
    return samples


def batches(lengths: Sequence[int], *, at_once: int) -> Iterator[tuple[list[int], int, int]]:
    """Row indices, first frame and frames of each batch, which holds at most about `at_once` frames of all its rows."""
    step = max(1, at_once // max(1, len(lengths)))
    for start in range(0, max(lengths, default=0), step):
        by_frames: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            if length > start:
                by_frames.setdefault(min(step, length - start), []).append(index)
        for frames, indices in by_frames.items():
            yield indices, start, frames


def join_states(states: Sequence[DecoderState], ops: Ops) -> DecoderState:
    """States of single rows -> one state of all of them."""
    if len(states) == 1:
        return states[0]

    def join(parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
        pattern = max(parts, key=len)
        filled = [part or tuple(array * 0 for array in pattern) for part in parts]  # a row at its very start has none
        return tuple(ops.concat(arrays, axis=0) for arrays in zip(*filled, strict=True))

    return DecoderState(
        frames=np.concatenate([state.frames for state in states]),
        keys=join([state.keys for state in states]),
        values=join([state.values for state in states]),
        conv_state=join([state.conv_state for state in states]),
    )


def row_of_state(state: DecoderState, row: int) -> DecoderState:
    """One row of a joined state, as a state of its own."""

    def pick(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(array[row : row + 1] + 0 for array in arrays)  # added: a slice would keep all rows in memory

    return DecoderState(
        frames=state.frames[row : row + 1],
        keys=pick(state.keys),
        values=pick(state.values),
        conv_state=pick(state.conv_state),
    )


def open_codec(folder: Path, *, reads: DeferredReads, errors: LoadErrors, ops: Ops | None = None) -> Codec:
    """The codec in `folder` (a checkpoint's `speech_tokenizer`), usable once `reads` are done.

    NumPy reads the encoder when the first recording comes: most processes never see one. Tensors that do not fit are
    noted in `errors`. Raises UnsupportedCheckpoint for what else cannot be used.
    """
    ops = ops or default_ops()
    checkpoint = read_checkpoint(folder)
    config = codec_config(checkpoint.config, where=str(folder / "config.json"))
    names, what = list(checkpoint.tensors), f"the codec in {folder}"

    def fill(network: nn.Module, part: str, unread: re.Pattern[str], reads: DeferredReads) -> None:
        load_network(
            network,
            checkpoint,
            prefix=f"{part}.",
            what=what,
            by_numpy=ops.name == "numpy",
            reads=reads,
            errors=errors,
            unread=unread,
        )

    errors.add(what, unexpected=[name for name in names if not KNOWN_PARTS.match(name)])
    decoder = CodecDecoder(config.decoder_config)
    fill(decoder, "decoder", UNREAD_BY_THE_DECODER, reads)
    if not any(name.startswith("encoder.") for name in names):
        return Codec(config=config, decoder=decoder, encoder=None, quantizers=(), ops=ops)
    encoder, later = CodecEncoder(config.encoder_config), DeferredReads()
    fill(encoder, "encoder", UNREAD_BY_THE_ENCODER, later)
    quantizers = load_quantizers(config, checkpoint, what=what, reads=later, errors=errors)
    return Codec(config=config, decoder=decoder, encoder=encoder, quantizers=quantizers, ops=ops, encoder_reads=later)
