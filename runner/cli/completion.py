"""Beginning of a name of a job, voice or model → the names that begin like it, for the shell to complete.

Completion says nothing of errors: where there is no instance, or none that can be read, there are no names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from registry.errors import VoiceJobsError
from runner.cli.console import globals_of

if TYPE_CHECKING:
    from registry.storage.session import Session

MOST = 200


def _from_registry(ctx: click.Context, names: Callable[[Session, str], Iterable[str]], incomplete: str) -> list[str]:
    with contextlib.suppress(VoiceJobsError, OSError), _snapshot(ctx) as session:
        return list(names(session, incomplete))
    return []


@contextlib.contextmanager
def _snapshot(ctx: click.Context) -> Iterator[Session]:
    from registry.storage.database import Database
    from runner.config.instance import open_instance

    instance = open_instance(globals_of(ctx).get("root") or ctx.find_root().params.get("root"))
    if not instance.database_path.is_file():
        raise VoiceJobsError("There is no registry yet.")
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as session,
    ):
        yield session


def job_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Jobs, the latest first."""

    def named(session: Session, start: str) -> Iterable[str]:
        from registry.jobs.lists import names_like
        from registry.jobs.values import JobStatus

        literal = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in start)
        return names_like(session, f"{literal}*", statuses=[*JobStatus])[::-1][:MOST]

    return _from_registry(ctx, named, incomplete)


def voice_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Locked voices."""

    def named(session: Session, start: str) -> Iterable[str]:
        from registry.voices.lookup import list_voices
        from registry.voices.names import name_key

        found = (voice.name for voice in list_voices(session, containing=start, limit=MOST))
        return (name for name in found if name_key(name).startswith(name_key(start)))

    return _from_registry(ctx, named, incomplete)


def model_names(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The known models, and the engines that need no weights."""
    from models.engine_kinds import engine_names
    from models.store.catalog import names

    return [name for name in (*engine_names(), *names()) if name.startswith(incomplete.casefold())]
