"""A model's name → the kind of engine that opens it: one of ours, or one that another package registers.

Other packages register theirs as entry points of the group `voicejobs.engines`: the name of the engine, and a function
that takes a `ModelChoice` and returns an `Engine`. Nothing is imported here: openers run in the engine process alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENTRY_POINTS = "voicejobs.engines"
TEST_ENGINES = "VOICEJOBS_TEST_ENGINES"
_FUNCTION = re.compile(r"[\w.]+:\w+")


def _named(place: str) -> Callable[..., Any]:
    module_name, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    return found


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """One engine: its name, and what the runner must know of it before it runs."""

    name: str
    opener: str  # "module:function", which takes a ModelChoice
    has_weights: bool = False  # its models are folders of the shared directory; else its name is its only model
    module: str = ""  # the package that it needs,
    extra: str = ""  # and the extra that installs it
    has_own_presets: bool = False  # besides the names that Qwen3-TTS and draft share
    clones: bool = False  # makes a prompt from any recording, if its model can
    narrator: str = "serena"  # the preset that reads books where no voice is named
    languages: str = ""  # "module:function" that names the languages it speaks, where that is known without loading it,
    voices: str = ""  # and of its own presets; it takes the folder of further voices, or None
    repository: str = ""  # whose files it uses as well where the shared directory has them
    models: str = ""  # "module:function" that says whether a name is a known model of this engine with weights

    def spoken_languages(self) -> tuple[str, ...]:
        """Languages that it speaks; () when that is not known before it is loaded."""
        return tuple(_named(self.languages)()) if self.languages else ()

    def own_presets(self, further: Path | None) -> tuple[str, ...]:
        """Its own presets, as far as they are known before it is loaded."""
        return tuple(_named(self.voices)(further)) if self.voices else ()

    def knows(self, model: str) -> bool:
        """Whether a name means a model of this engine: after its own name and a colon, or a known one."""
        return model.startswith(f"{self.name}:") or bool(self.models and _named(self.models)(model))

    @property
    def is_installed(self) -> bool:
        return not self.module or importlib.util.find_spec(self.module) is not None


DRAFT = EngineKind(
    name="draft",
    opener="models.draft.engine:open_engine",
    module="espeakng_loader",
    extra="draft",
    languages="models.draft.languages:spoken_languages",
)
HIBARI = EngineKind(
    name="hibari",
    opener="models.hibari.engine:open_engine",
    module="hibari",
    extra="natural",
    has_own_presets=True,
    narrator="heart",
    languages="models.hibari.voices:spoken_languages",
    voices="models.hibari.voices:voice_names",
    repository="maureesewilliams/hibari",
)
QWEN3_TTS = EngineKind(
    name="qwen3-tts",
    opener="models.processes.open_engine:open_qwen3_tts",
    has_weights=True,
    module="mlx",
    extra="cpu",
    clones=True,
)
MLX_AUDIO = EngineKind(
    name="mlx-audio",
    opener="models.mlx_audio.engine:open_engine",
    has_weights=True,
    module="mlx_audio",
    extra="mlx-audio",
    has_own_presets=True,
    clones=True,
    models="models.store.catalog:is_of_mlx_audio",
)
OWN = (DRAFT, HIBARI, QWEN3_TTS, MLX_AUDIO)
_OWN_BY_NAME = {kind.name: kind for kind in OWN}


def kind_named(name: str) -> EngineKind | None:
    """The engine of this name; `module:function` is one where the environment allows engines made for tests."""
    if name in _OWN_BY_NAME:
        return _OWN_BY_NAME[name]
    if _FUNCTION.fullmatch(name) and os.environ.get(TEST_ENGINES):
        return EngineKind(name=name, opener=name)
    return _foreign_kinds().get(name)


def kind_of_model(model: str) -> EngineKind:
    """The engine that opens a model: one with this name, before a colon, or that knows it; else Qwen3-TTS."""
    wanted = model.strip()
    folded = wanted.casefold()
    if MLX_AUDIO.knows(folded):
        return MLX_AUDIO
    for name in (wanted, folded, folded.partition(":")[0]):
        if (kind := kind_named(name)) is not None and not kind.has_weights:
            return kind
    return QWEN3_TTS


def model_without_folder(model: str) -> str | None:
    """Canonical name of a model whose engine needs no folder of weights; None for all others."""
    kind = kind_of_model(model)
    if kind.has_weights:
        return None
    wanted = model.strip()
    return kind.name if wanted.casefold() == kind.name else wanted


def engine_names() -> tuple[str, ...]:
    """Every engine's name, our own first."""
    return (*_OWN_BY_NAME, *_foreign_kinds())


@functools.cache
def _foreign_kinds() -> dict[str, EngineKind]:
    """Engines that other packages register; they find their own weights."""
    points = [point for point in importlib.metadata.entry_points(group=ENTRY_POINTS) if point.name not in _OWN_BY_NAME]
    return {point.name: EngineKind(name=point.name, opener=point.value, has_own_presets=True) for point in points}
