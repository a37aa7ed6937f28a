"""A model's config and name → its family among the speech models of mlx-audio: what it can do, needs, and costs.

Data and its look-up only. Families that are missing here can be used as well: what they can do is seen when they are
loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "mlx-audio:"  # before a repository or folder, in a model's name
ONLY_VOICE = "default"  # the preset of a model with a single voice
NATIVE = "qwen3_tts"  # the family that has an engine of its own
TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Companion:
    """A repository that models of a family load besides their own."""

    repository: str
    key: str = ""  # of the model's config, which may name another one
    files: tuple[str, ...] = ()  # patterns of those that are needed; () is all


@dataclass(frozen=True)
class Package:
    """A Python package that mlx-audio imports for a family without requiring it."""

    module: str
    requirement: str  # for pip


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of network."""

    name: str  # of its code in mlx-audio
    types: tuple[str, ...] = ()  # further values of `model_type` in its configs
    abilities: tuple[str, ...] = ()  # of "clone", "presets", "instruct"
    presets: tuple[str, ...] = ()  # those that no file of the model names
    names_voices: bool = False  # it speaks with none but those that its files name
    voices_of: str = ""  # a repository whose recordings are presets of each model, where it is here
    voice_argument: str = "voice"  # of `generate`, which takes the preset
    voice_file: str = ""  # its name with a * for the preset's, where `generate` takes the path of a file
    languages: tuple[str, ...] = ()  # canonical names; () where it takes any, or nobody says
    language_codes: Mapping[str, str] | None = None  # for `lang_code`; None: ISO 639-1
    companions: tuple[Companion, ...] = ()
    packages: tuple[Package, ...] = ()
    ignored: tuple[str, ...] = ()  # arguments that `generate` takes and does not use
    tokens_per_second: float | None = None  # of speech, where `max_tokens` counts them
    further_tokens: int = 0  # that count in `max_tokens` and make no sound
    most_words: int = 60  # that it speaks well in one go
    is_seeded: bool = True  # whether another seed makes another take


KOKORO_CODES = {
    "english": "a", "spanish": "e", "french": "f", "hindi": "h", "italian": "i", "japanese": "j", "portuguese": "p",
    "chinese": "z",
}  # fmt: skip
CHATTERBOX_LANGUAGES = (
    "arabic", "chinese", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hebrew", "hindi",
    "italian", "japanese", "korean", "malay", "norwegian", "polish", "portuguese", "russian", "spanish", "swahili",
    "swedish", "turkish",
)  # fmt: skip
BARK_LANGUAGES = (
    "chinese", "english", "french", "german", "hindi", "italian", "japanese", "korean", "polish", "portuguese",
    "russian", "spanish", "turkish",
)  # fmt: skip
S3_TOKENIZER = Companion("mlx-community/S3TokenizerV2")
OUTETTS_CODEC = "mlx-community/dac-speech-24khz-1.5kbps"
SNAC = Companion("mlx-community/snac_24khz")

FAMILIES: tuple[Family, ...] = (
    Family(
        name="kokoro",
        names_voices=True,
        abilities=("presets",),
        languages=tuple(sorted(KOKORO_CODES)),
        language_codes=KOKORO_CODES,
        packages=(Package("misaki", "misaki[en]"),),
        is_seeded=False,
    ),
    Family(
        name="kitten_tts",
        names_voices=True,
        types=("kitten",),
        abilities=("presets",),
        languages=("english",),
        packages=(Package("phonemizer", "phonemizer-fork"),),
        is_seeded=False,
    ),
    Family(
        name="chatterbox",
        abilities=("clone", "presets"),
        languages=CHATTERBOX_LANGUAGES,
        companions=(S3_TOKENIZER,),
        ignored=("voice", "stream"),
    ),
    Family(
        name="chatterbox_turbo",
        abilities=("clone", "presets"),
        languages=("english",),
        companions=(S3_TOKENIZER,),
        ignored=("voice",),
    ),
    Family(
        name="dia",
        abilities=("clone", "presets"),
        languages=("english",),
        companions=(Companion("mlx-community/descript-audio-codec-44khz"),),
        ignored=("voice", "temperature", "top_p"),
        tokens_per_second=44_100 / 512,
        further_tokens=35,  # the delays between its codebooks, and the steps after the end
    ),
    Family(
        name="sesame",
        names_voices=True,
        types=("csm", "marvis"),
        voices_of="sesame/csm-1b",
        abilities=("clone", "presets"),
        languages=("english",),
        companions=(
            Companion("unsloth/Llama-3.2-1B", key="text_tokenizer", files=TOKENIZER_FILES),
            Companion("kyutai/moshiko-pytorch-bf16", files=("config.json", "tokenizer-e351c8d8-checkpoint125.*")),
        ),
    ),
    Family(
        name="spark",
        abilities=("clone", "presets"),
        presets=("female", "male"),
        voice_argument="gender",
        languages=("chinese", "english"),
        tokens_per_second=50,
    ),
    Family(
        name="bark",
        abilities=("presets",),
        voice_file="speaker_embeddings/*.npz",
        languages=BARK_LANGUAGES,
        companions=(
            Companion("mlx-community/encodec-24khz-float32", key="codec_path"),
            Companion("google-bert/bert-base-multilingual-cased", files=TOKENIZER_FILES),
        ),
        most_words=30,
    ),
    Family(
        name="outetts",
        abilities=("clone", "presets"),
        companions=(
            Companion("OuteAI/Llama-OuteTTS-1.0-1B", key="tokenizer_name", files=TOKENIZER_FILES),
            Companion(OUTETTS_CODEC),
        ),
        ignored=("voice",),
        tokens_per_second=150,
        most_words=30,  # of longer texts it drops the marks, and changes the speaker from one part to the next
    ),
    Family(
        name="indextts",
        abilities=("clone",),
        languages=("chinese", "english"),
        companions=(Companion("", key="tokenizer_name", files=("config.json", "tokenizer.model")),),
    ),
    Family(
        name="llama",
        types=("orpheus",),
        abilities=("presets",),
        presets=("tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe"),
        languages=("english",),
        companions=(SNAC,),
        tokens_per_second=86,
    ),
    Family(
        name="soprano",
        abilities=("presets",),
        languages=("english",),
        ignored=("voice",),
        tokens_per_second=32_000 / 2_048,
        most_words=40,
    ),
)
_BY_NAME = {family.name: family for family in FAMILIES}
_BY_TYPE = {type_: family for family in FAMILIES for type_ in (family.name, *family.types)}
_GENERIC = frozenset({"llama", "qwen3", "dense"})  # names of networks that mostly are no speech models


def family_named(name: str) -> Family:
    """The family of mlx-audio's own name; one about which nothing is known where the table lacks it."""
    return _BY_NAME.get(name) or Family(name=name)


def family_of(config: object, name: str = "") -> Family | None:
    """The family in the table of a model with this parsed `config.json` and name; None for all others."""
    told = config.get("model_type") or config.get("architecture") if isinstance(config, dict) else None
    if isinstance(told, str) and told.casefold() == NATIVE:
        return None
    if isinstance(told, str) and told.casefold() not in _GENERIC and (found := _BY_TYPE.get(told.casefold())):
        return found
    parts = [part for part in re.split(r"[^a-z0-9]+", name.casefold()) if part not in _GENERIC]
    return next((_BY_TYPE[part] for part in parts if part in _BY_TYPE), None)


def companions_of(family: Family, config: Any) -> Iterator[Companion]:
    """Repositories that a model needs besides its own, as its config names them."""
    for companion in family.companions:
        told = config.get(companion.key) if companion.key and isinstance(config, dict) else None
        repository = told if isinstance(told, str) and told.count("/") == 1 else companion.repository
        if repository:
            yield Companion(repository, files=companion.files)
