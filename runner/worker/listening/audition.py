"""The audition of a version, as its lock remembers it → how alike later takes should sound, and how to speak it again.

It is kept with the version's provenance, which is outside of its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from registry.jobs.line_request import VoiceSource
from registry.storage.session import Session
from registry.voices.errors import VoiceNotFound
from registry.voices.lookup import resolve
from registry.voices.values import Version
from runner.jobfile.specs import DEFAULT_CANDIDATE_TEXT
from runner.scheduling.line_plan import derived_seed

AUDITION = "audition"  # key of a version's provenance
MARGIN = 0.2  # by which takes of one voice may be less similar to their lock than its audition

# What a voice says first of which no words are known: of its own language, as far as Qwen3-TTS speaks it.
GREETINGS = {
    "english": DEFAULT_CANDIDATE_TEXT,
    "chinese": "你好，这就是我的声音。希望你喜欢听我说话。",
    "japanese": "こんにちは。これが私の声です。聞いていただけてうれしいです。",
    "korean": "안녕하세요. 이것이 제 목소리입니다. 들어 주셔서 고맙습니다.",
    "german": "Guten Tag, so klingt meine Stimme. Schön, dass Sie mir zuhören.",
    "french": "Bonjour, voici ma voix. Merci de m'écouter.",
    "russian": "Здравствуйте, вот так звучит мой голос. Спасибо, что слушаете.",
    "portuguese": "Bom dia, esta é a minha voz. Que bom que você está ouvindo.",
    "spanish": "Buenos días, así suena mi voz. Me alegra que me escuche.",
    "italian": "Buongiorno, questa è la mia voce. Grazie di ascoltarmi.",
}


@dataclass(frozen=True, kw_only=True)
class Audition:
    """How a version's audition was spoken, and how alike it and the lock sound, where that was measured."""

    text: str
    language: str
    seed: int
    max_seconds: float | None = None
    similarity: float | None = None
    codes_sha256: str = ""

    @property
    def least_similarity(self) -> float | None:
        """Similarity below which a take of this voice is odd."""
        return None if self.similarity is None else round(max(0.0, self.similarity - MARGIN), 4)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {**asdict(self), "least_similarity": self.least_similarity}


def first_words(transcript: str, language: str) -> str:
    """Words of an audition: a pangram in English, else those that the voice was locked from, or a greeting."""
    if not transcript:
        return GREETINGS.get(language, DEFAULT_CANDIDATE_TEXT)
    is_english = language in ("auto", "english") and transcript.isascii()
    return DEFAULT_CANDIDATE_TEXT if is_english else transcript


def language_of_first_words(transcript: str, language: str) -> str:
    """Language of an audition: that of the voice, unless no words of it are known."""
    return language if transcript or language in GREETINGS else "auto"


def first_seed(text: str) -> int:
    """The seed of an audition's first take."""
    return derived_seed({"audition": text}, job_seed=None, ordinal=0)


def kept_audition(version: Version) -> Audition | None:
    """The audition that a version's lock remembers; None for those of earlier versions and of other tools."""
    kept = version.provenance.get(AUDITION)
    known = {field.name for field in fields(Audition)}
    if not isinstance(kept, Mapping) or not {"text", "language", "seed"} <= kept.keys():
        return None
    return Audition(**{name: value for name, value in kept.items() if name in known})


def spoken_first(version: Version, *, max_seconds: float | None) -> Audition:
    """The first take of an audition that its version does not remember."""
    text = first_words(version.transcript, version.language)
    language = language_of_first_words(version.transcript, version.language)
    return Audition(text=text, language=language, seed=first_seed(text), max_seconds=max_seconds)


def usual_similarity(session: Session, voice: VoiceSource) -> float | None:
    """Similarity with their lock that takes of a voice have at least; None where nobody knows."""
    try:
        version = resolve(session, f"{voice.name}@{voice.version}")
    except VoiceNotFound:
        return None
    found = kept_audition(version)
    return None if found is None else found.least_similarity
