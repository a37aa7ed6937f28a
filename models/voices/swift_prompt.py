"""Clone prompts of the Swift tools (`.cloneprompt`, `clone-prompt.bin`) ↔ checked values.

A length, a JSON object, and one or two safetensors blobs; no magic number, no version and no model id, so everything
is checked: what kind of file it is, bounds before allocation, shapes, types, ranges. Nothing here loads MLX.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import InvalidClonePrompt
from models.voices.clone_prompt import ClonePrompt
from models.voices.tensor_blob import FLOAT_TYPES, INTEGER_TYPES, BrokenBlob, Tensor, read_blob, write_blob

FORMAT = "swift-clone-prompt"
MAX_PROMPT_BYTES = 16 << 20
MAX_FACTS_BYTES = 1 << 20
CODEBOOKS = 16
CODEBOOK_SIZE = 2048  # ids from here on are control tokens of the talker
CODES, EMBEDDING = "ref_codes", "speaker_embedding"
MODEL_SIZES = {2048: "1.7b", 1024: "0.6b"}  # which model a speaker embedding of this many numbers belongs to

_OTHER_KINDS = {
    b"RIFF": "a WAV recording (the sample, put where the prompt belongs)",
    b"fLaC": "a FLAC recording",
    b"FORM": "an AIFF recording",
    b"OggS": "an Ogg recording",
    b"ID3": "an MP3 recording",
    b"PK": "a ZIP archive (a .vox file is imported as a whole)",
    b"\x93NUMPY": "a numpy array",
    b"\x80\x02": "a Python pickle, which is never loaded",
    b"{": "a JSON file",
}
_WRONG = "The clone prompt is broken: {}."


@dataclass(frozen=True)
class SwiftPrompt:
    """A clone prompt as the Swift tools hold it; tensors keep their own types, so that writing gives the same bytes."""

    transcript: str
    language: str  # a record, as the writer passed it: "en", "english", "auto", …
    codes: Tensor  # [1, 16, T]
    embedding: Tensor | None  # [1, D]

    @property
    def frames(self) -> int:
        return self.codes.shape[-1]

    @property
    def embedding_size(self) -> int | None:
        return None if self.embedding is None else self.embedding.shape[-1]

    @property
    def model_size(self) -> str | None:
        """ "1.7b" or "0.6b", after the embedding; None when it does not tell."""
        return None if self.embedding_size is None else MODEL_SIZES.get(self.embedding_size)

    def reference_codes(self) -> npt.NDArray[np.int32]:
        """`(T, Q)` int32."""
        return np.ascontiguousarray(self.codes.integers()[0].T, dtype=np.int32)

    def speaker_embedding(self) -> npt.NDArray[np.float32] | None:
        """`(D,)` float32; None in a prompt that has none."""
        return None if self.embedding is None else self.embedding.floats().reshape(-1)

    def to_bytes(self) -> bytes:
        """The file as the Swift tools write it, byte for byte."""
        codes = write_blob({CODES: self.codes})
        speaker = b"" if self.embedding is None else write_blob({EMBEDDING: self.embedding})
        facts = {
            "hasEmbedding": self.embedding is not None,
            "language": self.language,
            "refCodesSize": len(codes),
            "refText": self.transcript,
            "speakerDataSize": len(speaker),
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace("/", "\\/").encode()
        return struct.pack("<I", len(text)) + text + codes + speaker


def is_swift_prompt(content: bytes) -> bool:
    """Whether these bytes begin as the Swift tools' prompts do, and not as our own safetensors blob."""
    return content[4:5] == b"{"


def other_kind(content: bytes) -> str | None:
    """Words for the kind of file that these bytes are instead of a clone prompt; None when their start fits any."""
    return next((kind for start, kind in _OTHER_KINDS.items() if content.startswith(start)), None)


def parse_swift_prompt(content: bytes) -> SwiftPrompt:
    """The prompt in these bytes. Raises InvalidClonePrompt with the reason; trailing bytes are ignored."""
    if kind := other_kind(content):
        raise InvalidClonePrompt(f"These {len(content)} bytes are no clone prompt but {kind}.")
    if len(content) > MAX_PROMPT_BYTES:
        raise _broken(f"it has {len(content)} bytes; at most {MAX_PROMPT_BYTES} are read")
    if len(content) < 4:
        raise _broken(f"it has {len(content)} bytes, which is too short even for its length field")
    (facts_bytes,) = struct.unpack_from("<I", content)
    if facts_bytes > MAX_FACTS_BYTES or 4 + facts_bytes > len(content):
        raise _broken(f"its description claims {facts_bytes} bytes, of which {len(content) - 4} are there")
    facts = _Facts.parse(content[4 : 4 + facts_bytes])
    rest = memoryview(content)[4 + facts_bytes :]
    wanted = facts.codes_bytes + facts.speaker_bytes
    if wanted > len(rest):
        raise _broken(f"it is truncated: {wanted} bytes of codes and embedding are announced, {len(rest)} are there")
    codes = _checked_codes(_blob_tensor(rest[: facts.codes_bytes], CODES))
    embedding = None
    if facts.has_embedding:
        embedding = _checked_embedding(_blob_tensor(rest[facts.codes_bytes : wanted], EMBEDDING))
    return SwiftPrompt(facts.transcript, facts.language, codes, embedding)


def to_clone_prompt(prompt: SwiftPrompt, *, speaker_embedding: npt.NDArray[np.float32] | None = None) -> ClonePrompt:
    """The native value of the same voice. `speaker_embedding` `(D,)` is used where the prompt has none.

    Raises InvalidClonePrompt when there is neither, or no transcript.
    """
    embedding = prompt.speaker_embedding()
    if embedding is None:
        embedding = speaker_embedding
    if embedding is None:
        raise InvalidClonePrompt(
            "The clone prompt has no speaker embedding.", hint="Lock the voice from its recording."
        )
    return ClonePrompt(
        speaker_embedding=embedding,
        reference_codes=prompt.reference_codes(),
        transcript=prompt.transcript,
        language=prompt.language,
        model_size=MODEL_SIZES.get(len(embedding)),
    )


def from_clone_prompt(prompt: ClonePrompt) -> SwiftPrompt | None:
    """The same voice in the Swift tools' layout; None for what it cannot hold: no codes, or other codebooks.

    The embedding stays float32, which their reader takes, so that nothing is lost on the way.
    """
    codes = prompt.reference_codes
    if codes is None or prompt.transcript is None or codes.shape[1] != CODEBOOKS or int(codes.max()) >= CODEBOOK_SIZE:
        return None
    embedding = prompt.speaker_embedding
    return SwiftPrompt(
        transcript=prompt.transcript,
        language=prompt.language,
        codes=Tensor("U32", (1, CODEBOOKS, len(codes)), codes.T.astype("<u4").tobytes()),
        embedding=Tensor("F32", (1, len(embedding)), embedding.astype("<f4").tobytes()),
    )


@dataclass(frozen=True)
class _Facts:
    transcript: str
    language: str
    has_embedding: bool
    codes_bytes: int
    speaker_bytes: int

    @classmethod
    def parse(cls, content: bytes) -> _Facts:
        try:
            raw = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise _broken(f"its description is no JSON ({type(error).__name__})") from None
        if not isinstance(raw, dict):
            raise _broken("its description is no JSON object")
        return cls(
            transcript=_text(raw, "refText"),
            language=_text(raw, "language"),
            has_embedding=_of_type(raw, "hasEmbedding", bool),
            codes_bytes=_size(raw, "refCodesSize"),
            speaker_bytes=_size(raw, "speakerDataSize") if raw.get("hasEmbedding") else 0,
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _of_type(raw: Mapping[str, Any], key: str, kind: type) -> Any:
    value = raw.get(key)
    if type(value) is not kind:
        raise _broken(f"{key} of its description is {type(value).__name__}, not {kind.__name__}")
    return value


def _text(raw: Mapping[str, Any], key: str) -> str:
    value: str = _of_type(raw, key, str)
    if re.search("[\ud800-\udfff]", value):
        raise _broken(f"{key} of its description holds half a character (a lone surrogate)")
    return value


def _size(raw: Mapping[str, Any], key: str) -> int:
    value: int = _of_type(raw, key, int)
    if not 0 <= value <= MAX_PROMPT_BYTES:
        raise _broken(f"{key} of its description is {str(value)[:20]}")
    return value


def _blob_tensor(blob: memoryview, name: str) -> Tensor:
    try:
        tensors = read_blob(blob)
    except BrokenBlob as error:
        raise _broken(f"where {name} belongs, {error}") from None
    if name not in tensors:
        raise _broken(f"its blob holds no tensor {name}")
    return tensors[name]


def _checked_codes(codes: Tensor) -> Tensor:
    if codes.dtype not in INTEGER_TYPES:
        raise _broken(f"its codes are {codes.dtype}, not whole numbers")
    if len(codes.shape) != 3 or codes.shape[:2] != (1, CODEBOOKS) or codes.shape[2] < 1:
        raise _broken(f"its codes have the shape {codes.shape}, not (1, {CODEBOOKS}, T)")
    values = codes.integers()
    if values.min() < 0 or values.max() >= CODEBOOK_SIZE:
        raise _broken(f"its codes reach from {values.min()} to {values.max()}; 0 to {CODEBOOK_SIZE - 1} is possible")
    return codes


def _checked_embedding(embedding: Tensor) -> Tensor:
    if embedding.dtype not in FLOAT_TYPES:
        raise _broken(f"its speaker embedding is {embedding.dtype}, not floating-point")
    if len(embedding.shape) not in (1, 2) or embedding.shape[:-1] not in ((), (1,)) or embedding.shape[-1] < 1:
        raise _broken(f"its speaker embedding has the shape {embedding.shape}, not (1, D)")
    if not np.isfinite(embedding.floats()).all():
        raise _broken("its speaker embedding holds numbers that are not finite")
    return embedding


def _broken(reason: str) -> InvalidClonePrompt:
    return InvalidClonePrompt(_WRONG.format(reason))
