"""Errors of books and casts.

InvalidInput
└── SourceRefused          a source that cannot be read, or has nothing to speak
NotFound
└── PartNotFound           a script has no part of this name
"""

from __future__ import annotations

from registry.errors import InvalidInput, NotFound, VoiceJobsError


class SourceRefused(InvalidInput):
    code = "source-refused"


class PartNotFound(NotFound):
    code = "part-not-found"


class AnalyzerFailed(VoiceJobsError):
    code = "analyzer-failed"
