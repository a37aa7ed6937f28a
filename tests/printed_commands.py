"""Every command of ours that messages, help and docs print → its words, ready to be parsed by the command line."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("runner", "registry", "models")
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_HISTORY = {"log.md", "commands.md"}  # as things were; and pages that the program itself writes
PROGRAM = re.compile(r"^(?:\S*/)?voicejobs (?=\S)")


@dataclass(frozen=True)
class Printed:
    """A command as it is printed: the place, and the text behind `voicejobs`."""

    place: str
    text: str
    is_inline: bool = False  # in the midst of a sentence, where `voicejobs backup` names the command

    @property
    def words(self) -> list[str]:
        """Arguments, with a plausible value for whatever the program fills in."""
        text = re.sub(r"\{shlex\.(?:quote|join)\(.*?\)+\}|\{[^{}]*\}", "1", self.text)
        words = shlex.split(text, comments=True)
        ends = [index for index, word in enumerate(words) if word in ("|", ">", "<", "&&", "||", ";")]
        return words[: ends[0]] if ends else words


def messages() -> Iterator[Printed]:
    """Commands between backticks in the texts that the program prints."""
    for place, text in _texts():
        for found in re.findall(r"`voicejobs ([^`]+)`", text):
            yield Printed(place, found)


def unmarked() -> Iterator[str]:
    """Places where a text for people names a command without backticks: no flag would be added to it."""
    names = "init|demo|run|submit|say|check|schema|jobs|voices|models|doctor|backup|restore"
    for place, text in _texts():
        if re.search(rf"(?<!`)\bvoicejobs (?:{names})\b", re.sub(r"`[^`]*`", "", text)):
            yield f"{place}: {text}"


def printed_texts() -> Iterator[tuple[str, str]]:
    """Place and value of every string of the program that may be printed."""
    yield from _texts()


def examples() -> Iterator[Printed]:
    """Examples below the help of a command."""
    for path, tree in _modules():
        for value in _examples_in(tree):
            found = re.search(r"voicejobs ([^)]*)", value.value)
            assert found, value.value
            yield Printed(f"{path}:{value.lineno}", found[1])


def documents() -> Iterator[Printed]:
    """Commands in the docs: between backticks, at a prompt, in a crontab, and of a service."""
    for page in PAGES:
        if page.name in OF_HISTORY:
            continue
        text = page.read_text(encoding="utf-8")
        for inline in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
            if found := PROGRAM.match(inline):
                yield Printed(page.name, inline[found.end() :], is_inline=True)
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                command = re.sub(r"^(?:\$ |ExecStart=|[\d*/]+(?: [\d*/]+){4} )", "", line.strip())
                if found := PROGRAM.match(command):
                    yield Printed(page.name, re.sub(r" {3,}.*", "", command[found.end() :]))


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _texts() -> Iterator[tuple[str, str]]:
    """Place and value of every string that may be printed, with `{expression}` for what is filled in."""
    for path, tree in _modules():
        left_out = set(_not_printed(tree))
        for node in ast.walk(tree):
            if id(node) not in left_out and (text := _text_of(node)) is not None:
                yield f"{path}:{node.lineno}", text  # type: ignore[attr-defined]


def _not_printed(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)  # a docstring
        elif isinstance(node, ast.JoinedStr):
            yield from (id(part) for value in node.values for part in ast.walk(value))
    yield from map(id, _examples_in(tree))


def _examples_in(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings that decorators take as examples of a command."""
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", ()):
            for value in ast.walk(decorator):
                if isinstance(value, ast.Constant) and re.search(r"(?<!`)voicejobs ", str(value.value)):
                    yield value


def _text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
            for part in node.values
        )
    return None
