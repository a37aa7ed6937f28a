"""How a machine computes: by rule, or as somebody asks."""

import pytest

from models.hardware import compute
from registry.errors import InvalidInput

RULES = {
    "cpu": ("cpu", {}, ("float32", "llvm", "numpy", "numpy", 16)),
    "cpu without llvm": ("cpu", {"backend": "numpy"}, ("float32", "numpy", "numpy", "numpy", 16)),
    "cpu by mlx": ("cpu", {"backend": "mlx"}, ("float32", "mlx", "mlx", "openblas", 16)),
    "cpu in half": ("cpu", {"dtype": "bfloat16"}, ("bfloat16", "mlx", "numpy", "openblas", 16)),
    "metal": ("metal", {"batch": 3}, (None, "mlx", "mlx", None, 3)),
    "cuda": ("cuda", {"dtype": "float32"}, ("float32", "mlx", "mlx", None, 64)),
}


@pytest.mark.parametrize(("device", "asked", "expected"), RULES.values(), ids=RULES)
def test_a_rule_chooses_what_nobody_asked_for(device, asked, expected):
    chosen = compute.choose(device, blas="openblas", **asked)
    assert (chosen.dtype, chosen.backend, chosen.codec, chosen.blas, chosen.batch) == expected
    assert chosen.dequantize == (device == "cpu" and chosen.backend != "llvm")


@pytest.mark.parametrize(("device", "dtype", "computed"), [("cpu", "int8", "float32"), ("metal", "int4", None)])
def test_whole_number_dtypes_are_those_of_the_weights_alone(device, dtype, computed):
    chosen = compute.choose(device, dtype=dtype)
    assert (chosen.dtype, chosen.bits) == (computed, int(dtype[-1]))
    assert f"weights in {chosen.bits} bits" in str(chosen)


@pytest.mark.parametrize(("device", "dtype"), [("cuda", None), ("cpu", "float16")])
def test_numpy_is_refused_where_it_cannot_compute(device, dtype):
    with pytest.raises(InvalidInput, match="NumPy"):
        compute.choose(device, backend="numpy", dtype=dtype)


def test_the_guess_without_mlx_is_what_mlx_says():
    assert compute.likely_device() == compute.mlx_device()
