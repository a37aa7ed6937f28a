"""The BLAS library of the engine process: chosen before mlx is imported, by name, rule or measurement."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.hardware import blas
from registry.errors import InvalidInput

ROOT = Path(__file__).parents[3]
FOUND = {each.name for each in blas.blas_libraries()}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems' MLX brings a fast library")


def run_apart(program, **environment):
    """The JSON that a program prints in a fresh process, where mlx is not imported yet."""
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


MULTIPLY = """
import json
from models.hardware import blas
chosen = blas.load_blas()
import mlx.core as mx
mx.set_default_device(mx.cpu)
left, right = mx.arange(12.0).reshape(3, 4), mx.arange(20.0).reshape(4, 5)
print(json.dumps({"name": chosen.name, "product": (left @ right).tolist()}))
"""


@on_linux
@pytest.mark.parametrize("name", ["wheel", "openblas", "mkl"])
def test_every_library_multiplies_alike(name):
    if name != "wheel" and name not in FOUND:
        pytest.skip(f"{name} is not installed")
    answer = run_apart(MULTIPLY, VOICEJOBS_BLAS=name)
    assert answer["name"] == name
    assert answer["product"][2] == [310, 348, 386, 424, 462]


@on_linux
def test_without_a_wish_the_first_library_found_is_taken(tmp_path):
    answer = run_apart(MULTIPLY, VOICEJOBS_CACHE_DIR=str(tmp_path))
    assert answer["name"] == (blas.blas_libraries() or (blas.Blas(name="wheel"),))[0].name


@on_linux
def test_after_mlx_is_imported_only_its_own_library_is_left(monkeypatch):
    import mlx.core

    assert mlx.core
    monkeypatch.setattr(blas, "_loaded", [])
    assert blas.load_blas().name == "wheel"


@on_linux
def test_a_library_asked_for_by_name_that_comes_too_late_is_an_error(monkeypatch):
    import mlx.core

    assert mlx.core
    monkeypatch.setattr(blas, "_loaded", [])
    with pytest.raises(InvalidInput, match="imported already"):
        blas.load_blas("openblas")


def test_the_first_choice_of_a_process_stays(monkeypatch):
    monkeypatch.setattr(blas, "_loaded", [])
    first = blas.load_blas("wheel")
    assert blas.load_blas("nonsense") is first


@on_linux
@pytest.mark.parametrize("content", [None, b"no library"], ids=["absent", "broken"])
def test_a_file_that_is_no_library_is_refused_by_name(tmp_path, content):
    path = tmp_path / "libfast.so"
    if content is not None:
        path.write_bytes(content)
    program = f"""
import json
from models.hardware import blas
try:
    blas.load_blas({str(path)!r})
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
    kind, message = run_apart(program, VOICEJOBS_BLAS="")
    assert kind == "InvalidInput"
    assert str(path) in message


def test_a_calibration_of_another_machine_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_CACHE_DIR", str(tmp_path))
    kept = {"machine": {**blas.machine(), "cores": -1}, "measured": {}, "choice": "mkl"}
    (tmp_path / blas.CALIBRATION_FILE).write_text(json.dumps(kept))
    assert blas.read_calibration() is None


def test_a_calibration_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(blas, "blas_libraries", lambda: ())
    first = blas.calibrate()
    assert first["choice"] == "wheel"
    assert set(first["measured"]["wheel"]) == {"1", "8", "32"}
    monkeypatch.setattr(blas, "_measured_apart", lambda choice: pytest.fail(f"{choice} was measured again"))
    assert blas.calibrate() == first
