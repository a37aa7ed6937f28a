"""The built-in numerical self-test, which tells people whether their device computes right."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from models.qwen3_tts import selftest
from models.qwen3_tts.kernels import PlainKernels


@pytest.mark.parametrize("formulation", ["numpy", "mlx"])
def test_it_passes_on_this_machine_by_a_wide_margin(formulation):
    report = selftest.run_selftest(formulation=formulation)
    assert report.passed
    assert report.formulation == formulation
    assert max(report.gaps.values()) < 2e-5, report.gaps


def test_it_fails_when_a_kernel_computes_wrong(monkeypatch):
    wrong = PlainKernels.gated
    monkeypatch.setattr(PlainKernels, "gated", lambda self, x: wrong(self, x) * 1.01)
    report = selftest.run_selftest(formulation="mlx")
    assert not report.passed
    assert report.gaps["hidden"] > report.tolerances["hidden"]


def test_it_runs_in_a_process_of_its_own_and_prints_json():
    command = [sys.executable, "-m", "models.qwen3_tts.selftest"]
    finished = subprocess.run(command, capture_output=True, text=True, env={"MLX_ENABLE_TF32": "0"}, check=True)
    report = json.loads(finished.stdout)
    assert report["passed"]
    assert report["tf32"] is False


def test_speech_that_ends_elsewhere_differs():
    assert selftest._of_length(np.array([1, 2]), 4).tolist() == [1, 2, -1, -1]
