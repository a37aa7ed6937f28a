"""File events of the inbox → calls to look now, and the names that were moved in whole.

The periodic scan decides; events only start it earlier, so a lost event costs a scan interval and no more.
On Linux we read inotify ourselves: watchdog delays every event by up to half a second after a file has left the
folder, as each claim does. Elsewhere (FSEvents on macOS) watchdog does the work.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from runner.names import printable_name

logger = logging.getLogger(__name__)

Moved = Callable[[str], None]  # the name that a rename gave an entry of the inbox
Wake = Callable[[], None]


class FolderEvents(Protocol):
    """Events of one folder, from construction to `close`."""

    def alive(self) -> bool:
        """False once the watched folder is gone."""
        ...

    def close(self) -> None: ...


IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x80, 0x100
IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT, IN_IGNORED = 0x400, 0x800, 0x2000, 0x8000
IN_ONLYDIR = 0x1000000
GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED
EVENT_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
READ_BYTES = 1 << 16


class InotifyEvents:
    """Thread that reads inotify, on Linux. Raises OSError when the folder cannot be watched."""

    def __init__(self, folder: Path, *, moved: Moved, wake: Wake) -> None:
        self._moved, self._wake = moved, wake
        self._alive = True
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._events < 0:
            raise _last_error(folder)
        mask = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
        if libc.inotify_add_watch(self._events, os.fsencode(folder), ctypes.c_uint32(mask)) < 0:
            error = _last_error(folder)
            os.close(self._events)
            raise error
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._read, name="inbox-events", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._alive and self._thread.is_alive()

    def close(self) -> None:
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._events)
        os.close(self._stop_read)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN | select.POLLHUP)
        while self._alive:
            ready = dict(poll.poll())
            if self._stop_read in ready:
                return
            with contextlib.suppress(BlockingIOError):
                self._take(os.read(self._events, READ_BYTES))
            self._wake()

    def _take(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            _watch, mask, _cookie, name_bytes = EVENT_HEAD.unpack_from(content, at)
            name = content[at + EVENT_HEAD.size : at + EVENT_HEAD.size + name_bytes].rstrip(b"\0")
            at += EVENT_HEAD.size + name_bytes
            if mask & IN_MOVED_TO:
                self._moved(os.fsdecode(name))
            if mask & GONE:
                self._alive = False


def _last_error(folder: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(folder))


class WatchdogEvents:
    """Observer of watchdog, on other systems. Raises OSError when the folder cannot be watched."""

    def __init__(self, folder: Path, *, moved: Moved, wake: Wake) -> None:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                target = Path(os.fsdecode(event.dest_path)) if event.event_type == "moved" else None
                if target is not None and target.parent.name == folder.name:
                    moved(target.name)
                wake()

        self._inode = folder.stat().st_ino
        self._folder = folder
        self._observer = Observer()
        self._observer.schedule(Handler(), str(folder), recursive=False)
        self._observer.start()

    def alive(self) -> bool:
        try:
            return self._observer.is_alive() and self._folder.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()


class InboxWatcher:
    """Watch on the inbox; `ensure()` starts it again after the inbox came back."""

    def __init__(self, inbox: Path, *, moved: Moved, wake: Wake) -> None:
        self._inbox, self._moved, self._wake = inbox, moved, wake
        self._events: FolderEvents | None = None
        self._complained = False

    @property
    def active(self) -> bool:
        """Whether events arrive; otherwise only the scan interval counts."""
        return self._events is not None and self._events.alive()

    def ensure(self) -> bool:
        """Start watching unless that is done; returns whether it works. Cheap when all is well."""
        if self.active:
            return True
        self.close()
        kind = InotifyEvents if sys.platform.startswith("linux") else WatchdogEvents
        try:
            self._events = kind(self._inbox, moved=self._moved, wake=self._wake)
        except OSError as error:
            if not self._complained:
                logger.warning("no file events for %s (%s): polling", printable_name(str(self._inbox)), error.strerror)
            self._complained = True
            return False
        self._complained = False
        self._wake()  # changes before the watch began had no event
        return True

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
