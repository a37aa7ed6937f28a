"""`voicejobs demo`: the main job, for real, in a scratch instance."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import Command, json_option, say, to_json


@click.command(
    cls=Command,
    examples=("voicejobs demo", "voicejobs demo --dir /tmp/voices   # an instance to look at and go on with"),
)
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where; else a new temporary folder."
)
@json_option
def demo(folder: Path | None, as_json: bool) -> None:
    """Design, lock and speak in a scratch instance, and show the result.

    Drops five job files at once: two voices designed and locked, and a scene spoken by both. It speaks with the
    draft engine, which needs no download, and fails unless every receipt says done and the track holds speech.
    """
    from runner.cli.demo_run import demo_text, run_demo

    result = run_demo(folder, say=say)
    click.echo(to_json(result) if as_json else demo_text(result))
