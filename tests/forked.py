"""Processes without the half second of imports: each is forked from one that has imported everything of ours.

The code that runs and the ways to kill it are the same as in a process of its own start; only Linux forks, elsewhere a
process is started as usual.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parent.parent
NEEDED = [
    "runner.cli.program",
    "runner.cli.commands.run",
    "runner.cli.run",
    "registry.registry",
    "models.fetch.prepare",
]
CAN_FORK = sys.platform == "linux"

if CAN_FORK:
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(NEEDED)


class Forked:
    """`python -c program arguments`, or `python -m runner arguments`: as much of `subprocess.Popen` as is needed."""

    def __init__(self, arguments, *, environment, program=None, output=os.devnull, errors=os.devnull):
        more = {"environment": environment, "program": program, "output": str(output), "errors": str(errors)}
        self._process = forking.Process(target=run, args=(list(map(str, arguments)),), kwargs=more, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def send_signal(self, number):
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run(arguments, *, environment, program, output, errors):
    """In the new process: become what Python would be after its start."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for path, target in ((os.devnull, 0), (output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), target)
    if environment.get("PYTHONWARNINGS"):
        warnings.simplefilter(environment["PYTHONWARNINGS"])
    sys.argv = ["-c" if program else "voicejobs", *arguments]
    if program is not None:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        return
    from runner.cli.program import main

    main(arguments)


def run_program(program, *arguments, environment):
    """`python -c program arguments` in the project's folder, to its end; returns the finished process."""
    if not CAN_FORK:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = Forked(arguments, program=program, environment=environment, output=output, errors=errors)
        code = process.wait(PATIENCE_S)
        texts = [path.read_text(encoding="utf-8") if path.exists() else "" for path in (output, errors)]
    return subprocess.CompletedProcess(program, code, *texts)
