"""The file of `key_file` → the key that requests carry, and the value of the cookie that stands for it.

Touches the disk.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import stat
from pathlib import Path

from models.named_paths import named_path
from registry.errors import storage_error
from runner.config.instance import Instance
from runner.errors import UsageProblem
from runner.held_folders import read_at_most, regular_file
from runner.serve.errors import KeyFileInvalid

COOKIE = "voicejobs_session"
SHORTEST_KEY, LONGEST_KEY = 16, 4_096
OTHERS = stat.S_IRWXG | stat.S_IRWXO
MAKE_ONE = "`(umask 077; openssl rand -hex 32 > KEYFILE)` makes one."


def read_key(instance: Instance) -> tuple[str | None, str]:
    """The key, None where none is set; and a warning when others can read its file, else "". Raises KeyFileInvalid."""
    if not instance.settings.serve.key_file:
        return None, ""
    path = named_path(instance.settings.serve.key_file, below=instance.root)
    try:
        with regular_file(str(path)) as file:
            mode = os.fstat(file).st_mode
            content = read_at_most(file, LONGEST_KEY + 1)
    except FileNotFoundError:
        raise KeyFileInvalid(f"There is no key file {path}.", hint=MAKE_ONE) from None
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error
    key = _key_in(content, path)
    warning = f"Others can read the key file {path}: chmod 600 {path}" if mode & OTHERS else ""
    return key, warning


def _key_in(content: bytes, path: Path) -> str:
    try:
        key = content.decode("ascii").strip()
    except UnicodeDecodeError:
        key = ""
    if len(content) > LONGEST_KEY or len(key) < SHORTEST_KEY or any(not "!" <= each <= "~" for each in key):
        hint = f"A key is one line of {SHORTEST_KEY} or more letters, digits and signs. {MAKE_ONE}"
        raise KeyFileInvalid(f"{path} holds no usable key.", hint=hint)
    return key


def check_reach(host: str, key: str | None) -> None:
    """Raises UsageProblem for an address that other machines reach, without a key."""
    if key is None and not is_loopback(host):
        raise UsageProblem(
            f"Other machines would reach {host!r}, and no key is set.",
            hint=f"Set key_file in the table [serve] of voicejobs.toml, or listen on 127.0.0.1. {MAKE_ONE}",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def session_value(key: str) -> str:
    """Value of the cookie of a browser that has shown the key."""
    return hmac.new(key.encode(), b"voicejobs session", hashlib.sha256).hexdigest()
