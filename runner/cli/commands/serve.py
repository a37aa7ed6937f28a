"""`voicejobs serve`: the HTTP server of an instance."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from runner.cli.console import Command, current_instance, globals_of, say
from runner.errors import ExtraMissing

NEEDED = ("starlette", "uvicorn", "python_multipart", "av", "prometheus_client", "wyoming", "zeroconf")


@click.command(
    cls=Command,
    examples=(
        "voicejobs serve                        # beside `voicejobs run`",
        "voicejobs serve --with-runner          # both",
        "voicejobs serve --port 9000",
        "voicejobs serve --host 0.0.0.0         # needs key_file in voicejobs.toml",
    ),
)
@click.option("--host", metavar="HOST", help="Address to listen on; default: 127.0.0.1, this machine alone.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; default: 8880. 0 chooses a free one.")
@click.option("--wyoming-port", type=click.IntRange(0, 65_535), help="Port of Home Assistant's protocol; 0: off.")
@click.option("--with-runner", is_flag=True, help="Start `voicejobs run` too, and keep it running.")
@click.option("--quiet", is_flag=True, help="Log only to the instance's log file.")
@click.pass_context
def serve(
    ctx: click.Context, host: str | None, port: int | None, wyoming_port: int | None, with_runner: bool, quiet: bool
) -> int:
    """Serve speech and jobs over HTTP, and speech to Home Assistant.

    The work is done by a runner: `voicejobs run`, or --with-runner. SIGTERM ends the server with exit code 0.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the server handles it
    try:
        return _serve(ctx, host=host, port=port, wyoming_port=wyoming_port, with_runner=with_runner, quiet=quiet)
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(
    ctx: click.Context,
    *,
    host: str | None,
    port: int | None,
    wyoming_port: int | None,
    with_runner: bool,
    quiet: bool,
) -> int:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ExtraMissing("The server", extra="serve", packages=missing)
    from runner.config.logs import SERVER_LOG_FILE, set_up_logging
    from runner.serve.serving import run_server

    given = globals_of(ctx)
    flags = {"host": host, "port": port, "wyoming_port": wyoming_port}
    own = {name: value for name, value in flags.items() if value is not None}
    settings = given.get("settings") or {}
    if own:
        given["settings"] = {**settings, "serve": {**settings.get("serve", {}), **own}}
    instance = current_instance()
    instance.prepare()
    set_up_logging(instance, to_stderr=not quiet, file_name=SERVER_LOG_FILE)
    return run_server(instance, with_runner=with_runner, arguments=_arguments(instance.root, settings), say=say)


def _arguments(root: Path, settings: Mapping[str, Any]) -> list[str]:
    """Arguments that give a runner the same instance and settings as this server."""
    pairs = (f"--set={key}={value}" for key, value in _flat(settings))
    return [f"--root={root}", *pairs]


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", each) for inner, each in _flat(value))
        else:
            yield key, value
