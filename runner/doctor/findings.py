"""Findings of the doctor, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runner.config.instance import Instance

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"

Found = Iterator[tuple[str, str, str]]  # severity, message, remedy
Checks = dict[str, tuple[str, Callable[[Instance], Found]]]  # name → what is checked, and by which function


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
