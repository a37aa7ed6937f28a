"""Sound in blocks, tags, chapters and a cover → an M4B file, by PyAV; and such a file → what it says. Touches the disk.

FFmpeg writes the chapters twice: as Nero's list, which holds 255 of them at most, and as QuickTime's track of texts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from models.audio.sound import Samples
from models.languages import three_letter_code
from runner.master.cover import Cover
from runner.master.file_tags import Chapter, FileTags
from runner.master.levelling import OutputForm

BIT_RATE = 64_000  # of each channel
IS_AUDIOBOOK = "2"  # of the tag that says what kind of media it is
MILLISECONDS = Fraction(1, 1000)


def write_m4b(
    path: Path,
    blocks: Iterable[Samples],
    form: OutputForm,
    tags: FileTags,
    *,
    cover: Cover | None,
    chapters: Sequence[Chapter],
) -> None:
    """Write an M4B file. Raises OSError."""
    import av

    options = {"brand": "M4B ", "movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata.update(_metadata(tags))
        layout = "mono" if form.channels == 1 else "stereo"
        sound: Any = container.add_stream("aac", rate=form.sample_rate_hz, layout=layout)
        sound.bit_rate = BIT_RATE * form.channels
        if tags.language:
            sound.metadata["language"] = three_letter_code(tags.language)
        picture = _add_cover(container, cover)
        container.set_chapters([_entry(index, chapter) for index, chapter in enumerate(chapters)])
        if picture is not None:
            container.mux(picture)
        at = 0
        for block in blocks:
            if not len(block):
                continue
            planes = np.ascontiguousarray(np.clip(block, -1.0, 1.0).T, np.float32)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = form.sample_rate_hz, at, Fraction(1, form.sample_rate_hz)
            at += len(block)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def _metadata(tags: FileTags) -> dict[str, str]:
    found = {
        "title": tags.title,
        "album": tags.album,
        "artist": tags.author,
        "album_artist": tags.author,
        "composer": tags.narrator,
        "genre": tags.genre,
        "date": tags.year,
        "description": tags.description,
        "comment": tags.description,
        "media_type": IS_AUDIOBOOK,
        "gapless_playback": "1",
    }
    return {key: value for key, value in found.items() if value}


def _add_cover(container: Any, cover: Cover | None) -> Any:
    """The packet that holds the picture, in a stream of its own."""
    if cover is None:
        return None
    import av

    kind = "png_pipe" if cover.media_type == "image/png" else "jpeg_pipe"
    with av.open(io.BytesIO(cover.content), format=kind) as image:
        template = image.streams.video[0]
        stream = container.add_stream_from_template(template)
        stream.disposition = av.stream.Disposition.attached_pic
        packet = next(packet for packet in image.demux(template) if packet.size)
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        return packet


def _entry(index: int, chapter: Chapter) -> dict[str, Any]:
    times = {"start": round(chapter.start_s * 1000), "end": round(chapter.end_s * 1000), "time_base": MILLISECONDS}
    return {"id": index, **times, "metadata": {"title": chapter.title}}


def read_back(path: Path) -> tuple[list[Chapter], dict[str, str], bool]:
    """Chapters, tags, and whether there is a cover, as another program sees them."""
    import av

    with av.open(str(path)) as container:
        chapters = [
            Chapter(
                title=each["metadata"].get("title", ""),
                start_s=float(each["start"] * each["time_base"]),
                end_s=float(each["end"] * each["time_base"]),
            )
            for each in container.chapters()
        ]
        return chapters, dict(container.metadata), bool(container.streams.video)
