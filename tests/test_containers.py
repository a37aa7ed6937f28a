"""The Containerfile and the compose example: what they copy, install, set and start exists, and fits together."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runner.config.settings import environment_name, load_settings, setting_keys
from tests.printed_commands import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = ROOT / "examples" / "containers" / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def steps():
    """(instruction, rest) of the Containerfile, continuation lines joined."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n", " ", "".join(line for line in text.splitlines(True) if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def all_of(instruction):
    return [rest for name, rest in steps() if name == instruction]


def variables():
    (text,) = all_of("ENV")
    return dict(pair.split("=", 1) for pair in shlex.split(text))


def test_the_image_holds_everything_that_is_installed():
    copied = {source for rest in all_of("COPY") for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    packages = {pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= copied and {"pyproject.toml", PROJECT["project"]["readme"]} <= copied
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source}" for source in copied} <= set(ignored)


def test_it_installs_extras_that_exist():
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', " ".join(all_of("RUN")))
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    assert "serve" in extras


def test_its_variables_are_settings_and_its_places_are_volumes(tmp_path):
    known = {environment_name(key) for key in setting_keys()} | {"VOICEJOBS_ROOT"}
    ours = {name: value for name, value in variables().items() if name.startswith("VOICEJOBS_")}
    assert set(ours) <= known
    (tmp_path / "voicejobs.toml").write_text("")
    settings = load_settings(tmp_path / "voicejobs.toml", environment=ours)
    places = {ours["VOICEJOBS_ROOT"], settings.inbox, settings.outbox, settings.state_dir, settings.models_dir}
    assert places == set(json.loads(all_of("VOLUME")[0]))
    assert all(place in all_of("RUN")[1] for place in places)
    for service in SERVICES.values():
        assert {volume.split(":")[1] for volume in service["volumes"]} == places


def test_the_services_are_a_runner_and_a_server_with_the_ports_that_they_listen_on():
    (entry,) = all_of("ENTRYPOINT")
    assert json.loads(entry) == ["voicejobs"]
    assert {name: service["command"] for name, service in SERVICES.items()} == {"runner": ["run"], "server": ["serve"]}
    serve = load_settings(ROOT / "voicejobs.toml").serve
    assert {port.split(":")[-1] for port in SERVICES["server"]["ports"]} == {str(serve.port), str(serve.wyoming_port)}
    assert all_of("EXPOSE")[0].split() == [str(serve.port), str(serve.wyoming_port)]
    build = SERVICES["runner"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == ROOT / "Containerfile"
    assert int(SERVICES["runner"]["stop_grace_period"].rstrip("s")) > 5  # what the runner needs


@pytest.mark.slow
def test_what_is_copied_can_be_installed_and_runs(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for rest in all_of("COPY"):
        *names, _ = rest.split()
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", str(target), str(source)], check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "runner", "--version"], cwd=tmp_path, env={"PYTHONPATH": str(target)}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert PROJECT["project"]["version"] in shown.stdout
    assert Path(target, "runner").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_the_image_installs_runs_from_the_copied_files_alone(tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    for rest in all_of("COPY"):
        *sources, _ = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder)
    subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=tmp_path, check=True)
    programs = tmp_path / "venv" / "bin"
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}
    install = next(step for step in all_of("RUN") if step.startswith("pip install"))
    assert (
        subprocess.run(install, shell=True, cwd=folder, env={**os.environ, **environment}, check=False).returncode == 0
    )
    shutil.rmtree(folder)  # the image has it; what is installed must not need it
    root = tmp_path / "voices"
    for arguments in (
        ["init", str(root)],
        ["--root", str(root), "serve", "--help"],
        ["--root", str(root), "jobs", "list"],
    ):
        done = subprocess.run(
            ["voicejobs", *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
