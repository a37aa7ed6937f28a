"""The name of a model → whether its engine starts and speaks here. Starts a process beside any runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.audio.quality import measure
from models.engine_kinds import model_without_folder
from models.errors import ModelNotInstalled, NotEnoughMemory
from models.processes.wire import LoadFailed
from models.protocol import (
    SAMPLE_RATE_HZ,
    DescribedVoice,
    EngineFacts,
    PresetVoice,
    SpeechDone,
    SpeechWork,
    VoiceSource,
    WorkFailed,
)
from models.store.shared_directory import resolve_models_dir
from registry.errors import VoiceJobsError
from runner.config.instance import Instance
from runner.config.model_names import PRESETS, engine_choice, model_name
from runner.engine.client import EngineClient, EngineLost, EngineReady
from runner.engine.engine_python import check_python

TEXT = "This machine can speak, and every word of it is understood."
LONGEST_S = 600.0
SELFTEST_S = 180.0
TF32 = "MLX_ENABLE_TF32"
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Result of speaking one sentence."""

    model: str
    problem: str = ""
    remedy: str = ""
    not_here: bool = False  # its weights are not on this disk
    duration_s: float = 0.0
    took_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SelftestAnswer:
    """Answer of `models.processes.selftest`."""

    choices: Mapping[str, Any] = field(default_factory=dict)
    reports: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""


def speak_once(instance: Instance, wanted: str) -> Trial:
    """Load a model in an engine process and speak one sentence; nothing is downloaded."""
    name = wanted
    try:
        name = model_name_of(instance, wanted)
        folder = model_folder(instance, name)
    except ModelNotInstalled as error:
        return Trial(model=name, problem=error.message, not_here=True)
    except VoiceJobsError as error:
        return Trial(model=name, problem=error.message, remedy=error.hint)
    with tempfile.TemporaryDirectory(prefix="voicejobs-doctor-") as logs:
        client = EngineClient(log_path=Path(logs) / "engine.log", unload_after_s=None)
        started_s = time.monotonic()
        try:
            client.load(engine_choice(name, instance=instance, folder=folder))
            return _spoken(client, name, started_s)
        finally:
            client.stop()


def model_name_of(instance: Instance, wanted: str) -> str:
    """The one name of the model that a person means. Raises UnknownModel."""
    directory = resolve_models_dir(configured=instance.models_dir)
    return model_name(wanted, ability=PRESETS, settings=instance.settings, models_dir=directory)


def model_folder(instance: Instance, name: str) -> Path | None:
    """Folder of a model's weights on this disk; None for one without any.

    Raises ModelNotInstalled, NotEnoughMemory where it does not fit beside the engine of an active runner, and
    SettingsInvalid where the Python of its engine cannot run it.
    """
    if model_without_folder(name) is not None:
        return None
    from models.fetch.prepare import ensure_model
    from models.store.memory import memory_verdict

    check_python(name, instance)
    directory = resolve_models_dir(configured=instance.models_dir)
    folder = ensure_model(name, directory=directory, migrate="off", offline=True).folder
    assert folder is not None
    verdict = memory_verdict(folder, factor=instance.settings.memory_factor)
    if verdict.warning and instance.runner_is_active():
        hint = "The runner's engine ends when it is idle (unload_after_s): try again then, or stop the runner."
        raise NotEnoughMemory(f"{verdict.warning} A runner is active here, and has models in memory.", hint=hint)
    return folder


def _spoken(client: EngineClient, name: str, started_s: float) -> Trial:
    while (now_s := time.monotonic()) - started_s < LONGEST_S:
        for event in client.tick(now_s):
            if isinstance(event, EngineReady):
                voice = _voice_of(event.facts)
                if voice is None:
                    return Trial(model=name, took_s=now_s - started_s)  # it only speaks with locked voices
                client.submit(SpeechWork(id="trial", text=TEXT, voice=voice, seed=1, language="english"))
            elif isinstance(event, LoadFailed | WorkFailed):
                return Trial(model=name, problem=event.message, remedy=event.hint)
            elif isinstance(event, EngineLost):
                return Trial(model=name, problem=event.detail)
            elif isinstance(event, SpeechDone):
                return _judged(event, name, took_s=now_s - started_s)
        time.sleep(POLL_S)
    return Trial(model=name, problem=f"It did not finish within {LONGEST_S:.0f} s.")


def _voice_of(facts: EngineFacts) -> VoiceSource | None:
    if facts.presets:
        return PresetVoice(name=facts.presets[0])
    return DescribedVoice(description="A clear adult voice.") if "design" in facts.abilities else None


def _judged(done: SpeechDone, name: str, *, took_s: float) -> Trial:
    quality = measure(done.waveform, text=TEXT)
    problem = "" if quality.usable else f"its output is not speech ({', '.join(quality.failed)})."
    return Trial(model=name, problem=problem, duration_s=done.waveform.size / SAMPLE_RATE_HZ, took_s=took_s)


def selftest_answer(instance: Instance, *, production: bool) -> SelftestAnswer:
    """Run `models.processes.selftest`: without TF32 and in float32, or as the settings have the engine compute."""
    command = [sys.executable, "-m", "models.processes.selftest", *(_production_flags(instance) if production else ())]
    environment = {key: value for key, value in os.environ.items() if key != TF32}
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],  # not the instance: a folder `models` there would shadow our package
            env=environment if production else {**environment, TF32: "0"},
            capture_output=True,
            text=True,
            timeout=SELFTEST_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return SelftestAnswer(problem=f"no answer within {SELFTEST_S:.0f} s.")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return SelftestAnswer(problem=last_words(done.stderr) or f"exit status {done.returncode}")
    return SelftestAnswer(choices=answer["choices"], reports=tuple(answer["reports"]))


def last_words(stderr: str) -> str:
    """Reason why a process ended, in one line; for one that hung and dumped its threads, where they were."""
    lines = stderr.strip().splitlines()
    if any(line.startswith("Timeout (") for line in lines):
        places = [line.strip() for line in lines if line.startswith("  File ")]
        return f"it hung: {'; '.join(places[:3])}"
    return lines[-1] if lines else ""


def _production_flags(instance: Instance) -> list[str]:
    settings = instance.settings
    flags = ["--production", "--blas", settings.blas]
    flags += [] if settings.dtype == "auto" else ["--dtype", settings.dtype]
    flags += [] if settings.formulation == "auto" else ["--formulation", settings.formulation]
    return [*flags, *(["--batch", str(settings.batch)] if settings.batch else [])]
