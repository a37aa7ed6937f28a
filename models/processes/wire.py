"""Protocol values ↔ bytes on a pipe: a length-prefixed JSON header, then the raw bytes of its arrays and blobs.

Frame: magic `VJ01`, header length, blob length (little-endian uint32 each), the header (ASCII JSON), the blobs.
Every size is bounded and checked before anything is allocated. Only the classes named in `_CLASSES` can cross.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from models import protocol
from models.errors import WireError
from models.listen import values as listen

MAGIC = b"VJ01"
PREFIX = struct.Struct("<4sII")
MAX_HEADER_BYTES = 16 << 20
MAX_BLOB_BYTES = 256 << 20  # 46 minutes of float32 at 24 kHz: far beyond one line
ARRAY_DTYPES = frozenset({"float32", "int32"})


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The engine's first message: which protocol it speaks."""

    protocol_version: int
    pid: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """Runner → engine: close what is open, open this model."""

    choice: protocol.ModelChoice


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Engine → runner: the model is loaded."""

    facts: protocol.EngineFacts


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """Engine → runner: the model cannot be loaded; the process goes on without one."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Runner → engine: stop this work; it is still answered."""

    id: str


Request: TypeAlias = Load | protocol.SpeechWork | protocol.LockWork | Cancel | listen.TimeWords | listen.Hear
Reply: TypeAlias = (
    Hello
    | Ready
    | LoadFailed
    | protocol.Progress
    | protocol.SpeechPiece
    | protocol.SpeechDone
    | protocol.LockDone
    | protocol.WorkFailed
    | listen.WordsTimed
    | listen.Heard
)
Message: TypeAlias = Request | Reply

_CLASSES: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Hello, Load, Ready, LoadFailed, Cancel),
        *(protocol.SpeechWork, protocol.LockWork, protocol.SpeechDone, protocol.LockDone, protocol.WorkFailed),
        *(protocol.SpeechPiece, protocol.Progress, protocol.EngineFacts, protocol.ModelChoice),
        *(listen.TimeWords, listen.WordsTimed, listen.TimedWord),
        *(listen.Hear, listen.Heard, listen.HeardWord),
        *(protocol.PresetVoice, protocol.LockedVoice, protocol.DescribedVoice),
    )
}


def encode(message: Message) -> bytes:
    """One message as one frame. Raises WireError for what cannot cross or is too large."""
    blobs: list[bytes] = []
    header = json.dumps(_to_json(message, blobs), separators=(",", ":")).encode("ascii")
    blob_bytes = sum(map(len, blobs))
    if len(header) > MAX_HEADER_BYTES or blob_bytes > MAX_BLOB_BYTES:
        raise WireError(f"A {type(message).__name__} of {len(header) + blob_bytes} bytes is too large for the pipe.")
    return b"".join([PREFIX.pack(MAGIC, len(header), blob_bytes), header, *blobs])


def _to_json(value: Any, blobs: list[bytes]) -> Any:
    """JSON for `value`; objects are always tagged with `$`, so that no mapping can pass for something else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating | np.bool_):
        return value.item()
    if isinstance(value, bytes | bytearray | memoryview):
        blobs.append(bytes(value))
        return {"$": "bytes", "size": len(blobs[-1])}
    if isinstance(value, np.ndarray):
        if value.dtype.name not in ARRAY_DTYPES:
            raise WireError(f"An array of {value.dtype} cannot cross the pipe.")
        blobs.append(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
        return {"$": "array", "dtype": value.dtype.name, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {"$": "map", "items": [[_to_json(key, blobs), _to_json(item, blobs)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_to_json(item, blobs) for item in value]
    if _CLASSES.get(type(value).__name__) is type(value):
        values = {part.name: _to_json(getattr(value, part.name), blobs) for part in dataclasses.fields(value)}
        return {"$": type(value).__name__, **values}
    raise WireError(f"A {type(value).__name__} cannot cross the pipe.")


class FrameReader:
    """Bytes as they arrive → whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, content: bytes) -> Iterator[Message]:
        """Every message that `content` completes. Raises WireError on the first byte that cannot be one."""
        self._buffer += content
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if len(self._buffer) < PREFIX.size:
            return None
        magic, header_bytes, blob_bytes = PREFIX.unpack_from(self._buffer)
        if magic != MAGIC or header_bytes > MAX_HEADER_BYTES or blob_bytes > MAX_BLOB_BYTES:
            raise WireError("The bytes on the pipe are not a message.")
        end = PREFIX.size + header_bytes + blob_bytes
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            frame = bytes(view[PREFIX.size : end])  # one copy: a long line is large
        del self._buffer[:end]
        return decode_frame(frame, header_bytes)


def decode_frame(frame: bytes, header_bytes: int) -> Message:
    """The message of a frame without its prefix. Raises WireError."""
    try:
        blobs = _Blobs(memoryview(frame)[header_bytes:])
        message = _from_json(json.loads(frame[:header_bytes]), blobs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(f"A message on the pipe cannot be read: {error!r}.") from error
    if type(message).__name__ not in _CLASSES or not blobs.is_used_up():
        raise WireError("A message on the pipe is not one of the protocol's.")
    return message  # type: ignore[no-any-return] # just checked: an instance of one of our classes


class _Blobs:
    """The bytes after a header, handed out in order."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._position = 0

    def take(self, size: int) -> memoryview:
        if not 0 <= size <= len(self._content) - self._position:
            raise ValueError(f"a blob of {size} bytes is not there")
        self._position += size
        return self._content[self._position - size : self._position]

    def is_used_up(self) -> bool:
        return self._position == len(self._content)


def _from_json(value: Any, blobs: _Blobs) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(item, blobs) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.pop("$")
    if kind == "bytes":
        return bytes(blobs.take(value["size"]))
    if kind == "array":
        return _array(value["dtype"], tuple(value["shape"]), blobs)
    if kind == "map":
        return {_from_json(key, blobs): _from_json(item, blobs) for key, item in value["items"]}
    return _CLASSES[kind](**{name: _from_json(item, blobs) for name, item in value.items()})


def _array(dtype: str, shape: tuple[int, ...], blobs: _Blobs) -> Any:
    if dtype not in ARRAY_DTYPES or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array of {dtype!r} and shape {shape} cannot be")
    kind = np.dtype(dtype).newbyteorder("<")
    count = 1
    for size in shape:  # Python integers: a product that cannot overflow
        count *= size
    return np.frombuffer(blobs.take(count * kind.itemsize), dtype=kind).reshape(shape)
