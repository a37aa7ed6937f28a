"""A WAV file → sound, by the system's own player. Starts processes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.errors import NotFound, VoiceJobsError

# In order of preference; each plays a WAV file and ends with it.
PLAYERS: tuple[tuple[str, ...], ...] = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "--quiet"),
    ("play", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)


class NoPlayer(NotFound):
    code = "no-player"


class PlaybackFailed(VoiceJobsError):
    code = "playback-failed"


def find_player(which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Command that plays a WAV file given as its last argument. Raises NoPlayer."""
    for name, *arguments in PLAYERS:
        path = which(name)
        if path is not None:
            return [path, *arguments]
    names = ", ".join(player[0] for player in PLAYERS)
    raise NoPlayer("There is no audio player on this system.", hint=f"Install one of {names}, or write a file with -o.")


def play(path: Path, *, player: Sequence[str] | None = None) -> None:
    """Play a WAV file to its end. Raises NoPlayer, or PlaybackFailed with the player's own words."""
    command = [*(player or find_player()), str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise PlaybackFailed(
            f"{Path(command[0]).name} failed ({done.returncode}): {said[0]}", hint="Write a file with -o instead."
        )


def play_wav(content: bytes, *, player: Sequence[str] | None = None) -> None:
    """As `play`, for a WAV file that is in memory."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(content)
        file.flush()
        play(Path(file.name), player=player)
