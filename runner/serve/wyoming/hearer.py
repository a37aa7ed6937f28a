"""The sound of a connection → the words in it, by a transcribe job."""

from __future__ import annotations

import shutil
import wave
from dataclasses import dataclass
from pathlib import Path

import anyio
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart
from wyoming.event import Event

from models.languages import AUTO, canonical_language, language_code
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused
from runner.serve.jobs.transcription import require_recogniser, transcribed
from runner.serve.jobs.uploads import new_folder
from runner.serve.wyoming.frames import Frames

FILE_NAME = "recording.wav"
WIDTHS, MOST_CHANNELS, RATES_HZ = (1, 2, 3, 4), 8, range(4_000, 192_001)


@dataclass
class _Recording:
    folder: Path
    language: str | None
    file: wave.Wave_write | None = None
    bytes_left: int = 0


class Hearer:
    """The one who listens on a connection, to one recording at a time."""

    def __init__(self, frames: Frames, context: ServeContext) -> None:
        self._frames, self._context = frames, context
        self._recording: _Recording | None = None
        self.is_busy = False  # whether a recording is being heard

    async def begin(self, wanted: Transcribe) -> None:
        """A recording is announced. Raises NothingHears, NoRunner, UnknownLanguage."""
        require_recogniser(self._context)
        await self._context.require_runner()
        await self.close()
        language = canonical_language(str(wanted.language)) if wanted.language else None
        folder = await self._context.in_thread(lambda: new_folder(self._context.instance.state_dir))
        self._recording = _Recording(folder, language, bytes_left=self._context.settings.max_upload_bytes)

    async def start(self, form: AudioStart) -> None:
        """The form of its sound. Raises RequestRefused for one that no sound has."""
        if (recording := self._recording) is None or recording.file is not None:
            return
        if form.width not in WIDTHS or not 1 <= form.channels <= MOST_CHANNELS or form.rate not in RATES_HZ:
            said = f"{form.rate} Hz, {form.width} bytes and {form.channels} channels are no form of sound."
            raise RequestRefused(400, said, wire_code="invalid_value")
        file = wave.open(str(recording.folder / FILE_NAME), "wb")  # noqa: SIM115 - closed when all has come
        file.setparams((form.channels, form.width, form.rate, 0, "NONE", ""))
        recording.file = file

    async def add(self, chunk: AudioChunk) -> None:
        """Some of its sound. Raises RequestRefused when it is too much."""
        if (recording := self._recording) is None:
            return
        if recording.file is None:
            await self.start(AudioStart(rate=chunk.rate, width=chunk.width, channels=chunk.channels))
        recording.bytes_left -= len(chunk.audio)
        if recording.bytes_left < 0:
            said = f"The recording is larger than {self._context.settings.max_upload_bytes:,} bytes."
            raise RequestRefused(413, said, wire_code="too-large")
        file = recording.file
        assert file is not None
        await self._context.in_thread(lambda: file.writeframesraw(chunk.audio))

    async def stop(self) -> Event | None:
        """The words of the recording that has come whole; None where none was announced."""
        if (recording := self._recording) is None:
            return None
        self._recording, self.is_busy = None, True
        try:
            if recording.file is None:
                raise RequestRefused(400, "The recording has no sound.", wire_code="invalid_value")
            await self._context.in_thread(recording.file.close)
            heard = await transcribed(self._context, recording.folder / FILE_NAME, language=recording.language)
            text = " ".join(word["word"] for word in await heard.words())
            language = heard.facts["language"]
            return Transcript(text=text, language=None if language == AUTO else language_code(language)).event()
        finally:
            self.is_busy = False
            await self._remove(recording)

    async def close(self) -> None:
        """Forget a recording of which more was to come."""
        if self._recording is not None:
            recording, self._recording = self._recording, None
            await self._remove(recording)

    async def _remove(self, recording: _Recording) -> None:
        def remove() -> None:
            if recording.file is not None:
                recording.file.close()
            shutil.rmtree(recording.folder, ignore_errors=True)

        with anyio.CancelScope(shield=True):
            await self._context.in_thread(remove)
