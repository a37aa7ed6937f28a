from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.jobs.takes import TakeStore
from registry.storage.database import Database
from registry.storage.object_store import ObjectStore


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "registry.sqlite") as database:
        yield database


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


@pytest.fixture
def takes(tmp_path: Path) -> TakeStore:
    return TakeStore(ObjectStore(tmp_path / "takes"))
