"""Runner processes without the half second of imports: each is forked from one that has imported everything.

The code that runs and the ways to kill it are the same as after `python -m runner`; only Linux forks, elsewhere a
process is started as its users start it.
"""

import multiprocessing
import os
import signal
import subprocess
import sys

NEEDED = ["runner.cli", "runner.commands.run", "runner.driving"]
CAN_FORK = sys.platform == "linux"

if CAN_FORK:
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(NEEDED)


class ForkedRunner:
    """As much of `subprocess.Popen` as the tests of whole instances use."""

    def __init__(self, arguments, *, environment, folder, errors):
        more = {"environment": environment, "folder": str(folder), "errors": str(errors)}
        self._process = forking.Process(target=run, args=(list(arguments),), kwargs=more, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("runner", timeout)
        return self._process.exitcode

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number):
        if self._process.exitcode is None:
            os.kill(self.pid, number)


def run(arguments, *, environment, folder, errors):
    """In the new process: become what `python -m runner` would be."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    nothing, log = os.open(os.devnull, os.O_RDWR), os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, target in ((nothing, 0), (nothing, 1), (log, 2)):
        os.dup2(descriptor, target)
    sys.argv = ["voicejobs", *arguments]
    from runner.cli import main

    main(arguments)
