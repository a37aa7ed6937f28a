"""A voice, ready to speak with: speaker embedding, reference codes and transcript, as one safetensors blob.

The blob says which kind of model it was made for, so that a prompt for another model size is refused by name and
never spoken with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from models.errors import InvalidClonePrompt, PromptModelMismatch

FORMAT = "voicejobs-clone-prompt"
VERSION = 1
EMBEDDING, CODES = "speaker_embedding", "reference_codes"
TEXTS = ("transcript", "language", "model_fingerprint", "model_size")
DIGEST = "sha256"


@dataclass(frozen=True, eq=False)
class ClonePrompt:
    """Speaker embedding, reference codes and transcript of one recording.

    `speaker_embedding` `(D,)` float32; `reference_codes` `(T, Q)` int32, or None in an x-vector prompt, which has no
    transcript either. `language` is a record: the request's language decides. `model_fingerprint` and `model_size`
    name the model that made it.
    """

    speaker_embedding: npt.NDArray[np.float32]
    reference_codes: npt.NDArray[np.int32] | None
    transcript: str | None
    language: str = "auto"
    model_fingerprint: str | None = None
    model_size: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", "auto" if self.language is None else self.language)
        for name in TEXTS:
            value = getattr(self, name)
            if not isinstance(value, str) and value is not None:
                raise InvalidClonePrompt(f"The clone prompt's {name} is {value!r}, not text.")
            if any("\ud800" <= character <= "\udfff" for character in value or ""):
                raise InvalidClonePrompt(f"The clone prompt's {name} holds half a character: {value!a}.")
        try:
            embedding = np.array(self.speaker_embedding, np.float32)  # a copy: nobody can change the prompt afterwards
        except (ValueError, TypeError) as error:
            raise InvalidClonePrompt(f"A speaker embedding must be numbers in the shape (D,): {error}.") from None
        if embedding.ndim != 1 or not embedding.size or not np.isfinite(embedding).all():
            raise InvalidClonePrompt(
                f"A speaker embedding must be finite numbers in the shape (D,); this has the shape {embedding.shape}."
            )
        object.__setattr__(self, EMBEDDING, _read_only(embedding))
        if self.reference_codes is None:
            return
        try:
            codes = np.asarray(self.reference_codes)
        except ValueError as error:
            raise InvalidClonePrompt(f"Reference codes must be whole numbers in the shape (T, Q): {error}.") from None
        whole = np.issubdtype(codes.dtype, np.integer)
        if codes.ndim != 2 or not codes.size or not whole or codes.min() < 0:
            raise InvalidClonePrompt(
                f"Reference codes must be whole numbers from 0 in the shape (T, Q); these are {codes.dtype} "
                f"in the shape {codes.shape}."
            )
        if not self.transcript:
            raise InvalidClonePrompt(
                "Reference codes need the transcript of what is said in them.",
                hint="Give the exact words, or make the prompt from the speaker embedding alone (x-vector).",
            )
        object.__setattr__(self, CODES, _read_only(np.array(codes, np.int32, order="C")))

    @property
    def embedding_size(self) -> int:
        return len(self.speaker_embedding)

    def similarity_to(self, embedding: npt.NDArray[np.float32]) -> float | None:
        """Cosine of another speaker embedding `(D,)` with this voice's; None where they cannot be compared."""
        own = self.speaker_embedding
        lengths = float(np.linalg.norm(own) * np.linalg.norm(embedding)) if own.shape == embedding.shape else 0.0
        return float(own @ embedding) / lengths if lengths > 0 and np.isfinite(lengths) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClonePrompt) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """One safetensors blob. Equal prompts give equal bytes."""
        tensors: dict[str, npt.NDArray[Any]] = {EMBEDDING: np.ascontiguousarray(self.speaker_embedding)}
        if self.reference_codes is not None:
            tensors[CODES] = np.ascontiguousarray(self.reference_codes)
        facts = {
            **{name: getattr(self, name) for name in TEXTS},
            "embedding_size": self.embedding_size,
            "frames": None if self.reference_codes is None else self.reference_codes.shape[0],
            "codebooks": None if self.reference_codes is None else self.reference_codes.shape[1],
        }
        # One value holds all facts: the library writes several metadata keys in an order that changes run by run.
        stated = json.dumps({"version": VERSION, **facts, DIGEST: self._digest()}, ensure_ascii=False, sort_keys=True)
        return bytes(safetensors.numpy.save(tensors, metadata={FORMAT: stated}))

    def _digest(self) -> str:
        """SHA-256 of all that makes the voice, so that a damaged blob is never spoken with."""
        digest = hashlib.sha256()
        for array in (self.speaker_embedding, self.reference_codes):
            digest.update(repr(None if array is None else (array.shape, array.dtype.str)).encode())
            digest.update(b"" if array is None else array.tobytes())
        digest.update(json.dumps([getattr(self, name) for name in TEXTS]).encode())
        return digest.hexdigest()

    @classmethod
    def from_bytes(cls, blob: bytes) -> ClonePrompt:
        """The prompt that `to_bytes` wrote. Raises InvalidClonePrompt for anything else."""
        facts = _facts(blob)
        try:
            tensors = safetensors.numpy.load(blob)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise InvalidClonePrompt(f"The clone prompt is broken: {error}.") from None
        if EMBEDDING not in tensors or tensors.keys() - {EMBEDDING, CODES}:
            raise InvalidClonePrompt(f"A clone prompt holds {EMBEDDING} and {CODES}; this holds {sorted(tensors)}.")
        texts: dict[str, Any] = {name: facts.get(name) for name in TEXTS}
        prompt = cls(
            speaker_embedding=tensors[EMBEDDING],
            reference_codes=tensors.get(CODES),
            **texts,
        )
        if facts.get("embedding_size") != prompt.embedding_size:
            raise InvalidClonePrompt(
                f"The clone prompt says its embedding has {facts.get('embedding_size')} numbers; "
                f"it has {prompt.embedding_size}."
            )
        if facts.get(DIGEST, prompt._digest()) != prompt._digest():  # blobs of earlier versions have none
            raise InvalidClonePrompt("The clone prompt is damaged: its content does not match its digest.")
        return prompt

    def refuse_other_model(self, *, embedding_size: int, codebooks: int, codebook_size: int, model: str) -> None:
        """Raise PromptModelMismatch, naming both, when a model of these dimensions cannot speak with this prompt."""
        made_for = f"a {self.model_size or 'Qwen3-TTS'} model with embeddings of {self.embedding_size} numbers"
        hint = "Make a prompt for this model from the recording: relock the voice."
        if self.embedding_size != embedding_size:
            raise PromptModelMismatch(
                f"The clone prompt was made for {made_for}; {model} takes {embedding_size}.", hint=hint
            )
        if self.reference_codes is None:
            return
        if self.reference_codes.shape[1] != codebooks or int(self.reference_codes.max()) >= codebook_size:
            raise PromptModelMismatch(
                f"The clone prompt's codes have {self.reference_codes.shape[1]} codebooks and reach "
                f"{int(self.reference_codes.max())}; {model} has {codebooks} of {codebook_size} codewords.",
                hint=hint,
            )


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def _facts(blob: bytes) -> Mapping[str, Any]:
    """Facts about the prompt in the blob's header. Raises InvalidClonePrompt."""
    try:
        length = int.from_bytes(blob[:8], "little")
        if not 0 < length <= len(blob) - 8:
            raise ValueError("its header does not fit its length")
        header = json.loads(blob[8 : 8 + length])
        facts = json.loads(header["__metadata__"][FORMAT])
        version = facts["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        size = f"These {len(blob)} bytes are" if isinstance(blob, (bytes, bytearray)) else f"A {type(blob).__name__} is"
        raise InvalidClonePrompt(f"{size} no clone prompt ({error}).") from None
    if version != VERSION:
        raise InvalidClonePrompt(
            f"The clone prompt has version {version!r}; this voicejobs reads version {VERSION}.",
            hint="A newer voicejobs wrote it: update this one.",
        )
    return dict(facts)
