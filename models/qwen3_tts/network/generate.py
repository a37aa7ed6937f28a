"""Waiting rows → codec frames as they are made, by continuous batching: the one autoregressive loop, for any rows.

Rows of any prompt, voice, length, sampling and age share one batch. A row that ends frees its slot, and a waiting one
takes it at the next frame. Every frame is one graph and one synchronisation; where the backend computes beside Python,
frames are pipelined: the next one is started before the last one is read.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network.backend import Array, FramePredictor, Network, RowSampler
from models.qwen3_tts.prompt.prompt import prefill_groups
from models.qwen3_tts.prompt.request import Prepared
from models.qwen3_tts.prompt.sampling import MIN_CODES

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text to be spoken."""

    id: int  # unique among the rows of a generator; echoed in its frames
    prepared: Prepared


@dataclass(frozen=True, kw_only=True)
class RowFrame:
    """One frame of one row; a row's last frame says why it was the last."""

    id: int
    codes: Codes  # (Q,)
    finish_reason: str | None = None  # "eos" | "length"


Frames = Generator[list[RowFrame], Collection[int] | None, None]


@dataclass(eq=False)
class _ActiveRow:
    """A row in its slot: how far it is, and its text still to be added to frames."""

    id: int
    prepared: Prepared
    position: int  # of its next key
    text: Array  # (N, D)
    frames: int = 0  # started so far
    ended: bool = False


class _State(NamedTuple):
    """Input of the next frame, one row each in the order of their slots."""

    hidden: Array  # (B, D)
    first: Array  # (B, 1) the first code of the frame to come
    penalties: Array  # (B, K + 1) for repetitions of the row's first codes


class _InFlight(NamedTuple):
    """A frame that has been started: its rows, its number in each, and the arrays to read when it is computed."""

    rows: Sequence[_ActiveRow]
    numbers: Sequence[int]  # from 1
    codes: Array  # (B, Q)
    first: Array  # (B, 1)


class BatchGenerator:
    """One running batch. `frames` is the loop; everything else serves it."""

    def __init__(self, network: Network, *, pad_id: int, batch: int, pipelined: bool = False) -> None:
        self.network, self.batch, self.pipelined = network, batch, pipelined
        self.cache = network.make_cache()
        self._active: list[_ActiveRow] = []
        self._arrived: list[Row] = []
        self._waiting: Iterator[Row | None] = iter(())
        self._more_may_come = False
        self._state: _State
        self._sampler: RowSampler
        self._predict_frame: FramePredictor
        self._texts: Array  # padding, then the text of all rows
        self._pad_id = pad_id
        self._pad = network.embed_text(np.array([pad_id], np.int32))  # (1, D)

    def frames(self, waiting: Iterator[Row | None]) -> Frames:
        """Yield, for each frame of the batch, the frames of its rows.

        `waiting` is asked whenever a slot is free; a None means that no row waits at this moment. Ids that are sent
        back name rows to be dropped. An empty list means that no row is active, and none waits.
        """
        self._waiting, self._more_may_come = waiting, True
        while self._more_may_come or self._active:
            self._rebatch()
            if self._active:
                yield from self._run_until_change()
            elif self._more_may_come:
                yield []

    def _run_until_change(self) -> Frames:
        """Frames of unchanged rows, until one of them ends or another arrives."""
        frame: _InFlight | None = self._start_frame()
        while frame is not None:
            # A row may prove to have ended with the frame before; codes that were computed ahead for it are not read.
            ahead = self._start_frame() if self.pipelined and self._continues() else None
            yield from self._read(frame)
            self._admit()
            changed = bool(self._arrived) or any(active.ended for active in self._active)
            if changed and ahead is not None:
                yield from self._read(ahead)
            frame = None if changed else ahead or self._start_frame()

    def _continues(self) -> bool:
        return any(active.frames < active.prepared.max_frames for active in self._active)

    def _start_frame(self) -> _InFlight:
        """Start the computation of one frame of every row, and of the first code of the frame after it."""
        rows, state, sampler = self._active, self._state, self._sampler
        for active in rows:
            active.frames += 1
        noise = sampler.noise([active.frames for active in rows])
        codes = self._predict_frame(state.hidden, state.first, noise)
        positions = [active.position for active in rows]
        self.cache.reserve(slots=len(rows), positions=max(positions) + 1)
        hidden = self.network.step(codes, self._text_of_frame(), cache=self.cache, positions=positions)
        for active in rows:
            active.position += 1
        self._state = self._sample_first(rows, hidden, state.penalties, noise, sampler=sampler)
        self.network.async_eval(codes, *self._state)
        return _InFlight(rows, [active.frames for active in rows], codes, self._state.first)

    def _read(self, frame: _InFlight) -> Frames:
        """Wait for a frame; yield the frames of the rows that are still active, and mark those that end."""
        codes = np.array(frame.codes).astype(np.int32)
        is_end = np.array(frame.first)[:, 0] == self.network.codes
        frames = []
        for index, (active, number) in enumerate(zip(frame.rows, frame.numbers, strict=True)):
            if active.ended:
                continue
            # At the cap the next code no longer counts: an end of speech just after it is still "length".
            reason = "length" if number == active.prepared.max_frames else "eos" if is_end[index] else None
            active.ended = reason is not None
            frames.append(RowFrame(id=active.id, codes=codes[index], finish_reason=reason))
        if frames:
            dropped = (yield frames) or ()
            for active in frame.rows:
                active.ended = active.ended or active.id in dropped

    def _admit(self) -> None:
        """Take in the rows that wait at this moment, as far as there is room for them."""
        staying = sum(not active.ended for active in self._active)
        while self._more_may_come and staying + len(self._arrived) < self.batch:
            try:
                row = next(self._waiting)
            except StopIteration:
                self._more_may_come = False
                return
            if row is None:
                return
            self._arrived.append(row)

    def _rebatch(self) -> None:
        """Take out the rows that have ended and put waiting ones in their slots."""
        if not self._arrived:
            self._admit()
        arrived, self._arrived = self._arrived, []
        if not arrived and not any(active.ended for active in self._active):
            return
        before, states = self._active, [self._state] if self._active else []
        new = [self._activated(row) for row in arrived]
        self._active = self._assign_slots(new)
        if not self._active:
            self.cache.clear()
            return
        if new:
            states.append(self._prefill(new))
        places = {id(active): index for index, active in enumerate((*before, *new))}
        order = [places[id(active)] for active in self._active]
        self._state = _State(*(self.network.concat(parts, order) for parts in zip(*states, strict=True)))
        self._sampler = self._sampler_for(self._active)
        self._predict_frame = self.network.make_frame_predictor(self._sampler)
        self._texts = self.network.concat([self._pad, *(active.text for active in self._active)])

    def _assign_slots(self, new: Sequence[_ActiveRow]) -> list[_ActiveRow]:
        """All rows by slot: new ones take those of rows that have ended; the last row moves to one that stays free."""
        coming = iter(new)
        slots = [next(coming, None) if active.ended else active for active in self._active]
        slots += coming
        while None in slots:
            last = slots.pop()
            if last is not None:
                free = slots.index(None)
                self.cache.move(len(slots), free, positions=last.position)
                slots[free] = last
        return [active for active in slots if active is not None]

    def _prefill(self, new: Sequence[_ActiveRow]) -> _State:
        """Run the prompts of new rows into their slots, and sample their first codes."""
        self.cache.reserve(slots=len(self._active), positions=max(active.position for active in self._active) + 1)
        hidden: dict[int, Array] = {}
        for group in prefill_groups([active.prepared.plan for active in new]):
            slots = [self._active.index(new[index]) for index in group.members]
            plans = [new[index].prepared.plan for index in group.members]
            last = self.network.prefill(plans, cache=self.cache, slots=slots, shared=group.shared)
            hidden.update({index: last[place : place + 1] for place, index in enumerate(group.members)})
        together = self.network.concat([hidden[index] for index in range(len(new))])
        sampler = self._sampler_for(new)
        noise, penalties = sampler.noise([0] * len(new)), self.network.initial_penalties(len(new))
        return self._sample_first(new, together, penalties, noise, sampler=sampler)

    def _sample_first(
        self, rows: Sequence[_ActiveRow], hidden: Array, penalties: Array, noise: Any, *, sampler: RowSampler
    ) -> _State:
        too_early = [active.frames < MIN_CODES for active in rows]
        first = sampler.sample_first(self.network.logits(hidden), penalties, noise, too_early=too_early)
        return _State(hidden, first, sampler.penalties_after(penalties, first))

    def _sampler_for(self, rows: Sequence[_ActiveRow]) -> RowSampler:
        samplings = [active.prepared.sampling for active in rows]
        return self.network.make_sampler(samplings, [active.prepared.seed for active in rows])

    def _activated(self, row: Row) -> _ActiveRow:
        """A row before its first frame. Padding at the end of its text is left to `_text_of_frame`."""
        plan = row.prepared.plan
        ids = plan.trailing_ids
        ids = ids[: np.max(np.nonzero(ids != self._pad_id)[0], initial=-1) + 1]
        text = self.network.embed_text(ids) if len(ids) else self._pad[:0]
        return _ActiveRow(row.id, row.prepared, position=len(plan), text=text)

    def _text_of_frame(self) -> Array:
        """Text embedding each row adds to its last frame: next token, or padding. `(B or 1, D)`"""
        index, start = [], 1  # row 0 of `_texts` is padding
        for active in self._active:
            at = active.frames - 1
            index.append(start + at if at < len(active.text) else 0)
            start += len(active.text)
        return self.network.concat([self._texts], index) if any(index) else self._pad
