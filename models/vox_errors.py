"""Errors of voice files.

VoiceJobsError
└── InvalidInput
    ├── VoxRefused        no archive that may be read: hostile, broken or no `.vox` at all
    └── VoxInvalid        its manifest breaks the format's rules
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import InvalidInput


class VoxRefused(InvalidInput):
    code = "vox-refused"


class VoxInvalid(InvalidInput):
    code = "vox-invalid"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(f"The voice file is not valid: {'; '.join(reasons)}.")
