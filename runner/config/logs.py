"""Log records → a rotating file in the instance, and stderr, without tokens."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from runner.config.instance import Instance
from runner.config.printed_commands import flags_for_logs, with_flags
from runner.redaction import redact
from runner.text_format import printable

LOG_FILE = "runner.log"
SERVER_LOG_FILE = "server.log"  # of its own: two processes cannot rotate one file
MAX_LOG_BYTES = 10_000_000
KEPT_LOGS = 5
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class ReopeningFile(logging.handlers.RotatingFileHandler):
    """Rotating log that is opened again when its file was removed or renamed by somebody else."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a full disk, a folder that cannot be made: as with any record
            if self.stream is not None and not self._has_its_name(self.stream.fileno()):
                self.stream.close()
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
                self.stream = self._open()
        super().emit(record)

    def _has_its_name(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o600)
        return stream


class Redacting(logging.Formatter):
    """Formatter that removes credentials from records and their tracebacks, and names the instance in commands."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        super().__init__(FORMAT)
        self._flags = tuple(flags)

    def format(self, record: logging.LogRecord) -> str:
        return printable(with_flags(redact(super().format(record)), self._flags).replace("\r", "\\r"))


def set_up_logging(instance: Instance, *, to_stderr: bool = True, file_name: str = LOG_FILE) -> None:
    """Send the log of this process to the instance's log folder, and to stderr if wanted."""
    handlers: list[logging.Handler] = [
        ReopeningFile(instance.logs_dir / file_name, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8")
    ]
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(Redacting(flags_for_logs(instance.root)))
    logging.basicConfig(level=instance.settings.log_level.upper(), handlers=handlers, force=True)
    logging.raiseExceptions = False  # a full disk or a closed terminal must not stop the work
