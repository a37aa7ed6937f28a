"""Findings of the doctor, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"

Found = Iterator[tuple[str, str, str]]  # severity, message, remedy


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check."""

    check: str
    severity: str
    message: str
    remedy: str = ""

    @property
    def counts(self) -> bool:
        """Whether it makes `voicejobs doctor` exit with 1."""
        return self.severity in (WARNING, PROBLEM)
