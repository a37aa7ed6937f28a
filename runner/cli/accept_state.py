"""An instance whose registry was lost on purpose, or is another's → one that works with what is there."""

from __future__ import annotations

from pathlib import Path

from registry.durable_files import held_lock
from registry.storage import identity
from registry.storage.database import Database
from runner.config.instance import open_instance


def accept_state_of(root: Path) -> str:
    """Forget which registry the instance had, and take what its state folder holds, or an empty one.

    Returns a sentence for people. Raises Busy while a runner is active.
    """
    instance = open_instance(root)
    if instance.state_dir.is_dir():
        with held_lock(instance.lock_path, wait=False):
            identity.forget(instance.database_path, root)
    identity.forget(instance.database_path, root)
    Database.open(instance.database_path, root=root, accept_loss=True).close()
    instance.prepare()
    return f"{instance.database_path} is the registry of {root} from now on."
