"""Errors of the room that makes speech.

VoiceJobsError
├── InvalidInput
│   ├── UnknownLanguage        the tag names no known language
│   ├── LanguageNotSpoken      the model does not speak it
│   │   └── LanguageNotHeard   … or the recogniser does not know it
│   ├── UnknownSpeaker         the model has no preset of this name
│   ├── InvalidReferenceAudio  the recording cannot be cloned from
│   ├── InvalidClonePrompt     bytes are not a clone prompt, or a broken one
│   ├── PromptModelMismatch    the clone prompt was made for another model
│   ├── VoxRefused             not a readable `.vox` archive: hostile, broken, or something else
│   ├── VoxInvalid             the manifest of a `.vox` file breaks the format's rules
│   ├── UnsupportedRequest     this engine or model lacks the ability
│   ├── UnsupportedCheckpoint  the folder is not a model that we can load
│   ├── InvalidModelId         not of the form `organisation/repository`
│   ├── InvalidManifest        a model's manifest is broken, or describes other files
│   └── NoEncoder              this system has no program that writes the audio format
├── NotFound
│   ├── UnknownModel           no known, installed or local model has this name
│   ├── ModelNotInstalled      it is known, but not on this machine, and may not be fetched
│   ├── RepositoryNotFound     the hub has no such repository or revision, or hides it
│   └── RepositoryGated        the hub wants a token, or an agreement to the licence
├── Conflict
│   ├── ModelNeeded            the current version of a voice needs the model
│   ├── ModelInUse             a process has it loaded, fetches or moves it
│   ├── ModelIncomplete        files of the model are missing or damaged; it is never loaded
│   └── UndoRefused            the result of a migration has changed, or its old place is taken
├── StorageError
│   ├── NoSpaceForModel        the disk has less room than the model needs
│   └── CannotMove             a model's folder stays where it is; nothing was changed
├── HubUnreachable             no network, or the hub does not answer (retryable)
├── HubRefused                 the hub answered with an error of its own (retryable)
├── DownloadFailed             the process that fetches a model ended without an answer (retryable)
├── DownloadCorrupt            other bytes arrived than the hub announced (retryable)
├── NotEnoughMemory            the model does not fit, and the settings say to refuse (retryable)
├── EncodingFailed             the program that writes the audio format ended badly
└── EngineFailure              the engine could not do the work (retryable)
    ├── ModelChanged           its files are no longer those that were loaded: the engine must start again
    └── WireError              bytes on the pipe between runner and engine are not a message
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.errors import Conflict, InvalidInput, NotFound, StorageError, VoiceJobsError, nearest

LISTED_LANGUAGES = 24  # ten are worth a list, a hundred are not


class UnknownLanguage(InvalidInput):
    code = "unknown-language"


class LanguageNotSpoken(InvalidInput):
    code = "language-not-spoken"

    def __init__(self, wanted: str, *, spoken: Iterable[str], where: str = "") -> None:
        super().__init__(f"{where}The model does not speak {wanted!r}.", hint=_spoken_hint(wanted, sorted(spoken)))


class LanguageNotHeard(LanguageNotSpoken):
    def __init__(self, wanted: str, *, recogniser: str, known: Iterable[str]) -> None:
        names = sorted(known)
        listed = ", ".join(names) if len(names) <= LISTED_LANGUAGES else f"{len(names)} other languages"
        hint = f"It knows {listed}; another recogniser may know it (docs/receipts.md)." if names else ""
        VoiceJobsError.__init__(self, f"The recogniser {recogniser} does not know {wanted!r}.", hint=hint)


def _spoken_hint(wanted: str, spoken: Sequence[str]) -> str:
    if len(spoken) <= LISTED_LANGUAGES:
        return f'It speaks {", ".join(spoken)}; or use "auto".'
    near = nearest(wanted, spoken)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f'{guess}It speaks {len(spoken)} other languages; or use "auto".'


class UnknownSpeaker(InvalidInput):
    code = "unknown-speaker"

    def __init__(self, wanted: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = nearest(wanted, names) or names
        hint = f"Did you mean {', '.join(near)}?" if names else "This model has no preset voices."
        super().__init__(f"The model has no speaker {wanted!r}.", hint=hint)


class InvalidPath(InvalidInput):
    code = "invalid-path"


class InvalidReferenceAudio(InvalidInput):
    code = "invalid-reference-audio"


class InvalidClonePrompt(InvalidInput):
    code = "invalid-clone-prompt"


class PromptModelMismatch(InvalidInput):
    code = "prompt-model-mismatch"


class VoxRefused(InvalidInput):
    code = "vox-refused"


class VoxInvalid(InvalidInput):
    code = "vox-invalid"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(f"The voice file is not valid: {'; '.join(reasons)}.")


class UnsupportedRequest(InvalidInput):
    code = "unsupported-request"


class UnsupportedCheckpoint(InvalidInput):
    code = "unsupported-checkpoint"


class InvalidModelId(InvalidInput):
    code = "invalid-model-id"


class InvalidManifest(InvalidInput):
    code = "invalid-manifest"


class NoEncoder(InvalidInput):
    code = "no-encoder"


class EngineFailure(VoiceJobsError):
    code = "engine-failure"
    retryable = True


class ModelChanged(EngineFailure):
    code = "model-changed"


class WireError(EngineFailure):
    code = "wire"


class UnknownModel(NotFound):
    code = "unknown-model"


class ModelNotInstalled(NotFound):
    code = "model-not-installed"


class RepositoryNotFound(NotFound):
    code = "repository-not-found"


class RepositoryGated(NotFound):
    code = "repository-gated"


class ModelNeeded(Conflict):
    code = "model-needed"


class ModelInUse(Conflict):
    code = "model-in-use"


class ModelIncomplete(Conflict):
    code = "model-incomplete"


class UndoRefused(Conflict):
    code = "undo-refused"


class NoSpaceForModel(StorageError):
    code = "no-space"


class CannotMove(StorageError):
    code = "cannot-move"
    retryable = False


class HubUnreachable(VoiceJobsError):
    code = "hub-unreachable"
    retryable = True


class HubRefused(VoiceJobsError):
    code = "hub-refused"
    retryable = True


class DownloadFailed(VoiceJobsError):
    code = "download-failed"
    retryable = True


class DownloadCorrupt(VoiceJobsError):
    code = "download-corrupt"
    retryable = True


class EncodingFailed(VoiceJobsError):
    code = "encoding-failed"


class NotEnoughMemory(VoiceJobsError):
    code = "not-enough-memory"
    retryable = True
