"""The frame headers of an MP3 file → its bit rate, and whether that is the same throughout. Reads a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
HEADER_BYTES = 4
LONGEST_FRAME_BYTES = 2_881
# kbit/s by the index in the header, of layer III: MPEG-1, and the lower rates of MPEG-2 and 2.5.
_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SYNC = re.compile(rb"\xff[\xe2-\xfb]")
_INFO = (b"Xing", b"Info")  # in the first frame, which holds no sound


def bit_rate_of(path: Path) -> tuple[float, bool]:
    """Mean bit rate in kbit/s, and whether every frame has it; (0, False) when there is no frame."""
    with path.open("rb") as file:
        found = Counter(_frame_rates(file))
    total = found.total()
    if not total:
        return 0.0, False
    return sum(kbps * count for kbps, count in found.items()) / total, len(found) == 1


def _frame_rates(file: BinaryIO) -> Iterator[int]:
    """Bit rate of each frame that holds sound."""
    at = _tag_bytes(file)
    is_first = True
    file.seek(at)
    held, start = b"", at
    while True:
        more = file.read(BLOCK_BYTES)
        held, start = held[at - start :] + more, at
        while at - start + (LONGEST_FRAME_BYTES if more else HEADER_BYTES) <= len(held):
            frame = _frame(held, at - start)
            if frame is None:
                match = _SYNC.search(held, at - start + 1)
                at = start + (match.start() if match else max(at - start + 1, len(held) - 1))
                continue
            kbps, size = frame
            if not (is_first and any(name in held[at - start : at - start + 200] for name in _INFO)):
                yield kbps
            is_first, at = False, at + size
        if not more:
            return


def _tag_bytes(file: BinaryIO) -> int:
    """Length of the ID3v2 tag before the sound."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | (byte & 0x7F)
    return size + 10


def _frame(held: bytes, at: int) -> tuple[int, int] | None:
    """Bit rate and length of the frame that begins there, if one does."""
    if at + HEADER_BYTES > len(held) or held[at] != 0xFF or held[at + 1] & 0xE6 != 0xE2:
        return None  # no frame, or not of layer III
    version = held[at + 1] >> 3 & 3
    rate_index = held[at + 2] >> 2 & 3
    kbps = (_KBPS_1 if version == 3 else _KBPS_2)[held[at + 2] >> 4]
    if version == 1 or rate_index == 3 or kbps == 0:
        return None
    padding = held[at + 2] >> 1 & 1
    return kbps, (144_000 if version == 3 else 72_000) * kbps // _RATES_HZ[version][rate_index] + padding
