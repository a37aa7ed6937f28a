"""Rows that wait → codec frames as they are made: the one autoregressive loop, for one row or many.

Rows of any prompt, voice, length, sampling and age share one batch. A row that ends leaves its slot, and a waiting
one takes it at the next frame. Every frame is one graph and one synchronisation; where the backend computes beside
Python, the next frame is launched before the last one is read.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network.backend import Array, Filler, Network, RowSampler
from models.qwen3_tts.prompt.prompt import PromptPlan, prefill_groups
from models.qwen3_tts.prompt.sampling import MIN_CODES, Sampling

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text to be spoken."""

    id: int  # unique among the rows of a loop; echoed in its frames
    plan: PromptPlan
    sampling: Sampling
    seed: int
    max_frames: int  # at least 1


@dataclass(frozen=True, kw_only=True)
class RowFrame:
    """One frame of one row; its last one says why it was the last."""

    id: int
    codes: Codes  # (Q,)
    finish_reason: str | None = None  # "eos" | "length"


Frames = Generator[list[RowFrame], Collection[int] | None, None]


@dataclass(eq=False)
class _Live:
    """A row in its slot: where it stands, and the text it has yet to read."""

    row: Row
    position: int  # columns that its keys take
    text: Array  # (N, D)
    frames: int = 0  # launched so far
    gone: bool = False


class _State(NamedTuple):
    """What one frame hands to the next: a line for each row, in the order of their slots."""

    hidden: Array  # (B, D)
    first: Array  # (B, 1) the first code of the frame to come
    scale: Array  # (B, K + 1) repetition penalties of what was drawn


class _Pending(NamedTuple):
    """A frame that was launched: its rows, which frame of each it is, and what to read when it is there."""

    rows: Sequence[_Live]
    numbers: Sequence[int]  # from 1
    codes: Array  # (B, Q)
    first: Array  # (B, 1)


class Loop:
    """One running batch. `frames` is the loop; everything else serves it."""

    def __init__(self, network: Network, *, pad_id: int, batch: int, launch_ahead: bool = False) -> None:
        self.network, self.batch, self.launch_ahead = network, batch, launch_ahead
        self.cache = network.make_cache()
        self._live: list[_Live] = []
        self._arrived: list[Row] = []
        self._waiting: Iterator[Row | None] = iter(())
        self._open_ended = False
        self._state: _State
        self._sampler: RowSampler
        self._fill: Filler
        self._texts: Array  # padding, then what all rows have yet to read
        self._pad_id = pad_id
        self._pad = network.embed_text(np.array([pad_id], np.int32))  # (1, D)

    def frames(self, waiting: Iterator[Row | None]) -> Frames:
        """Yield, for each frame of the batch, the frames of its rows.

        `waiting` is asked whenever a row is free; a None means that none waits at this moment. What is sent back
        names rows that are to be dropped. An empty list means that no row is there, and none waits.
        """
        self._waiting, self._open_ended = waiting, True
        while self._open_ended or self._live:
            self._change_rows()
            if self._live:
                yield from self._run_until_change()
            elif self._open_ended:
                yield []

    def _run_until_change(self) -> Frames:
        """Frames of unchanged rows, until one of them goes or another one comes."""
        pending: _Pending | None = self._launch()
        while pending is not None:
            # A row may turn out to have ended with the frame before; what was computed ahead for it is not read.
            ahead = self._launch() if self.launch_ahead and self._goes_on() else None
            yield from self._read(pending)
            self._pull()
            changed = bool(self._arrived) or any(live.gone for live in self._live)
            if changed and ahead is not None:
                yield from self._read(ahead)
            pending = None if changed else ahead or self._launch()

    def _goes_on(self) -> bool:
        return any(live.frames < live.row.max_frames for live in self._live)

    def _launch(self) -> _Pending:
        """Start the computation of one frame of every row, and of the first code of the frame after it."""
        rows, state, sampler = self._live, self._state, self._sampler
        for live in rows:
            live.frames += 1
        noise = sampler.noise([live.frames for live in rows])
        codes = self._fill(state.hidden, state.first, noise)
        positions = [live.position for live in rows]
        self.cache.reserve(slots=len(rows), columns=max(positions) + 1)
        hidden = self.network.step(codes, self._text_of_frame(), cache=self.cache, positions=positions)
        for live in rows:
            live.position += 1
        self._state = self._draw_first(rows, hidden, state.scale, noise, sampler=sampler)
        self.network.launch(codes, *self._state)
        return _Pending(rows, [live.frames for live in rows], codes, self._state.first)

    def _read(self, pending: _Pending) -> Frames:
        """Wait for a frame; yield the frames of the rows that are still there, and take note of those that end."""
        codes = np.array(pending.codes).astype(np.int32)
        ended = np.array(pending.first)[:, 0] == self.network.codes
        frames = []
        for index, (live, number) in enumerate(zip(pending.rows, pending.numbers, strict=True)):
            if live.gone:
                continue
            # At the cap nothing more counts as drawn: an end of speech just behind it is still "length".
            reason = "length" if number == live.row.max_frames else "eos" if ended[index] else None
            live.gone = reason is not None
            frames.append(RowFrame(id=live.row.id, codes=codes[index], finish_reason=reason))
        if frames:
            dropped = (yield frames) or ()
            for live in pending.rows:
                live.gone = live.gone or live.row.id in dropped

    def _pull(self) -> None:
        """Take in the rows that wait at this moment, as far as there is room for them."""
        staying = sum(not live.gone for live in self._live)
        while self._open_ended and staying + len(self._arrived) < self.batch:
            try:
                row = next(self._waiting)
            except StopIteration:
                self._open_ended = False
                return
            if row is None:
                return
            self._arrived.append(row)

    def _change_rows(self) -> None:
        """Take out the rows that are gone and put waiting ones in their places."""
        if not self._arrived:
            self._pull()
        new, self._arrived = self._arrived, []
        if not new and not any(live.gone for live in self._live):
            return
        before, states = self._live, [self._state] if self._live else []
        started = [_Live(row, position=len(row.plan), text=self._text_to_come(row.plan)) for row in new]
        self._live = self._seat(started)
        if not self._live:
            self.cache.clear()
            return
        if started:
            states.append(self._prefill(started))
        places = {id(live): index for index, live in enumerate((*before, *started))}
        order = [places[id(live)] for live in self._live]
        self._state = _State(*(self.network.join(parts, order) for parts in zip(*states, strict=True)))
        self._sampler = self._sampler_for(self._live)
        self._fill = self.network.make_filler(self._sampler)
        self._texts = self.network.join([self._pad, *(live.text for live in self._live)])

    def _seat(self, started: Sequence[_Live]) -> list[_Live]:
        """New rows take the slots of those that are gone; a slot that stays free is given to the last row."""
        coming = iter(started)
        seats = [next(coming, None) if live.gone else live for live in self._live]
        seats += coming
        while None in seats:
            last = seats.pop()
            if last is not None:
                free = seats.index(None)
                self.cache.move(len(seats), free, columns=last.position)
                seats[free] = last
        return [live for live in seats if live is not None]

    def _prefill(self, started: Sequence[_Live]) -> _State:
        """Run the prompts of new rows into their slots, and draw their first codes."""
        self.cache.reserve(slots=len(self._live), columns=max(live.position for live in self._live) + 1)
        hidden: dict[int, Array] = {}
        for group in prefill_groups([live.row.plan for live in started]):
            slots = [self._live.index(started[index]) for index in group.members]
            plans = [started[index].row.plan for index in group.members]
            last = self.network.prefill(plans, cache=self.cache, slots=slots, shared=group.shared)
            hidden.update({index: last[place : place + 1] for place, index in enumerate(group.members)})
        together = self.network.join([hidden[index] for index in range(len(started))])
        sampler = self._sampler_for(started)
        noise, scale = sampler.noise([0] * len(started)), self.network.unpenalised(len(started))
        return self._draw_first(started, together, scale, noise, sampler=sampler)

    def _draw_first(
        self, rows: Sequence[_Live], hidden: Array, scale: Array, noise: Any, *, sampler: RowSampler
    ) -> _State:
        too_early = [live.frames < MIN_CODES for live in rows]
        first = sampler.draw_first(self.network.logits(hidden), scale, noise, too_early=too_early)
        return _State(hidden, first, sampler.after_drawing(scale, first))

    def _sampler_for(self, rows: Sequence[_Live]) -> RowSampler:
        return self.network.make_sampler([live.row.sampling for live in rows], [live.row.seed for live in rows])

    def _text_to_come(self, plan: PromptPlan) -> Array:
        """The text that is read while frames are made `(N, D)`; padding at its end is left to `_text_of_frame`."""
        ids = plan.trailing_ids
        ids = ids[: np.max(np.nonzero(ids != self._pad_id)[0], initial=-1) + 1]
        return self.network.embed_text(ids) if len(ids) else self._pad[:0]

    def _text_of_frame(self) -> Array:
        """What each row reads beside the frame just made: its next text token, or padding. `(B or 1, D)`"""
        index, start = [], 1  # row 0 of `_texts` is padding
        for live in self._live:
            at = live.frames - 1
            index.append(start + at if at < len(live.text) else 0)
            start += len(live.text)
        return self.network.join([self._texts], index) if any(index) else self._pad
