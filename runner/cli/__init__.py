"""Arguments → commands of voicejobs; results on stdout, messages on stderr, an exit code."""

import os
import signal
import sys
from collections.abc import Sequence

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
WITH_VALUES = ("--root", "--set")  # options before the command


def main() -> None:
    """Run the command line of this process, and exit with its code.

    A runner that is told to stop before it can handle signals ends with 0, as it does later: for as long as modules
    are imported, it holds nothing. Only before Python has come this far does the signal itself end it.
    """
    if _command(sys.argv[1:]) == "run":
        for number in END_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:  # one that is ignored, as under nohup, stays so
                signal.signal(number, lambda *_: os._exit(os.EX_OK))
    from runner.cli import program

    program.main()


def _command(words: Sequence[str]) -> str:
    """First word that is neither an option nor the value of one."""
    is_value = False
    for word in words:
        if not is_value and not word.startswith("-"):
            return word
        is_value = not is_value and word in WITH_VALUES
    return ""


__all__ = ["main"]
