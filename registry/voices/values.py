"""Values about voices that go into the registry and come out: frozen, checked when made, free of any database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.errors import InvalidInput
from registry.storage.object_store import is_sha256

CONSENTS = ("self", "granted", "unknown")
ORIGINS = ("lock", "relock", "import")
WHOLE_NUMBER_LIMIT = 1 << 63  # SQLite's integers
JsonObject = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Engine and model that rendered or locked something, exactly enough to find them again."""

    engine: str
    engine_version: str
    render_version: str
    model: str
    model_fingerprint: str  # "" when unknown, as in a voice made elsewhere
    model_revision: str | None = None
    quantization: str | None = None
    software: Mapping[str, str] = field(default_factory=dict)  # {"mlx": "0.32.4", "voicejobs": "0.1.0"}


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A voice about to be locked, relocked or imported. Its objects are in the store already.

    `idempotency_key` makes a repeated insert return the first version; None means `made_by_job`. Give one that
    is never used again, such as the job's name with its ledger id, since names come back after a prune.
    """

    voice: str
    model: ModelFacts
    prompt_sha256: str
    transcript: str
    origin: str = "lock"  # ORIGINS
    made_by_job: str | None = None
    idempotency_key: str | None = None
    parent: int | None = None  # the number of the version of this voice that it was made from
    prompt_facts: JsonObject = field(default_factory=dict)  # shapes and dimensions
    speaker_embedding: Sequence[float] | None = None  # (D,)
    reference_sha256: str | None = None  # the recording, as FLAC
    reference_duration_s: float | None = None
    audition_sha256: str | None = None  # a clip to listen to
    attachments: Mapping[str, str] = field(default_factory=dict)  # name -> sha256 of anything else kept with it
    description: str | None = None
    language: str = "auto"
    seed: int | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    consent: str = "unknown"  # CONSENTS
    character: JsonObject | None = None
    metadata: JsonObject = field(default_factory=dict)
    provenance: JsonObject = field(default_factory=dict)
    pronunciations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice("origin", self.origin, ORIGINS)
        _check_choice("consent", self.consent, CONSENTS)
        check_whole("seed", self.seed)
        for name, sha256 in _digests_of(self):
            _check_sha256(name, sha256)


@dataclass(frozen=True, kw_only=True)
class Version:
    """One immutable version of a named voice."""

    id: int
    voice: str
    number: int
    digest: str
    origin: str
    created_s: float  # seconds since 1970, as all times here
    made_by_job: str | None
    parent: int | None  # a version number of the same voice
    model: ModelFacts
    prompt_sha256: str
    prompt_facts: JsonObject
    speaker_embedding: tuple[float, ...] | None
    reference_sha256: str | None
    reference_duration_s: float | None
    audition_sha256: str | None
    attachments: Mapping[str, str]
    transcript: str
    description: str | None
    language: str
    seed: int | None
    sampling: Mapping[str, float]
    consent: str
    character: JsonObject | None
    metadata: JsonObject
    provenance: JsonObject
    pronunciations: Mapping[str, str]
    deleted_s: float | None = None
    deleted_why: str | None = None
    purged_s: float | None = None  # its recordings and prompt are gone; only this record is left

    @property
    def name(self) -> str:
        """Name with number: `elena@2`."""
        return f"{self.voice}@{self.number}"


@dataclass(frozen=True, kw_only=True)
class VoiceSummary:
    """One line of `voices list`. `current` is None while no alias `current` exists."""

    name: str
    versions: int  # those not removed
    newest: int
    current: int | None
    language: str | None  # of the current version, as all that follows
    model: str | None
    description: str | None
    changed_s: float  # when the newest version was made


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A name that points at one version of a voice."""

    voice: str
    name: str
    number: int
    moved_s: float


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One entry of an alias's log; None stands for "did not exist"."""

    voice: str
    name: str
    from_number: int | None
    to_number: int | None
    moved_s: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that differs between two versions."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class VersionDiff:
    """Changes from one version to another."""

    before: str
    after: str
    changes: tuple[Change, ...]
    speaker_cosine: float | None  # 1 = the same speaker; None unless both embeddings exist and have one size


@dataclass(frozen=True, kw_only=True)
class NewCandidate:
    """One recording of a designed voice, to choose from. Its objects are in the store already."""

    audio_sha256: str
    transcript: str
    description: str
    language: str
    seed: int
    model: ModelFacts
    frames: int
    duration_s: float
    design_state_sha256: str | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    quality: JsonObject = field(default_factory=dict)
    character: JsonObject | None = None

    def __post_init__(self) -> None:
        _check_sha256("audio_sha256", self.audio_sha256)
        if self.design_state_sha256 is not None:
            _check_sha256("design_state_sha256", self.design_state_sha256)
        check_whole("seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate as the registry keeps it, for at least 30 days."""

    job_name: str
    index: int  # from 1, as in `candidate-1.wav`
    created_s: float
    content: NewCandidate


def _digests_of(new: NewVersion) -> list[tuple[str, str]]:
    named = {
        "prompt_sha256": new.prompt_sha256,
        "reference_sha256": new.reference_sha256,
        "audition_sha256": new.audition_sha256,
        **{f"attachment {name!r}": sha256 for name, sha256 in new.attachments.items()},
    }
    return [(name, sha256) for name, sha256 in named.items() if sha256 is not None]


def _check_sha256(name: str, value: str) -> None:
    if not is_sha256(value):
        raise InvalidInput(f"{name} is {value!r}: the SHA-256 of stored bytes was expected, 64 lower-case hex digits.")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name} is {value!r}: one of {', '.join(choices)} was expected.")


def check_whole(name: str, value: int | None) -> None:
    """Refuse, with InvalidInput, anything but None and an integer that SQLite can hold."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not -WHOLE_NUMBER_LIMIT <= value < WHOLE_NUMBER_LIMIT:
        raise InvalidInput(f"{name} is {value!r}: a whole number of at most 63 bits was expected.")
