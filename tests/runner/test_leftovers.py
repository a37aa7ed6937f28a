"""Half-written files of killed processes go when a runner starts a day later; nobody else's do."""

import os
import time

import pytest

from models.fetch.prepare import ensure_model
from models.store.upkeep import sweep_leftovers
from tests.runner.worker.bench import START_S, Bench

DAY_S = 86_400.0
OURS = (
    "..voicejobs-id.12.34.tmp", ".voicejobs.toml.12.34.tmp", ".voicejobs/.registry.id.12.34.tmp",
    ".voicejobs/analyses/.ab12.json.12.34.tmp",
)  # fmt: skip
OTHERS = (".notes.txt.12.34.tmp", ".voicejobs.toml.tmp", "voicejobs.toml.12.34.tmp", ".voicejobs/analyses/ab12.json")


@pytest.mark.parametrize(("age_s", "left"), [(DAY_S + 60, ()), (DAY_S - 600, (OURS[0], OURS[1], OURS[3]))])
def test_half_written_files_of_ours_in_an_instance_are_removed_after_a_day(tmp_path, age_s, left):
    bench = Bench(tmp_path)
    for name in (*OURS, *OTHERS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (START_S - age_s, START_S - age_s))
    bench.restart()
    bench.tick()
    bench.context.database.close()
    assert [name for name in OURS if (tmp_path / name).exists()] == list(left)
    assert all((tmp_path / name).exists() for name in OTHERS)


def test_half_written_records_and_half_deleted_models_go_after_a_day(tmp_path):
    ours = (
        "..voicejobs-checks.json.12.34.tmp", ".incoming/.a_b.download.json.12.34.tmp",
        "a_b/.manifest.json.12.34.tmp", "a_b/..voicejobs.json.12.34.tmp",
    )  # fmt: skip
    others = (".other.json.12.34.tmp", "a_b/.model.safetensors.12.34.tmp", "a_b/model.safetensors.tmp")
    for name in (*ours, *others, ".incoming/a_b.12.deleted/model.safetensors", ".incoming/a_b.download/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (1, 1))
    with pytest.raises(Exception, match="is not in"):
        ensure_model("some/model", directory=tmp_path, offline=True, migrate="off", environ={"HOME": str(tmp_path)})
    assert [name for name in ours if (tmp_path / name).exists()] == []
    assert all((tmp_path / name).exists() for name in others)
    assert (tmp_path / ".incoming/a_b.12.deleted").exists()  # its folder was changed just now
    sweep_leftovers(tmp_path, older_than_s=time.time() + 1)
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == ["a_b.download"]
