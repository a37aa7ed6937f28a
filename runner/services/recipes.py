"""A command line → the files with which systemd and launchd keep it running. Pure.

The one description of both: docs/service.md shows these texts, and a test compares them.
"""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from pathlib import Path

from runner.exit_codes import NEEDS_ACTION, RUNNER_ACTIVE, USAGE

LABEL = "net.voicejobs"  # begins the names of plists in ~/Library/LaunchAgents
LAUNCHD_LOGS = Path("Library/Logs")  # in the home folder, which exists before the state folder does
AFTER_A_CRASH_S = 5
STOP_WITHIN_S = 15  # the runner needs 5
NO_RESTART = (USAGE, NEEDS_ACTION, RUNNER_ACTIVE)  # a restart changes nothing about these


def service_command(program: Path, root: Path) -> list[str]:
    """Command line of a runner that a supervisor starts."""
    return [str(program), "--root", str(root), "run", "--service"]


def systemd_unit(command: Sequence[str], *, description: str = "voicejobs") -> str:
    """Unit of a user's own systemd."""
    return f"""\
[Unit]
Description={description}

[Service]
ExecStart={" ".join(map(_unit_word, command))}
Restart=always
RestartSec={AFTER_A_CRASH_S}
TimeoutStopSec={STOP_WITHIN_S}
KillMode=mixed
RestartPreventExitStatus={" ".join(map(str, NO_RESTART))}
Nice=5

[Install]
WantedBy=default.target
"""


def _unit_word(word: str) -> str:
    """Word as systemd splits and expands it: `%` and `$` doubled, quoted where it holds more than plain characters."""
    doubled = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return doubled if doubled == word and word and not any(c.isspace() or c in "';" for c in word) else f'"{doubled}"'


def launchd_plist(command: Sequence[str], *, log: Path, label: str) -> str:
    """Property list of a launch agent, which is started again after an error or a crash, not after a stop."""
    return plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": [*command, "--quiet"],
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": AFTER_A_CRASH_S * 2,
            "ExitTimeOut": STOP_WITHIN_S,
            "ProcessType": "Standard",
            "StandardErrorPath": str(log),
        },
        sort_keys=False,
    ).decode()
