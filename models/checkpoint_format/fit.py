"""Tensors that a config asks for and those that are stored → what does not fit, as one error that names every one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import UnsupportedCheckpoint

BITS_PER_WORD = 32  # quantised weights are packed into uint32
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Packing of one stored linear layer: `weight` in words, with `scales` and `biases` for each group of inputs."""

    bits: int
    group_size: int


def stated_quantization(config: Mapping[str, Any], path: str, *, where: str) -> Quantization:
    """Packing of one linear as `quantization` in a config states it: by its own entry, or else the general one."""
    table = config.get("quantization") or config.get("quantization_config") or {}
    own = table.get(path)
    entry = {**table, **own} if isinstance(own, dict) else table
    bits, group_size, mode = entry.get("bits"), entry.get("group_size"), entry.get("mode", "affine")
    if own is False or not isinstance(bits, int) or not isinstance(group_size, int) or mode != "affine":
        problem = f"{path} has scales, but config.json states no affine quantization for it"
        raise UnsupportedCheckpoint(f"{where}: {problem} (bits {bits}, group size {group_size}, mode {mode!r}).")
    return Quantization(bits=bits, group_size=group_size)


class LoadErrors:
    """Tensors that do not fit their networks, noted while the parts of a checkpoint are opened; raised as one error."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(
        self, what: str, *, missing: Iterable[str] = (), unexpected: Iterable[str] = (), misshapen: Iterable[str] = ()
    ) -> bool:
        """Note the tensors of `what` that do not fit; false when there are none."""
        parts = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        named = [f"{kind}: {', '.join(names)}" for kind, found in parts.items() if (names := sorted(found))]
        if named:
            self._messages.append(f"The weights of {what} do not fit its config. {'; '.join(named)}.")
        return bool(named)

    def compare(self, what: str, expected: Mapping[str, Shape], present: Mapping[str, Shape]) -> bool:
        """Note every tensor that is missing, unexpected or misshapen; false when there are none."""
        wrong = [name for name in expected.keys() & present.keys() if present[name] != expected[name]]
        return self.add(
            what,
            missing=expected.keys() - present.keys(),
            unexpected=present.keys() - expected.keys(),
            misshapen=[shape_error(name, present[name], expected[name]) for name in wrong],
        )

    def raise_if_any(self) -> None:
        """Raises UnsupportedCheckpoint naming them all."""
        if self._messages:
            raise UnsupportedCheckpoint(" ".join(self._messages))


def shape_error(name: str, found: Iterable[int], expected: Iterable[int]) -> str:
    """Name of a misshapen tensor with both shapes, for `LoadErrors`."""
    return f"{name} {tuple(found)}, expected {tuple(expected)}"


def packed_shape(shape: tuple[int, int], quantization: Quantization) -> dict[str, tuple[int, int]]:
    """Shapes of a quantised linear of `(out, in)`, by the last part of its tensors' names."""
    outputs, inputs = shape
    groups = math.ceil(inputs / quantization.group_size)
    words = inputs * quantization.bits // BITS_PER_WORD
    return {"weight": (outputs, words), "scales": (outputs, groups), "biases": (outputs, groups)}


def some(names: Sequence[str], *, limit: int = 8) -> str:
    """A list of names, cut short."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
