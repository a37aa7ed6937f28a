"""A table `[[hooks]]` of voicejobs.toml → who is told of what, and in which words."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import pydantic
from pydantic import Field

HookEvent = Literal["job.done", "job.partial", "job.failed", "candidates.ready", "disk.low", "engine.dead"]
PLACEHOLDER = re.compile(r"\{\{\s*([^{}|]*?)\s*(\|\s*json\s*)?\}\}")
KNOWN_ROOTS = ("type", "timestamp", "data")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
OWN_HEADERS = ("host", "content-length", "connection", "transfer-encoding")
NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f\\]")

Text = Annotated[str, Field(max_length=10_000)]
Argument = Annotated[str, Field(max_length=10_000)]


class HookSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One receiver: a URL or a command."""

    on: list[HookEvent] = Field(min_length=1, description="events of which it is told")
    url: str = Field("", max_length=2_000, description="http or https; it is sent a POST")
    template: Text = Field(
        "", description='body instead of JSON: text with {{data.job}} or {{data.job | json}}; "" = JSON'
    )
    headers: dict[str, Text] = Field(default_factory=dict, description="further headers of the POST")
    secret_file: str = Field("", description='file with the secret that signs the POST, as whsec_…; "" = unsigned')
    command: list[Argument] = Field(
        default_factory=list, max_length=1_000, description="program and arguments; it gets the JSON on standard input"
    )

    @pydantic.field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not url:
            return url
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            is_usable = False
        if not is_usable or NOT_IN_A_URL.search(url):
            raise ValueError("it must be a URL such as https://ntfy.sh/my-topic")
        if "@" in parts.netloc:
            raise ValueError("a user and a password belong in headers, as Authorization")
        return url

    @pydantic.field_validator("template")
    @classmethod
    def _names_what_there_is(cls, template: str) -> str:
        for path, _ in PLACEHOLDER.findall(template):
            if path.split(".")[0] not in KNOWN_ROOTS:
                raise ValueError(f"{{{{{path}}}}} is unknown; a name begins with type, timestamp or data")
        return template

    @pydantic.field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not HEADER_NAME.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set")
            if not value.isprintable() or any(ord(character) > 255 for character in value):
                raise ValueError(f"the value of {name} has characters that no header may have")
        return headers

    @pydantic.field_validator("command")
    @classmethod
    def _is_command(cls, command: list[str]) -> list[str]:
        if command and (not command[0] or any("\0" in part for part in command)):
            raise ValueError("it begins with the name of a program")
        return command

    @pydantic.model_validator(mode="after")
    def _is_one_receiver(self) -> HookSettings:
        if bool(self.url) == bool(self.command):
            raise ValueError("a hook has either url or command")
        if self.command and (self.template or self.headers or self.secret_file):
            raise ValueError("template, headers and secret_file belong to a url; a command gets JSON")
        return self

    @property
    def receiver(self) -> str:
        """The receiver as people are told of it, without what may be secret in it."""
        if self.command:
            return self.command[0]
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
