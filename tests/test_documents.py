"""What the docs show is true: examples are valid, and help pages are those of the program."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.cli.help_pages import help_pages
from runner.config.instance import Instance
from runner.config.settings import SETTINGS_FILE, Settings, default_file
from runner.jobfile.parse import parse_job
from runner.jobfile.specs import MAX_CANDIDATES, MAX_LINES, SPEC_CLASSES
from runner.jobfile.syntax import MAX_FILE_BYTES, MAX_NESTING, MAX_TABLES, MAX_VALUES
from runner.names import PRESET_NAMES
from runner.submission.checked_job import check_file
from tests.printed_commands import printed_texts

ROOT = Path(__file__).parents[1]
JOBS_PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*") if path.suffix in (".toml", ".json"))
ROOMS = ("runner", "registry", "models")
MODULES = [path.as_posix() for room in (*ROOMS, "tests", "benchmarks") for path in (ROOT / room).rglob("*.py")]
BLOCKS = re.findall(r"^```toml\n(.*?)^```", JOBS_PAGE, re.DOTALL | re.MULTILINE)
README_BLOCKS = re.findall(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_is_a_valid_job(path):
    spec = parse_job(path.read_bytes(), file_name=path.name)
    beside = [name for name in spec.references() if (path.parent / name).is_file()]
    assert beside == list(spec.references()) or spec.references() == ("me.wav",)


@pytest.mark.parametrize("block", [*BLOCKS, *README_BLOCKS])
def test_every_job_file_in_the_docs_is_valid(block):
    parse_job(block.encode(), file_name="docs.toml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_example_does_what_the_product_warns_of(path, tmp_path):
    verdict = check_file(str(path), instance=Instance(tmp_path, Settings()))
    assert verdict.warnings == []
    assert [problem for problem in verdict.problems if "me.wav" not in problem] == []  # your own recording


# Words that an English engineer would not use so: a literal reading of German ones.
ODD_WORDS = re.compile(r"\b(as it stands|stands in|for good|anew|whose turn has come|mend|beside it lie)\b", re.I)


def test_what_the_program_prints_is_in_plain_english():
    assert [f"{place}: {text[:80]}" for place, text in printed_texts() if ODD_WORDS.search(text)] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_what_the_pages_say_is_in_plain_english(page):
    if page.name != "log.md":
        assert [line[:80] for line in page.read_text(encoding="utf-8").splitlines() if ODD_WORDS.search(line)] == []


def test_every_kind_of_job_has_an_example_in_the_docs():
    shown = {parse_job(block.encode(), file_name="docs.toml").kind for block in BLOCKS}
    assert shown == set(SPEC_CLASSES)


def test_every_key_of_job_files_is_in_the_docs():
    for spec_class in SPEC_CLASSES.values():
        for name, field in spec_class.model_fields.items():
            assert f"`{field.alias or name}`" in JOBS_PAGE or f"`[{name}]`" in JOBS_PAGE or name in ("kind", "file")


def test_the_limits_in_the_docs_are_those_of_the_program():
    for limit in (MAX_LINES, MAX_TABLES, MAX_VALUES):
        assert f"{limit:,}" in JOBS_PAGE
    assert f"{MAX_FILE_BYTES >> 20} MiB, {MAX_NESTING} levels" in JOBS_PAGE
    assert f"1 to {MAX_CANDIDATES}" in JOBS_PAGE
    assert all(name in JOBS_PAGE for name in PRESET_NAMES)


def test_the_examples_page_names_every_example():
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES:
        relative = path.relative_to(ROOT / "examples")
        assert f"`{relative}`" in page or f"`{relative.parent}/`" in page


def test_the_repository_is_an_instance_with_every_key_at_its_default():
    assert (ROOT / SETTINGS_FILE).read_text(encoding="utf-8") == default_file(), "voicejobs init --force"


def test_the_help_pages_are_those_of_the_program():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == help_pages(), "python -m runner.cli.help_pages > docs/commands.md"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(page):
    if page.name != "log.md":  # the log tells of modules as they were
        named = re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
        assert [path for path in named if not any(module.endswith(f"/{path}") for module in MODULES)] == []


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


def test_every_docstring_begins_with_the_thing_or_the_act_it_is_about():
    beginning_otherwise = [
        f"{path.relative_to(ROOT)}:{line} {text.splitlines()[0]}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, text in docstrings(path)
        if re.match(r"(What|That|Those)\b", text)
    ]
    assert beginning_otherwise == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_opens_with_a_sentence_about_itself(room):
    silent = [path for path in (ROOT / room).rglob("*.py") if not next(docstrings(path))[1]]
    assert silent == []
