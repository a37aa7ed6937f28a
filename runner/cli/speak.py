"""A request of `say` → a synthesize job in the instance, and its audio in a file or from the player.

Every mistake in the request is found before anything is rendered. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.audio.conversion import FORMATS, encode_as, format_named, m4a_encoder
from models.audio.files import decode_audio
from models.engine_kinds import kind_of_model
from models.named_paths import named_path, shown_path, status_of
from models.protocol import Waveform
from models.store.catalog import DEFAULT, entry_named
from registry.errors import InvalidInput, NotFound, nearest, storage_error
from registry.registry import open_registry
from registry.voices.errors import VoiceNotFound
from registry.voices.names import name_key
from runner.cli.exchange_files import Importer
from runner.cli.player import find_player, play_wav
from runner.cli.progress import ProgressLine
from runner.cli.submit import wait_for
from runner.config.instance import Instance
from runner.errors import UsageProblem, WorkFailed
from runner.exchange.voice_file_names import PROMPT_SUFFIXES, VOX_SUFFIX
from runner.names import PRESET_NAMES, may_be_preset, parse_voice_reference
from runner.output_files import check_target, write_target
from runner.scheduling.model_presets import default_voice
from runner.submission.drop_writer import job_from_values, submit_job

USUAL_VOICE = "ryan"
STDOUT = Path("-")
PRIORITY = 50  # somebody is waiting
# Native language of each preset; all of them speak every language of their model.
PRESETS = {
    "ryan": "male, English",
    "aiden": "male, American English",
    "vivian": "female, Chinese",
    "serena": "female, Chinese",
    "uncle_fu": "male, Chinese",
    "dylan": "male, Beijing dialect",
    "eric": "male, Sichuan dialect",
    "anna": "female, Japanese",
    "sohee": "female, Korean",
}


@dataclass(frozen=True, kw_only=True)
class SayRequest:
    """Text to speak, and how."""

    text: str
    voice: str | None = None
    output: Path | None = None
    format: str | None = None
    model: str | None = None
    language: str | None = None
    instruct: str | None = None
    seed: int | None = None


def say(instance: Instance, request: SayRequest) -> bytes | None:
    """Speak a text into a file, or through the system's player; returns the bytes when the output is STDOUT.

    Raises UsageProblem, NotFound, WorkFailed and others of the tree, those about the request first.
    """
    if not request.text.strip():
        raise UsageProblem("There is no text to speak.", hint="Give it as arguments, with -f FILE, or through a pipe.")
    instance.prepare()
    voice = request.voice or default_voice(request.model, instance, key="--voice", preferred=USUAL_VOICE)
    is_file = voice.lower().endswith((VOX_SUFFIX, PROMPT_SUFFIXES[0]))
    if not is_file:
        _check_voice(instance, voice, model=request.model or instance.settings.model)
    wanted = wanted_format(request)
    command = _check_way_out(request, wanted)
    if is_file:
        voice = _voice_of_file(instance, named_path(voice))
    waveform = _render(instance, request, voice=voice)
    content = encode_as(waveform, wanted)
    if request.output == STDOUT:
        return content
    if request.output is not None:
        write_target(request.output, content)
    else:
        play_wav(content, player=command)
    return None


def wanted_format(request: SayRequest) -> str:
    """Audio format: as stated, else by the file's extension, else WAV. Raises UsageProblem, or InvalidInput."""
    if request.format is not None:
        return format_named(request.format)
    extension = request.output.suffix if request.output else ""
    if not extension:
        return FORMATS[0]
    try:
        return format_named(extension)
    except InvalidInput as error:
        hint = f"{error.hint} --file-format sets it for any file name."
        raise UsageProblem(f"{request.output} does not end in an audio format.", hint=hint) from None


def listing(instance: Instance) -> str:
    """Text that lists all voices: those of the models, then those of the registry."""
    lines = ["Built-in:", *(f"  {name}\t{description}" for name, description in PRESETS.items())]
    with open_registry(instance.state_dir, root=instance.root, reads_only=True) as registry:
        found = registry.voices(limit=1_000_000)
    if found:
        lines += ["", "Custom:", *(f"  {voice.name}\t{' '.join((voice.description or '').split())}" for voice in found)]
    return "\n".join(lines)


def _check_way_out(request: SayRequest, wanted: str) -> Sequence[str] | None:
    """Command of the player, or None for a file that can be written. Raises before anything costly is done."""
    if wanted == "m4a":
        m4a_encoder()
    if request.output is None:
        if request.format is not None:
            raise UsageProblem("--file-format needs -o FILE.")
        return find_player()
    if request.output == STDOUT:
        return None
    check_target(request.output)
    return None


def _check_voice(instance: Instance, wanted: str, *, model: str) -> None:
    """Raise VoiceNotFound and the like, before a model is loaded for nothing."""
    try:
        reference = parse_voice_reference(wanted)
    except ValueError as error:
        raise VoiceNotFound(wanted) from error
    if not may_be_preset(reference):
        with open_registry(instance.state_dir, root=instance.root) as registry:
            registry.show(wanted)
    elif name_key(reference.name) not in PRESET_NAMES and not _may_have_others(model):
        raise VoiceNotFound(wanted, near=nearest(reference.name, PRESETS))


def _may_have_others(model: str) -> bool:
    """Whether a model may bring along other voices than the published ones do."""
    kind = kind_of_model(model)
    return kind.has_own_presets or (kind.has_weights and entry_named(model) is None and model != DEFAULT)


def _voice_of_file(instance: Instance, path: Path) -> str:
    if status_of(path) is None:
        raise NotFound(f"There is no voice file {shown_path(path)}.")
    with open_registry(instance.state_dir, root=instance.root) as registry:
        outcome = Importer(instance=instance, registry=registry, set_current=False).import_file(path)
    for job in outcome.jobs:
        finished = wait_for(instance, job, on_progress=ProgressLine(enabled=False).update)
        voice = finished.receipt.get("voice")
        if finished.exit_code or voice is None:
            raise _failure(finished.receipt)
        return f"{voice['name']}@{voice['version']}"
    assert outcome.voice is not None
    return outcome.voice


def _render(instance: Instance, request: SayRequest, *, voice: str) -> Waveform:
    values: dict[str, Any] = {"kind": "synthesize", "voice": voice, "text": request.text, "format": "wav"}
    values["priority"] = PRIORITY
    for key in ("model", "language", "instruct", "seed"):
        if getattr(request, key) is not None:
            values[key] = getattr(request, key)
    job = job_from_values(values, name=f"say-{secrets.token_hex(6)}")
    submitted = submit_job(instance, job)
    finished = wait_for(instance, submitted, on_progress=ProgressLine(enabled=False).update)
    if finished.exit_code:
        raise _failure(finished.receipt)
    name = finished.receipt["track"]["file"]
    try:
        waveform, _ = decode_audio(finished.outbox.read(finished.job, name), name=name)
    except OSError as error:
        raise storage_error(error, f"reading {name} of {finished.job}") from error
    with contextlib.suppress(OSError):  # the caller gets its audio
        finished.outbox.remove(finished.job)
    return waveform


def _failure(receipt: dict[str, Any]) -> WorkFailed:
    error = receipt.get("error") or {}
    said = f"{error.get('message') or 'Nothing could be spoken.'}"
    return WorkFailed(said, hint=error.get("hint") or "")
