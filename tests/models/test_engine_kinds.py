"""Engines by name: our own, those of other packages, and which one opens a model."""

import importlib
import sys
from pathlib import Path

import pytest

from models import engine_kinds
from models.engine_kinds import ENTRY_POINTS, OWN, kind_of_model, model_without_folder
from models.errors import UnsupportedRequest
from models.processes.open_engine import open_engine
from models.protocol import ModelChoice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def test_our_engines_are_entry_points_as_others_are():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][ENTRY_POINTS] == {kind.name: kind.opener for kind in OWN}
    assert {kind.extra for kind in OWN} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("model", "engine", "simple"),
    [
        ("draft", "draft", "draft"),
        ("HIBARI", "hibari", "hibari"),
        ("qwen3-tts-0.6b-base", "qwen3-tts", None),
        ("qwen3-tts", "qwen3-tts", None),
        ("someone/draft", "qwen3-tts", None),
        ("/folders/of/weights:2", "qwen3-tts", None),
    ],
)
def test_a_model_is_opened_by_the_engine_of_its_name_else_by_qwen3_tts(model, engine, simple):
    assert kind_of_model(model).name == engine
    assert model_without_folder(model) == simple


@pytest.fixture
def foreign_package(tmp_path, monkeypatch):
    """A package on the path that registers the engine `whistle`."""
    (tmp_path / "whistling.py").write_text("def open_engine(choice):\n    return ('opened', choice.model)\n")
    record = tmp_path / "whistling-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: whistling\nVersion: 1\n")
    (record / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nwhistle = whistling:open_engine\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    engine_kinds._foreign_kinds.cache_clear()
    yield
    engine_kinds._foreign_kinds.cache_clear()


@pytest.mark.usefixtures("foreign_package")
def test_an_engine_of_another_package_opens_the_models_with_its_name_before_the_colon():
    assert kind_of_model("whistle:someone/tunes").name == "whistle"
    assert model_without_folder("whistle:someone/tunes") == "whistle:someone/tunes"
    choice = ModelChoice(engine="whistle", model="whistle:someone/tunes")
    assert open_engine(choice) == ("opened", "whistle:someone/tunes")


def test_an_engine_that_nobody_has_is_refused_with_the_nearest():
    with pytest.raises(UnsupportedRequest, match="draught") as caught:
        open_engine(ModelChoice(engine="draught"))
    assert "draft" in caught.value.hint
