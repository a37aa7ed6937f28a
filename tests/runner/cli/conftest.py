"""Fixtures of the model directory, for the commands about models; and an instance that has worked."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broken_instances import make_instance
from tests.models.conftest import directory, environment, events, home, hub, other_disk

__all__ = ["directory", "environment", "events", "home", "hub", "other_disk"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """An instance that has worked."""
    root = tmp_path_factory.mktemp("whole") / "instance"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root.parent))
        make_instance(root)
    return root


@pytest.fixture
def worked(whole, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of it, which a test may break."""
    copy = tmp_path / "instance"
    shutil.copytree(whole, copy, symlinks=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ACERVO_MODELS_DIR", raising=False)
    monkeypatch.chdir(copy)
    Path("job.toml").write_text('kind = "synthesize"\nvoice = "elena"\ntext = "Again."\n')
    yield copy
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)  # closes the log that a command has opened
