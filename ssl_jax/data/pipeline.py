# SPDX-License-Identifier: Apache-2.0
"""Rows of a plan to global arrays: examples on the host, ahead of the step, each process its own rows.

The only state is the number of the next row.  A batch is a pure function of (plan, objective, seed, rows):
the number of processes, devices or threads changes who makes a row, never what it is.
"""

import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.types import Failure, Objective, OpenPlan, UserError

ENDLESS = 1 << 62


@dataclass(frozen=True)
class BatchInfo:
    """rows: the half-open range [a, b) of global rows; arrays: name -> global jax.Array [batch_size, ...].

    b - a is smaller than the batch where stop_row cut it: the rest are rows of zeros with valid False.
    """

    rows: tuple[int, int]
    arrays: dict[str, Any]


def rng(seed: int, row: int) -> np.random.Generator:
    """The generator of one row's example: numpy's Philox with key [seed, row]."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, row], np.uint64)))


class Examples:
    """Rows to stacked examples: numpy [n, ...] by name, with row_id, row_hash and valid."""

    def __init__(self, plan: OpenPlan, objective: Objective, seed: int):
        self.plan, self.objective, self.seed = plan, objective, seed
        self.spec = dict(sorted(objective.spec().items()))
        self.stopped = False
        self._local = threading.local()

    def __call__(self, rows: Sequence[int], stop_row: int | None = None) -> dict[str, np.ndarray]:
        """Rows from stop_row on are zeros with valid False.  An exception is raised with the row's number."""
        count = len(rows)
        batch = {name: np.zeros((count, *s.shape), s.dtype) for name, s in self.spec.items()}
        raw = [array.reshape(count, -1).view(np.uint8) for array in batch.values()]
        ids, hashes = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
        valid = np.zeros(count, np.bool_)
        for i, row in enumerate(rows):
            if stop_row is not None and row >= stop_row:
                continue
            if self.stopped:
                raise Failure("the pipeline was closed")
            try:
                self._fill(batch, i, row)
            except UserError as error:
                raise UserError(f"row {row}: {error}") from error
            except OSError as error:
                raise Failure(f"row {row}: cannot read the store: {error}") from error
            except Exception as error:
                raise RuntimeError(f"row {row}: {type(error).__name__}: {error}") from error
            crc = 0
            for array in raw:
                crc = zlib.crc32(array[i], crc)
            ids[i], hashes[i], valid[i] = row & 0xFFFFFFFF, crc, True
        return {**batch, "row_id": ids, "row_hash": hashes, "valid": valid}

    def _fill(self, batch: dict[str, np.ndarray], i: int, row: int) -> None:
        example = self.objective.example(self.plan[row], self._rng(row))
        if len(example) != len(batch):
            raise ValueError(f"example has {sorted(example)}, spec has {sorted(batch)}")
        for name, array in batch.items():
            value = example[name]
            if value.shape != array.shape[1:] or value.dtype != array.dtype:
                wanted = f"{array.dtype}{list(array.shape[1:])}"
                raise ValueError(f"{name} is {value.dtype}{list(value.shape)}, spec says {wanted}")
            array[i] = value

    def _rng(self, row: int) -> np.random.Generator:
        """`rng`, by resetting this thread's generator: 2 in place of 14 microseconds."""
        local = self._local
        if not hasattr(local, "rng"):
            local.rng = rng(self.seed, row)
            local.state = local.rng.bit_generator.state
        local.state["state"]["key"][1] = row
        local.rng.bit_generator.state = local.state
        return local.rng


def local_rows(sharding: Any, batch_size: int, devices: Any = None) -> np.ndarray:
    """int64: which of the batch's rows devices (by default this process's) hold, ascending, each once.

    sharding: a NamedSharding of the row axis.  Raises UserError where the batch doesn't divide.
    """
    try:
        where = sharding.devices_indices_map((batch_size,))
    except ValueError as error:
        raise UserError(f"a batch of {batch_size} rows does not divide over the mesh: {error}") from error
    devices = sharding.addressable_devices if devices is None else devices
    held = np.zeros(batch_size, bool)
    for device in devices:
        held[where[device][0]] = True
    return np.flatnonzero(held)


class _Batches:
    """Random access to batches, for Grain: item k holds rows from start_row + k * batch_size."""

    def __init__(
        self, examples: Examples, batch_size: int, start_row: int, stop_row: int | None, sharding: Any
    ):
        self.examples, self.batch_size, self.sharding = examples, batch_size, sharding
        self.start_row, self.stop_row = start_row, stop_row
        self.held = (np.arange(batch_size) if sharding is None else local_rows(sharding, batch_size)).tolist()

    def __len__(self) -> int:
        if self.stop_row is None:
            return ENDLESS
        return max(0, -(-(self.stop_row - self.start_row) // self.batch_size))

    def __getitem__(self, k: int) -> BatchInfo:
        import jax

        first = self.start_row + k * self.batch_size
        stop = (
            first + self.batch_size if self.stop_row is None else min(first + self.batch_size, self.stop_row)
        )
        host = self.examples([first + i for i in self.held], stop)
        if self.sharding is None:
            return BatchInfo((first, stop), jax.device_put(host))
        arrays = {
            name: jax.make_array_from_process_local_data(
                self.sharding, array, (self.batch_size, *array.shape[1:])
            )
            for name, array in host.items()
        }
        return BatchInfo((first, stop), arrays)


class Batches(Iterator[BatchInfo]):
    """Batches in order, made ahead in threads.  Close it (or use `with`) to end them."""

    def __init__(self, batches: _Batches, num_threads: int, ahead: int):
        import grain

        self._examples = batches.examples
        options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
        self._iterator = iter(grain.MapDataset.source(batches).to_iter_dataset(options))

    def __next__(self) -> BatchInfo:
        if self._examples.stopped:
            raise StopIteration
        try:
            return next(self._iterator)
        except BaseException as error:
            if self._examples.stopped and isinstance(error, Exception):  # closed by another thread
                raise StopIteration from None
            self.close()
            raise

    def close(self) -> None:
        """Threads end after the row in hand.  Can be called again."""
        self._examples.stopped = True
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def open_batches(
    plan: OpenPlan,
    objective: Objective,
    *,
    seed: int,
    batch_size: int,
    start_row: int = 0,
    stop_row: int | None = None,
    sharding: Any = None,
    num_threads: int = 1,
    ahead: int = 4,
) -> Batches:
    """Batches of rows [start_row, start_row + batch_size), and on, without end or up to stop_row.

    sharding: a NamedSharding of the row axis, the same in every process (None: all on the default device).
    num_threads: more than one helps where reading waits (a store in a bucket) or examples leave the
    interpreter; ahead: batches made before they are asked for.  Raises UserError where the batch doesn't
    divide over the mesh; `next` raises what a row raised, with its number in the message.
    """
    examples = Examples(plan, objective, seed)
    return Batches(_Batches(examples, batch_size, start_row, stop_row, sharding), num_threads, ahead)
