# SPDX-License-Identifier: Apache-2.0
"""Texts of any length through a trunk: windows, batches, devices, and the states of the levels asked for.

n tokens of a text, L levels, B rows of T positions, E numbers a state (D, or L * D end to end).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from ssl_jax import nn
from ssl_jax.types import UserError
from ssl_jax.use.inputs import bucket, power_of_two


class Window(NamedTuple):
    """Tokens [start, stop) are read together; the states of [first, last) are taken from here."""

    start: int
    stop: int
    first: int
    last: int


def windows(count: int, room: int, causal: bool) -> list[Window]:
    """Windows of at most room tokens that overlap by half.  A token is taken from the window in which the
    shorter of its two sides is longest, or, where it sees to the left alone, from the first that holds it."""
    stride = max(1, room // 2)
    starts = [*range(0, max(1, count - room), stride)]
    if count > room:
        starts.append(count - room)
    stops = [min(start + room, count) for start in starts]
    cuts = stops[:-1] if causal else [(a + b) // 2 for a, b in zip(starts[1:], stops[:-1], strict=True)]
    return [Window(*w) for w in zip(starts, stops, [0, *cuts], [*cuts, count], strict=True)]


class Reader:
    """Runs a trunk over texts of any lengths, in batches of few shapes."""

    def __init__(self, trunk: Any, tokenizer: Any, levels: tuple[int, ...], mean: bool, batch_size: int):
        self._spec, specials = trunk.spec, tokenizer.specials
        opening, closing = (specials.bos, None) if self._spec.causal else (specials.cls, specials.sep)
        self._opening, self._closing = (
            np.array([t for t in [special] if t is not None], np.int32) for special in (opening, closing)
        )
        self._pad = specials.pad
        self._levels, self._mean = levels, mean
        self._batch_size = batch_size
        self._devices = jax.local_devices()
        mesh = Mesh(np.array(self._devices), ("rows",))
        self._rows = NamedSharding(mesh, PartitionSpec("rows"))
        self._graphdef, params = nn.split(trunk)
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self.table = np.asarray(trunk.table, np.float32)
        self.width = self._spec.dim * (1 if self._mean else len(self._levels))

    def states(
        self, texts: list[Int[np.ndarray, " n"]], wanted: list[Int[np.ndarray, " w"]]
    ) -> Float[np.ndarray, "W E"]:
        """The states of the wanted tokens (numbers within their text, rising), one text after another."""
        room = self._spec.max_positions - len(self._opening) - len(self._closing)
        if room < 1:
            raise UserError(f"this MODEL has {self._spec.max_positions} positions: no room for a token")
        out = np.zeros((sum(map(len, wanted)), self.width), np.float32)
        rows, end = [], 0
        for tokens, want in zip(texts, wanted, strict=True):
            for window in windows(len(tokens), room, self._spec.causal):
                a, b = np.searchsorted(want, [window.first, window.last])
                if a < b:
                    row = np.concatenate([self._opening, tokens[window.start : window.stop], self._closing])
                    where = want[a:b] - window.start + len(self._opening)
                    rows.append((row, where, slice(end + a, end + b)))
            end += len(want)
        rows.sort(key=lambda row: len(row[0]))  # so that a batch has little padding
        for i in range(0, len(rows), self._batch_size):
            group = rows[i : i + self._batch_size]
            for (_, where, place), found in zip(group, self._run([row for row, _, _ in group])):
                out[place] = found[where]
        return out

    def _run(self, rows: list[Int[np.ndarray, " n"]]) -> Float[np.ndarray, "B T E"]:
        """Rows and positions are padded up, so that few programs are compiled."""
        length = bucket(max(map(len, rows)), self._spec.max_positions)
        count = -(-power_of_two(len(rows)) // len(self._devices)) * len(self._devices)
        tokens = np.full((count, length), self._pad, np.int32)
        segments = np.zeros((count, length), np.int32)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], segments[i, : len(row)] = row, 1
        inputs = jax.device_put((tokens, segments), self._rows)
        return np.asarray(_states(self._graphdef, self._levels, self._mean, self._params, *inputs))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _states(
    graphdef: Any,
    levels: tuple[int, ...],
    mean: bool,
    params: Any,
    tokens: Int[Array, "B T"],
    segments: Int[Array, "B T"],
) -> Float[Array, "B T E"]:
    """The levels' states, averaged or end to end.  float32 from the embeddings on, whatever the model was
    trained in: in bfloat16 a vector would depend on its company."""
    trunk = nn.merge(graphdef, params)
    x = trunk.embed(tokens, segments).astype(jnp.float32)
    chosen = trunk(x, segments, every=True)[np.array(levels)]
    return chosen.mean(axis=0) if mean else jnp.concatenate(list(chosen), axis=-1)
