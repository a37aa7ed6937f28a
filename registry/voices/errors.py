"""Errors about voices.

VoiceJobsError
├── InvalidInput
│   ├── InvalidVoiceName       the name breaks the rule
│   └── InvalidVoiceReference  text that names no voice, version or alias
├── NotFound
│   ├── VoiceNotFound          no voice of this name
│   ├── VersionNotFound        the voice has no such version, or it was removed
│   ├── AliasNotFound          the voice has no such alias
│   └── CandidateNotFound      the job has no such candidate
└── Conflict
    ├── AmbiguousDigest        the beginning of a digest fits several versions
    └── VersionInUse           an alias or a waiting job needs the version
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.errors import Conflict, InvalidInput, NotFound


class InvalidVoiceName(InvalidInput):
    code = "invalid-voice-name"


class InvalidVoiceReference(InvalidInput):
    code = "invalid-voice-reference"


class VoiceNotFound(NotFound):
    code = "voice-not-found"

    def __init__(self, wanted: str, *, near: Sequence[str] = ()) -> None:
        guess = f"Did you mean {', '.join(near)}? " if near else ""
        super().__init__(f"There is no voice {wanted!r}.", hint=f"{guess}`voicejobs voices list` shows them all.")


class VersionNotFound(NotFound):
    code = "version-not-found"

    def __init__(self, wanted: str, *, voice: str, reason: str = "does not exist", hint: str = "") -> None:
        history = f"`voicejobs voices history {voice}` shows the versions there are."
        super().__init__(f"{wanted} {reason}.", hint=hint or history)


class AliasNotFound(NotFound):
    code = "alias-not-found"

    def __init__(self, wanted: str, *, voice: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known))
        have = f"Its aliases: {names}. " if names else ""
        hint = f"{have}`voicejobs voices alias {voice}@N {wanted}` makes it point at version N."
        super().__init__(f"The voice {voice!r} has no alias {wanted!r}.", hint=hint)


class CandidateNotFound(NotFound):
    code = "candidate-not-found"


class AmbiguousDigest(Conflict):
    code = "ambiguous-digest"


class VersionInUse(Conflict):
    code = "version-in-use"
