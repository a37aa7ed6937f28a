"""A recogniser's name → the name with the folder of its weights, adopted or downloaded first where they must be.

This module touches the disk and, unless that is forbidden, the network; it is called in threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from models.errors import EngineFailure
from models.listen.recognisers import check_installed, kind_of
from models.store.catalog import FASTER_WHISPER
from models.store.events import ModelEvent
from registry.errors import InvalidInput, VoiceJobsError
from runner.config.instance import Instance
from runner.config.model_names import recogniser_model

logger = logging.getLogger(__name__)
LOOK_S = 0.2


def with_weights(recogniser: str, instance: Instance) -> str:
    """The recogniser as the process that listens opens it. Raises errors of `ensure_model` and InvalidInput."""
    from models.fetch.prepare import ensure_model
    from models.store.availability import is_whisper
    from models.store.shared_directory import resolve_models_dir

    check_installed(recogniser)
    if not (name := recogniser_model(recogniser, root=instance.root)):
        return recogniser
    found = ensure_model(
        name,
        directory=resolve_models_dir(configured=instance.models_dir),
        migrate=instance.settings.migrate,
        offline=instance.settings.offline,
        on_event=_log,
    )
    kind = kind_of(recogniser)[0]
    if kind == FASTER_WHISPER and (found.folder is None or not is_whisper(found.folder)):
        hint = "Name a size, such as faster-whisper:small, or a folder as of Systran/faster-whisper-small."
        raise InvalidInput(f"{found.folder or name} is no Whisper model for faster-whisper.", hint=hint)
    return f"{kind}:{found.folder}"


def _log(event: ModelEvent) -> None:
    logger.info("%s: %s", event.model or "models", event.message)


@dataclass
class RecogniserWeights:
    """Weights of recognisers, looked for once each; whoever asks waits."""

    instance: Instance
    _found: dict[str, str] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ready(self, recogniser: str, *, is_stopping: Callable[[], bool]) -> str:
        """As `with_weights`; ends the wait for a download with EngineFailure when the runner stops."""
        with self._turn:
            if recogniser not in self._found:
                self._found[recogniser] = self._looked_for(recogniser, is_stopping)
            return self._found[recogniser]

    def forget(self, recogniser: str) -> None:
        """Look again the next time: it could not be opened."""
        self._found.pop(recogniser, None)

    def _looked_for(self, recogniser: str, is_stopping: Callable[[], bool]) -> str:
        answers: list[str | VoiceJobsError] = []

        def look() -> None:
            try:
                answers.append(with_weights(recogniser, self.instance))
            except VoiceJobsError as error:
                answers.append(error)
            except Exception as error:  # the edge of a thread: nobody above would hear of it
                answers.append(EngineFailure(f"{recogniser} cannot be prepared: {error!r}."))

        thread = threading.Thread(target=look, name="recogniser", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_S)
            if is_stopping():
                raise EngineFailure("The runner is stopping.")
        if isinstance(answers[0], VoiceJobsError):
            raise answers[0]
        return answers[0]
