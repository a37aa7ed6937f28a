"""The tables `[engines.…]` of voicejobs.toml → the environments of engines that do not run in voicejobs' own."""

from __future__ import annotations

import pydantic
from pydantic import Field


class EngineSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Environment of one engine."""

    python: str = Field(
        "", description='Python that runs it, as `voicejobs models env mlx-audio` prints; "" = voicejobs\' own'
    )


class EnginesSettings(pydantic.BaseModel, frozen=True, extra="forbid", populate_by_name=True):
    """Engines whose packages may exclude those of voicejobs, by name."""

    mlx_audio: EngineSettings = Field(
        default_factory=EngineSettings, alias="mlx-audio", description="the engine of other speech models"
    )

    def python_of(self, engine: str) -> str:
        """Python of an engine as it is written; "" for voicejobs' own."""
        return self.mlx_audio.python if engine == "mlx-audio" else ""
