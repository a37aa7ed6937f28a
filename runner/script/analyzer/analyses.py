"""Parts → profiles that a model has given, kept by the digest of their evidence; or what to ask. Touches the disk.

An answer is kept for good, so that the same book again has the same cast, and costs no question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.durable_files import make_folder_durably, write_durably
from registry.errors import storage_error
from runner.config.analyzer_settings import AnalyzerSettings
from runner.reading_process import Reading
from runner.script.analyzer.prompt import evidence_digest, question
from runner.script.cast.parts import Part
from runner.script.cast.profile import Profile
from runner.script.errors import AnalyzerFailed

FOLDER = "analyses"  # in the state folder


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """Profiles that one analyzer has given."""

    folder: Path
    settings: AnalyzerSettings
    job: str  # the script's
    by_rules: frozenset[str] = field(default_factory=frozenset)  # slugs that it was asked about in vain

    def known(self, part: Part) -> Profile | None:
        """The profile of a part; None for one that nobody has described."""
        if self.settings.backend == "rules" or part.slug in self.by_rules:
            return None
        try:
            plain = json.loads(self._path(self._digest(part)).read_bytes())
            return Profile(**{**plain, "voice_traits": tuple(plain["voice_traits"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None  # not yet, or damaged: it is asked again

    def _digest(self, part: Part) -> str:
        model = self.settings.model
        return evidence_digest(part, model=f"mlx:{model}" if self.settings.backend == "mlx" else model)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"

    def missing(self, parts: Iterable[Part]) -> list[Part]:
        """Parts that are to be asked about."""
        if self.settings.backend == "rules":
            return []
        return [part for part in parts if part.slug not in self.by_rules and self.known(part) is None]

    def request(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Request for the process that asks."""
        settings = self.settings
        questions = {self._digest(part): question(part) for part in parts}
        return {"url": settings.url, "model": settings.model, "timeout_s": settings.timeout_s, "questions": questions}

    def keep(self, reading: Reading, parts: Sequence[Part]) -> tuple[list[str], str]:
        """Keep the answers; returns the slugs of parts without one, and a warning about them.

        Raises AnalyzerFailed when the script is to fail with them, and StorageError.
        """
        found: Mapping[str, Any] = reading.header or {"profiles": {}, "failure": reading.failure or "it told nothing"}
        if reading.error is not None:
            found = {"profiles": {}, "failure": reading.error.message}
        try:
            make_folder_durably(self.folder)
            for digest, profile in found["profiles"].items():
                write_durably(self._path(digest), json.dumps(profile, ensure_ascii=False).encode())
        except OSError as error:
            raise storage_error(error, f"writing into {self.folder}") from error
        left = [part for part in parts if self._digest(part) not in found["profiles"]]
        if not left:
            return [], ""
        names = ", ".join(part.name for part in left[:3]) + (f" and {len(left) - 3} others" if len(left) > 3 else "")
        is_local = self.settings.backend == "mlx"
        analyzer = f"analyzer {self.settings.model}" if is_local else f"analyzer at {_place(self.settings.url)}"
        message = f"The {analyzer} did not describe {names}: {found['failure'].removesuffix('.')}."
        if self.settings.on_failure == "fail":
            todo = "Correct `model` in [analyzer]" if is_local else "Start that server"
            hint = f'{todo}, then `voicejobs jobs retry {self.job}`; or set on_failure = "rules".'
            raise AnalyzerFailed(message, hint=hint)
        return [part.slug for part in left], f"{message} The rules described them."


def _place(url: str) -> str:
    """Host and port of an address, without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
