"""Drops of the scanner's tests: files put into an inbox, and looks at it until they lie still."""

import os
from pathlib import Path

from runner.inbox.scanner import InboxScanner

SPEAK = 'kind = "synthesize"\nvoice = "elena"\ntext = "Hello."\n'
LOCK = 'kind = "lock"\nvoice = "elena"\naudio = "elena.wav"\ntranscript = "Hi."\n'


def drop(inbox: Path, name: str, content: str = SPEAK, *, mtime_s: float | None = None) -> Path:
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))
    return path


def settled(scanner: InboxScanner, *, start_s: float = 0.0, wait_s: float = 1.0):
    scanner.tick(start_s)
    return scanner.tick(start_s + wait_s)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
