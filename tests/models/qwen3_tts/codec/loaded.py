"""A codec or a speaker encoder by itself, read whole."""

from __future__ import annotations

from pathlib import Path

from models.checkpoint_format.fit import LoadErrors
from models.qwen3_tts.checkpoint.checkpoint import read_checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads
from models.qwen3_tts.codec.codec import Codec, open_codec
from models.qwen3_tts.codec.ops import Ops
from models.qwen3_tts.codec.speaker_encoder import SpeakerEncoder, open_speaker_encoder


def load_codec(folder: Path, *, ops: Ops | None = None) -> Codec:
    reads, errors = DeferredReads(), LoadErrors()
    codec = open_codec(folder, reads=reads, errors=errors, ops=ops)
    errors.raise_if_any()
    reads.finish()
    assert codec.encoder or codec.encoder_bytes == 0  # asked for, and so read
    return codec


def load_speaker_encoder(folder: Path, *, ops: Ops | None = None) -> SpeakerEncoder:
    reads, errors = DeferredReads(), LoadErrors()
    encoder = open_speaker_encoder(read_checkpoint(folder), reads=reads, errors=errors, ops=ops)
    errors.raise_if_any()
    reads.finish()
    assert encoder is not None
    return encoder
