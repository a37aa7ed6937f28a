"""Figures of a design job's candidates → their order, the best first. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BEST_RATING = 5.0


def ranks(qualities: Sequence[Mapping[str, Any]]) -> list[int]:
    """The rank of each candidate, from 1; those of which nothing tells apart keep their order."""
    order = sorted(range(len(qualities)), key=lambda index: (*measured(qualities[index]), index))
    found = [0] * len(qualities)
    for rank, index in enumerate(order, start=1):
        found[index] = rank
    return found


def measured(quality: Mapping[str, Any]) -> tuple[bool, int, float]:
    """Key that is lowest for the best: gates that failed, then words that were misheard and noise, as far as known."""
    failed = quality.get("failed_gates", ())
    distance = (quality.get("heard") or {}).get("distance") or 0.0
    overall = (quality.get("noise") or {}).get("overall", BEST_RATING)
    return bool(failed), len(failed), round(min(1.0, distance) + (BEST_RATING - overall) / (BEST_RATING - 1), 4)
