"""The inbox → findings: who may write into it, what waits in it, and what was put aside. Only reads."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable

from registry.jobs.jobs import is_recorded
from registry.storage.database import Database
from runner.config.instance import Instance
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Found
from runner.inbox.waiting import Waiting, waiting_in
from runner.text_format import counted

NAMED = 3  # entries of one finding
MOST_FINDINGS = 10


def _inbox_rights(instance: Instance) -> Found:
    mode = instance.inbox.stat().st_mode
    if mode & stat.S_IWOTH:
        yield (
            WARNING,
            f"{instance.inbox} can be written to by everybody on this machine.",
            f"chmod o-w {instance.inbox}",
        )
    else:
        yield OK, f"{instance.inbox} can be written to only by its {'group' if mode & stat.S_IWGRP else 'owner'}.", ""


def _claiming(instance: Instance) -> Found:
    inside = (instance.claimed_dir, instance.rejected_dir, instance.orphans_dir)
    device = instance.inbox.stat().st_dev
    apart = [folder for folder in inside if folder.exists() and folder.stat().st_dev != device]
    if apart:
        yield PROBLEM, f"{apart[0]} is not on the inbox's file system.", "Unmount it: a claim is a rename."
    else:
        yield OK, "claims stay on the inbox's file system.", ""


def _waiting(instance: Instance) -> Found:
    if not instance.database_path.exists():
        found = waiting_in(instance)
    else:
        with (
            Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
            database.read() as snapshot,
        ):
            found = waiting_in(instance, is_recorded=lambda claim_id: is_recorded(snapshot, claim_id))
    alike = itertools.groupby(sorted(found, key=_likeness), key=_likeness)
    for (is_fine, reason), entries in itertools.islice(alike, MOST_FINDINGS):
        names = [entry.name for entry in entries]
        named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
        remedy = "" if is_fine else f"Finish, rename or remove it: it is in {instance.inbox}."
        yield NOTE if is_fine else WARNING, f"{named}: {reason}.", remedy
    if not found:
        yield OK, "nothing waits in the inbox.", ""


def _likeness(waiting: Waiting) -> tuple[bool, str]:
    return not waiting.is_stuck, waiting.reason


def _left_over(instance: Instance) -> Found:
    for folder, what in ((instance.rejected_dir, "refused drop"), (instance.orphans_dir, "unused attachment")):
        count = len(list(folder.iterdir())) if folder.is_dir() else 0
        if count:
            yield NOTE, f"{folder} holds {counted(count, what)}.", "Look through them and delete what nobody needs."
    yield OK, "looked for refused drops and unused attachments.", ""


def _events(instance: Instance) -> Found:
    from runner.inbox.watcher import InboxWatcher

    if not instance.settings.watch_events:
        yield NOTE, f"file events are off; the inbox is scanned every {instance.settings.scan_interval_s:g} s.", ""
        return
    watcher = InboxWatcher(instance.inbox, moved=lambda _: None, wake=lambda: None)
    if watcher.ensure():
        yield OK, "file events of the inbox arrive.", ""
    else:
        yield (
            WARNING,
            "the inbox cannot be watched; drops wait for the next scan.",
            "Raise fs.inotify.max_user_instances.",
        )
    watcher.close()


INBOX_CHECKS: dict[str, tuple[str, Callable[[Instance], Found]]] = {
    "inbox-rights": ("not everybody can write to the inbox", _inbox_rights),
    "claiming": ("a claim is a rename: inbox and .claimed share a file system", _claiming),
    "waiting": ("what waits in the inbox, is left alone or was refused there, and why", _waiting),
    "left-over": ("refused drops and unused attachments", _left_over),
    "events": ("file events of the inbox arrive", _events),
}
