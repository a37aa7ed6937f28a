"""The built-in numerical self-test, which tells people whether their device computes right."""

from __future__ import annotations

import numpy as np
import pytest

from models.processes.selftest import examine
from models.qwen3_tts import selftest
from models.qwen3_tts.network.mlx_ops import PlainOps


@pytest.mark.parametrize("backend", ["llvm", "numpy", "mlx"])
def test_it_passes_on_this_machine_by_a_wide_margin(backend):
    report = selftest.run_selftest(backend=backend)
    assert report.passed
    assert report.backend == backend
    assert max(report.gaps.values()) < 2e-5, report.gaps


def test_it_fails_when_a_kernel_computes_wrong(monkeypatch):
    wrong = PlainOps.swiglu
    monkeypatch.setattr(PlainOps, "swiglu", lambda self, x: wrong(self, x) * 1.01)
    report = selftest.run_selftest(backend="mlx", codec="mlx")
    assert not report.passed
    assert report.gaps["hidden"] > report.tolerances["hidden"]


@pytest.mark.parametrize(("gap", "sane"), [(0.02, True), (0.5, False), (float("nan"), False)])
def test_what_low_precision_explains_is_no_nonsense(gap, sane):
    assert selftest.is_sane({"hidden": gap, "logits": 1e-7}) == sane


@pytest.mark.parametrize("asked", [{"backend": "mlx", "dtype": None}, {"backend": None, "dtype": "bfloat16"}])
def test_a_process_of_its_own_computes_as_the_engine_does(asked):
    answer = examine(production=True, batch=2, **asked)
    choices, (report,) = answer["choices"], answer["reports"]
    assert choices["batch"] == 2
    assert (report["backend"], report["codec"]) == (choices["backend"], choices["codec"])


def test_speech_that_ends_elsewhere_differs():
    assert selftest._of_length(np.array([1, 2]), 4).tolist() == [1, 2, -1, -1]
