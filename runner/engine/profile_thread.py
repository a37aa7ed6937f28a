"""A recording and its words → a prompt with a speaker profile of OuteTTS, by a process of its own.

The codec that it needs is fetched or adopted first where it must be, in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from models.engine_kinds import MLX_AUDIO
from models.errors import EngineFailure, UnsupportedRequest
from models.extras import install_command
from models.protocol import Waveform
from models.store.families import OUTETTS_CODEC
from registry.errors import VoiceJobsError
from registry.jobs.values import JobError
from runner.config.instance import Instance
from runner.config.model_names import engine_python, hub_cache
from runner.engine.engine_python import examined
from runner.engine.pipe import command_of
from runner.reading_process import ReadingProcess

MODULE = "models.processes.make_profile"
LONGEST_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A prompt with a speaker profile; or why there is none."""

    prompt: bytes = b""
    error: JobError | None = None


class ProfileThread:
    """One profile on its way. `poll` never waits."""

    def __init__(
        self, waveform: Waveform, *, transcript: str, language: str, instance: Instance, wake: Callable[[], None]
    ) -> None:
        self._future: Future[Profile] = Future()
        self._process: ReadingProcess | None = None
        self._is_closed = False
        self._instance, self._wake = instance, wake
        asked = {"transcript": transcript, "language": language}
        self._thread = threading.Thread(target=self._run, args=(waveform, asked), name="profile", daemon=True)
        self._thread.start()

    def _run(self, waveform: Waveform, asked: dict[str, str]) -> None:
        try:
            self._future.set_result(self._made(waveform, asked))
        except VoiceJobsError as error:
            self._future.set_result(Profile(error=JobError.of(error)))
        except Exception as error:  # told by `poll`
            self._future.set_exception(error)
        self._wake()

    def _made(self, waveform: Waveform, asked: dict[str, str]) -> Profile:
        python = _checked_python(self._instance)
        _fetch_codec(self._instance)
        if self._is_closed:
            raise EngineFailure("The runner is stopping.")
        self._process = ReadingProcess(
            MODULE,
            {**asked, "hub_cache": str(hub_cache(self._instance))},
            content=waveform.tobytes(),
            folder=self._instance.state_dir,
            longest_s=LONGEST_S,
            command=command_of(MODULE, python),
        )
        read = self._process.wait()
        if read.header is None and read.error is None:
            raise EngineFailure(f"The speaker profile could not be made: {read.failure}.")
        return Profile(prompt=read.content, error=read.error)

    def poll(self) -> Profile | None:
        """The profile once it is made. Raises StorageError, …"""
        return self._future.result() if self._future.done() else None

    def wait(self, longest_s: float) -> None:
        """Wait until `poll` has an answer, but not for longer."""
        self._thread.join(longest_s)

    def close(self) -> None:
        """End the process, where one is running; none is started any more."""
        self._is_closed = True
        if self._process is not None:
            self._process.close()


def _checked_python(instance: Instance) -> str | None:
    """Python of the engine's own environment. Raises SettingsInvalid, or UnsupportedRequest without the package."""
    if (python := engine_python(MLX_AUDIO.name, instance)) is not None:
        return str(examined(python, MLX_AUDIO.name).path)
    if not MLX_AUDIO.is_installed:
        hint = f"Install it: `{install_command(MLX_AUDIO.extra)}`."
        raise UnsupportedRequest("A speaker profile needs the package mlx-audio, which is not installed.", hint=hint)
    return None


def _fetch_codec(instance: Instance) -> Path | None:
    from models.fetch.prepare import ensure_model
    from models.store.shared_directory import resolve_models_dir

    return ensure_model(
        OUTETTS_CODEC,
        directory=resolve_models_dir(configured=instance.models_dir),
        migrate=instance.settings.migrate,
        offline=instance.settings.offline,
    ).folder
