"""Every command of README and docs is executed, in an instance that was made as the README says."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from models.store.catalog import CATALOG
from runner.cli.program import voicejobs
from runner.config.settings import SETTINGS_FILE
from runner.exit_codes import FAILED, NEEDS_ACTION, OK, USAGE
from tests.broken_instances import SETTINGS
from tests.models.store.making import CACHES, DESIGN, slug, speech_model
from tests.models.voices.vox_making import a_swift_prompt
from tests.printed_commands import PAGES, ROOT, Printed, documents
from tests.reference import REFERENCE
from tests.runner.cli.remedies.place import Said, run
from tests.runner.exchange.test_speaker_profiles import PROFILE
from tests.test_printed_commands import parse

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", README, re.S | re.M)
JOBS = dict(zip(("hello", "design", "lock", "speak"), BLOCKS, strict=True))
MODEL = "qwen3-tts-0.6b-base"
GAPS = {"FILE": "examples/hello.toml", "FILE…": "examples/hello.toml", "JOB": "hello", "<job>": "hello", "NAME": MODEL}
NO_COMMANDS_OF_OURS = {  # first words of the other lines at a prompt
    "git": "fetches this program",
    "make": "installs what is installed already",
    "uv": "installs what is installed already",
    "cd": "is part of the next line",
    "mkdir": "makes folders for a container",
    "docker": "needs a daemon; tests/test_containers.py reads the files",
    "(umask": "makes a key for a container",
    "curl": "is executed by tests/runner/serve/test_documented_requests.py",
    "systemctl": "needs systemd; the unit is read by tests/runner/services/test_recipes.py",
    "loginctl": "needs systemd",
    "journalctl": "needs systemd",
    "launchctl": "needs macOS; the agent is read by tests/runner/services/test_recipes.py",
}
WORKS_ON = "works until it is stopped; tests/runner/serve/test_process.py starts it"
SLOW = "computes for half a minute; tests/runner/doctor executes it"
LEFT_OUT = {
    "say": "is named alone",
    "submit": "is named alone",
    "jobs rm": "is named alone",
    "demo": "is executed by tests/runner/cli/test_demo.py",
    "demo --dir /tmp/x": "is executed by tests/runner/cli/test_demo.py",
    "serve": WORKS_ON,
    "serve --with-runner": WORKS_ON,
    "models env mlx-audio": "installs 600 MB; tests/runner/engine/test_engine_python.py tries what it makes",
    "doctor --engine": SLOW,
    "doctor --engine whistle": SLOW,
    "--root /home/me/voices run --service": "works until it is stopped; tests/runner/services starts it",
}


@dataclass(frozen=True)
class Walk:
    """A command in a place where it makes sense."""

    before: Callable[[Path], object] = lambda _: None
    code: int = OK
    instead: tuple[str, ...] = ()  # of a command that is the shape of several, or needs another name


def without_files(root: Path) -> None:
    shutil.rmtree(root / "outbox" / "hello")


def without_database(root: Path) -> None:
    for path in (root / ".voicejobs").glob("registry.sqlite*"):
        path.unlink()


def with_a_failed_job(root: Path) -> None:
    (root / "inbox" / "fails.toml").write_text(
        'kind = "synthesize"\nvoice = "ryan"\nmodel = "acme/x"\ntext = "Hello."\n'
    )
    assert run(["run", "--once", "--quiet"]).code == FAILED


def with_a_voice_file(root: Path) -> None:
    assert run(["voices", "export", "elena", "-o", str(root / "elena.vox")]).code == OK


def with_a_prompt(root: Path) -> None:
    (root / "me.cloneprompt").write_bytes(a_swift_prompt(text="Words.").to_bytes())


def with_an_imported_prompt(root: Path) -> None:
    with_a_prompt(root)
    assert run(["voices", "import", "me.cloneprompt", "--consent", "self"]).code == OK


def with_a_profile(root: Path) -> None:
    (root / "speaker.json").write_text(json.dumps(PROFILE))


def with_an_imported_profile(root: Path) -> None:
    with_a_profile(root)
    for _ in range(2):
        assert run(["voices", "import", "speaker.json", "--voice", "elena", "--consent", "self"]).code == OK


def with_a_table(root: Path) -> None:
    (root / "quests.csv").write_text("id,text\nq1,Fetch me ten apples.\n")


def with_a_script_that_asks(root: Path) -> None:
    job = 'kind = "script"\nsource = "night-train.fountain"\nnarrator = "preset:serena"\ncast = "ask"\n'
    folder = root / "inbox" / "night-train"
    folder.mkdir()
    (folder / "job.toml").write_text(job)
    play = (ROOT / "examples" / "night-train" / "night-train.fountain").read_text()
    (folder / "night-train.fountain").write_text(play.replace("ELENA", "INES"))
    run(["run", "--once", "--quiet"])


def with_the_screenplay(root: Path) -> None:
    shutil.copy(ROOT / "examples" / "night-train" / "night-train.fountain", root)


def with_finished_files(root: Path) -> None:
    job = 'kind = "master"\nid = "book"\nfrom = ["hello"]\nformats = ["mp3"]\n'
    (root / "inbox" / "book.toml").write_text(job)
    assert run(["run", "--once", "--quiet"]).code == OK


def with_a_model(_root: Path) -> None:
    assert run(["models", "pull", MODEL]).code == OK


def with_a_model_that_computes(root: Path) -> None:
    shutil.copytree(REFERENCE / "base", root / "models" / "acme_small")


def with_a_legacy_model(root: Path) -> None:
    speech_model(root.parent / CACHES / "TTS" / slug(DESIGN), kind="voice_design")


def on_a_new_machine(root: Path) -> None:
    shutil.rmtree(root / ".voicejobs")
    (root / ".voicejobs-id").unlink()


def with_a_recogniser(root: Path) -> None:
    pytest.importorskip("pocketsphinx")
    with (root / SETTINGS_FILE).open("a") as file:
        file.write('recogniser = "pocketsphinx"\n')


WALKS = {
    "README.md": {
        "init ~/voices": Walk(),
        "restore /somewhere/voices.backup": Walk(on_a_new_machine),
        "jobs show JOB": Walk(with_a_failed_job, instead=("jobs show fails",)),
        "jobs retry JOB": Walk(without_files),
        "voices import elena.vox": Walk(with_a_voice_file),
        "models path": Walk(with_a_model, instead=(f"models path {MODEL}",)),
        "init DIR": Walk(instead=("init DIR",)),
        "--set model=draft submit --wait examples/night-train": Walk(),
    },
    "books.md": {
        "script choose night-train INES 2": Walk(with_a_script_that_asks),
        "script check night-train.fountain": Walk(with_the_screenplay),
        "submit night-train.fountain --voice preset:serena": Walk(with_the_screenplay),
        "jobs retry <job>": Walk(without_files),
    },
    "engines.md": {
        "voices relock NAME --model chatterbox": Walk(instead=("voices relock elena --model chatterbox",)),
    },
    "development.md": {"init --force": Walk()},
    "exchange.md": {
        "voices import elena.vox": Walk(with_a_voice_file),
        "voices import me.cloneprompt --consent self": Walk(with_a_prompt),
        "voices export elena@3 -o elena.json": Walk(with_an_imported_profile),
        "voices import speaker.json --voice elena": Walk(with_a_profile),
        "voices import ~/.diga": Walk(code=NEEDS_ACTION),
        "voices export elena -o elena.cloneprompt": Walk(
            with_an_imported_prompt, instead=("voices export me -o elena.cloneprompt",)
        ),
    },
    "jobs.md": {
        "submit --lines quests.csv --voice elena --format flac": Walk(with_a_table),
        "transcribe FILE": Walk(with_a_recogniser, instead=("transcribe outbox/hello/track.wav",)),
    },
    "mastering.md": {
        "master check outbox/book/*.mp3 --preset acx": Walk(with_finished_files, code=FAILED),
        "status": Walk(code=NEEDS_ACTION),  # no runner is active
    },
    "models.md": {
        "models list [--all]": Walk(instead=("models list", "models list --all")),
        "models path NAME": Walk(with_a_model),
        "voices check VOICE": Walk(instead=("voices check elena",)),
        "models pull NAME [--revision COMMIT]": Walk(instead=("models pull NAME",)),
        "models verify [NAME…] [--hashes]": Walk(
            with_a_model, instead=("models verify NAME", "models verify --hashes")
        ),
        "models migrate [--dry-run | --undo] [--on-conflict POLICY]": Walk(
            with_a_legacy_model,
            instead=("models migrate --dry-run", "models migrate --on-conflict keep-existing", "models migrate --undo"),
        ),
        "models rm NAME [--force]": Walk(with_a_model, instead=("models rm NAME",)),
        "models quantize SOURCE --bits 8|6|4": Walk(
            with_a_model_that_computes, instead=("models quantize acme/small --bits 8",)
        ),
    },
    "registry.md": {"init --accept-state": Walk(without_database)},
    "serve.md": {"serve --host 0.0.0.0": Walk(code=USAGE)},
    "service.md": {
        "service install": Walk(instead=("service install --print",)),
        "service status": Walk(code=NEEDS_ACTION),
        "doctor --runner": Walk(code=NEEDS_ACTION),
        "submit --wait FILE": Walk(),
    },
}


def walked() -> Iterator[tuple[str, Printed]]:
    """Every command once, and again on a page where it needs something; but not those that a sentence only names."""
    seen = set()
    for one in documents():
        text = one.text.split("  #")[0].strip()
        has_walk = text in WALKS.get(one.place, {})
        key = (one.place, text) if has_walk else text
        if key in seen or text in LEFT_OUT:
            continue
        seen.add(key)
        if has_walk or not (one.is_inline and only_names(one)):
            yield text, one


def only_names(one: Printed) -> bool:
    """Whether what is printed in a sentence is no whole command."""
    try:
        parse(voicejobs, one.words)
    except click.exceptions.Exit:
        return False
    except click.UsageError:
        return True
    return False


EVERY = list(walked())


@pytest.fixture(scope="session")
def as_in_the_readme(tmp_path_factory) -> Path:
    """An instance in which the README's jobs were done, and a voice has been locked a second time."""
    root = tmp_path_factory.mktemp("readme") / "instance"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root.parent))
        assert run(["init", str(root)]).code == OK
        (root / SETTINGS_FILE).write_text(SETTINGS.replace("offline = true", "offline = false"))
        for name, job in JOBS.items():
            (root / "inbox" / f"{name}.toml").write_text(job)
        (root / "inbox" / "lock-again.toml").write_text(JOBS["lock"])
        said = run(["--root", str(root), "run", "--once", "--quiet"])
        assert said.code == OK, said
        assert run(["--root", str(root), "backup", str(root / "voices.backup")]).code == OK
    return root


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """Models as a hub has them."""
    folder = tmp_path_factory.mktemp("published")
    for kind in ("base", "voice_design", "custom_voice"):
        speech_model(folder / kind, kind=kind)
    return folder


@pytest.fixture
def root(as_in_the_readme, published, hub, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which the commands are typed, with the examples beside; and a hub that has every model."""
    copy = tmp_path / "instance"
    shutil.copytree(as_in_the_readme, copy, symlinks=True)
    (copy / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "somewhere").mkdir()
    shutil.copy(copy / "voices.backup", tmp_path / "somewhere")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("aplay", "systemctl"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.chdir(copy)
    for entry in CATALOG:
        hub.add_folder(entry.repositories[0], published / entry.variant)
    return copy


def typed(text: str) -> Said:
    """What a command line of the docs does, in places of ours."""
    for there, here in (("/somewhere", "../somewhere"), ("/mnt/nas/voices", "../somewhere"), ("/home/me/voices", ".")):
        text = text.replace(there, here)
    words = []
    for word in shlex.split(text, comments=True):
        if word in (">", "|"):
            break
        word = str(Path(word).expanduser()) if word.startswith("~") else word
        words += map(str, Path().glob(word)) if "*" in word else [GAPS.get(word, word)]
    if words[-1] == "run":
        words.append("--once")
    return run(words)


def when(page: str) -> Sequence[pytest.MarkDecorator]:
    """The README's commands are tried every time, those of the docs by the long tests."""
    return () if page == "README.md" else (pytest.mark.slow,)


@pytest.mark.parametrize(
    ("text", "one"),
    [pytest.param(text, one, id=f"{one.place}: {text}", marks=when(one.place)) for text, one in EVERY],
)
def test_a_command_of_the_docs_does_what_it_should(text, one, root):
    walk = WALKS.get(one.place, {}).get(text, Walk())
    walk.before(root)
    for line in walk.instead or (text,):
        said = typed(line)
        assert said.code == walk.code, (line, said)
        assert "unforeseen" not in said.text


def test_every_walk_is_of_a_command_in_the_docs():
    shown = {(one.place, text) for text, one in EVERY}
    assert {(page, text) for page, walks in WALKS.items() for text in walks} <= shown
    assert set(LEFT_OUT) <= {one.text.split("  #")[0].strip() for one in documents()}


def test_every_other_line_at_a_prompt_is_known():
    lines = [
        line.removeprefix("$ ")
        for page in PAGES
        for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
        for line in block.splitlines()
    ]
    assert {line.split()[0] for line in lines if line.strip()} - {"voicejobs"} <= set(NO_COMMANDS_OF_OURS)
