"""An instance → its server in this process, with a runner beside it where that was asked for."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Sequence

from registry.errors import Busy
from runner.config.instance import Instance
from runner.config.serve_settings import ServeSettings
from runner.errors import UsageProblem
from runner.exit_codes import INTERRUPTED, OK
from runner.serve.app import build_app
from runner.serve.context import open_serve_context
from runner.serve.http_server import listen, serve
from runner.serve.jobs.uploads import sweep_uploads
from runner.serve.keys import check_reach, is_loopback, read_key
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
    wyoming = _listen_for_wyoming(settings, say)
    runner = RunnerProcess(instance=instance, arguments=arguments) if with_runner else None
    app = build_app(context, tasks=[runner.run] if runner else [], wyoming=wyoming)
    host, port = listening.getsockname()[:2]
    say(f"voicejobs serves {instance.root} at http://{_shown(host)}:{port}. Ctrl-C stops it.")
    if wyoming is not None:
        host, port = wyoming.getsockname()[:2]
        say(f"Home Assistant finds it by the Wyoming protocol at {_shown(host)}, port {port}.")
    try:
        number = serve(app, context, listening, on_stop=runner.ask_to_stop if runner else lambda: None)
    finally:
        if runner is not None:
            runner.stop()
    return INTERRUPTED if number == signal.SIGINT else OK


def _listen_for_wyoming(settings: ServeSettings, say: Callable[[str], None]) -> socket.socket | None:
    """A socket for Home Assistant's protocol; None where that is off, or nobody asked for a port that is in use."""
    host, port = settings.wyoming_host, settings.wyoming_port
    if port == 0:
        return None
    if is_loopback(host) and settings.zeroconf:
        hint = 'Set wyoming_host = "0.0.0.0" in the table [serve] of voicejobs.toml, or zeroconf = false.'
        raise UsageProblem(f"Home Assistant would be told of {host}, which only this machine reaches.", hint=hint)
    if not is_loopback(host):
        say(f"Wyoming has no keys: whoever reaches {_shown(host)}, port {port}, can have things spoken.")
    try:
        return listen(host, port, flag="--wyoming-port")
    except Busy as error:
        if "wyoming_port" in settings.model_fields_set:
            raise
        say(f"Home Assistant's protocol is off: {error}")
        return None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # fewer will do for fewer clients
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
