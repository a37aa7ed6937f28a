"""Errors of the room that makes speech.

VoiceJobsError
├── InvalidInput
│   ├── UnknownLanguage        the tag names no language we know
│   ├── LanguageNotSpoken      the model does not speak it
│   ├── UnknownSpeaker         the model has no preset of this name
│   ├── InvalidReferenceAudio  the recording cannot be cloned from
│   ├── InvalidClonePrompt     bytes that are no clone prompt, or a broken one
│   ├── PromptModelMismatch    the clone prompt was made for another model
│   ├── UnsupportedRequest     this engine or model lacks the ability
│   └── UnsupportedCheckpoint  the folder is no model that we can load
└── EngineFailure              the engine could not do the work (retryable)
"""

from __future__ import annotations

from collections.abc import Iterable

from registry.errors import InvalidInput, VoiceJobsError, nearest


class UnknownLanguage(InvalidInput):
    code = "unknown-language"


class LanguageNotSpoken(InvalidInput):
    code = "language-not-spoken"

    def __init__(self, wanted: str, *, spoken: Iterable[str]) -> None:
        super().__init__(
            f"The model does not speak {wanted!r}.", hint=f'It speaks {", ".join(sorted(spoken))}; or use "auto".'
        )


class UnknownSpeaker(InvalidInput):
    code = "unknown-speaker"

    def __init__(self, wanted: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = nearest(wanted, names) or names
        hint = f"Did you mean {', '.join(near)}?" if names else "This model has no preset voices."
        super().__init__(f"The model has no speaker {wanted!r}.", hint=hint)


class InvalidReferenceAudio(InvalidInput):
    code = "invalid-reference-audio"


class InvalidClonePrompt(InvalidInput):
    code = "invalid-clone-prompt"


class PromptModelMismatch(InvalidInput):
    code = "prompt-model-mismatch"


class UnsupportedRequest(InvalidInput):
    code = "unsupported-request"


class UnsupportedCheckpoint(InvalidInput):
    code = "unsupported-checkpoint"


class EngineFailure(VoiceJobsError):
    code = "engine-failure"
    retryable = True
