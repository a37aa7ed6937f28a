"""An engine's name → whether it starts and speaks here. Starts a process of its own, beside any runner."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from models.protocol import DescribedVoice, EngineFacts, PresetVoice, SpeechDone, SpeechWork, VoiceSource, WorkFailed
from models.quality import measure
from models.wire import LoadFailed
from registry.errors import NotFound
from runner.engine_client import EngineClient, EngineLost, EngineReady
from runner.instance import Instance
from runner.model_choice import DRAFT, PRESETS, engine_choice, is_test_engine, model_name

TEXT = "This machine can speak, and every word of it is understood."
LONGEST_S = 600.0
MLX_CHECK_S = 180.0
POLL_S = 0.02
SAMPLE_RATE_HZ = 24_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one sentence went."""

    model: str
    problem: str = ""
    not_here: bool = False  # its weights do not lie on this disk
    duration_s: float = 0.0
    took_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MlxAnswer:
    """What `models.mlx_check` said."""

    ok: bool = False
    worst: float = 0.0
    facts: str = ""
    problem: str = ""


def speak_once(instance: Instance, wanted: str) -> Trial:
    """Load a model in an engine process and speak one sentence; nothing is downloaded."""
    try:
        name, folder = _located(instance, wanted)
    except NotFound as error:
        return Trial(model=wanted, problem=str(error), not_here=True)
    with tempfile.TemporaryDirectory(prefix="voicejobs-doctor-") as logs:
        client = EngineClient(log_path=Path(logs) / "engine.log", unload_after_s=None)
        started_s = time.monotonic()
        try:
            client.load(engine_choice(name, settings=instance.settings, folder=folder))
            return _spoken(client, name, started_s)
        finally:
            client.stop()


def _located(instance: Instance, wanted: str) -> tuple[str, Path | None]:
    if wanted == DRAFT or is_test_engine(wanted):
        return wanted, None
    from models.prepare import ensure_model
    from runner.resolution import ModelNames

    directory = ModelNames(instance).models_dir
    name = model_name(wanted, ability=PRESETS, settings=instance.settings, models_dir=directory)
    return name, ensure_model(name, directory=directory, migrate="off", offline=True).folder


def _spoken(client: EngineClient, name: str, started_s: float) -> Trial:
    while (now_s := time.monotonic()) - started_s < LONGEST_S:
        for event in client.tick(now_s):
            if isinstance(event, EngineReady):
                voice = _voice_of(event.facts)
                if voice is None:
                    return Trial(model=name, took_s=now_s - started_s)  # it speaks with locked voices alone
                client.submit(SpeechWork(id="trial", text=TEXT, voice=voice, seed=1, language="english"))
            elif isinstance(event, LoadFailed | WorkFailed):
                return Trial(model=name, problem=f"{event.message} {event.hint}".strip())
            elif isinstance(event, EngineLost):
                return Trial(model=name, problem=event.detail)
            elif isinstance(event, SpeechDone):
                return _judged(event, name, took_s=now_s - started_s)
        time.sleep(POLL_S)
    return Trial(model=name, problem=f"It was not done within {LONGEST_S:.0f} s.")


def _voice_of(facts: EngineFacts) -> VoiceSource | None:
    if facts.presets:
        return PresetVoice(name=facts.presets[0])
    return DescribedVoice(description="A clear adult voice.") if "design" in facts.abilities else None


def _judged(done: SpeechDone, name: str, *, took_s: float) -> Trial:
    quality = measure(done.waveform, text=TEXT)
    problem = "" if quality.usable else f"what it said is no speech ({', '.join(quality.failed)})."
    return Trial(model=name, problem=problem, duration_s=done.waveform.size / SAMPLE_RATE_HZ, took_s=took_s)


def mlx_answer() -> MlxAnswer:
    """Let MLX compute in a process of its own, and compare."""
    command = [sys.executable, "-m", "models.mlx_check"]
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            timeout=MLX_CHECK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return MlxAnswer(problem=f"no answer within {MLX_CHECK_S:.0f} s.")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return MlxAnswer(problem=said[0])
    answer = json.loads(done.stdout.splitlines()[-1])
    facts = ", ".join(f"{key} {value}" for key, value in answer["facts"].items() if isinstance(value, str | int))
    return MlxAnswer(ok=answer["ok"], worst=answer["worst"], facts=facts)
