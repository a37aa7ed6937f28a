"""The file that `pronunciations` in voicejobs.toml names → its respellings, read again once it has changed.

This module reads the disk.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from models.named_paths import named_path, read_named, status_of
from models.text.markup import Words
from models.text.pronunciation import Respellings, checked_table
from models.text.timed_text import TimedText, timed_text
from registry.errors import InvalidInput
from runner.config.instance import Instance
from runner.inbox.line_texts import JobTexts
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.scheduling.voice_resolution import ResolvedVoice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRONUNCIATIONS_HINT = 'Every line is `word = "respelling"`; `pronunciations` in voicejobs.toml names the file.'
NONE = Respellings({})


@dataclass
class PronunciationFile:
    """The instance's own respellings; ten thousand of them take half a second to read. Any thread may ask."""

    instance: Instance
    _kept: tuple[tuple[int, ...], Respellings] = field(default=((), NONE))

    def respellings(self) -> Respellings:
        """Raises InvalidInput when the file is absent or wrong."""
        if not self.instance.settings.pronunciations:
            return NONE
        status = status_of(named_path(self.instance.settings.pronunciations, below=self.instance.root))
        now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if status else ()
        if not now or self._kept[0] != now:
            self._kept = now, Respellings(load_pronunciations(self.instance))
        return self._kept[1]


def respellings_for(voice: ResolvedVoice, *, beneath: Respellings) -> Respellings:
    """Respellings of a voice, and of the instance beneath them."""
    return Respellings(voice.pronunciations, beneath=beneath) if voice.pronunciations else beneath


def spoken_line(texts: JobTexts, position: int, respellings: Respellings) -> TimedText:
    """Words of a line as they are spoken, with the pauses between them; positions count from 1."""
    words = texts.pieces.get(position) or Words([(texts.lines[position - 1].text, 0.0)])
    return timed_text(words, respellings.spoken)


def no_word_left() -> InvalidInput:
    """Error for a job of which every word is respelled as nothing that can be spoken."""
    return InvalidInput("The respellings leave no word to speak in the job.", hint=PRONUNCIATIONS_HINT)


def load_pronunciations(instance: Instance) -> dict[str, str]:
    """The instance's own table. Raises InvalidInput when the file is absent or wrong."""
    if not instance.settings.pronunciations:
        return {}
    path = named_path(instance.settings.pronunciations, below=instance.root)
    try:
        content = read_named(path, limit_bytes=MAX_FILE_BYTES, silent_s=0)
        return checked_table(tomllib.loads(content.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        reason = str(error).removesuffix(".")
        raise InvalidInput(f"The file of pronunciations {path}: {reason}.", hint=PRONUNCIATIONS_HINT) from None
