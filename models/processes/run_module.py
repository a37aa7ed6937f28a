"""The name of a module of ours and its arguments → the module, run by a Python of another environment.

Run as a file: `python -I -X faulthandler …/run_module.py MODULE ARGUMENT…`. Our packages are found where this file is,
and nothing else of that place: where voicejobs is installed, the packages of its own environment lie beside them.
"""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = str(Path(__file__).resolve().parents[2])
OURS = ("models", "registry")
PROGRAM = "voicejobs"


class OurPackages(MetaPathFinder):
    """Finder of our packages, and of what is known about them as a distribution."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The package, where it is one of ours; those within it are found by its own path."""
        return PathFinder.find_spec(name, [ROOT], target) if path is None and name in OURS else None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context
    ) -> Iterable[importlib.metadata.Distribution]:
        """Facts about voicejobs, which names the packages of its extras."""
        if context.name != PROGRAM:
            return ()
        only = importlib.metadata.DistributionFinder.Context(name=PROGRAM, path=[ROOT])
        return importlib.metadata.MetadataPathFinder.find_distributions(only)


def main(arguments: list[str]) -> None:
    """Run the module as the program of this process."""
    module, *rest = arguments
    sys.meta_path.insert(0, OurPackages())
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
