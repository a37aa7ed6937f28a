"""`voicejobs submit`: job files, or a table of lines, checked and dropped into the inbox; and what became of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.named_paths import is_folder, named_path, shown_path
from registry.errors import VoiceJobsError
from runner.cli.console import (
    NO_RUNNER,
    Command,
    complain,
    current_instance,
    echo,
    json_option,
    say,
    standard_input,
    to_json,
    warn_of_unheard_settings,
)
from runner.cli.progress import end_text, wait_with_progress
from runner.errors import UsageProblem
from runner.exit_codes import FAILED, OK

if TYPE_CHECKING:
    from runner.cli.submit import Finished
    from runner.config.instance import Instance
    from runner.submission.checked_job import JobOnDisk
    from runner.submission.drop_writer import Submitted


@click.command(
    cls=Command,
    examples=(
        "voicejobs submit hello.toml",
        "voicejobs submit --wait scene.toml          # shows progress; the exit code is the job's",
        "voicejobs submit quests/*.json",
        "voicejobs submit examples/audiobook         # a folder: its job file and the files that it names",
        "voicejobs submit alice.epub --voice elena   # a script job; elena narrates",
        "voicejobs submit --lines lines.csv --voice elena --format vorbis",
        "generate-lines | voicejobs submit --name scene-4 -",
    ),
)
@click.argument("files", metavar="[FILE…]", nargs=-1)
@click.option("--wait", is_flag=True, help="Wait for the results; runs the instance if no runner is active.")
@click.option("--strict", is_flag=True, help="With --wait: exit code 1 also where a job has warnings.")
@click.option("--name", metavar="NAME", help="Name of the drop, and of a job without an id.")
@click.option(
    "--lines",
    "table",
    metavar="TABLE",
    help="Instead of a job file: lines to speak, as CSV with a row of headings, or JSON lines; - is standard input.",
)
@click.option("--voice", metavar="NAME", help="Who speaks the lines of --lines that name no voice, or narrates a book.")
@click.option("--format", "file_format", metavar="FORMAT", help="The audio format of --lines; default: the setting.")
@json_option
def submit(
    files: tuple[str, ...],
    wait: bool,
    strict: bool,
    name: str | None,
    table: str | None,
    voice: str | None,
    file_format: str | None,
    as_json: bool,
) -> int:
    """Drop job files, with the files they name, into the inbox; - reads standard input.

    Each file is checked first, and a wrong one is not dropped; the others are. A book or screenplay (EPUB, PDF,
    Fountain, text and others) becomes a script job. A table has a column text, and may
    have id, voice, instruct, language, seed, pause_after_s and model; it becomes one job. With --wait the exit code
    says how the jobs ended: 0 done, duplicate or cancelled, 1 partial, failed or rejected. With --json the names of
    the job, its folder in the outbox and its receipt are printed; with --wait, the receipt itself.
    """
    _check_usage(files, name=name, table=table, voice=voice, file_format=file_format)
    if strict and not wait:
        raise UsageProblem("--strict is about how jobs end.", hint="Add --wait.")
    instance = current_instance()
    warn_of_unheard_settings(instance)
    codes = []
    dropped: list[tuple[Submitted, dict[str, Any]]] = []
    for file in files or [str(table)]:
        try:
            job = _job(file, is_table=table is not None, voice=voice, file_format=file_format)
            dropped.append(_drop(instance, job, name=name or _folder_name(file)))
        except VoiceJobsError as error:
            codes.append(complain(error))
    if not wait:
        _tell(instance, [facts for _, facts in dropped], as_json=as_json, is_one=len(files) <= 1)
        return max(codes, default=OK)
    finished = [wait_with_progress(instance, submitted) for submitted, _ in dropped]
    if as_json:
        receipts = [each.receipt for each in finished]
        if receipts or len(files) > 1:
            echo(to_json(receipts if len(files) > 1 else receipts[0]))
    else:
        for each in finished:
            _tell_end(each)
    codes += [each.exit_code for each in finished]
    if strict and any(each.receipt["warnings"] for each in finished):
        codes.append(FAILED)
    return max(codes, default=OK)


def _check_usage(
    files: Sequence[str], *, name: str | None, table: str | None, voice: str | None, file_format: str | None
) -> None:
    from runner.submission.source_job import is_source

    if bool(files) == (table is not None):
        raise UsageProblem(
            "Name job files, or a table with --lines, and not both.", hint="`voicejobs submit --help` shows both."
        )
    if len(files) > 1 and name is not None:
        raise UsageProblem("--name is for one file.", hint="Leave it out: each drop is named after its file.")
    if table is None and file_format is not None:
        raise UsageProblem("--format belongs to --lines.", hint="A job file has a key for it.")
    if table is None and voice is not None and not all(is_source(file) for file in files):
        raise UsageProblem("--voice belongs to --lines and to books.", hint="A job file has a key for it.")


def _job(file: str, *, is_table: bool, voice: str | None, file_format: str | None) -> JobOnDisk:
    from runner.submission.checked_job import read_job
    from runner.submission.line_table import SUFFIXES, job_from_table
    from runner.submission.source_job import is_source, job_from_source

    if is_table:
        return job_from_table(file, stdin=standard_input, voice=voice, file_format=file_format)
    if Path(file).suffix.casefold() in SUFFIXES:
        raise UsageProblem(
            f"{shown_path(file)} is a table of lines.", hint=f"`voicejobs submit --lines {shlex.quote(file)}` drops it."
        )
    return job_from_source(file, narrator=voice) if is_source(file) else read_job(file, stdin=standard_input)


def _folder_name(file: str) -> str | None:
    """The name of a folder, which names its job."""
    return folder.resolve().name if is_folder(folder := named_path(file)) else None


def _drop(instance: Instance, job: JobOnDisk, *, name: str | None) -> tuple[Submitted, dict[str, Any]]:
    from runner.names import job_name_from
    from runner.outbox.outbox import RECEIPT
    from runner.submission.drop_writer import job_name_for, submit_job

    suffix = Path(job.file_name).suffix
    file_name = f"{name}{suffix}" if name else job.file_name
    job_name = job_name_for(instance, job, file_name=file_name)
    if job.spec.id is None and job_name != job_name_from(file_name):
        file_name = f"{job_name}{suffix}"
    submitted = submit_job(instance, job, name=file_name)
    folder = instance.outbox / job_name
    return submitted, {
        "dropped": submitted.path,
        "kind": job.spec.kind,
        "job": job_name,
        "outbox": folder,
        "receipt": folder / RECEIPT,
    }


def _tell(instance: Instance, dropped: Sequence[dict[str, Any]], *, as_json: bool, is_one: bool) -> None:
    if as_json:
        if dropped or not is_one:
            echo(to_json(dropped[0] if is_one else dropped))
        return
    for facts in dropped:
        say(f"dropped {facts['dropped']}")
    if dropped and not instance.runner_is_active():
        say(NO_RUNNER)


def _tell_end(finished: Finished) -> None:
    say(end_text(finished))
    for path in finished.paths():
        echo(path)
