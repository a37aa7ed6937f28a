"""The models we know → one table: short name, repositories, variant, size, quantisation, abilities, memory need.

Speech models, and the Whisper models that the recogniser `faster-whisper` hears with.

Data only: nothing here touches the disk or the network. Sizes of unquantised models are those of the published
files; those of quantised ones follow from which tensors the converter quantises. What a model really weighs is
read from its files before it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from models.checkpoint_format.whisper_files import is_whisper_config
from models.store.families import Family, family_named, family_of
from registry.errors import LONGEST_NEAR

DEFAULT = "default"
RECOGNISER, FASTER_WHISPER = "recogniser", "faster-whisper"
MEMORY_FACTOR = 1.5
CODEC_BYTES = 682_300_000  # `speech_tokenizer/`, float32 and never quantised, part of every model
TEXT_FILES_BYTES = 4_500_000  # vocabulary, merges, configs

# Of all published Qwen3-TTS models; another checkpoint's own are in its `config.json`.
LANGUAGES = (
    "english", "chinese", "french", "german", "italian", "japanese", "korean", "portuguese", "russian", "spanish",
)  # fmt: skip
ABILITIES_OF_VARIANT = {
    "voice_design": ("design", "instruct"),
    "base": ("clone",),
    "custom_voice": ("presets", "instruct"),
}


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One known model; `repositories` hold the same weights, the one we download first."""

    name: str
    repositories: tuple[str, ...]
    variant: str  # "base" | "voice_design" | "custom_voice", the family of mlx-audio, or "recogniser"
    parameters: str  # "1.7B" | "0.6B" …
    size_bytes: int
    quantization: str | None  # "8bit" | "6bit" | "4bit"
    abilities: tuple[str, ...]  # of "design", "clone", "presets", "instruct"; or "hear"
    family: Family | None = None  # of mlx-audio; None for Qwen3-TTS and recognisers
    licence: str = ""  # of the weights, where it is known

    @property
    def id(self) -> str:
        return self.repositories[0]

    @property
    def hears(self) -> bool:
        """Whether it is a recogniser, and no speech model."""
        return self.variant == RECOGNISER

    @property
    def memory_bytes(self) -> int:
        """Free memory wanted before it is loaded."""
        return round(self.size_bytes * MEMORY_FACTOR)


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """Variant, size and abilities of a model, by its own `config.json` or by the table."""

    is_speech: bool = False  # a Qwen3-TTS model, or one of mlx-audio
    variant: str | None = None
    parameters: str | None = None
    quantization: str | None = None
    abilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Family:
    key: str
    published: str
    variant: str
    parameters: str
    plain_bytes: int  # bfloat16 weights without the codec
    linear_parameters: int  # weights in linear layers, which quantisation shrinks


_FAMILIES = (
    _Family("1.7b-base", "1.7B-Base", "base", "1.7B", 3_857_400_000, 1_509_000_000),
    _Family("1.7b-voicedesign", "1.7B-VoiceDesign", "voice_design", "1.7B", 3_833_400_000, 1_509_000_000),
    _Family("1.7b-customvoice", "1.7B-CustomVoice", "custom_voice", "1.7B", 3_833_400_000, 1_509_000_000),
    _Family("0.6b-base", "0.6B-Base", "base", "0.6B", 1_829_344_272, 544_000_000),
    _Family("0.6b-customvoice", "0.6B-CustomVoice", "custom_voice", "0.6B", 1_811_600_000, 544_000_000),
)
# Whisper as CTranslate2 converts it, in float16: sizes as faster-whisper calls them, and bytes to fetch, rounded.
_WHISPER = (
    ("tiny", "Systran/faster-whisper-tiny", "39M", 78_000_000),
    ("tiny.en", "Systran/faster-whisper-tiny.en", "39M", 78_000_000),
    ("base", "Systran/faster-whisper-base", "74M", 148_000_000),
    ("base.en", "Systran/faster-whisper-base.en", "74M", 148_000_000),
    ("small", "Systran/faster-whisper-small", "244M", 487_000_000),
    ("small.en", "Systran/faster-whisper-small.en", "244M", 487_000_000),
    ("medium", "Systran/faster-whisper-medium", "769M", 1_531_000_000),
    ("medium.en", "Systran/faster-whisper-medium.en", "769M", 1_531_000_000),
    ("large-v1", "Systran/faster-whisper-large-v1", "1550M", 3_091_000_000),
    ("large-v2", "Systran/faster-whisper-large-v2", "1550M", 3_091_000_000),
    ("large-v3", "Systran/faster-whisper-large-v3", "1550M", 3_091_000_000),
    ("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", "809M", 1_622_000_000),
    ("distil-small.en", "Systran/faster-distil-whisper-small.en", "166M", 336_000_000),
    ("distil-medium.en", "Systran/faster-distil-whisper-medium.en", "394M", 793_000_000),
    ("distil-large-v2", "Systran/faster-distil-whisper-large-v2", "756M", 1_517_000_000),
    ("distil-large-v3", "Systran/faster-distil-whisper-large-v3", "756M", 1_517_000_000),
    ("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", "756M", 1_517_000_000),
)
_WHISPER_ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}
_PARAMETERS = {"1b7": "1.7B", "0b6": "0.6B"}  # as `config.json` spells them
_BITS = (None, 8, 6, 4)
_GROUP_OVERHEAD_BITS = 0.5  # one bfloat16 scale and one bias for each group of 64 weights


def _abilities(variant: str, parameters: str | None) -> tuple[str, ...]:
    if variant == "custom_voice" and parameters == "0.6B":
        return ("presets",)  # the small preset model ignores instructions
    return ABILITIES_OF_VARIANT.get(variant, ())


def _entry(family: _Family, bits: int | None) -> CatalogEntry:
    weights_bytes = family.plain_bytes
    if bits is not None:
        weights_bytes -= round(family.linear_parameters * (16 - bits - _GROUP_OVERHEAD_BITS) / 8)
    community = f"mlx-community/Qwen3-TTS-12Hz-{family.published}"
    repositories = (
        (f"{community}-bf16", f"Qwen/Qwen3-TTS-12Hz-{family.published}")
        if bits is None
        else (f"{community}-{bits}bit",)
    )
    return CatalogEntry(
        name=f"qwen3-tts-{family.key}" + (f"-{bits}bit" if bits else ""),
        repositories=repositories,
        variant=family.variant,
        parameters=family.parameters,
        size_bytes=weights_bytes + CODEC_BYTES + TEXT_FILES_BYTES,
        quantization=f"{bits}bit" if bits else None,
        abilities=_abilities(family.variant, family.parameters),
        licence="Apache-2.0",
    )


def _other(name: str, repository: str, family: str, parameters: str, size_mb: int, licence: str) -> CatalogEntry:
    found = family_named(family)
    return CatalogEntry(
        name=name,
        repositories=(repository,),
        variant=family,
        parameters=parameters,
        size_bytes=size_mb * 1_000_000,
        quantization=None,
        abilities=found.abilities,
        family=found,
        licence=licence,
    )


# Sizes are about those of the weights. Licences are those of the model cards, or of the project that published them;
# "" where neither was found to say so.
_OTHERS = (
    _other("kokoro", "mlx-community/Kokoro-82M-bf16", "kokoro", "82M", 360, "Apache-2.0"),
    _other("kitten", "mlx-community/kitten-tts-nano-0.8", "kitten_tts", "15M", 60, ""),
    _other("chatterbox", "mlx-community/chatterbox-fp16", "chatterbox", "0.5B", 2_600, "MIT"),
    _other("dia", "mlx-community/Dia-1.6B-fp16", "dia", "1.6B", 3_300, "Apache-2.0"),
    _other("csm", "mlx-community/csm-1b", "sesame", "1B", 6_200, "Apache-2.0"),
    _other("marvis", "Marvis-AI/marvis-tts-250m-v0.1", "sesame", "250M", 1_200, "Apache-2.0"),
    _other("spark", "mlx-community/Spark-TTS-0.5B-bf16", "spark", "0.5B", 2_900, "CC-BY-NC-SA-4.0"),
    _other("bark", "mlx-community/bark-small", "bark", "0.4B", 1_700, "MIT"),
    _other("outetts", "mlx-community/OuteTTS-1.0-0.6B-fp16", "outetts", "0.6B", 1_200, "Apache-2.0"),
    _other("indextts", "mlx-community/IndexTTS", "indextts", "0.5B", 960, ""),
    _other("orpheus", "mlx-community/orpheus-3b-0.1-ft-bf16", "llama", "3B", 6_700, "Apache-2.0"),
    _other("soprano", "mlx-community/Soprano-1.1-80M-bf16", "soprano", "80M", 280, "Apache-2.0"),
)


def _whisper_entry(size: str, repository: str, parameters: str, size_bytes: int) -> CatalogEntry:
    return CatalogEntry(
        name=f"{FASTER_WHISPER}:{size}",
        repositories=(repository,),
        variant=RECOGNISER,
        parameters=parameters,
        size_bytes=size_bytes,
        quantization=None,
        abilities=("hear",),
    )


CATALOG: tuple[CatalogEntry, ...] = (
    *(_entry(family, bits) for family in _FAMILIES for bits in _BITS),
    *_OTHERS,
    *(_whisper_entry(*row) for row in _WHISPER),
)
WHISPER_SIZES = (*(row[0] for row in _WHISPER), *_WHISPER_ALIASES)
_BY_NAME = {entry.name: entry for entry in CATALOG}
_BY_REPOSITORY = {repository.casefold(): entry for entry in CATALOG for repository in entry.repositories}

# The largest first; the last one is taken where even it does not fit, and the memory check then says so.
_DEFAULTS = {
    "clone": ("qwen3-tts-1.7b-base", "qwen3-tts-0.6b-base"),
    "design": ("qwen3-tts-1.7b-voicedesign", "qwen3-tts-1.7b-voicedesign-8bit", "qwen3-tts-1.7b-voicedesign-4bit"),
    "presets": ("qwen3-tts-1.7b-customvoice", "qwen3-tts-0.6b-customvoice"),
}


def entry_named(name: str) -> CatalogEntry | None:
    """The entry with this short name or repository id, in any case; None when we know none."""
    folded = name.strip().casefold()
    kind, colon, size = folded.partition(":")
    folded = f"{kind}{colon}{_WHISPER_ALIASES.get(size, size)}"
    return _BY_NAME.get(folded) or _BY_REPOSITORY.get(folded)


def is_of_mlx_audio(model: str) -> bool:
    """Whether a short name or repository id is of a known model that mlx-audio speaks with."""
    entry = entry_named(model)
    return entry is not None and entry.family is not None


def kind_of(config: object, entry: CatalogEntry | None = None, *, name: str = "") -> ModelKind:
    """Kind that a parsed `config.json` states of its model; the table's where it states none."""
    if isinstance(config, dict) and config.get("model_type") == "qwen3_tts":
        variant, size = config.get("tts_model_type"), config.get("tts_model_size")
        if isinstance(variant, str):
            parameters = _PARAMETERS.get(size) if isinstance(size, str) else None
            return ModelKind(
                is_speech=True,
                variant=variant,
                parameters=parameters,
                quantization=_quantization_in(config),
                abilities=_abilities(variant, parameters),
            )
        return ModelKind(is_speech=True)
    if entry is None:
        if (family := family_of(config, name)) is not None:
            quantization = _quantization_in(config) if isinstance(config, dict) else None
            return ModelKind(is_speech=True, variant=family.name, quantization=quantization, abilities=family.abilities)
        return ModelKind(variant=RECOGNISER, abilities=("hear",)) if is_whisper_config(config) else ModelKind()
    return ModelKind(
        is_speech=not entry.hears,
        variant=entry.variant,
        parameters=entry.parameters,
        quantization=entry.quantization,
        abilities=entry.abilities,
    )


def _quantization_in(config: dict[str, object]) -> str | None:
    table = config.get("quantization") or config.get("quantization_config")
    bits = table.get("bits") if isinstance(table, dict) else None
    return f"{bits}bit" if isinstance(bits, int) else None


def names() -> tuple[str, ...]:
    """Every short name, in the table's order."""
    return tuple(_BY_NAME)


def default_candidates(ability: str) -> tuple[CatalogEntry, ...]:
    """The models that `default` chooses from for one ability, the preferred first. Raises KeyError."""
    return tuple(_BY_NAME[name] for name in _DEFAULTS[ability])


def default_model_for(
    ability: str, *, available_bytes: int, installed: Iterable[str] = (), offline: bool = False
) -> CatalogEntry:
    """The model that "default" means for work that needs `ability`: 1.7B where memory allows it, else 0.6B.

    `installed` are ids of models on this machine. Offline, one that is there is taken before one that is not.
    """
    present = {name.casefold() for name in installed}
    candidates = default_candidates(ability)
    fitting = [entry for entry in candidates if entry.memory_bytes <= available_bytes] or [candidates[-1]]
    if offline:
        order = [*fitting, *(entry for entry in candidates if entry not in fitting)]
        here = [entry for entry in order if any(name.casefold() in present for name in entry.repositories)]
        return (here or fitting)[0]
    return fitting[0]


def edit_distance(left: str, right: str) -> int:
    """Levenshtein's distance: the number of letters to insert, remove or replace."""
    previous = list(range(len(right) + 1))
    for row, one in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (one != other)))
        previous = current
    return previous[-1]


def nearest_models(wanted: str, known: Iterable[str]) -> list[str]:
    """The three known names closest to `wanted` by edit distance, the organisation left out of the comparison."""
    target = wanted.casefold().removeprefix("mlx-community/")
    if len(target) > LONGEST_NEAR:
        return []  # near to none, and long to compare
    threshold = max(2, len(target) // 3)
    measured = [(edit_distance(target, name.casefold().removeprefix("mlx-community/")), name) for name in known]
    return [name for distance, name in sorted(measured) if distance <= threshold][:3]
