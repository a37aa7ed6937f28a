"""A remedy and the state that prints it → the state made, the remedy obeyed as printed, and what it helped.

Every command names its instance by `--root` from a folder elsewhere: what is printed must reach the same instance.
"""

import contextlib
import io
import json
import re
import shlex
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.store.catalog import CATALOG
from registry.errors import VoiceJobsError
from runner.cli.program import run_command
from runner.config.instance import Instance, open_instance
from runner.config.printed_commands import with_flags
from runner.config.settings import SETTINGS_FILE
from runner.exit_codes import NEEDS_ACTION, OK
from tests.broken_instances import SETTINGS
from tests.models.fetch.fake_hub import FakeHub
from tests.models.store.making import speech_model

NO_RUNNER = re.compile(r"No runner is active; .*`voicejobs ([^`]+)`")


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str


class Place:
    """An instance that has worked, and the folder elsewhere in which its commands are typed."""

    def __init__(self, root: Path, elsewhere: Path, hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
        self.root, self.elsewhere, self.hub, self.patch = root, elsewhere, hub, patch
        self.at_the_end = contextlib.ExitStack()

    @property
    def instance(self) -> Instance:
        return open_instance(self.root)

    @property
    def state_dir(self) -> Path:
        return self.root / ".voicejobs"

    def type(self, line: str) -> Said:
        """A command line as it is typed, without the program's name; one about the root has it in front."""
        return run(["--root", str(self.root), *shlex.split(line)])

    def bare(self, line: str) -> str:
        """What a command line says that is not about this instance."""
        return run(shlex.split(line)).text

    def text_of(self, error: VoiceJobsError) -> str:
        """What a command about this instance prints of an error."""
        return with_flags(f"{error.message}\n{error.hint}", ("--root", str(self.root)))

    def obey(self, command: str) -> Said:
        """A printed command, as it is; and then the one that its output asks for where no runner is active."""
        words = shlex.split(command)
        said = run([*words, "--once", "--quiet"] if words[-1] == "run" else words)
        if (following := NO_RUNNER.search(said.text)) and words[-1] != "run":
            assert self.obey(following[1]).code == OK, said.text
        return said

    def drop(self, name: str, text: str) -> None:
        (self.root / "inbox" / name).write_text(text, encoding="utf-8")

    def drain(self) -> int:
        return self.type("run --once --quiet").code

    def did(self, **jobs: str) -> None:
        """Jobs dropped together, by name, and worked on."""
        for name, text in jobs.items():
            self.drop(f"{name}.toml", text)
        self.drain()

    def set(self, **values: object) -> None:
        """Settings of the instance, other than those that every test has."""
        kept = [line for line in SETTINGS.splitlines() if line.split(" ")[0] not in values]
        text = "\n".join([*kept, *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
        (self.root / SETTINGS_FILE).write_text(f"{text}\n", encoding="utf-8")

    def execute(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.state_dir / "registry.sqlite")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def online(self) -> None:
        """The network is there, with a hub that has every known model."""
        self.set(offline=False)
        folder = self.elsewhere / "published"
        for entry in CATALOG:
            if not (folder / entry.variant).exists():
                speech_model(folder / entry.variant, kind=entry.variant)
            self.hub.add_folder(entry.repositories[0], folder / entry.variant)


def run(words: list[str]) -> Said:
    """A whole command line."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run_command(words)
    return Said(code, out.getvalue())


def nothing_more(place: Place) -> None:
    """The state is there already, or what was obeyed has said enough."""


@dataclass(frozen=True)
class Remedy:
    """A printed command with the state that prints it. It helps: its output tells something, or its reason is gone."""

    module: str  # where it is written
    command: str  # as it is written there
    shown_by: str | Callable[[Place], str]  # the command line that prints it, or a text
    state: Callable[[Place], object] = nothing_more
    code: int = NEEDS_ACTION
    fill: Mapping[str, str] = field(default_factory=dict)  # for what a person fills in
    also: Callable[[Place], object] = nothing_more  # what else the sentence says
    answers: int = OK
    tells: str = ""
    by: Callable[[Place, str], Said] = Place.obey
    then: str | Callable[[Place], object] | None = None  # works afterwards; else, without `tells`, `shown_by` does

    def __str__(self) -> str:
        return f"{Path(self.module).stem}: {self.command}"

    def printed(self, place: Place) -> tuple[str, str]:
        """What is printed, and the command in it."""
        if callable(self.shown_by):
            text = self.shown_by(place)
        else:
            said = place.type(self.shown_by.format(root=place.root))
            assert said.code == self.code, said
            text = said.text
        pattern = pattern_of(self.command)
        found = [one for one in commands_in(text) if pattern.fullmatch(one) or pattern.fullmatch(without_root(one))]
        assert found, f"no {self.command!r} in {text!r}"
        return text, found[-1]

    def try_it(self, place: Place) -> None:
        self.state(place)
        text, command = self.printed(place)
        for gap, value in self.fill.items():
            assert gap in command, (gap, command)
            command = command.replace(gap, value.format(root=place.root, elsewhere=place.elsewhere))
        self.also(place)
        said = self.by(place, command)
        assert said.code == self.answers, (command, said)
        assert self.tells in said.text, (command, said)
        self._helped(place, text)

    def _helped(self, place: Place, before: str) -> None:
        if callable(self.then):
            self.then(place)
        elif self.then is not None:
            said = place.type(self.then.format(root=place.root))
            assert said.code == OK, said
        elif not self.tells and callable(self.shown_by):
            assert self.shown_by(place) != before
        elif not self.tells:
            said = place.type(str(self.shown_by).format(root=place.root))
            assert said.code == OK, said


def commands_in(text: str) -> list[str]:
    """Commands of ours that a text prints, without the program's name."""
    return re.findall(r"`voicejobs ([^`]+)`", text)


def without_root(command: str) -> str:
    return re.sub(r"^--root (?:'[^']*'|\S+) ", "", command)


def pattern_of(command: str) -> re.Pattern[str]:
    """Pattern of a command as it is written, with anything for what the program fills in."""
    return re.compile("".join(".+" if part.startswith("{") else re.escape(part) for part in parts_of(command)))


def parts_of(command: str) -> list[str]:
    """Text and `{expression}`s in turn; an expression may hold braces of its own."""
    parts, depth = [""], 0
    for character in command:
        if character == "{" and depth == 0:
            parts.append("")
        depth += {"{": 1, "}": -1}.get(character, 0)
        parts[-1] += character
        if character == "}" and depth == 0:
            parts.append("")
    return [part for part in parts if part]
