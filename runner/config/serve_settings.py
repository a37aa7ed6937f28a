"""The table `[serve]` of voicejobs.toml → settings of the HTTP server."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field

Port = Annotated[int, Field(ge=0, le=65_535)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class ServeSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Settings of `voicejobs serve`."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; any but this machine's own needs key_file"
    )
    port: Port = Field(8880, description="port of HTTP; 0 = any that is free")
    wyoming_host: str = Field(
        "127.0.0.1", min_length=1, description="address of Home Assistant's protocol, which has no keys"
    )
    wyoming_port: Port = Field(10_200, description="port of Home Assistant's protocol; 0 = off")
    zeroconf: bool = Field(False, description="whether Home Assistant is told on the network that this server is here")
    key_file: str = Field("", description='file with the key that every request must carry; "" = none')
    open_lists: bool = Field(False, description="whether lists of voices and models need no key")
    hosts: list[Name] = Field(default_factory=list, description="further names under which this server is reached")
    origins: list[Name] = Field(
        default_factory=list, description='other pages that may use it from a browser, as "https://example.org"'
    )
    max_input_chars: int = Field(20_000, ge=1, le=1_000_000, description="longest text of a request for speech")
    max_waiting: int = Field(100, ge=1, le=100_000, description="jobs that may wait before further ones are refused")
    max_upload_bytes: int = Field(
        100_000_000, ge=1_000, le=2**40, description="largest job file with all that is sent with it"
    )
    voices: dict[str, Name] = Field(
        default_factory=dict,
        description='other names of voices, for programs that know only their own: alloy = "elena"',
    )
    models: dict[str, Name] = Field(
        default_factory=lambda: dict.fromkeys(
            ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "kokoro", "whisper-1"), "default"
        ),
        description="other names of models, for programs that know only their own",
    )
