"""A running generation in → how many operations launch work in one frame, and what Python pays to build its graph.

The rule is the same for every contestant: each primitive that starts a kernel counts one, each `mx.fast.*` call
counts one (the CPU backend would expand it into a dozen), views, broadcasts and constants count none. The graph
is looked at where the contestant's own loop hands it to `mx.eval` or `mx.async_eval`, so nothing is re-written.
"""

from __future__ import annotations

import collections
import io
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

FREE = {
    "AsStrided", "Broadcast", "BroadcastAxes", "Copy", "Depends", "ExpandDims", "Flatten", "Full", "Load",
    "NumberOfElements", "Reshape", "Slice", "Split", "Squeeze", "StopGradient", "Transpose", "Unflatten", "View",
}  # fmt: skip
# Primitives that no speech model uses stand in for one mx.fast call each while a graph is being counted.
STAND_INS = {"rms_norm": mx.erfinv, "layer_norm": mx.arccosh, "rope": mx.arcsinh}


@dataclass
class Launches:
    """What the evaluated graphs looked like: one entry each time the loop synchronised or launched."""

    counts: list[int] = field(default_factory=list)
    kinds: list[collections.Counter[str]] = field(default_factory=list)
    build_s: list[float] = field(default_factory=list)

    def total(self) -> dict[str, float]:
        """Sums over one generation; the difference of a long and a short one, over their frames, is a frame's cost."""
        return {"launches": sum(self.counts), "build_s": sum(self.build_s)}

    def of_a_frame_s(self, frames: int) -> float:
        """The median time to build the graph of one of so many frames, each of which was evaluated once.

        What else was evaluated (a cache that grows) took little, and the prompt is one among the longest: of a few
        frames on a busy machine a difference of sums would be mostly noise.
        """
        return statistics.median(sorted(self.build_s)[-frames:])


def _flatten(values: Any) -> Iterator[mx.array]:
    if isinstance(values, mx.array):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _flatten(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _flatten(value)


def graph_kinds(outputs: list[mx.array]) -> collections.Counter[str]:
    """Primitive names of the unevaluated graph below `outputs`, with their numbers."""
    text = io.StringIO()
    mx.export_to_dot(text, *outputs)
    return collections.Counter(re.findall(r'label ?="([A-Za-z0-9_]+)", shape=rectangle', text.getvalue()))


def launching(kinds: collections.Counter[str]) -> int:
    return sum(number for kind, number in kinds.items() if kind not in FREE)


@contextmanager
def fast_calls_count_once() -> Iterator[None]:
    """While this holds, every `mx.fast` call leaves one primitive in the graph (and wrong numbers in the arrays)."""
    names = ("rms_norm", "layer_norm", "rope", "scaled_dot_product_attention")
    real: dict[str, Callable[..., mx.array]] = {name: getattr(mx.fast, name) for name in names}

    def attention(queries: mx.array, keys: mx.array, values: mx.array, **_: Any) -> mx.array:
        return mx.depends([mx.arctanh(queries)], [keys, values])[0]

    def stand_in(name: str) -> Callable[..., mx.array]:
        return lambda x, *_, **__: STAND_INS[name](x)

    try:
        for name in STAND_INS:
            setattr(mx.fast, name, stand_in(name))
        mx.fast.scaled_dot_product_attention = attention
        yield
    finally:
        for name, function in real.items():
            setattr(mx.fast, name, function)


@contextmanager
def watched_evaluations(*, count: bool) -> Iterator[Launches]:
    """Record the graph (when `count`) or the thread time spent building it, at every evaluation inside the block."""
    launches = Launches()
    real = {"eval": mx.eval, "async_eval": mx.async_eval}
    left_at = [time.thread_time()]

    def watch(name: str) -> Callable[..., None]:
        def evaluate(*values: Any) -> None:
            launches.build_s.append(time.thread_time() - left_at[0])
            if count:
                kinds = graph_kinds(list(_flatten(values)))
                launches.kinds.append(kinds)
                launches.counts.append(launching(kinds))
            real[name](*values)
            left_at[0] = time.thread_time()

        return evaluate

    try:
        mx.eval, mx.async_eval = watch("eval"), watch("async_eval")
        yield launches
    finally:
        mx.eval, mx.async_eval = real["eval"], real["async_eval"]
