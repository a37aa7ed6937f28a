"""`voicejobs backup` and `restore`: voices, jobs and takes in one file. Both work beside a runner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.console import Command, NamedPath, current_instance, json_option, say, show
from runner.text_format import counted, size, when

if TYPE_CHECKING:
    from runner.config.instance import Instance


@click.command(
    cls=Command,
    examples=(
        "voicejobs backup /backups/voices.backup",
        "voicejobs backup --without-takes ~/voices.backup     # smaller: takes can be spoken again",
    ),
)
@click.argument("target", metavar="FILE", type=NamedPath(to_write=True))
@click.option("--without-takes", is_flag=True, help="Leave out rendered lines; they can be spoken again.")
@click.option("--force", is_flag=True, help="Replace FILE even if it holds more, or is no backup.")
@json_option
def backup(target: Path, without_takes: bool, force: bool, as_json: bool) -> None:
    """Write a backup of voices, jobs and takes to FILE.

    It contains voices with their recordings, jobs, takes and voicejobs.toml as of one moment; work continues meanwhile.
    FILE appears whole or not at all, and replaces an older one unless that holds more: more versions of voices, newer
    jobs, recordings that are lost now. Its folder is created if only that folder is missing
    and its disk is mounted.
    """
    from models.named_paths import shown_path
    from registry.registry import open_registry
    from registry.storage.identity import note_backup
    from runner.errors import UsageProblem
    from runner.output_files import real_target, takes_a_stream

    instance = current_instance()
    if takes_a_stream(target):
        raise UsageProblem(f"{shown_path(target)} is no file, and a backup is nothing else.", hint="Name a file.")
    with open_registry(instance.state_dir, root=instance.root, reads_only=True) as registry:
        report = registry.backup(
            real_target(target),
            now_s=time.time(),
            with_takes=not without_takes,
            extras={instance.settings_path.name: instance.settings_path},
            force=force,
        )
    note_backup(instance.root, report.path)
    missing = len(report.manifest.missing)
    if missing:
        lost = counted(missing, "recording or prompt")
        say(f"warning: {lost} had been lost before this backup was made; `voicejobs voices fsck` names them")
    show(report, as_json=as_json, text=lambda _: f"{report.path}: {size(report.size_bytes)}")


@click.command(
    cls=Command,
    examples=(
        "voicejobs restore /backups/voices.backup",
        "voicejobs restore --replace /backups/voices.backup   # the former database is kept beside the new one",
    ),
)
@click.argument("archive", metavar="FILE", type=NamedPath())
@click.option("--replace", is_flag=True, help="Replace a registry that is not empty, keeping its database.")
@click.option("--settings", "with_settings", is_flag=True, help="Restore voicejobs.toml as well.")
@json_option
def restore(archive: Path, replace: bool, with_settings: bool, as_json: bool) -> None:
    """Restore voices, jobs and takes from the backup FILE, also from another machine.

    The whole archive is read and checked before anything is changed. A database that cannot be used is moved aside.
    """
    from models.named_paths import kind_of, shown_path, status_of
    from registry.errors import NotFound
    from registry.upkeep.restore import restore as restore_registry
    from runner.errors import UsageProblem

    status = status_of(archive)
    if status is None:
        raise NotFound(f"There is no file {shown_path(archive)}.")
    if kind := kind_of(status):
        raise UsageProblem(f"{shown_path(archive)} is {kind}, where a backup file is needed.")
    instance = current_instance()
    extras = {instance.settings_path.name: instance.settings_path} if with_settings else {}
    report = restore_registry(
        archive, instance.state_dir, root=instance.root, now_s=time.time(), replace=replace, extras=extras
    )
    _retire_answers(instance)
    if report.former_database is not None:
        say(f"the former database is kept as {report.former_database}")
    made = when(report.manifest.created_s)
    show(
        report,
        as_json=as_json,
        text=lambda _: (
            f"restored {report.objects:,} recordings and prompts, {counted(report.takes, 'take')}"
            f"{''.join(f', {name}' for name in report.extras)}; all as of {made}"
        ),
    )


def _retire_answers(instance: Instance) -> None:
    """Rename receipts of jobs that are open again, as of the backup: they have not been answered."""
    from registry.errors import StorageError
    from registry.jobs.lists import list_jobs
    from registry.jobs.values import OPEN_STATUSES
    from registry.storage.database import Database
    from runner.outbox.outbox import RECEIPT, Outbox

    with Database.open(instance.database_path, root=instance.root) as database, database.read() as snapshot:
        names = [job.job.name for job in list_jobs(snapshot, statuses=OPEN_STATUSES, limit=1 << 30)]
    outbox = Outbox.of(instance)
    for name in names:
        try:
            if RECEIPT in outbox.files_of(name):
                outbox.retire_receipt(name)
        except StorageError as error:
            say(f"warning: {error}")
