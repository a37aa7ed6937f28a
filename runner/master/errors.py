"""Errors of mastering.

VoiceJobsError
└── InvalidInput
    └── SoundRefused   a file that is no audio, is empty, or holds samples that are no numbers
"""

from __future__ import annotations

from registry.errors import InvalidInput


class SoundRefused(InvalidInput):
    code = "sound-refused"
