"""A step, simulated: messages queue for one channel as gradients become ready; all draws and all N at once.

Times are seconds from the begin of a forward pass. The channel's clock is its *capacity*, what it can have done by a
moment: it runs at `overlap` times its speed while the worker computes, and at full speed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.prediction.draws import Draws
from horovod_runner.prediction.job import FORWARD, Gradients, Pattern

Array = NDArray[np.float64]
LEAST_OVERLAP = 1e-6
ROUNDING = 1e-9


class Parts(NamedTuple):
    """Seconds of a step, each of shape (draws, numbers of workers); together they are the step.

    `computing` as one worker would; `stragglers`: until the slowest of all has computed; `coordination` of all workers;
    `communication` that is exposed.
    """

    computing: Array
    stragglers: Array
    coordination: Array
    communication: Array

    @property
    def step(self) -> Array:
        """Seconds of the whole step."""
        return np.asarray(sum(self))


@dataclass(frozen=True)
class Channel:
    """The link of one worker, for rows of draws and N: how long a message takes, and what computing leaves of it."""

    latency: Array  # seconds a pass: reduce-scatter, or all-gather; an allreduce is both
    seconds_per_byte: Array  # of a pass
    overlap: Array

    def of(self, rows: NDArray[np.bool_]) -> Channel:
        """Return the channels of some rows."""
        return Channel(self.latency[rows], self.seconds_per_byte[rows], self.overlap[rows])

    def message(self, size: ArrayLike, passes: int) -> Array:
        """Return the seconds that a message of so many bytes takes at full speed."""
        return passes * (self.latency + np.asarray(size) * self.seconds_per_byte)

    def capacity(self, moment: Array, computed: Array) -> Array:
        """Return what the channel can have done by a moment, in seconds of full speed; computing ends at `computed`."""
        return np.asarray(self.overlap * np.minimum(moment, computed) + np.maximum(0, moment - computed))

    def moment(self, capacity: Array, computed: Array) -> Array:
        """Return when the channel can have done so much."""
        hidden = self.overlap * computed
        return np.where(capacity <= hidden, capacity / self.overlap, computed + capacity - hidden)


def simulate(
    gradients: Gradients,
    pattern: Pattern,
    draws: Draws,
    workers: ArrayLike,
    per_host: int,
    batch: ArrayLike,
) -> Parts:
    """Return the parts of a step for each draw and number of workers, each with its local batch (or all with one)."""
    counts = np.atleast_1d(np.asarray(workers, float))
    images = np.broadcast_to(np.asarray(batch, float), counts.shape)
    computing = draws.start[:, None] + np.outer(draws.per_image, images)
    late = computing * np.where(counts > 1, draws.late(counts), 0.0)
    coordination = np.outer(draws.coordination * pattern.coordinated, np.where(counts > 1, counts, 0.0))
    reduces = counts > 1
    exposed = np.zeros(computing.shape)
    if pattern.when != "never" and reduces.any():
        rows = _rows((computing + late)[:, reduces])
        channel = _channel(draws, counts[reduces], per_host)
        step = _step(gradients.scaled(pattern.bytes_factor), pattern, channel, rows)
        exposed[:, reduces] = (step - rows).reshape(len(draws), -1)
    return Parts(computing, late, coordination * (pattern.when != "never"), exposed)


def _rows(table: Array) -> Array:
    """Return a table of draws and N as rows."""
    return np.ascontiguousarray(table).reshape(-1)


def _channel(draws: Draws, workers: Array, per_host: int) -> Channel:
    """Return the channels of each draw and N: within hosts first, and then between them."""
    within, between = np.minimum(workers, per_host), np.ceil(workers / per_host)
    congested = np.maximum(between / 2, 1) ** draws.congestion[:, None]
    latency = np.outer(draws.latency_within, _doublings(within)) + np.outer(draws.latency_between, _doublings(between))
    slowness = np.outer(1 / draws.bandwidth_within, 1 - 1 / within)
    slowness = slowness + np.outer(1 / draws.bandwidth_between, 1 - 1 / between) * congested
    overlap = np.repeat(draws.overlap.clip(LEAST_OVERLAP, 1), len(workers))
    return Channel(_rows(latency), _rows(slowness), overlap)


def _doublings(members: Array) -> Array:
    return np.asarray(np.ceil(np.log2(members) - 1e-9))


def _step(gradients: Gradients, pattern: Pattern, channel: Channel, computing: Array) -> Array:
    """Return the seconds of a step, of which the slowest worker computes so many."""
    if pattern.when == "next":  # what the last step left travels under the whole of this one, which waits for the rest
        work = _all_messages(gradients, pattern, channel)
        return np.maximum(computing, channel.moment(work, computing))
    forward = computing * FORWARD
    if pattern.gathers:
        forward = _forward_behind_gather(gradients, pattern, channel, forward)
    computed = forward + computing * (1 - FORWARD)
    passes = 1 if pattern.gathers else 2
    if pattern.when == "after":
        return np.asarray(computed + pattern.cycle_seconds + channel.message(gradients.total, passes))
    return _as_they_appear(gradients, pattern, channel, forward, computed, passes)


def _as_they_appear(
    gradients: Gradients,
    pattern: Pattern,
    channel: Channel,
    forward: Array,
    computed: Array,
    passes: int,
) -> Array:
    """Return when the last message has arrived, if the channel always takes what is ready, up to the fusion size.

    The event loop: an event is a message, the same one in all rows, with other gradients in each.
    """
    before = np.concatenate([[0.0], np.cumsum(gradients.sizes)])
    count, arrived = len(gradients.sizes), computed.copy()
    rows, first, free = np.arange(len(computed)), np.zeros(len(computed), int), np.zeros(len(computed))
    while len(rows):
        idle_until = forward + (computed - forward) * gradients.ready[first]
        available = channel.moment(free, computed)
        begin = np.where(idle_until > available, idle_until + pattern.cycle_seconds, available)
        share = (begin - forward) / (computed - forward)
        ready = np.searchsorted(gradients.ready, share + ROUNDING, side="right")
        fits = np.searchsorted(before, before[first] + pattern.fusion_bytes, side="right") - 1
        last = np.maximum(np.minimum(ready, fits), first + 1)
        free = channel.capacity(begin, computed) + channel.message(before[last] - before[first], passes)
        ended, going = last >= count, last < count
        arrived[rows[ended]] = np.maximum(computed, channel.moment(free, computed))[ended]
        rows, first, free = rows[going], last[going], free[going]
        if ended.any():
            forward, computed, channel = forward[going], computed[going], channel.of(going)
    return arrived


def _forward_behind_gather(gradients: Gradients, pattern: Pattern, channel: Channel, forward: Array) -> Array:
    """Return how long a forward pass takes that waits, layer by layer, for parameters under way since its begin.

    Layers need them in the reverse of the order in which their gradients appear; a layer takes as large a part of the
    forward pass as of the backward one.
    """
    sizes, shares = _messages_forward(gradients, pattern.fusion_bytes)
    arrived = channel.message(sizes[0], 1)
    computed = arrived + forward * shares[0]
    for size, share in zip(sizes[1:], shares[1:], strict=True):
        work, busy = (
            channel.message(size, 1),
            computed - arrived,
        )  # from the arrival on there is something to compute
        hidden = channel.overlap * busy
        arrived = np.where(work <= hidden, arrived + work / channel.overlap, computed + work - hidden)
        computed = np.maximum(computed, arrived) + forward * share
    return np.asarray(computed)


def _messages_forward(gradients: Gradients, fusion_bytes: float) -> tuple[list[float], list[float]]:
    """Return the bytes of each message of parameters, and the share of the forward pass that can begin with it."""
    shares = np.diff(gradients.ready, prepend=0.0)[::-1]
    messages: list[tuple[float, float]] = []
    for size, share in zip(gradients.sizes[::-1], shares / shares.sum(), strict=True):
        if messages and messages[-1][0] + size <= fusion_bytes:
            messages[-1] = (messages[-1][0] + size, messages[-1][1] + share)
        else:
            messages.append((float(size), float(share)))
    return [size for size, _ in messages], [share for _, share in messages]


def _all_messages(gradients: Gradients, pattern: Pattern, channel: Channel) -> Array:
    """Return the work of reducing all gradients that wait already, in seconds of full speed."""
    messages, _ = _messages_forward(gradients, pattern.fusion_bytes)
    return np.asarray(len(messages) * 2 * channel.latency + gradients.total * 2 * channel.seconds_per_byte)
