"""Errors of mastering.

VoiceJobsError
├── InvalidInput
│   ├── SoundRefused      a file that is no audio, is empty, or holds samples that are no numbers
│   └── CoverRefused      a cover that is no JPEG or PNG image, or is too large
└── MasteringFailed       a finished file, read back, is not what was written
"""

from __future__ import annotations

from registry.errors import InvalidInput, VoiceJobsError


class SoundRefused(InvalidInput):
    code = "sound-refused"


class CoverRefused(InvalidInput):
    code = "cover-refused"


class MasteringFailed(VoiceJobsError):
    code = "mastering-failed"
