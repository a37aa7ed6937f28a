"""The receivers of an instance → findings: a secret that cannot be read, notices that do not arrive."""

from __future__ import annotations

from collections.abc import Callable

from models.named_paths import named_path
from registry.jobs.hook_deliveries import HookTrouble, troubles
from registry.storage.database import Database
from runner.config.instance import Instance
from runner.doctor.findings import OK, PROBLEM, WARNING, Found
from runner.hooks.delivery import NotDelivered, read_secret
from runner.hooks.rules import keys_of
from runner.text_format import counted

MAKE_SECRET = "`(umask 077; echo whsec_$(openssl rand -base64 24) > FILE)` makes one."


def _hooks(instance: Instance) -> Found:
    hooks = dict(zip(keys_of(instance.settings.hooks), instance.settings.hooks, strict=True))
    if not hooks:
        yield OK, "no receivers of notices are set.", ""
        return
    for hook in hooks.values():
        if hook.secret_file:
            try:
                read_secret(named_path(hook.secret_file, below=instance.root))
            except NotDelivered as error:
                yield PROBLEM, f"{hook.receiver} is told nothing: {error}.", MAKE_SECRET
    troubled = [trouble for trouble in _troubles(instance) if trouble.hook in hooks]
    for trouble in troubled:
        what = f"notices waiting: {trouble.failing}, given up: {trouble.given_up}"
        message = f"{hooks[trouble.hook].receiver} is not told: {what}; the last time, {trouble.error}."
        yield WARNING, message, "Correct the receiver, or its table [[hooks]]: each notice is tried for a day."
    if not troubled:
        yield OK, f"{counted(len(hooks), 'receiver')} of notices, and none waits to be told after a failure.", ""


def _troubles(instance: Instance) -> list[HookTrouble]:
    if not instance.database_path.exists():
        return []
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        return troubles(snapshot)


HOOK_CHECKS: dict[str, tuple[str, Callable[[Instance], Found]]] = {
    "hooks": ("receivers of notices can be told", _hooks),
}
