"""An instance → its server in this process, with a runner beside it where that was asked for."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Callable, Sequence

from runner.config.instance import Instance
from runner.exit_codes import INTERRUPTED, OK
from runner.serve.app import build_app
from runner.serve.context import open_serve_context
from runner.serve.http_server import listen, serve
from runner.serve.jobs.uploads import sweep_uploads
from runner.serve.keys import check_reach, read_key
from runner.serve.runner_process import RunnerProcess

OPEN_FILES = 4_096  # connections, files that are sent, the ledger


def run_server(instance: Instance, *, with_runner: bool, arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Serve an instance until a signal; returns the exit code.

    `arguments` are those that a runner of the same instance needs; `say` tells a person. Raises UsageProblem, Busy, …
    """
    settings = instance.settings.serve
    key, warning = read_key(instance)
    check_reach(settings.host, key)
    if warning:
        say(warning)
    context = open_serve_context(instance, key=key)
    sweep_uploads(instance.state_dir)
    _allow_open_files()
    listening = listen(settings.host, settings.port)
    runner = RunnerProcess(instance=instance, arguments=arguments) if with_runner else None
    app = build_app(context, tasks=[runner.run] if runner else [])
    host, port = listening.getsockname()[:2]
    say(f"voicejobs serves {instance.root} at http://{f'[{host}]' if ':' in host else host}:{port}. Ctrl-C stops it.")
    try:
        number = serve(app, context, listening, on_stop=runner.ask_to_stop if runner else lambda: None)
    finally:
        if runner is not None:
            runner.stop()
    return INTERRUPTED if number == signal.SIGINT else OK


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # fewer will do for fewer clients
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
