"""A model as a job or a lock names it → one name per model, and the engine process's choice of it."""

from __future__ import annotations

from pathlib import Path

from models.engine_kinds import MLX_AUDIO, EngineKind, kind_of_model, model_without_folder
from models.errors import InvalidPath, UnknownModel
from models.named_paths import named_path
from models.protocol import ModelChoice
from models.store.catalog import entry_named
from models.store.families import PREFIX
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.errors import SettingsInvalid

HUB_CACHE = "hub"  # in the state folder
CLONE, DESIGN, PRESETS = "clone", "design", "presets"


def model_name(wanted: str, *, ability: str, settings: Settings, models_dir: Path) -> str:
    """Canonical name under which a model is scheduled, loaded and recorded. Raises UnknownModel."""
    if (simple := model_without_folder(wanted)) is not None:
        return simple
    from models.store.companions import speaks_by_mlx_audio
    from models.store.installed import resolve_model

    choice = resolve_model(wanted, directory=models_dir, ability=ability, offline=settings.offline)
    if choice.entry is not None and choice.entry.hears:
        hint = f'Name a model that speaks; `recogniser = "{choice.entry.name}"` in voicejobs.toml has this one listen.'
        raise UnknownModel(f"{wanted} is a recogniser: it hears, and cannot speak.", hint=hint)
    is_asked_for = wanted.strip().casefold().startswith(PREFIX)
    if choice.entry is not None and (choice.entry.family is not None or not is_asked_for):
        return choice.entry.name
    by_mlx_audio = is_asked_for or (
        choice.folder is not None and speaks_by_mlx_audio(choice.folder, model_id=choice.id)
    )
    return f"{PREFIX}{choice.id}" if by_mlx_audio else choice.id


def likely_name(wanted: str) -> str | None:
    """`model_name` without looking at the disk; None when it depends on the machine or on a folder."""
    if (simple := model_without_folder(wanted)) is not None:
        return simple
    entry = entry_named(wanted)
    return entry.name if entry else None


def recogniser_model(recogniser: str, *, root: Path) -> str:
    """The model that a recogniser needs, a folder relative to `root`; "" where its package has one.

    Raises InvalidInput for a recogniser that nobody knows.
    """
    from models.listen.recognisers import model_of  # loads libraries of sound

    return folder_or_name(model_of(recogniser), root=root)


def folder_or_name(name: str, *, root: Path) -> str:
    """A model that does not speak, as settings name it: a folder relative to `root` where there is one."""
    is_folder = name.startswith(("./", "../")) or ("/" in name and (root / name).is_dir())
    return str(root / name) if is_folder else name


def engine_python(engine: str, instance: Instance) -> Path | None:
    """Python of an environment of the engine's own; None where it runs in that of voicejobs. Raises SettingsInvalid."""
    written = instance.settings.engines.python_of(engine)
    if not written:
        return None
    try:
        return named_path(written, below=instance.root)
    except InvalidPath as error:
        hint = f"Correct it in {instance.settings_path}."
        raise SettingsInvalid(f"The setting engines.{engine}.python: {error.message}", hint=hint) from None


def further_voices(kind: EngineKind, instance: Instance) -> Path | None:
    """The folder of the shared directory with voices that an engine uses besides its own; None where there is none."""
    if not kind.repository:
        return None
    from models.store.shared_directory import resolve_models_dir, slug_of

    folder = resolve_models_dir(configured=instance.models_dir) / slug_of(kind.repository)
    return folder if folder.is_dir() else None


def engine_choice(name: str, *, instance: Instance, folder: Path | None) -> ModelChoice:
    """Model for the engine process to open; `folder` holds the weights, where the model has any."""
    settings = instance.settings
    kind = kind_of_model(name)
    if not kind.has_weights:
        return ModelChoice(engine=kind.name, model=name, folder=None if folder is None else str(folder))
    python = engine_python(kind.name, instance)
    return ModelChoice(
        engine=kind.name,
        model=name,
        folder=str(folder),
        dtype=None if settings.dtype == "auto" else settings.dtype,
        batch=settings.batch or None,
        memory_limit_bytes=settings.engine_memory_limit_bytes or None,
        blas=None if settings.blas == "auto" else settings.blas,
        formulation=None if settings.formulation == "auto" else settings.formulation,
        memory_factor=settings.memory_factor,
        memory_check=settings.memory_check,
        hub_cache=str(hub_cache(instance)) if kind == MLX_AUDIO else None,
        python=None if python is None else str(python),
    )


def hub_cache(instance: Instance) -> Path:
    """The instance's hub cache, with links to the models that are here."""
    from models.store.hub_cache import link_hub_cache
    from models.store.shared_directory import resolve_models_dir

    return link_hub_cache(instance.state_dir / HUB_CACHE, resolve_models_dir(configured=instance.models_dir))
