"""An instance and its machine → findings, each with a remedy. Reads, and changes nothing that lasts.

Every check is a function that yields findings; `ok` is a finding too, so that people see what was checked.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Callable, Iterator

from models.engine_kinds import DRAFT, HIBARI, MLX_AUDIO, QWEN3_TTS, EngineKind, kind_of_model
from models.extras import install_command
from models.hardware.blas import package_version
from models.named_paths import shown_path
from registry.errors import VoiceJobsError
from runner.config.instance import Instance
from runner.config.model_names import PRESETS, engine_python, model_name, recogniser_model
from runner.doctor import engine_checks, inbox_checks, outbox_checks, place_checks, registry_checks
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Checks, Finding, Found
from runner.doctor.hook_checks import HOOK_CHECKS
from runner.engine.engine_python import examined
from runner.errors import NoRecogniser, raised_at
from runner.listen.weights import check_can_listen
from runner.scheduling.pronunciation_file import load_pronunciations
from runner.text_format import counted, short, size
from runner.version import VERSION

ENGINE_PACKAGES = {
    DRAFT: ("eSpeak NG through ", "espeakng-loader", "draft"),
    HIBARI: ("natural English by ", "hibari-tts", "natural"),
    MLX_AUDIO: ("other speech models by ", "mlx-audio", "mlx-audio"),
    QWEN3_TTS: ("", "mlx", "cpu"),
}
PACKAGES = ("mlx", "numpy", "pydantic", "sqlmodel", "soundfile", "soxr", "tokenizers", "huggingface_hub", "watchdog")


def examine(instance: Instance, *, engine: bool = False) -> list[Finding]:
    """Run every check, and with `engine` those that start engines and compute."""
    findings: list[Finding] = []
    for name, (_, check) in CHECKS.items():
        if name in ENGINE_CHECKS and not engine:
            continue
        is_reported = any(one.check == "folders" and one.severity != OK for one in findings)
        for severity, message, remedy in _isolated(check, instance, folders_reported=is_reported):
            if message not in (one.message for one in findings if one.counts):  # several checks open the registry
                findings.append(Finding(check=name, severity=severity, message=message, remedy=remedy))
    return findings


def _isolated(check: Callable[[Instance], Found], instance: Instance, *, folders_reported: bool) -> Found:
    """Findings of one check; an error that ends it is its last finding, so that the other checks go on."""
    try:
        yield from check(instance)
    except VoiceJobsError as error:
        circular = not error.hint or "`voicejobs doctor`" in error.hint
        yield PROBLEM, error.message, "Check its disk and its permissions." if circular else error.hint
    except OSError as error:
        if not (folders_reported and isinstance(error, FileNotFoundError)):  # the first check has named the folder
            reason = f"{shown_path(error.filename) if error.filename else 'a file'}: {error.strerror or error}."
            yield PROBLEM, reason, "Check that it exists, and its permissions."
    except Exception as error:  # of any kind: a state that this check does not know
        remedy = "This is a fault of voicejobs; please report it. The other checks are not affected."
        yield PROBLEM, f"this check failed: {raised_at(error)}: {short(str(error), 200)}", remedy


def contract_findings(instance: Instance, name: str) -> Iterator[Finding]:
    """A finding for each promise of the protocol, kept or not by the engine of a model, as soon as it is known."""
    from runner.doctor.engine_contract import engine_contract

    for severity, said, remedy in engine_contract(instance, name):
        yield Finding(check=CONTRACT, severity=severity, message=said, remedy=remedy)


# ---- software ----------------------------------------------------------------------------------------------------


def _versions(instance: Instance) -> Found:
    del instance
    found = {name: version for name in PACKAGES if (version := package_version(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield OK, f"voicejobs {VERSION}, Python {platform.python_version()} on {system}; {listed}.", ""
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        yield PROBLEM, f"not installed: {', '.join(missing)}.", "Install them: make venv"


def _engines(instance: Instance) -> Found:
    wanted = instance.settings.model
    for kind, (what, package, extra) in ENGINE_PACKAGES.items():
        if instance.settings.engines.python_of(kind.name):
            yield _in_its_own_environment(kind, what, package, instance)
        elif kind.is_installed:
            yield OK, f"{kind.name}: {what}{package} {package_version(package)}.", ""
        elif kind == kind_of_model(wanted):
            reason = f"the engine {kind.name} cannot run: {package} is not installed."
            yield PROBLEM, reason, f"`{install_command(extra)}`"
        else:
            yield OK, f"the engine {kind.name} is not installed: {package} is missing (extra {extra}).", ""


def _in_its_own_environment(kind: EngineKind, what: str, package: str, instance: Instance) -> tuple[str, str, str]:
    try:
        python = engine_python(kind.name, instance)
        assert python is not None
        own = examined(python, kind.name)
    except VoiceJobsError as error:
        return PROBLEM, error.message, error.hint
    where = f"in an environment of its own: Python {own.version}, {shown_path(python)}"
    return OK, f"{kind.name}: {what}{package} {own.package_version} {where}.", ""


def _model(instance: Instance) -> Found:
    from models.store.shared_directory import resolve_models_dir

    wanted = instance.settings.model
    directory = resolve_models_dir(configured=instance.models_dir)
    try:
        name = model_name(wanted, ability=PRESETS, settings=instance.settings, models_dir=directory)
    except VoiceJobsError as error:
        yield (
            PROBLEM,
            f"the setting model: {error.message}",
            error.hint or f"Correct model in {instance.settings_path}.",
        )
    else:
        yield OK, f"jobs that name no model use {name}.", ""


def _recogniser(instance: Instance) -> Found:
    settings = instance.settings
    if not (wanted := settings.recogniser):
        if settings.verify == "asr":
            yield WARNING, 'verify = "asr" compares nothing: no recogniser is set.', NoRecogniser().hint
        else:
            yield OK, "no recogniser is set.", ""
        return
    yield from _listens(wanted, instance, setting="recogniser")


def _aligner(instance: Instance) -> Found:
    from models.listen.recognisers import check_aligner

    if not (wanted := instance.settings.aligner):
        yield OK, "no aligner is set: eSpeak NG times words.", ""
        return
    try:
        check_aligner(wanted)
    except VoiceJobsError as error:
        yield PROBLEM, f"the setting aligner: {error.message}", error.hint
        return
    yield from _listens(wanted, instance, setting="aligner")


def _listens(wanted: str, instance: Instance, *, setting: str) -> Found:
    from models.store.availability import Available, NotAvailable, availability, is_whisper
    from models.store.catalog import FASTER_WHISPER
    from models.store.installed import resolve_model
    from models.store.shared_directory import resolve_models_dir

    try:
        check_can_listen(wanted, instance)
        if not (model := recogniser_model(wanted, root=instance.root)):
            yield OK, f"{wanted} listens.", ""
            return
        choice = resolve_model(model, directory=resolve_models_dir(configured=instance.models_dir))
    except VoiceJobsError as error:
        hint = error.hint or f"Correct {setting} in {instance.settings_path}."
        yield PROBLEM, f"the setting {setting}: {error.message}", hint
        return
    assert choice.folder is not None
    state = availability(choice.folder)
    is_right = is_whisper(choice.folder) or not wanted.startswith(FASTER_WHISPER)
    if isinstance(state, Available) and is_right:
        yield OK, f"{wanted} listens, from {choice.folder}.", ""
    elif isinstance(state, NotAvailable) and not choice.is_local:
        large = f", {size(choice.entry.size_bytes)}," if choice.entry else ""
        message = f"{wanted} is not here yet{large} and is fetched when it is first needed."
        yield NOTE, message, f"`voicejobs models pull {shlex.quote(model)}` fetches it in advance."
    else:
        kind = "Whisper model for faster-whisper" if wanted.startswith(FASTER_WHISPER) else "model"
        message = f"the setting {setting}: {choice.folder} is no whole {kind}."
        yield PROBLEM, message, "Name another, or copy what is missing into that folder."


def _pronunciations(instance: Instance) -> Found:
    if not instance.settings.pronunciations:
        yield OK, "no respellings are set.", ""
        return
    table = load_pronunciations(instance)
    yield OK, f"{counted(len(table), 'word')} respelled by {instance.settings.pronunciations}.", ""


def _audio(instance: Instance) -> Found:
    import soundfile

    known = set(soundfile.available_formats())
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in known]
    if missing:
        severity = PROBLEM if instance.settings.format.upper() in missing else NOTE
        yield severity, f"this libsndfile cannot write {', '.join(missing)}.", "pip install --upgrade soundfile"
    else:
        yield OK, "wav, flac, mp3 and ogg can be written.", ""


def _models(instance: Instance) -> Found:
    from models.store.shared_directory import resolve_models_dir
    from runner.doctor.model_checks import check_models

    directory = resolve_models_dir(None, os.environ, instance.models_dir)
    yield from check_models(directory, environ=os.environ, offline=instance.settings.offline)


CHECKS: Checks = {
    **place_checks.CHECKS,
    **registry_checks.CHECKS,
    **outbox_checks.CHECKS,
    **inbox_checks.INBOX_CHECKS,
    **HOOK_CHECKS,
    "versions": ("versions of this program and of its libraries", _versions),
    "engines": ("which engines are installed", _engines),
    "model": ("the setting `model` names a model", _model),
    "recogniser": ("the setting `recogniser` names one that can listen", _recogniser),
    "aligner": ("the setting `aligner` names one that can time words", _aligner),
    "audio": ("which audio formats can be written", _audio),
    "pronunciations": ("the file of respellings can be read; otherwise every job fails", _pronunciations),
    "models": ("the model directory, broken and duplicate models, the network switch", _models),
    **engine_checks.CHEAP_CHECKS,
    **engine_checks.ENGINE_CHECKS,
}
ENGINE_CHECKS = tuple(engine_checks.ENGINE_CHECKS)
CONTRACT = "engine-contract"
ALWAYS_TOLD = ("computing", CONTRACT, *ENGINE_CHECKS)  # asked for explicitly: shown even when all is well
