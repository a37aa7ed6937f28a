"""Two registries that voices travel between."""

import pytest

from registry.registry import open_registry


@pytest.fixture
def home(tmp_path):
    with open_registry(tmp_path / "home") as registry:
        yield registry


@pytest.fixture
def away(tmp_path):
    with open_registry(tmp_path / "away") as registry:
        yield registry
