"""A checkpoint → where the time of a frame goes on a CPU: products, attention, norms, sampling, decoder, Python.

    python benchmarks/frame_parts.py FOLDER [--frames 12] [--lines 1] [--dtype int4]

Every part of the network is clocked by a wrapper around it, so the sum is a few per cent above an undisturbed frame.
"Handing over" is what a product takes beyond its slowest thread; "Python and the rest" is what no wrapper has seen. One
row's layers are one call of machine code, and so one part. Milliseconds a frame, medians over frames, processor time
of all threads, and the weights read a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from models.hardware.blas import load_blas

TEXT = "The quick brown fox jumps over the lazy dog while seven wizards quietly judge the boxing match in the garden."


class Clock:
    """Seconds by part. A part within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrapped(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start_s = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took_s = time.perf_counter() - start_s
                self.seconds[part] += took_s - self._inner.pop()
                self._inner[-1] += took_s

        return call

    def wrap(self, part: str, owner: Any, *names: str) -> None:
        for name in names:
            setattr(owner, name, self.wrapped(part, getattr(owner, name)))


def clocked_workers(clock: Clock) -> None:
    """Split the time of `Workers.run` into its slowest thread and handing over."""
    from models.qwen3_tts.worker_threads import Workers

    run = Workers.run

    def call(self: Workers, work: Callable[[Any], None], items: Any) -> None:
        import threading

        busy: dict[int, float] = defaultdict(float)

        def timed(item: Any) -> None:
            start_s = time.perf_counter()
            work(item)
            busy[threading.get_ident()] += time.perf_counter() - start_s

        start_s = time.perf_counter()
        run(self, timed, items)
        took_s = time.perf_counter() - start_s
        clock.seconds["handing over"] += took_s - max(busy.values())
        clock._inner[-1] += took_s - max(busy.values())

    Workers.run = call  # type: ignore[method-assign]


def watch(clock: Clock) -> None:
    """Wrap the parts of the CPU network, before a model is loaded."""
    from models.qwen3_tts.codec.codec import Codec
    from models.qwen3_tts.network_cpu import bf16_linear, decoder_layer, linear, packed_linear, row_layers, sampler

    clocked_workers(clock)
    for kind in (linear.NumpyLinear, bf16_linear.NumpyBfloat16Linear, packed_linear.NumpyPackedLinear):
        clock.wrap("products", kind, "__call__")
    clock.wrap("layers of one row", row_layers.RowLayers, "__call__")
    clock.wrap("attention", decoder_layer, "grouped_attention")
    clock.wrap("norms, rotation, activation", decoder_layer, "rms_norm", "apply_rotary", "swiglu")
    clock.wrap("sampling", sampler.NumpySampler, "noise", "sample_first", "sample_other", "penalties_after")
    clock.wrap("decoder", Codec, "decode_next_rows", "decode_next", "state")


def weights_of(model: Any) -> int:
    """Weights that one frame of one row reads."""
    config = model.config.talker_config
    own = config.code_predictor_config

    def of_layers(one: Any) -> int:
        heads = one.num_attention_heads + 2 * one.num_key_value_heads
        attention = one.hidden_size * one.head_dim * (heads + one.num_attention_heads)
        return one.num_hidden_layers * (attention + 3 * one.hidden_size * one.intermediate_size)

    passes = config.num_code_groups - 1
    return of_layers(config) + passes * (of_layers(own) + own.hidden_size * own.vocab_size)


def weight_bytes(model: Any) -> float:
    """Bytes of one weight as the CPU network reads it, scales and biases included."""
    stored = {None: 2.0 if model.network.name == "llvm" else 4.0}
    bits = int(model.quantization.removesuffix("-bit")) if model.quantization else None
    return bits / 8 + 2 * 2 / 64 if bits and model.network.name == "llvm" else stored.get(bits, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--dtype")
    parser.add_argument("--sampled", action="store_true", help="with the checkpoint's sampling instead of greedily")
    options = parser.parse_args()
    load_blas()
    clock = Clock()
    watch(clock)
    from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model

    model = load_speech_model(options.folder, options.dtype)
    sampling = None if options.sampled else Sampling.greedy()
    requests = [SpeechRequest(TEXT, speaker=model.speakers[0], max_frames=options.frames, seed=1)] * options.lines
    parts: dict[str, list[float]] = defaultdict(list)
    walls, processor = [], []
    rendering = model.render(requests, batch=options.lines, sampling=sampling)
    next(rendering)  # the prompt and the first frame
    while True:
        clock.seconds.clear()
        start_s, start_processor_s = time.perf_counter(), time.process_time()
        finished = next(rendering, None)
        if finished is None or finished:
            break
        walls.append(time.perf_counter() - start_s)
        processor.append(time.process_time() - start_processor_s)
        for part, seconds in clock.seconds.items():
            parts[part].append(seconds)
    wall_s = statistics.median(walls)
    medians = {part: statistics.median(values) for part, values in parts.items()}
    medians["Python and the rest"] = wall_s - sum(medians.values())
    kind = f"{model.network.name}, {options.lines} lines, {model.quantization or model.dtype}"
    print(f"{kind}: {1000 * wall_s:.0f} ms, {1000 * statistics.median(processor):.0f} ms of processor time")
    for part, seconds in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"  {part:28} {1000 * seconds:7.1f} ms  {seconds / wall_s:5.0%}")
    rate = weights_of(model) / (medians["products"] + medians.get("layers of one row", 0.0)) / 1e9
    print(f"  {rate:.2f} · 10⁹ weights or {rate * weight_bytes(model):.1f} GB a second in products and layers")


if __name__ == "__main__":
    main()
