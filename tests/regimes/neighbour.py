"""A process that swaps what is in another's inbox and outbox for links, FIFOs and folders, until it is told to stop.

Arguments: inbox, outbox, a folder whose files must not be reached, a file whose removal ends it.
"""

import contextlib
import os
import random
import secrets
import sys
from pathlib import Path


def swap(folder: Path, name: str, private: Path, chance: random.Random) -> None:
    """Put something else in the place of an entry for an instant, then the entry back."""
    path, away = folder / name, folder / f".{secrets.token_hex(6)}.swapped"
    with contextlib.suppress(OSError):
        path.rename(away)
        with contextlib.suppress(OSError):
            plant(path, private, chance)
        with contextlib.suppress(OSError):
            path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
        away.rename(path)


def plant(path: Path, private: Path, chance: random.Random) -> None:
    way = chance.randrange(4)
    if way == 0:
        path.symlink_to(private)
    elif way == 1:
        path.symlink_to(private / "secret.txt")
    elif way == 2:
        os.mkfifo(path)
    else:
        path.mkdir()


def main() -> None:
    inbox, outbox, private, go_on = map(Path, sys.argv[1:])
    chance = random.Random(int(os.environ.get("SEED", "1")))
    while go_on.exists():
        for top in (inbox, inbox / ".claimed", outbox):
            with contextlib.suppress(OSError):
                below = [path for path in top.iterdir() if not path.name.endswith(".swapped")]
                inner = [each for path in below if path.is_dir() and not path.is_symlink() for each in path.iterdir()]
                for path in [*below, *inner]:
                    swap(path.parent, path.name, private, chance)


if __name__ == "__main__":
    main()
