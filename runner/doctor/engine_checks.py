"""The machine's arithmetic and engines → findings: how it computes, whether correctly, and whether engines speak.

The checks of `doctor --engine` start processes of their own, since a faulty driver may kill them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.engine_kinds import DRAFT, HIBARI, OWN, EngineKind, kind_of_model
from models.extras import install_command
from models.hardware import blas, compute
from runner.config.instance import Instance
from runner.doctor.engine_trial import SelftestAnswer, selftest_answer, speak_once
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Checks, Found
from runner.text_format import counted

DRIVER = 'Update MLX or the driver; until then another device, or dtype = "float32", may compute correctly.'


# ---- without starting anything -----------------------------------------------------------------------------------


def _computing(instance: Instance) -> Found:
    """Choices of the rules, guessed without mlx; the self-test knows the real ones."""
    settings, device = instance.settings, compute.likely_device()
    choices = compute.choose(
        device,
        dtype=None if settings.dtype == "auto" else settings.dtype,
        backend=None if settings.formulation == "auto" else settings.formulation,
        batch=settings.batch or None,
        blas=blas.likely_blas(settings.blas),
    )
    asked = [name for name in ("dtype", "formulation", "batch", "blas") if name in settings.model_fields_set]
    yield OK, f"{choices}; {'set: ' + ', '.join(asked) if asked else 'all by rule'}.", ""
    if device == compute.CPU and settings.formulation == "auto" and not compute.has_llvm():
        gain = "LLVM is not installed: weights are read as float32, which takes 1.5 to 4 times as long for one line."
        yield NOTE, gain, install_command("cpu")


def _blas(instance: Instance) -> Found:
    if sys.platform != "linux" or compute.likely_device() != compute.CPU:
        yield OK, "MLX comes with a fast library here.", ""
        return
    matters = "MLX multiplies" if _mlx_multiplies(instance) else "MLX would multiply (NumPy does, with its own)"
    found = [choice.name for choice in blas.blas_libraries()]
    if found:
        yield OK, f"{matters} with {blas.likely_blas(instance.settings.blas)}; found: {', '.join(found)}.", ""
    else:
        severity = NOTE if _mlx_multiplies(instance) else OK
        yield severity, f"{matters} with its own slow BLAS.", blas.how_to_install(blas.OPENBLAS)


def _mlx_multiplies(instance: Instance) -> bool:
    """Whether speech depends on MLX's BLAS here: half precision and quantised products have kernels without one."""
    return instance.settings.formulation == "mlx" and instance.settings.dtype in ("auto", compute.FLOAT32)


# ---- engines at work ---------------------------------------------------------------------------------------------


def _draft_speaks(instance: Instance) -> Found:
    yield from _engine_speaks(instance, DRAFT)


def _hibari_speaks(instance: Instance) -> Found:
    yield from _engine_speaks(instance, HIBARI)


def _engine_speaks(instance: Instance, kind: EngineKind) -> Found:
    if not kind.is_installed:
        yield NOTE, f"the {kind.name} engine is not installed.", "make venv"
        return
    trial = speak_once(instance, kind.name)
    if trial.problem:
        remedy = trial.remedy or "Reinstall it: make venv"
        yield PROBLEM, f"the {kind.name} engine does not speak: {trial.problem}", remedy
    else:
        yield OK, f"the {kind.name} engine speaks: {trial.duration_s:.1f} s of speech in {trial.took_s:.1f} s.", ""


def _self_test(instance: Instance) -> Found:
    """The arithmetic itself: float32, nothing rounded to TF32, every backend of this device."""
    answer = selftest_answer(instance, production=False)
    if answer.problem:
        yield (
            PROBLEM,
            f"the self-test does not run: {answer.problem}",
            "Reinstall (make venv), or update the driver.",
        )
    for report in answer.reports:
        if report["passed"]:
            yield OK, f"computes correctly: {report_text(report)}", ""
        else:
            yield PROBLEM, f"computes wrongly: {report_text(report)}", DRIVER


def _self_test_production(instance: Instance) -> Found:
    """The same, computed as the engine does here; a loss from lower precision is not a fault."""
    yield from judged_production(selftest_answer(instance, production=True))


def judged_production(answer: SelftestAnswer) -> Found:
    if answer.problem:
        yield PROBLEM, f"the self-test does not run: {answer.problem}", "Look at dtype, formulation and blas."
    for report in answer.reports:
        where = f"{compute.Choices(**answer.choices)}: {report_text(report)}"
        if not report["sane"]:
            yield PROBLEM, f"computes nonsense: {where}", DRIVER
        elif not report["passed"]:
            yield NOTE, f"loses precision: {where}", 'dtype = "float32" and MLX_ENABLE_TF32=0 lose none.'
        else:
            yield OK, f"computes correctly: {where}", ""


def report_text(report: Mapping[str, Any]) -> str:
    """Report in one sentence: every stage's worst gap and tolerance, and the codes that differ."""
    gaps, tolerances = report["gaps"], report["tolerances"]
    stages = [f"{stage} {gap:.1e} of {tolerances[stage]:.0e}" for stage, gap in gaps.items()]
    codes = [f"{stage} {count} differ" for stage, count in report["differing"].items()]
    tf32 = "with TF32" if report["tf32"] else "without TF32"
    how = f"{report['device']}, {report['backend']}, {report['dtype']}, {tf32}"
    return f"{how}: {', '.join([*stages, *codes])}."


def _blas_speed(instance: Instance) -> Found:
    del instance
    if sys.platform != "linux" or compute.likely_device() != compute.CPU:
        yield OK, "MLX comes with a fast library here.", ""
        return
    calibration = blas.calibrate(fresh=True)
    for name, rates in calibration["measured"].items():
        if not rates:
            yield NOTE, f"MLX over {name} could not be measured.", "See the check blas."
            continue
        chosen = ", chosen" if name == calibration["choice"] else ""
        listed = _rates_text(rates)
        yield OK, f"float32 products of MLX over {name}{chosen}: {listed} (GFLOP/s).", ""
    if reason := calibration.get("not_kept"):
        remedy = "Make that folder writable, or set VOICEJOBS_CACHE_DIR to another, here and for the runner."
        yield WARNING, f"the measurements cannot be kept, so the rule chooses: {reason}", remedy
    listed = _rates_text(blas.measure_numpy())
    yield OK, f"float32 products of NumPy, the default: {listed} (GFLOP/s).", ""
    if not blas.blas_libraries():
        gain = 'another BLAS would make MLX about as fast as NumPy; it only matters with formulation = "mlx".'
        yield OK, gain, blas.how_to_install(blas.OPENBLAS)


def _rates_text(rates: Mapping[str, float] | Mapping[int, float]) -> str:
    return ", ".join(f"{rate:g} at {counted(int(rows), 'row')}" for rows, rate in rates.items())


def _model_speaks(instance: Instance) -> Found:
    wanted = instance.settings.model
    if not (kind := kind_of_model(wanted)).has_weights and kind in OWN:
        yield OK, f"the model of this instance is {kind.name}.", ""
        return
    trial = speak_once(instance, wanted)
    if trial.not_here and not Path(trial.model).is_absolute():
        remedy = f"`voicejobs models pull {shlex.quote(trial.model)}` fetches it; so does the first job that needs it."
        yield NOTE, f"{trial.problem} This check downloads nothing.", remedy
    elif trial.problem:
        remedy = trial.remedy or "`voicejobs models verify` checks the files of models."
        yield PROBLEM, f"the model {trial.model} does not speak: {trial.problem}", remedy
    else:
        yield OK, f"{trial.model} speaks: {trial.duration_s:.1f} s of speech in {trial.took_s:.1f} s.", ""


CHEAP_CHECKS: Checks = {
    "computing": ("dtype, formulation, BLAS and batch, as set or by rule", _computing),
    "blas": ("which BLAS libraries MLX can use on a CPU", _blas),
}
ENGINE_CHECKS: Checks = {
    "draft-speaks": ("--engine: the draft engine speaks a sentence", _draft_speaks),
    "hibari-speaks": ("--engine: the engine hibari speaks a sentence", _hibari_speaks),
    "self-test": ("--engine: a tiny model computes its recorded numbers, in float32", _self_test),
    "self-test-production": ("--engine: the same, computed as the engine does here", _self_test_production),
    "blas-speed": ("--engine: how fast each BLAS library is, and which is chosen", _blas_speed),
    "model-speaks": ("--engine: the instance's own model speaks a sentence", _model_speaks),
}
