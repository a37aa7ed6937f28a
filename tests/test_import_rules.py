"""The three rooms: imports go down only, absolute, without cycles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("runner", "registry", "models")
SHARED_LEAVES = {"registry.errors", "registry.durable_files"}
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import at line {node.lineno}"
            assert node.module is not None
            yield node.module


def own_imports(path: Path) -> set[str]:
    return {name for name in imported_modules(path) if name.split(".")[0] in ROOMS}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_room_imports_only_what_lies_below_it(path):
    room = module_name(path).split(".")[0]
    for name in own_imports(path):
        target = name.split(".")[0]
        if room == "registry":
            assert target == "registry", f"{path} imports {name}"
        elif room == "models":
            assert target == "models" or name in SHARED_LEAVES, f"{path} imports {name}"


def test_no_module_imports_itself_through_others():
    graph = {module_name(path): own_imports(path) for path in SOURCES}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


MODULES_OF_THE_RUNNER = [name for name in map(module_name, SOURCES) if name.split(".")[0] in ("runner", "registry")]


def test_neither_the_registry_nor_the_runner_loads_mlx():
    names = [name for name in MODULES_OF_THE_RUNNER if not name.endswith("__main__")]
    program = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; assert 'mlx' not in sys.modules"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
