"""Takes of lines with `verify = "asr"` → what a recogniser hears in them, while the next lines are spoken.

Waiting takes are heard one after another in a thread; the runner's main thread begins hearings and collects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from models.audio.sound import Sound
from models.errors import EngineFailure, LanguageNotHeard
from models.listen.recognisers import check_language
from models.listen.values import Heard
from registry.errors import InvalidInput
from runner.config.settings import Settings
from runner.jobfile.specs import JobSpec, SynthesizeSpec
from runner.listen.listen_process import ListenProcess

Take = TypeVar("Take")
NO_RECOGNISER = 'No line was compared with what is heard: no recogniser is set. Set recogniser = "pocketsphinx".'


@dataclass(kw_only=True)
class Verifier(Generic[Take]):
    """Hearings that are waited for, with whatever belongs to each."""

    listen: ListenProcess
    wake: Callable[[], None]
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="verifier"))
    _waiting: dict[Future[Heard], Take] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Take]:
        return iter(self._waiting.values())

    def begin(
        self,
        take: Take,
        sound: Sound,
        *,
        recogniser: str,
        language: str,
        expected: str,
        rates: bool = False,
        finds_end: bool = False,
    ) -> None:
        """Have a take heard."""
        future = self._pool.submit(
            lambda: self.listen.hear(
                np.ascontiguousarray(sound[:], np.float32),
                recogniser=recogniser,
                language=language,
                expected=expected,
                rates=rates,
                finds_end=finds_end,
            )
        )
        self._waiting[future] = take
        future.add_done_callback(lambda _: self.wake())

    def finished(self) -> Iterator[tuple[Take, Heard | EngineFailure]]:
        """Takes that were heard, or could not be; each once."""
        for future in [future for future in self._waiting if future.done()]:
            take = self._waiting.pop(future)
            error = future.exception()
            if error is None:
                yield take, future.result()
            elif isinstance(error, EngineFailure):
                yield take, error
            else:
                raise error

    def forget(self, take: Take) -> None:
        """Nobody waits for this take any more."""
        self._waiting = {future: other for future, other in self._waiting.items() if other is not take}

    def close(self) -> None:
        """End the thread; the process that it asks has been ended before."""
        self._pool.shutdown(cancel_futures=True)


def mode_of(spec: JobSpec, settings: Settings) -> str:
    """How a job's takes are judged: off, basic or asr."""
    return (spec.verify if isinstance(spec, SynthesizeSpec) else None) or settings.verify


def why_unheard(recogniser: str, language: str) -> str:
    """A sentence on why lines of a language are not heard; "" where they can be."""
    if not recogniser:
        return NO_RECOGNISER
    try:
        check_language(recogniser, language)
    except LanguageNotHeard as error:
        return f"Lines in {language} were not compared with what is heard: {error}"
    except InvalidInput as error:
        return f"No line was compared with what is heard: {error}"
    return ""


def told(heard: Heard) -> dict[str, Any]:
    """The words that were heard and where they differ, as receipts tell it."""
    return {
        "transcript": heard.transcript,
        "distance": heard.distance,
        "worst": heard.worst,
        "recogniser": heard.recogniser,
    }
