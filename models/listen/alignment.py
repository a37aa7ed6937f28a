"""Two readings of one text as features → the step of the first at which each step of the other is spoken.

Dynamic time warping in a window that follows the best path. Each step of the take goes on in the other reading by none
to three of its steps, so a row is computed at once. The other reading has no pauses; where the take has one, it waits
between two words. Pure functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.listen.features import Matrix

WINDOW_STEPS = 500  # five seconds in which the path is looked for
BEHIND = 200  # of them before the best place
MOST_STEPS = 3
STEP_COSTS = np.array([0.5, 0.0, 0.5, 1.2], np.float32)  # of going on by none, one, two or three steps
WAITING_COST, MISPLACED_COST = 0.02, 1.2  # of a silent step of the take, between two words and within one
FAR = np.float32(1e9)

Steps = npt.NDArray[np.intp]


def aligned(take: Matrix, heard: npt.NDArray[np.bool_], other: Matrix, may_wait: npt.NDArray[np.bool_]) -> Steps:
    """For each step of the take `(T, F)`, the step of the other reading `(U, F)` that it speaks; `(T,)`.

    `heard` says where the take sounds, `may_wait` where the other reading is between two words.
    """
    choices, origins, costs = _walked(take, heard, other, may_wait)
    return _traced(choices, origins, costs, last=len(other) - 1)


def distance(take: Matrix, heard: npt.NDArray[np.bool_], other: Matrix, may_wait: npt.NDArray[np.bool_]) -> float:
    """Cost of the best path from beginning to end; a billion where there is none."""
    _, origins, costs = _walked(take, heard, other, may_wait)
    place = len(other) - 1 - int(origins[-1])
    return float(costs[place]) if place < costs.size else float(FAR)


def _walked(
    take: Matrix, heard: npt.NDArray[np.bool_], other: Matrix, may_wait: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int8], Steps, npt.NDArray[np.float32]]:
    """For each step of the take how the places of its window are best reached, where the window begins, and the costs
    of the places of the last one."""
    window = min(WINDOW_STEPS, len(other))
    choices = np.zeros((len(take), window), np.int8)
    origins = np.zeros(len(take), np.intp)
    costs = np.full(window, FAR, np.float32)
    costs[0] = 0.0
    origin = 0
    take_unit, other_unit = _unit(take), _unit(other)
    waiting = np.where(may_wait, np.float32(WAITING_COST), np.float32(MISPLACED_COST))
    behind = min(BEHIND, window // 3)
    for step in range(len(take)):
        best = origin + int(costs.argmin())
        moved = max(0, min(best - behind, len(other) - window) - origin)
        came, costs = _step(costs, moved)
        origin += moved
        place = slice(origin, origin + window)
        costs += 1 - other_unit[place] @ take_unit[step] if heard[step] else waiting[place]
        choices[step], origins[step] = came, origin
    return choices, origins, costs


def _step(costs: npt.NDArray[np.float32], moved: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """By how many steps each place of the window, moved on by so many, is best reached, and what that costs."""
    size = costs.size
    padded = np.concatenate([np.full(MOST_STEPS, FAR), costs, np.full(moved, FAR)])
    ways = np.stack([padded[moved + MOST_STEPS - by : moved + MOST_STEPS - by + size] for by in range(MOST_STEPS + 1)])
    ways += STEP_COSTS[:, None]
    came = ways.argmin(axis=0)
    return came.astype(np.int8), ways[came, np.arange(size)].astype(np.float32)


def _traced(choices: npt.NDArray[np.int8], origins: Steps, costs: npt.NDArray[np.float32], *, last: int) -> Steps:
    """The best path to the end, or to the best place where the end is out of reach."""
    place = last - origins[-1]
    if place >= costs.size or costs[place] >= FAR / 2:
        place = int(costs.argmin())
    path = np.zeros(len(origins), np.intp)
    at = origins[-1] + place
    for step in range(len(origins) - 1, -1, -1):
        path[step] = at
        at -= choices[step, at - origins[step]]
        at = max(at, 0)
    return path


def _unit(features: Matrix) -> Matrix:
    """The features of each step, as long as one."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Matrix = (features / np.maximum(length, np.float32(1e-6))).astype(np.float32)
    return unit
