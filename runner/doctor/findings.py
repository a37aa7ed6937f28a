"""Findings of the doctor, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from runner.config.instance import Instance  # checks of models need no settings, and no pydantic

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"

Found = Iterator[tuple[str, str, str]]  # severity, message, remedy
# Name → what is checked, and by which function.
Checks: TypeAlias = "dict[str, tuple[str, Callable[[Instance], Found]]]"


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
