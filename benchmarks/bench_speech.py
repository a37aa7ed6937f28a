"""Speech engines side by side → a table, one JSON line and a chart: frames per second, latency, memory, launches.

    python benchmarks/bench_speech.py --size 0.6b --lines 1,8,16 --rounds 3 \\
        --peer mlx-audio=PYTHON --peer qwen-tts=PYTHON --peer c-engine=BINARY

A checkpoint of random weights in the published dimensions is generated once and kept. Every contestant runs in its
own process under its own interpreter (a peer importable here needs no `--peer`), and the rounds alternate between
them, so that a drift of the machine's speed hits all alike: ratios are what to read.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from models.protocol import FRAMES_PER_SECOND  # noqa: E402 (the path above comes first)

VARIANT_OF_VOICE = {"preset": "custom_voice", "design": "voice_design", "clone": "base"}
TEXT = "The quick brown fox jumps over the lazy dog while seven wizards quietly judge the boxing match in the garden."
PEAK_LINES = 8  # lines together whose peak of memory is noted, too; larger batches must come later
# In a process of its own, so that this one never holds the arrays.
GENERATE = """
import sys; from pathlib import Path; from tests.checkpoints import write_full_size_checkpoint
write_full_size_checkpoint(Path(sys.argv[1]), size=sys.argv[2], variant=sys.argv[3])
"""
# Its batches are its lines one after the other: one line says it all. Far below real time, it takes part in the first
# round only: three quarters of an hour would pass otherwise.
ONE_BY_ONE = ("mlx-audio",)


@dataclass
class Contestant:
    """A child process that holds one implementation."""

    label: str
    who: str
    python: str
    dtype: str
    options: Sequence[str] = ()
    process: subprocess.Popen[str] | None = None
    measured: dict[str, list[float]] = field(default_factory=dict)

    def start(self) -> None:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [self.python, str(ROOT / "benchmarks" / "contestant.py"), self.who, *self.options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps({"do": what, **details}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"the process ended with status {self.process.wait()}"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def note(self, key: str, value: float | None) -> None:
        if value is not None:
            self.measured.setdefault(key, []).append(value)

    def stop(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=60)

    def median(self, key: str) -> float | None:
        values = self.measured.get(key)
        return statistics.median(values) if values else None


def installed_peers(named: Sequence[str]) -> dict[str, str]:
    """Peer name -> interpreter: those named by `--peer`, and those that this interpreter can import."""
    found = dict(item.split("=", 1) for item in named)
    for name, module in (("mlx-audio", "mlx_audio"), ("qwen-tts", "qwen_tts")):
        if name not in found and importlib.util.find_spec(module):
            found[name] = sys.executable
    return found


def line_up(peers: dict[str, str], *, dtypes: Sequence[str]) -> list[Contestant]:
    contestants = [
        Contestant("voicejobs" if dtype == "float32" else f"voicejobs {dtype}", "voicejobs", sys.executable, dtype)
        for dtype in dtypes
    ]
    if "c-engine" in peers:
        binary = ("--binary", peers["c-engine"])
        contestants += [
            Contestant(f"c-engine {mode}", "c-engine", sys.executable, mode, binary)
            for mode in ("bfloat16", *(dtype for dtype in dtypes if dtype != "float32"))
        ]
    if "mlx-audio" in peers:
        contestants.append(Contestant("mlx-audio", "mlx-audio", peers["mlx-audio"], "own"))
    if "qwen-tts" in peers:
        contestants += [
            Contestant(f"qwen-tts {kind}", "qwen-tts", peers["qwen-tts"], kind) for kind in ("float32", "bfloat16")
        ]
    return contestants


def checked(contestant: Contestant, reply: dict[str, Any], *, what: str) -> dict[str, Any] | None:
    if "error" in reply:
        print(f"  {contestant.label}: {what} failed: {reply['error']}", file=sys.stderr)
        return None
    return reply


def measure_voice(contestants: list[Contestant], *, voice: str, options: argparse.Namespace) -> None:
    """All rounds of one kind of voice: every contestant loads once, then they take turns."""
    folder = generated_checkpoint(options.cache, size=options.size, variant=VARIANT_OF_VOICE[voice])
    present = []
    for contestant in contestants:
        contestant.start()
        reply = checked(contestant, contestant.ask("load", folder=str(folder), dtype=contestant.dtype), what="load")
        if reply is not None:
            contestant.note("load_s", reply["load_s"])
            contestant.note("loaded memory_bytes", reply["memory_bytes"])
            present.append(contestant)
            contestant.ask("speak", texts=[TEXT], voice=voice, frames=2)  # pages the weights in, compiles
    for round_number in range(options.rounds):
        print(f"{voice}: round {round_number + 1} of {options.rounds}", file=sys.stderr)
        for contestant in present:
            if round_number == 0 or contestant.who not in ONE_BY_ONE:
                one_round(contestant, voice=voice, options=options)
        print(table(contestants), file=sys.stderr)  # so far: a run that is cut short has not been for nothing
    for contestant in present:
        contestant.note(f"{voice} peak_bytes", contestant.ask("peak").get("peak_bytes"))
        if contestant.who in ("voicejobs", "mlx-audio") and voice == options.voices[0]:
            reply = checked(contestant, contestant.ask("launches", text=TEXT, voice=voice, frames=2), what="launches")
            for key, value in (reply or {}).items():
                contestant.note(key, value)
        contestant.stop()


def one_round(contestant: Contestant, *, voice: str, options: argparse.Namespace) -> None:
    """One turn of one contestant: each batch size, first audio, prefill and the decoder alone."""
    slow = contestant.who in ONE_BY_ONE
    frames = options.slow_frames if slow else options.frames
    for lines in (1,) if slow or contestant.who == "c-engine" else options.lines:
        reply = contestant.ask("speak", texts=[TEXT] * lines, voice=voice, frames=frames)
        if checked(contestant, reply, what=f"{lines} lines"):
            contestant.note(f"{voice} {lines} frames/s", reply["frames"] / reply["wall_s"])
            if lines == PEAK_LINES and f"{voice} {lines} peak_bytes" not in contestant.measured:
                contestant.note(f"{voice} {lines} peak_bytes", reply["peak_bytes"])
    reply = contestant.ask("first_audio", text=TEXT, voice=voice)
    if checked(contestant, reply, what="first audio"):
        contestant.note(f"{voice} first_audio_s", reply["first_audio_s"])
    if contestant.who == "voicejobs" and voice == "preset":
        bandwidth = memory_bandwidth()
        contestant.note("memory GB/s", bandwidth / 1e9)
        reply = contestant.ask("bytes_read", text=TEXT, frames=frames)
        if checked(contestant, reply, what="reading of weights"):
            contestant.note("share of it that one line reads", reply["bytes_per_s"] / bandwidth)
    reply = contestant.ask("speak", texts=[TEXT], voice=voice, frames=1)
    if checked(contestant, reply, what="prefill"):
        contestant.note(f"{voice} one_frame_s", reply["wall_s"])
    decoded = options.slow_frames if slow else options.decode_frames
    reply = {} if contestant.who == "c-engine" else contestant.ask("decode", frames=decoded)
    if reply and checked(contestant, reply, what="decode"):
        contestant.note("decode frames/s", decoded / reply["decode_s"])


def memory_bandwidth(*, megabytes: int = 256) -> float:
    """Bytes a second that all cores together read from memory: the best of three tries, by NumPy."""
    cores = os.cpu_count() or 1
    parts = [np.ones(megabytes * 1_000_000 // cores // 8, np.int64) for _ in range(cores)]
    with ThreadPoolExecutor(len(parts)) as pool:
        seconds = []
        for _ in range(3):
            started_s = time.perf_counter()
            list(pool.map(np.sum, parts))
            seconds.append(time.perf_counter() - started_s)
    return sum(part.nbytes for part in parts) / min(seconds)


def generated_checkpoint(cache: Path, *, size: str, variant: str) -> Path:
    """A full-size checkpoint of random weights, made once."""
    folder = cache / f"qwen3-tts-{size}-{variant.replace('_', '')}"
    if not (folder / "config.json").exists():
        print(f"writing {folder} (random weights, published dimensions)", file=sys.stderr)
        subprocess.run([sys.executable, "-c", GENERATE, str(folder), size, variant], cwd=ROOT, check=True)
    return folder


def table(contestants: list[Contestant]) -> str:
    keys = list(dict.fromkeys(key for contestant in contestants for key in contestant.measured))
    width = max(len(key) for key in keys)
    lines = [" " * width + "".join(f"  {contestant.label:>18}" for contestant in contestants)]
    for key in keys:
        cells = []
        for contestant in contestants:
            value = contestant.median(key)
            cells.append("–" if value is None else f"{value / 1e9:.2f} GB" if "bytes" in key else f"{value:,.2f}")
        lines.append(f"{key:<{width}}" + "".join(f"  {cell:>18}" for cell in cells))
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "machine": platform.machine(), "cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.system(),
        "python": platform.python_version(), "commit": commit.stdout.strip(),
    }  # fmt: skip


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def draw(contestants: list[Contestant], *, voice: str, lines: Sequence[int], path: Path) -> None:
    """Frames per second over batch size, with the real-time line, as a PNG."""
    if not importlib.util.find_spec("matplotlib"):
        print("no chart: matplotlib is not installed (extra `bench`)", file=sys.stderr)
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    for contestant in contestants:
        speeds = [contestant.median(f"{voice} {number} frames/s") for number in lines]
        if contestant.who in (*ONE_BY_ONE, "c-engine"):
            speeds = [speeds[0]] * len(lines)
        axes.plot(lines, [speed or float("nan") for speed in speeds], marker="o", label=contestant.label)
    axes.axhline(FRAMES_PER_SECOND, color="grey", linestyle=":", label="real time")
    axes.set(xscale="log", yscale="log", xlabel="lines together", ylabel="codec frames per second")
    axes.set_xticks(lines, [str(number) for number in lines])
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(f"chart: {path}", file=sys.stderr)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--size", choices=("0.6b", "1.7b"), default="0.6b")
    parser.add_argument("--voices", type=lambda text: text.split(","), default=["preset"], help="preset,design,clone")
    parser.add_argument("--lines", type=numbers, default=[1, 4, 8, 16, 32])
    parser.add_argument("--frames", type=int, default=24, help="codec frames a line")
    parser.add_argument("--slow-frames", type=int, default=3, help="codec frames for peers far below real time")
    parser.add_argument("--decode-frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--dtypes", type=lambda text: text.split(","), default=["float32", "int8", "int4"], help="of voicejobs"
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="or c-engine=BINARY")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "voicejobs-bench")
    parser.add_argument("--chart", type=Path, default=Path("bench_speech.png"))
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    contestants = line_up(installed_peers(options.peer), dtypes=options.dtypes)
    for voice in options.voices:
        measure_voice(contestants, voice=voice, options=options)
    print(table(contestants))
    draw(contestants, voice=options.voices[0], lines=options.lines, path=options.chart)
    medians = {c.label: {key: c.median(key) for key in c.measured} for c in contestants}
    print(json.dumps({"bench": "speech", "size": options.size, **machine(), "medians": medians}))


if __name__ == "__main__":
    main()
