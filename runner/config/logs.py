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

from registry.durable_files import regular_opener
from runner.config.instance import Instance
from runner.config.printed_commands import flags_for_logs, with_flags
from runner.redaction import redact
from runner.text_format import printable

LOG_FILE = "runner.log"
SERVER_LOG_FILE = "server.log"  # of its own: two processes cannot rotate one file
MAX_LOG_BYTES = 10_000_000
KEPT_LOGS = 5
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
TERMINAL_FORMAT, TERMINAL_TIME = "%(asctime)s  %(message)s", "%H:%M:%S"


class ReopeningFile(logging.handlers.RotatingFileHandler):
    """Rotating log that is opened again when its file was removed or renamed by somebody else."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a full disk, a folder that cannot be made: as with any record
            if self.stream is not None and not self._has_its_name(self.stream.fileno()):
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
                before, self.stream = self.stream, self._open()  # kept open where no file can take its place
                before.close()
        super().emit(record)

    def _has_its_name(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _open(self) -> TextIOWrapper:
        file = os.fdopen(regular_opener(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")
        stream = TextIOWrapper(file, encoding=self.encoding, errors=self.errors)
        os.fchmod(stream.fileno(), 0o600)
        return stream


class Redacting(logging.Formatter):
    """Formatter that removes credentials from records and their tracebacks, and names the instance in commands."""

    def __init__(self, flags: Sequence[str] = (), *, for_terminal: bool = False) -> None:
        super().__init__(TERMINAL_FORMAT if for_terminal else FORMAT, TERMINAL_TIME if for_terminal else None)
        self._flags, self._for_terminal = tuple(flags), for_terminal

    def format(self, record: logging.LogRecord) -> str:
        return printable(with_flags(redact(super().format(record)), self._flags).replace("\r", "\\r"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gives it
        """On a terminal, people read the time and the sentence; a file also has level and module."""
        if self._for_terminal and record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


def set_up_logging(
    instance: Instance, *, to_stderr: bool = True, file_name: str = LOG_FILE, terminal: logging.Handler | None = None
) -> None:
    """Send the log of this process to the instance's log folder, and to stderr if wanted, by `terminal` where given."""
    handlers: list[logging.Handler] = [
        ReopeningFile(instance.logs_dir / file_name, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8")
    ]
    if to_stderr:
        handlers.append(terminal or logging.StreamHandler(sys.stderr))
    for handler in handlers:
        for_terminal = not isinstance(handler, ReopeningFile) and sys.stderr is not None and sys.stderr.isatty()
        handler.setFormatter(Redacting(flags_for_logs(instance.root), for_terminal=for_terminal))
    logging.basicConfig(level=instance.settings.log_level.upper(), handlers=handlers, force=True)
    logging.raiseExceptions = False  # a full disk or a closed terminal must not stop the work
