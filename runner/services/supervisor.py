"""A command line → a service of systemd or launchd: written, started, asked for its state, removed.

This module writes in the home folder and starts the supervisor's own programs. launchd's part has not been tried on a
Mac.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.named_paths import home_of
from registry.durable_files import make_folder_durably, write_durably
from registry.errors import Conflict, NotFound, StorageError, storage_error
from runner.errors import UsageProblem
from runner.exit_codes import NEEDS_ACTION, OK
from runner.services.recipes import LABEL, LAUNCHD_LOGS, launchd_plist, systemd_unit

ANSWERS_WITHIN_S = 60.0
SAID_CHARACTERS = 500


class SupervisorFailed(StorageError):
    code = "supervisor-failed"


@dataclass(frozen=True, kw_only=True)
class Service:
    """Command line that is to be kept running, and its name."""

    command: tuple[str, ...]
    instance: str = ""  # tells the services of a user's instances apart, where there are several
    is_server: bool = False

    @property
    def name(self) -> str:
        """`voicejobs`, `voicejobs-serve`, `voicejobs-NAME`, `voicejobs-NAME-serve`."""
        return "-".join(filter(None, ("voicejobs", self.instance, "serve" if self.is_server else "")))


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """The one of this machine; `environment` says where its files are."""

    environment: Mapping[str, str]
    platform: str = sys.platform

    # ---- files -------------------------------------------------------------------------------------------------

    def path(self, service: Service) -> Path:
        """File that describes a service."""
        if self._is_mac:
            return self._home / "Library" / "LaunchAgents" / f"{self._label(service)}.plist"
        configured = self.environment.get("XDG_CONFIG_HOME", "")
        base = Path(configured) if configured.startswith("/") else self._home / ".config"
        return base / "systemd" / "user" / self._unit(service)

    def text(self, service: Service) -> str:
        """Content of that file."""
        if self._is_mac:
            return launchd_plist(service.command, log=self._log(service), label=self._label(service))
        return systemd_unit(service.command, description=service.name)

    # ---- what people ask for -----------------------------------------------------------------------------------

    def install(self, service: Service, *, may_replace: Callable[[Path], bool]) -> list[str]:
        """Write and start a service; returns sentences for a person. Raises Conflict, SupervisorFailed.

        `may_replace` is asked before another file of its name is overwritten.
        """
        path, content = self.path(service), self.text(service).encode()
        was_there = path.exists()
        if was_there and path.read_bytes() != content and not may_replace(path):
            hint = "--yes replaces it; with --name NAME another instance has a service of its own."
            raise Conflict(f"{path} says something else, and was left as it is.", hint=hint)
        try:
            make_folder_durably(path.parent)
            write_durably(path, content)
        except OSError as error:
            raise storage_error(error, f"writing {path}") from error
        if self._is_mac:
            if was_there:
                self._ask(self._stop(service), accept_failure=True)
            self._ask(["launchctl", "bootstrap", self._domain, str(path)])
        else:
            self._ask(["systemctl", "--user", "daemon-reload"])
            self._ask(["systemctl", "--user", "enable", self._unit(service)])
            self._ask(["systemctl", "--user", "restart", self._unit(service)])
        return [f"{path} is written, and {service.name} runs.", *self._hints()]

    def uninstall(self, service: Service) -> list[str]:
        """Stop a service and remove its file. Raises NotFound, SupervisorFailed."""
        path = self._installed(service)
        self._ask(self._stop(service), accept_failure=self._is_mac)  # one that is not loaded cannot be stopped
        try:
            path.unlink()
        except OSError as error:
            raise storage_error(error, f"removing {path}") from error
        if not self._is_mac:
            self._ask(["systemctl", "--user", "daemon-reload"])
        return [f"{service.name} is stopped, and {path} is removed."]

    def status(self, service: Service) -> tuple[str, int]:
        """State of a service in the supervisor's own words, and an exit code. Raises NotFound."""
        self._installed(service)
        if self._is_mac:
            done = self._run(["launchctl", "print", f"{self._domain}/{self._label(service)}"])
        else:
            done = self._run(["systemctl", "--user", "--no-pager", "status", self._unit(service)])
        return (done.stdout or done.stderr).rstrip(), OK if done.returncode == 0 else NEEDS_ACTION

    def show_logs(self, service: Service, *, follow: bool) -> int:
        """Show what the supervisor heard from a service, on our own output; returns an exit code. Raises NotFound."""
        self._installed(service)
        command = ["journalctl", "--user", "--no-pager", "-n", "100", "-u", self._unit(service)]
        if self._is_mac:
            command = ["tail", "-n", "100", str(self._log(service))]
        try:
            return subprocess.call([*command, *(["-f"] if follow else [])], stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise SupervisorFailed(f"This machine has no {command[0]}.") from None

    # ---- the supervisor's programs -----------------------------------------------------------------------------

    @property
    def _is_mac(self) -> bool:
        return self.platform == "darwin"

    @property
    def _home(self) -> Path:
        return home_of(self.environment)

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    def _log(self, service: Service) -> Path:
        return self._home / LAUNCHD_LOGS / f"{service.name}.log"

    def _unit(self, service: Service) -> str:
        return f"{service.name}.service"

    def _label(self, service: Service) -> str:
        own = f"{LABEL}.serve" if service.is_server else f"{LABEL}.runner"
        return f"{own}.{service.instance}" if service.instance else own

    def _stop(self, service: Service) -> list[str]:
        if self._is_mac:
            return ["launchctl", "bootout", f"{self._domain}/{self._label(service)}"]
        return ["systemctl", "--user", "disable", "--now", self._unit(service)]

    def _installed(self, service: Service) -> Path:
        path = self.path(service)
        if not path.exists():
            command = "`voicejobs service install --serve`" if service.is_server else "`voicejobs service install`"
            named = f" with --name {service.instance}" if service.instance else ""
            raise NotFound(f"There is no {path}.", hint=f"{command}{named} writes it.")
        return path

    def _hints(self) -> list[str]:
        """Advice that keeps it running while its user is logged out."""
        if self._is_mac:
            return ["It starts when you log in."]
        asked = self._run(["loginctl", "show-user", "--property=Linger", "--value"], accept_absence=True)
        if asked.stdout.strip() == "yes":
            return []
        return ["It ends when you log out. `loginctl enable-linger` keeps it running, and starts it with the machine."]

    def _ask(self, command: Sequence[str], *, accept_failure: bool = False) -> None:
        done = self._run(command)
        if done.returncode != 0 and not accept_failure:
            said = (done.stderr or done.stdout).strip()[:SAID_CHARACTERS] or f"it ended with {done.returncode}"
            hint = "Without a session of its own (su, a container) a user has no supervisor: log in, or use cron."
            raise SupervisorFailed(f"`{' '.join(command)}` failed: {said}", hint=hint)

    def _run(self, command: Sequence[str], *, accept_absence: bool = False) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ANSWERS_WITHIN_S,
                check=False,
            )
        except (FileNotFoundError, PermissionError):
            if accept_absence:
                return subprocess.CompletedProcess(command, 127, "", "")
            hint = (
                "`voicejobs service install --print` shows the file (with --serve the server's); "
                "docs/service.md has a cron line, too."
            )
            raise SupervisorFailed(f"This machine has no {command[0]}.", hint=hint) from None
        except subprocess.TimeoutExpired:
            raise SupervisorFailed(f"{command[0]} gave no answer within {ANSWERS_WITHIN_S:g} s.") from None


def supervisor_here(environment: Mapping[str, str], *, platform: str = sys.platform) -> Supervisor:
    """The supervisor of this machine. Raises UsageProblem where there is none that we know."""
    if platform not in ("linux", "darwin"):
        raise UsageProblem(f"No supervisor of {platform} is known.", hint="docs/service.md says what it should do.")
    return Supervisor(environment=environment, platform=platform)
