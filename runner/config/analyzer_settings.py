"""The table `[analyzer]` of voicejobs.toml and of a script → how its parts get their descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic
from pydantic import Field

from registry.errors import InvalidInput

Backend = Literal["rules", "openai", "mlx"]
OnFailure = Literal["rules", "fail"]
TimeoutSeconds = Annotated[float, Field(ge=1, le=3_600, allow_inf_nan=False)]
AnalyzerModel = Annotated[str, Field(max_length=500)]


def _url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or any(character.isspace() for character in text):
        raise ValueError("an address of a server is http:// or https://, with a host, as http://127.0.0.1:11434/v1")
    return text


ServerUrl = Annotated[str, Field(max_length=2_000), pydantic.AfterValidator(_url)]


class AnalyzerSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How parts of scripts get their descriptions."""

    backend: Backend = Field(
        "rules",
        description="rules: by the words of the text; openai: by a server; mlx: by a model on this machine",
    )
    url: ServerUrl = Field(
        "", description="address of a server with OpenAI's API, as http://127.0.0.1:11434/v1; needed by openai"
    )
    model: AnalyzerModel = Field(
        "",
        description="openai: the model of that server; mlx: a folder, or a repository of the hub",
    )
    timeout_s: TimeoutSeconds = Field(120.0, description="longest time for a whole answer")
    on_failure: OnFailure = Field("rules", description="rules: with a warning; fail: the script fails")

    def with_keys(self, keys: Mapping[str, Any]) -> AnalyzerSettings:
        """Settings with the keys that a job gives. Raises InvalidInput where a wanted server or model is not named."""
        merged = self.model_copy(update={key: value for key, value in keys.items() if value is not None})
        if merged.backend == "openai" and not merged.url:
            hint = 'Set `url` in [analyzer], as "http://127.0.0.1:11434/v1": nothing is sent anywhere without it.'
            raise InvalidInput('[analyzer] has backend = "openai" and no url.', hint=hint)
        if merged.backend == "mlx" and not merged.model:
            hint = "Set `model` in [analyzer] to a folder with a language model, or to a repository of the hub."
            raise InvalidInput('[analyzer] has backend = "mlx" and no model.', hint=hint)
        return merged
