"""The recorded goldens are whole: every case's file holds the arrays that its manifest names."""

import pytest

from tests.reference import CHECKPOINTS, golden, manifest

CASES = [(checkpoint, case) for checkpoint in CHECKPOINTS for case in manifest(checkpoint)["cases"]]


@pytest.mark.parametrize(("checkpoint", "case"), CASES, ids=["/".join(pair) for pair in CASES])
def test_every_array_of_the_manifest_is_recorded(checkpoint, case):
    entry = manifest(checkpoint)["cases"][case]
    if "file" not in entry:
        return
    arrays = golden(checkpoint, case)
    found = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    assert found == {name: list(described) for name, described in entry["tensors"].items()}
