"""What may import what: rooms, the packages within them, and the few places that may act on the world."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("runner", "registry", "models")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MOST_MODULES_IN_A_FOLDER = 20

# One list a room, from the ground up: what is in a line imports only lines before it, and nothing of its own line.
LAYERS = {
    "registry": (
        "errors",
        "durable_files",
        "storage",
        "voices",
        "jobs",
        "upkeep",
        "registry",
    ),
    "models": (
        "errors extras",
        "protocol languages hardware named_paths engine_kinds",
        "text checkpoint_format",
        "audio voices store",
        "migrate",
        "fetch draft qwen3_tts hibari",
        "listen",
        "mlx_audio",
        "processes",
    ),
    "models.qwen3_tts": (
        "checkpoint worker_threads numpy_ops",
        "prompt codec",
        "network",
        "network_cpu",
        "speech_model text_pieces random_checkpoint",
        "memory_limits selftest_results",
        "load",
        "engine selftest quantize",
    ),
    "runner": (
        "errors exit_codes names redaction version text_format",
        "output_files held_folders beginnings reading_process",
        "config",
        "exchange",
        "jobfile",
        "inbox script",
        "outbox scheduling",
        "engine master hooks",
        "submission",
        "cluster listen",
        "worker",
        "doctor serve services",  # the commands of `cli` start them
        "cli",
    ),
}
TO_COME = {
    "runner": {"cluster"},
}
MODELS_MAY_USE_OF_REGISTRY = {"registry.errors", "registry.durable_files"}
FORWARDING = {"models.qwen3_tts", "runner.cli"}

THREADS_START_IN = {
    "runner.worker", "runner.engine", "runner.listen.verifier", "runner.listen.weights",
    "runner.inbox.watcher", "runner.hooks",
    "runner.scheduling.plan_thread", "runner.inbox.job_reader",  # large jobs hold nobody up
    "models.processes.requests",  # reads requests while the model computes
    "models.fetch.download_process",  # ends with its parent
    "models.qwen3_tts.worker_threads", "models.qwen3_tts.load",
    "runner.cli.live_line",  # draws while the runner works
    "registry.durable_files",  # flushes several files at once
}  # fmt: skip
PROCESSES_START_IN = {
    "runner.engine", "runner.reading_process", "runner.doctor.engine_trial", "runner.cli.player",
    "runner.cli.quantize_run",
    "runner.serve.runner_process", "runner.hooks.delivery", "runner.services.supervisor",
    "models.audio.conversion", "models.audio.foreign_formats",  # afconvert and ffmpeg
    "models.fetch.download_process",
    "models.hardware.blas",  # measures each library in a process of its own
}  # fmt: skip
KNOW_NO_DATABASE = {f"runner.{package}" for package in ("config", "jobfile", "inbox", "outbox", "engine")}
PURE = {"runner.jobfile", "runner.scheduling.line_plan", "runner.scheduling.scheduler"}
IMPURE_MODULES = {"os", "io", "shutil", "tempfile", "time", "threading", "subprocess", "socket", "random", "secrets"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))))


@cache
def imported_names(name: str) -> frozenset[str]:
    """Dotted names that a module imports, also within functions and for type checkers only."""
    found = set()
    for node in nodes(name):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name}: relative import at line {node.lineno}"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def own_imports(name: str) -> frozenset[str]:
    """Modules of ours that a module imports."""
    ours = (imported for imported in imported_names(name) if imported.split(".")[0] in ROOMS)
    return frozenset(imported if imported in MODULES else imported.rpartition(".")[0] for imported in ours)


@cache
def everything_below(name: str) -> frozenset[str]:
    return own_imports(name).union(*(everything_below(imported) for imported in own_imports(name)))


def lies_in(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def assert_only_in(places: set[str], names: list[str]) -> None:
    """Every name lies in a place, and every place has one."""
    assert [name for name in names if not lies_in(name, places)] == []
    assert [place for place in places if not any(lies_in(name, {place}) for name in names)] == []


def imports_any(name: str, wanted: set[str]) -> bool:
    return any(lies_in(imported, wanted) for imported in imported_names(name))


def called_names(name: str) -> Iterator[str]:
    """`Thread` of `threading.Thread(…)`, `open` of `open(…)`."""
    for node in nodes(name):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def upward_imports(room: str) -> list[str]:
    level = {part: number for number, line in enumerate(LAYERS[room]) for part in line.split()}
    return [
        f"{name} imports {imported}"
        for name in MODULES
        if name.startswith(f"{room}.") and "__main__" not in name
        for imported in own_imports(name)
        if imported.startswith(f"{room}.")
        and (here := name.removeprefix(f"{room}.").split(".")[0])
        != (there := imported.removeprefix(f"{room}.").split(".")[0])
        and level[there] >= level[here]
    ]


# ---- rooms and packages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", LAYERS)
def test_a_package_imports_only_packages_of_lines_before_its_own(room):
    assert upward_imports(room) == []


@pytest.mark.parametrize("room", LAYERS)
def test_every_package_has_its_place_in_the_list(room):
    present = {name.removeprefix(f"{room}.").split(".")[0] for name in MODULES if name.startswith(f"{room}.")}
    listed = set(" ".join(LAYERS[room]).split())
    assert present - {"__main__"} <= listed
    assert listed - present == TO_COME.get(room, set())


def test_a_room_imports_only_rooms_below_it():
    allowed = {"registry": {"registry"}, "models": {"models"} | MODELS_MAY_USE_OF_REGISTRY, "runner": set(ROOMS)}
    for name in MODULES:
        for imported in own_imports(name):
            assert lies_in(imported, allowed[name.split(".")[0]]), f"{name} imports {imported}"


def test_no_module_imports_itself_through_others():
    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for imported in own_imports(name):
                visit(imported, (*trail, name))
            done.add(name)

    done: set[str] = set()
    for name in MODULES:
        visit(name, ())


def test_no_folder_holds_more_modules_than_one_can_overlook():
    for folder in {path.parent for path in (*SOURCES, *(ROOT / "tests").rglob("*.py"))}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES_IN_A_FOLDER, folder


def test_a_package_is_a_docstring_and_forwards_no_names():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name not in FORWARDING:
            (only,) = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant), name


# ---- who acts on the world ---------------------------------------------------------------------------------------


def test_only_the_command_line_imports_click():
    assert_only_in({"runner.cli"}, [name for name in MODULES if imports_any(name, {"click"})])


def test_threads_start_in_few_places():
    starters = {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}
    assert_only_in(THREADS_START_IN, [name for name in MODULES if starters & set(called_names(name))])


def test_child_processes_start_in_few_places():
    assert_only_in(PROCESSES_START_IN, [name for name in MODULES if imports_any(name, {"subprocess"})])
    others = {"os.fork", "os.execv", "os.posix_spawn", "os.system", "multiprocessing", "pty", "asyncio"}
    assert [name for name in MODULES if imports_any(name, others)] == []


def test_only_the_storage_of_the_registry_imports_sqlite():
    assert_only_in({"registry.storage"}, [name for name in MODULES if imports_any(name, {"sqlite3", "sqlalchemy"})])


def test_what_knows_no_database_does_not_reach_it_through_others_either():
    database = {"registry.storage.database", "registry.storage.session"}
    knowing = [name for name in MODULES if database & everything_below(name)]
    assert [name for name in knowing if lies_in(name, KNOW_NO_DATABASE)] == []


def test_questions_in_sql_are_asked_by_the_registry_alone():
    asking = {"rows", "execute_many"}
    assert_only_in(
        {"registry", "runner.doctor.registry_checks"},  # which looks at the database itself, by pragmas
        [name for name in MODULES if asking & set(called_names(name))],
    )


def test_pure_modules_touch_no_disk_clock_chance_or_thread():
    for name in MODULES:
        if lies_in(name, PURE):
            assert not imports_any(name, IMPURE_MODULES | {"pathlib.Path"}), name
            assert not {"open", "now", "today"} & set(called_names(name)), name


def loaded_with(names: list[str]) -> set[str]:
    program = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.split())


def test_neither_the_registry_nor_the_runner_loads_mlx():
    names = [name for name in MODULES if lies_in(name, {"runner", "registry"}) and not name.endswith("__main__")]
    assert "mlx" not in loaded_with(names)


def test_the_upkeep_of_the_registry_is_loaded_when_asked_for():
    loaded = loaded_with(["registry.registry", "runner.worker.daemon"])
    assert [name for name in loaded if lies_in(name, {"registry.upkeep"})] == []


@pytest.mark.parametrize("room", LAYERS)
def test_the_architecture_page_shows_the_layers_of_this_test(room):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    here = [set(line.split()) - TO_COME.get(room, set()) for line in LAYERS[room]]
    (shown,) = re.findall(rf"^- `{room.replace('.', '/')}`: (.*<.*)$", page, re.MULTILINE)
    assert [set(re.findall(r"\w+", line)) for line in shown.split(" < ")] == [line for line in here if line]
