"""Five job files dropped at once into a scratch instance → two voices and a spoken scene.

It speaks with the draft engine, and where it is installed hibari narrates; neither needs a download. This
module touches the disk.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.audio.files import read_audio
from models.audio.quality import measure
from models.engine_kinds import DRAFT, HIBARI
from models.protocol import SAMPLE_RATE_HZ
from registry.jobs.values import JobStatus
from registry.storage.database import Database
from registry.voices.lookup import resolve
from runner.config.instance import Instance
from runner.config.settings import SETTINGS_FILE, load_settings
from runner.errors import WorkFailed
from runner.output_files import write_target
from runner.worker.daemon import Runner

VOICES = {
    "elena": "A warm female voice, 30s, confident and clear.",
    "marcus": "A deep, slow male voice, 60s, calm and a little rough.",
}
SCENE = "scene-1"
LINES = (
    ("elena", "Did you hear that? Somebody is at the door.", 0.4),
    ("marcus", "It is only the wind, my dear. It has been blowing since noon.", 0.5),
    ("elena", "The wind does not knock three times.", 0.8),
    ("marcus", "Then we had better open it.", 0.0),
)
NARRATION = "The lighthouse, after midnight. Two people sit by the fire, and listen to the storm."
MOST_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class DemoFile:
    """Audio file that the demo made."""

    path: Path
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Paths of everything the demo made."""

    root: Path
    files: tuple[DemoFile, ...]
    track: DemoFile
    receipts: tuple[Path, ...]
    voices: Mapping[str, str]  # "elena@1" → where it is stored


def run_demo(
    folder: Path | None = None, *, model: str = DRAFT.name, say: Callable[[str], None] = lambda _: None
) -> DemoResult:
    """Drop the five files, run them, and check the results.

    `folder` None: a new temporary folder. Raises WorkFailed unless every receipt says done and the track
    contains speech.
    """
    root = folder or Path(tempfile.mkdtemp(prefix="voicejobs-demo-"))
    instance = scratch_instance(root, model=model)
    jobs = demo_jobs(narrated=model == DRAFT.name and HIBARI.is_installed)
    for name, text in jobs.items():
        (instance.inbox / name).write_text(text, encoding="utf-8")
    say(f"Dropped {', '.join(jobs)} into {instance.inbox}.")
    with Runner(instance) as runner:
        runner.run_once()
    return _result(instance, [Path(name).stem for name in jobs])


def scratch_instance(root: Path, *, model: str = DRAFT.name) -> Instance:
    """New instance that speaks with `model`."""
    root.mkdir(parents=True, exist_ok=True)
    settings = root / SETTINGS_FILE
    write_target(settings, f'model = "{model}"\nmin_free_bytes = 0\nsettle_s = 0.2\n'.encode())
    instance = Instance(root, load_settings(settings))
    instance.prepare()
    return instance


def demo_jobs(*, narrated: bool) -> dict[str, str]:
    """Five job files, the scene first: it waits for the voices. `narrated`: hibari speaks its first line."""
    lines = ""
    if narrated:
        lines = (
            f'[[lines]]\nmodel = "{HIBARI.name}"\nvoice = "preset:heart"\ntext = "{NARRATION}"\npause_after_s = 0.6\n\n'
        )
    lines += "".join(
        f'[[lines]]\nvoice = "{voice}"\ntext = "{text}"\npause_after_s = {pause_s}\n\n'
        for voice, text, pause_s in LINES
    )
    jobs = {f"{SCENE}.toml": f'kind = "synthesize"\nvoice = "elena"\nlanguage = "en"\n\n{lines}'}
    for voice, description in VOICES.items():
        jobs[f"{voice}-design.toml"] = (
            f'kind = "design"\nvoice = "{voice}"\ndescription = "{description}"\nlanguage = "en"\n'
        )
        jobs[f"{voice}-lock.toml"] = (
            f'kind = "lock"\nvoice = "{voice}"\nfrom = {{ job = "{voice}-design", candidate = 1 }}\n'
        )
    return jobs


def _result(instance: Instance, jobs: list[str]) -> DemoResult:
    receipts = {job: _receipt(instance, job) for job in jobs}
    failed = [f"{job}: {_why(receipt)}" for job, receipt in receipts.items() if receipt["status"] != JobStatus.DONE]
    if failed:
        raise WorkFailed(f"The demo failed. {' '.join(failed)}", hint=f"Everything is kept in {instance.root}.")
    audio = sorted(path for job in jobs for path in (instance.outbox / job).glob("*.wav") if path.stem != "track")
    return DemoResult(
        root=instance.root,
        files=tuple(DemoFile(path=path, duration_s=_duration_s(path)) for path in audio),
        track=_checked_track(instance.outbox / SCENE / "track.wav"),
        receipts=tuple(instance.outbox / job / "result.json" for job in jobs),
        voices=_voices(instance),
    )


def _receipt(instance: Instance, job: str) -> dict[str, Any]:
    path = instance.outbox / job / "result.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkFailed(f"The demo failed: there is no {path}.", hint=f"The log is in {instance.logs_dir}.") from None
    return content


def _why(receipt: Mapping[str, Any]) -> str:
    error = receipt["error"] or {}
    return f"{receipt['status']} {error.get('message', '')} {error.get('hint', '')}".strip()


def _duration_s(path: Path) -> float:
    waveform, _ = read_audio(path)
    return waveform.size / SAMPLE_RATE_HZ


def _checked_track(path: Path) -> DemoFile:
    """Track, checked to be as long and as loud as speech."""
    waveform, facts = read_audio(path)
    quality = measure(waveform, text=" ".join(text for _, text, _ in LINES))
    if not quality.usable or "too-short" in quality.failed or facts.duration_s > MOST_SECONDS:
        raise WorkFailed(f"The demo failed: {path} contains no speech ({', '.join(quality.failed)}).")
    return DemoFile(path=path, duration_s=facts.duration_s)


def _voices(instance: Instance) -> dict[str, str]:
    with Database.open(instance.database_path, root=instance.root) as database, database.read() as snapshot:
        versions = [resolve(snapshot, name) for name in VOICES]
    return {version.name: f"sha256:{version.digest} in {instance.database_path}" for version in versions}


def demo_text(result: DemoResult) -> str:
    """Text that the demo prints."""
    lines = ["Audio:"]
    lines += [f"  {file.duration_s:6.2f} s  {file.path}" for file in (*result.files, result.track)]
    lines += ["Receipts:", *(f"  {path}" for path in result.receipts)]
    lines += ["Voices:", *(f"  {name}  {where}" for name, where in result.voices.items())]
    lines.append(f"All five jobs are done. The instance is {result.root}.")
    return "\n".join(lines)
