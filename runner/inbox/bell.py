"""A request that another process has put into the ledger → an event of the inbox, so that the runner looks at once.

A runner that hears events of its inbox, and has nothing to do, looks into the ledger every few seconds only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def ring(inbox: Path) -> None:
    """Make a hidden file for a moment; where that is not possible, the runner looks a little later by itself."""
    bell = inbox / f".bell-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        os.close(os.open(bell, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        bell.unlink()
