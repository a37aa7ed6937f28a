"""The worst file that each reader's bounds allow → its CPU seconds and memory, as in the table of docs/security.md.

    python benchmarks/bench_parsers.py [NAME…]

Each file is read by a process of its own; memory is what the process grew by. A reader within the runner's own loop
must stay in milliseconds; the others are threads or processes, which hold nobody up.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

MIB = 1 << 20
KIND = b'kind = "synthesize"\nvoice = "ryan"\ntext = "Hello."\n'


@dataclass(frozen=True)
class Reader:
    """One reader: the bounds in words, its worst files, and what reads them."""

    bounds: str
    where: str
    files: Callable[[], Iterator[bytes]]
    read: Callable[[Path], object]


def _job(path: Path) -> object:
    from runner.jobfile.parse import parse_job

    return parse_job(path.read_bytes(), file_name=path.name)


def _toml_files() -> Iterator[bytes]:
    yield KIND + b"[metadata]\n" + b"".join(b'"%d" = "x"\n' % n for n in range(290_000))
    yield KIND + b"[metadata]\n" + b"".join(b"[metadata.t%d]\n" % n for n in range(59_000))
    yield KIND + b"metadata.a = [" + b"[]," * 90_000 + b"]\n"
    yield KIND + b"[metadata]\n" + b"".join(b"a%d.b.c = 1\n" % n for n in range(49_000))
    yield KIND + b"# comment\n" * 590_000
    yield KIND + b'metadata.a = "' + b"\\u00e9" * (8 * MIB // 6 - 100) + b'"\n'
    yield KIND + b"metadata.a = [" + b"1.5," * 99_000 + b"]\n"
    lines = b"".join(b'[[lines]]\ntext = "Line %d."\n' % n for n in range(20_000))
    yield b'kind = "synthesize"\nvoice = "ryan"\n' + lines


def _json_files() -> Iterator[bytes]:
    head = b'{"kind": "synthesize", "voice": "ryan", '
    yield head + b'"text": "a", "metadata": {"a": [' + b",".join([b"1"] * 299_000) + b"]}}"
    yield head + b'"text": "a", "metadata": {"a": [' + b",".join([b"{}"] * 99_000) + b"]}}"
    yield head + b'"text": "a", "metadata": {"a": "' + b"\\u00e9" * (8 * MIB // 6 - 100) + b'"}}'
    yield head + b'"lines": [' + b",".join(b'{"text": "Line %d."}' % n for n in range(20_000)) + b"]}"


def _text(path: Path) -> object:
    from runner.inbox.line_texts import job_texts
    from runner.jobfile.specs import SynthesizeSpec

    spec = SynthesizeSpec(kind="synthesize", voice="ryan", text_file=path.name)
    return job_texts(spec, folder=path.parent)


def _texts() -> Iterator[bytes]:
    size = 4 * MIB - 100
    yield b"Word. " * (size // 6)
    yield b"Word.\n\n" * 19_999
    yield b"* * *\n\n" * (size // 7)
    yield b"[pause 1s] word " * (size // 16)
    yield b"<b>word</b> &amp; " * (size // 18)


def _recording(path: Path) -> object:
    from models.audio.reference_check import read_reference

    return read_reference(path, name=path.name, transcript="Hello there, this is a long recording.")


def _recordings() -> Iterator[bytes]:
    import numpy as np
    import soundfile

    for hours, kind in ((2, "FLAC"), (0.016, "WAV")):
        content = io.BytesIO()
        with soundfile.SoundFile(content, "w", 48_000, 2, "PCM_16", format=kind) as file:
            for _ in range(max(1, round(hours * 60))):
                file.write(np.zeros((48_000 * 60 if hours > 1 else 48_000 * 58, 2), np.int16))
        yield content.getvalue()


def _model(path: Path) -> object:
    from models.store.availability import availability

    return availability(path.parent)


def _configs() -> Iterator[bytes]:
    yield b'{"a": [' + b",".join([b"{}"] * 999_000) + b"]}"
    yield b'{"model_type": "qwen3_tts", "a": "' + b"\\u00e9" * 600_000 + b'"}'


def _header(path: Path) -> object:
    from models.store.safetensors_check import safetensors_problem

    return safetensors_problem(path)


def _headers() -> Iterator[bytes]:
    tensors = {f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
    header = json.dumps(tensors, separators=(",", ":")).encode()[:7_999_000]
    yield struct.pack("<Q", len(header)) + header
    nested = b'{"a":' + b"[" * 7_900_000
    yield struct.pack("<Q", len(nested)) + nested


READERS = {
    "job.toml": Reader("8 MiB, 300,000 values", "a thread above 50 kB", _toml_files, _job),
    "job.json": Reader("8 MiB, 300,000 values", "a thread above 50 kB", _json_files, _job),
    "text.txt": Reader("4 MiB, 20,000 paragraphs", "a thread above 50 kB", _texts, _text),
    "voice.wav": Reader("60 s, whatever a file decodes to", "a process", _recordings, _recording),
    "config.json": Reader("4 MB", "the runner's loop", _configs, _model),
    "model.safetensors": Reader("a header of 8 MB", "a thread, one a model", _headers, _header),
}  # fmt: skip


def measure(name: str, path: Path) -> dict[str, float]:
    """In the process of a reader: what one file costs it, after a trifle has loaded all modules."""
    reader = READERS[name]
    small = path.parent / "small" / path.name
    small.parent.mkdir(exist_ok=True)
    small.write_bytes(KIND if name == "job.toml" else b"{}")
    _tried(reader, small)
    before_bytes, begun_s = _peak_bytes(), time.process_time()
    _tried(reader, path)
    return {"s": time.process_time() - begun_s, "bytes": _peak_bytes() - before_bytes}


def _peak_bytes() -> int:
    """Most memory that this process has had: on Linux since it was started, where `getrusage` counts its parent's."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tried(reader: Reader, path: Path) -> None:
    from registry.errors import VoiceJobsError

    with contextlib.suppress(VoiceJobsError):  # a refusal may cost as much as an answer
        reader.read(path)


def worst(name: str) -> tuple[float, float]:
    """Seconds and bytes of the costliest of a reader's files; a child process for each."""
    seconds = most_bytes = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        for content in READERS[name].files():
            path.write_bytes(content)
            command = [sys.executable, __file__, "--child", name, str(path)]
            answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            found = json.loads(answer)
            seconds, most_bytes = max(seconds, found["s"]), max(most_bytes, found["bytes"])
    return seconds, most_bytes


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    from benchmarks.bench_speech import machine

    print(f"{machine()}\n\n| file | bounds | read in | worst time | memory |\n|---|---|---|---|---|")
    rows = {}
    for name in sys.argv[1:] or READERS:
        seconds, most_bytes = worst(name)
        rows[name] = {"s": round(seconds, 3), "bytes": int(most_bytes)}
        reader = READERS[name]
        print(
            f"| {name} | {reader.bounds} | {reader.where} | {seconds:.2f} s | {most_bytes / 1e6:.0f} MB |", flush=True
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
