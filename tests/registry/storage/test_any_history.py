"""Whatever is done to a registry, in whatever order, it stays what a simple model says."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry.errors import VoiceJobsError
from registry.registry import open_registry
from registry.voices.lookup import alias_log
from registry.voices.names import name_key
from registry.voices.versions import add_version
from tests.registry.making import a_version

NAMES = st.sampled_from(["elena", "Elena", "Zoë", "ZOE\u0308", "marcus"])
ALIASES = st.sampled_from(["current", "soft", "Soft", "2", "loud"])
NUMBERS = st.integers(1, 5)
GRACE_S = 1_000.0


class AnyHistory(RuleBasedStateMachine):
    """The model: per folded name the versions (alive, removed or purged) and where each alias points."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.registry = open_registry(Path(self.folder.name))
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self.aliases: dict[str, dict[str, int]] = {}
        self.now_s = 1e10  # long after any file here was written

    def teardown(self) -> None:
        self.registry.close()
        self.folder.cleanup()

    @rule(name=NAMES, words=st.text(max_size=5), set_current=st.booleans())
    def lock(self, name: str, words: str, set_current: bool) -> None:
        versions = self.versions.setdefault(name_key(name), [])
        stored = {"prompt_sha256": self.registry.objects.put(words.encode()), "reference_sha256": None}
        new = a_version(name, transcript=words, audition_sha256=None, attachments={}, **stored)
        with self.registry.db.write() as session:
            version = add_version(session, new, now_s=self.now_s, set_current=set_current)
        versions.append({"digest": version.digest, "prompt": words.encode(), "removed_s": None, "purged": False})
        assert version.number == len(versions)
        if set_current:
            self.aliases.setdefault(name_key(name), {})["current"] = version.number

    @rule(name=NAMES, number=NUMBERS, alias=ALIASES)
    def point(self, name: str, number: int, alias: str) -> None:
        allowed = self._is_alive(name, number) and alias != "2"
        if self._did(allowed, lambda: self.registry.set_alias(f"{name}@{number}", alias, now_s=self.now_s)):
            self.aliases.setdefault(name_key(name), {})[name_key(alias)] = number

    @rule(name=NAMES, alias=ALIASES)
    def unpoint(self, name: str, alias: str) -> None:
        allowed = name_key(alias) in self.aliases.get(name_key(name), {})
        if self._did(allowed, lambda: self.registry.remove_alias(name, alias, now_s=self.now_s)):
            del self.aliases[name_key(name)][name_key(alias)]

    @rule(name=NAMES, number=NUMBERS)
    def remove(self, name: str, number: int) -> None:
        pointing = {alias for alias, target in self.aliases.get(name_key(name), {}).items() if target == number}
        alive = [version for version in self.versions.get(name_key(name), []) if version["removed_s"] is None]
        allowed = self._is_alive(name, number) and pointing <= ({"current"} if len(alive) == 1 else set())
        if self._did(allowed, lambda: self.registry.remove(f"{name}@{number}", now_s=self.now_s)):
            self.versions[name_key(name)][number - 1]["removed_s"] = self.now_s
            for alias in pointing:
                del self.aliases[name_key(name)][alias]

    @rule(name=NAMES, number=NUMBERS)
    def bring_back(self, name: str, number: int) -> None:
        versions = self.versions.get(name_key(name), [])
        allowed = number <= len(versions) and not versions[number - 1]["purged"]
        if self._did(allowed, lambda: self.registry.restore_version(f"{name}@{number}", now_s=self.now_s)):
            versions[number - 1]["removed_s"] = None
            self.aliases.setdefault(name_key(name), {}).setdefault("current", number)

    @rule(pass_s=st.sampled_from([0.0, GRACE_S / 2, GRACE_S * 10]))
    def collect(self, pass_s: float) -> None:
        self.now_s += pass_s
        self.registry.gc(now_s=self.now_s, grace_s=GRACE_S)
        for version in (version for versions in self.versions.values() for version in versions):
            if version["removed_s"] is not None and version["removed_s"] <= self.now_s - GRACE_S:
                version["purged"] = True

    @precondition(lambda self: self.versions)
    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        for name, versions in self.versions.items():
            history = {version.number: version for version in self.registry.history(name, limit=1_000)}
            assert sorted(history) == list(range(1, len(versions) + 1))
            for number, expected in enumerate(versions, start=1):
                found = history[number]
                assert (found.digest, found.deleted_s) == (expected["digest"], expected["removed_s"])
                assert (found.purged_s is not None) == expected["purged"]
                if not expected["purged"]:
                    assert self.registry.objects.read(found.prompt_sha256) == expected["prompt"]
            assert {name_key(alias.name): alias.number for alias in self.registry.aliases(name)} == self.aliases.get(
                name, {}
            )

    @invariant()
    def listed_are_the_voices_with_a_version_left(self) -> None:
        alive = {
            name: sum(version["removed_s"] is None for version in versions) for name, versions in self.versions.items()
        }
        listed = {name_key(voice.name): (voice.versions, voice.current) for voice in self.registry.voices(limit=1_000)}
        expected = {name: (count, self.aliases.get(name, {}).get("current")) for name, count in alive.items() if count}
        assert listed == expected

    @invariant()
    def the_alias_log_ends_where_the_aliases_are(self) -> None:
        with self.registry.db.read() as snapshot:
            for name in self.versions:
                last: dict[str, int | None] = {}
                for move in reversed(alias_log(snapshot, name, limit=10_000)):
                    assert last.get(name_key(move.name)) == move.from_number
                    last[name_key(move.name)] = move.to_number
                pointing = {alias: number for alias, number in last.items() if number is not None}
                assert pointing == self.aliases.get(name, {})

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.registry.fsck().findings == ()

    def _is_alive(self, name: str, number: int) -> bool:
        versions = self.versions.get(name_key(name), [])
        return number <= len(versions) and versions[number - 1]["removed_s"] is None

    def _did(self, allowed: bool, act: Any) -> bool:
        """Whether it was done; it must be refused, with a reason, exactly when the model refuses it."""
        try:
            act()
        except VoiceJobsError as error:
            assert not allowed, error
            assert error.message
            return False
        assert allowed
        return True


AnyHistory.TestCase.settings = settings(max_examples=8, stateful_step_count=15, deadline=None)
TestAnyHistory = AnyHistory.TestCase
