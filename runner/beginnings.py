"""Work that a process begins → a small file that outlives it, so that the next one knows over what it died.

An error can be caught; a death of the whole process, for want of memory or by a fault in a library, cannot.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from registry.durable_files import crash_point, read_regular
from registry.errors import storage_error
from runner.errors import RunnerDied

logger = logging.getLogger(__name__)

DEATHS_ALLOWED = 2
Key = TypeVar("Key", int, str)


@dataclass(frozen=True, kw_only=True)
class Beginnings:
    """Work being begun, by ledger or claim ids, and how many runners died over it before.

    The file is not synced. A process that dies leaves it behind; a power cut, which may not, is no fault of a job.
    """

    path: Path
    _begun: set[str] = field(default_factory=set)
    _deaths: dict[str, int] = field(default_factory=dict)

    def recover(self) -> None:
        """Count the death of the runner before this one, if it died while it was beginning something."""
        try:
            left = json.loads(read_regular(self.path))
            begun = list(map(str, left["begun"]))
            deaths = {key: int(count) for key, count in left["deaths"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # cut short by the death itself
            logger.warning("%s cannot be read and is left out: %s", self.path.name, error)
            return
        self._deaths.update(deaths)
        for key in begun:
            self._deaths[key] = self._deaths.get(key, 0) + 1
            logger.warning("%s was being begun when a runner died (%d times now)", key, self._deaths[key])
        self._write()

    def is_suspect(self, key: int | str) -> bool:
        """Whether a runner has died over it: it is begun alone."""
        return str(key) in self._deaths

    def admit(self, keys: Sequence[Key]) -> Sequence[Key]:
        """As many of these, from the first, as may be begun together."""
        if keys and self.is_suspect(keys[0]):
            return keys[:1]
        return [key for key in keys if not self.is_suspect(key)]

    def refuse_deadly(self, key: int | str) -> None:
        """Raise RunnerDied when too many runners have died over it; if it is tried again, the count starts again."""
        if (deaths := self._deaths.get(str(key), 0)) > DEATHS_ALLOWED:
            del self._deaths[str(key)]
            raise RunnerDied(deaths)

    def forget_others(self, keys: Collection[str]) -> None:
        """Forget the deaths over what is not among these: it is no more."""
        if gone := self._deaths.keys() - set(keys):
            for key in gone:
                del self._deaths[key]
            self._write()

    def begin(self, keys: Iterable[int | str]) -> None:
        """Note that these are being begun. Raises StorageError."""
        if new := set(map(str, keys)) - self._begun:
            self._begun.update(new)
            self._write()

    def end(self, keys: Iterable[int | str]) -> None:
        """These were begun, and the process lives. Raises StorageError."""
        self.end_others(self._begun - set(map(str, keys)))

    def end_others(self, keys: Iterable[int | str]) -> None:
        """All but these were begun, and the process lives. Raises StorageError."""
        if ended := self._begun - set(map(str, keys)):
            self._begun.difference_update(ended)
            for key in ended:
                self._deaths.pop(key, None)
            self._write()

    @contextlib.contextmanager
    def noted(self, keys: Sequence[int | str]) -> Iterator[None]:
        """Begin these within."""
        self.begin(keys)
        crash_point("worker.jobs-beginning")
        try:
            yield
        finally:
            self.end(keys)

    def _write(self) -> None:
        try:
            if self._begun or self._deaths:
                left = {"begun": sorted(self._begun), "deaths": self._deaths}
                self.path.write_text(json.dumps(left), encoding="utf-8")
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"writing {self.path}") from error
