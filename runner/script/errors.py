"""Errors of books and casts.

InvalidInput
└── SourceRefused          a source that cannot be read, or has nothing to speak
"""

from __future__ import annotations

from registry.errors import InvalidInput


class SourceRefused(InvalidInput):
    code = "source-refused"
