"""Questions about parts → a language model's answers, from a process of its own, in turns with the speech model.

The model is fetched first where it must be. A thread waits for all that, so that scripts poll as for any process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import EngineFailure
from models.store.memory import bytes_of_weights
from registry.errors import VoiceJobsError
from registry.jobs.values import JobError
from runner.listen.listen_process import ListenProcess
from runner.listen.weights import Weights
from runner.reading_process import Reading, ReadingProcess
from runner.script.analyzer.language_model import MODULE
from runner.worker.listening.memory_turns import TURN_S

LOOK_S = 0.5
LOAD_S = 300.0  # that a model may take to load, from a slow disk


@dataclass(frozen=True, kw_only=True)
class LanguageModels:
    """Language models of this machine: one at a time is asked, by whoever is first."""

    weights: Weights
    listen: ListenProcess  # whose memory it shares
    folder: Path  # for files without a name
    wake: Callable[[], None]
    _pool: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="language-model"))

    def ask(self, request: Mapping[str, Any]) -> LocalAnalysis:
        """Begin to ask."""
        analysis = LocalAnalysis(models=self, request=request)
        analysis.future = self._pool.submit(analysis.run)
        analysis.future.add_done_callback(lambda _: self.wake())
        return analysis


@dataclass(kw_only=True)
class LocalAnalysis:
    """The questions of one script on their way. `poll` never waits."""

    models: LanguageModels
    request: Mapping[str, Any]
    future: Future[Reading] | None = None
    _is_dropped: bool = False

    def poll(self) -> Reading | None:
        """The answers once they are there. Raises an error after which the same may be tried again."""
        if self.future is None or not self.future.done():
            return None
        return self.future.result()

    def close(self) -> None:
        """Ask no more."""
        self._is_dropped = True

    def _is_over(self) -> bool:
        return self._is_dropped or self.models.listen.is_closed

    def run(self) -> Reading:
        """In the thread: ask until all is answered, or something fails."""
        profiles: dict[str, Any] = {}
        try:
            folder = Path(self.models.weights.ready(self.request["model"], is_stopping=self._is_over))
            while left := {key: text for key, text in self.request["questions"].items() if key not in profiles}:
                reading = self._turn(folder, left)
                if reading.header is None:
                    return Reading(header={"profiles": profiles, "failure": _why(reading)})
                profiles |= reading.header["profiles"]
                if failure := reading.header["failure"]:
                    return Reading(header={"profiles": profiles, "failure": failure})
        except VoiceJobsError as error:
            if error.retryable and not isinstance(error, EngineFailure):
                raise
            return Reading(error=JobError.of(error))
        return Reading(header={"profiles": profiles, "failure": ""})

    def _turn(self, folder: Path, questions: Mapping[str, str]) -> Reading:
        """As many answers as one turn at the memory allows. Raises EngineFailure when nobody wants them any more."""
        asked = {**self.request, "folder": str(folder), "turn_s": TURN_S, "questions": questions}
        longest_s = LOAD_S + TURN_S + 2 * self.request["timeout_s"]
        with self.models.listen.turn(bytes_of_weights(folder), is_over=self._is_over):
            process = ReadingProcess(MODULE, asked, folder=self.models.folder, longest_s=longest_s)
            while (reading := process.poll()) is None:
                if self._is_over():
                    process.close()
                    raise EngineFailure("The script is not wanted any more.")
                process.wait_for_end(LOOK_S)
        return reading


def _why(reading: Reading) -> str:
    return reading.error.message if reading.error is not None else reading.failure
