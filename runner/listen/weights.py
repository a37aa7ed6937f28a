"""The name of a recogniser or a language model → the folder of its weights, adopted or downloaded first if need be.

This module touches the disk and, unless that is forbidden, the network; it is called in threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import EngineFailure
from models.listen.recognisers import check_installed, kind_of
from models.store.catalog import FASTER_WHISPER
from models.store.events import ModelEvent
from registry.errors import InvalidInput, VoiceJobsError
from runner.config.instance import Instance
from runner.config.model_names import engine_python, folder_or_name, recogniser_model
from runner.engine.engine_python import examined

logger = logging.getLogger(__name__)
LOOK_S = 0.2


def check_can_listen(recogniser: str, instance: Instance) -> None:
    """Raise UnsupportedRequest or SettingsInvalid where the package of a recogniser is missing; opens nothing."""
    kind = kind_of(recogniser)[0]
    if (python := engine_python(kind, instance)) is not None:
        examined(python, kind)
    else:
        check_installed(recogniser)


def with_weights(recogniser: str, instance: Instance) -> str:
    """The recogniser as the process that listens opens it. Raises errors of `ensure_model` and InvalidInput."""
    from models.store.availability import is_whisper

    check_can_listen(recogniser, instance)
    if not (name := recogniser_model(recogniser, root=instance.root)):
        return recogniser
    folder = _prepared(name, instance)
    kind = kind_of(recogniser)[0]
    if kind == FASTER_WHISPER and (folder is None or not is_whisper(folder)):
        hint = "Name a size, such as faster-whisper:small, or a folder as of Systran/faster-whisper-small."
        raise InvalidInput(f"{folder or name} is no Whisper model for faster-whisper.", hint=hint)
    return f"{kind}:{folder}"


def language_model_folder(name: str, instance: Instance) -> str:
    """The folder of a language model. Raises errors of `ensure_model` and InvalidInput."""
    folder = _prepared(folder_or_name(name, root=instance.root), instance)
    if folder is None:
        raise InvalidInput(f"{name} speaks; it cannot describe anybody.", hint="Name a folder with a language model.")
    return str(folder)


def _prepared(name: str, instance: Instance) -> Path | None:
    from models.fetch.prepare import ensure_model
    from models.store.shared_directory import resolve_models_dir

    return ensure_model(
        name,
        directory=resolve_models_dir(configured=instance.models_dir),
        migrate=instance.settings.migrate,
        offline=instance.settings.offline,
        on_event=_log,
    ).folder


def _log(event: ModelEvent) -> None:
    logger.info("%s: %s", event.model or "models", event.message)


@dataclass
class Weights:
    """Weights of models that do not speak, looked for once each; whoever asks waits."""

    instance: Instance
    look: Callable[[str, Instance], str] = with_weights
    _found: dict[str, str] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ready(self, name: str, *, is_stopping: Callable[[], bool]) -> str:
        """As `look`; ends the wait for a download with EngineFailure when the runner stops."""
        with self._turn:
            if name not in self._found:
                self._found[name] = self._looked_for(name, is_stopping)
            return self._found[name]

    def python_of(self, recogniser: str) -> Path | None:
        """Python of an environment of the recogniser's own."""
        return engine_python(kind_of(recogniser)[0], self.instance)

    def forget(self, name: str) -> None:
        """Look again the next time: it could not be opened."""
        self._found.pop(name, None)

    def _looked_for(self, name: str, is_stopping: Callable[[], bool]) -> str:
        answers: list[str | VoiceJobsError] = []

        def look() -> None:
            try:
                answers.append(self.look(name, self.instance))
            except VoiceJobsError as error:
                answers.append(error)
            except Exception as error:  # the edge of a thread: nobody above would hear of it
                answers.append(EngineFailure(f"{name} cannot be prepared: {error!r}."))

        thread = threading.Thread(target=look, name="weights", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_S)
            if is_stopping():
                raise EngineFailure("The runner is stopping.")
        if isinstance(answers[0], VoiceJobsError):
            raise answers[0]
        return answers[0]
