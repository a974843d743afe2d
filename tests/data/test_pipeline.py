# SPDX-License-Identifier: Apache-2.0
"""Batches: the same on any mesh, any number of processes and threads, from any row; errors; closing."""

import threading
import time
import zlib
from dataclasses import dataclass

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax.data.pipeline import Examples, local_rows, open_batches, rng
from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.types import Failure, Objective, UserError
from tests.data.plan_stores import random_store

T = 24


@dataclass(frozen=True, kw_only=True)
class Toy(Objective):
    """Every kind of array, and draws of every kind."""

    fails_at: int = -1
    error: type = KeyError
    seconds: float = 0.0

    def spec(self):
        shapes = {"tokens": (T,), "number": (), "noise": (2, 3), "half": (3,), "flag": ()}
        dtypes = {"tokens": np.int32, "number": np.int32, "noise": np.float32, "half": ml_dtypes.bfloat16}
        return {k: jax.ShapeDtypeStruct(shapes[k], dtypes.get(k, np.bool_)) for k in shapes}

    def example(self, row, rng):
        if row.id == self.fails_at:
            raise self.error("oh dear")
        time.sleep(self.seconds)
        tokens = np.zeros(T, np.int32)
        joined = np.concatenate([p.tokens for p in row.parts])[:T]
        tokens[: len(joined)] = joined
        return {
            "flag": np.asarray(rng.random() < 0.5),
            "number": np.asarray(rng.integers(1000, dtype=np.int32)),  # leaves half a draw behind
            "noise": rng.random((2, 3), dtype=np.float32),
            "half": np.arange(3).astype(ml_dtypes.bfloat16),
            "tokens": tokens,
        }

    def heads(self, trunk, rngs):
        return {}

    def loss(self, model, extra, batch, key):
        return {}


@pytest.fixture(scope="module")
def plan():
    return Pairs(length=T + 3).open(random_store(0, 60), 5)


def by_hand(plan, row: int, seed: int) -> dict:
    """One row of a batch, from the definition."""
    example = Toy().example(plan[row], np.random.Generator(np.random.Philox(key=[seed, row])))
    crc = zlib.crc32(b"".join(np.ascontiguousarray(example[name]).tobytes() for name in sorted(example)))
    return {**example, "row_id": np.uint32(row % 2**32), "row_hash": np.uint32(crc), "valid": np.True_}


def equal(batch, expected) -> None:
    assert sorted(batch) == sorted(expected)
    for name, array in expected.items():
        array, got = np.asarray(array), np.asarray(batch[name])
        assert got.dtype == array.dtype, name
        np.testing.assert_array_equal(got, array, err_msg=name)


def stacked(rows: list[dict]) -> dict:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def rows_of(mesh_shape, devices=None) -> NamedSharding:
    mesh = jax.make_mesh(
        mesh_shape, ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3, devices=devices
    )
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=6), st.integers(0, 2**63))
def test_examples_are_their_definition(rows, seed):
    plan = Packed(length=T).open(random_store(0, 30), 5)
    equal(Examples(plan, Toy(), seed)(rows), stacked([by_hand(plan, r, seed) for r in rows]))


def test_rng_is_philox_keyed_by_seed_and_row():
    expected = np.random.Generator(np.random.Philox(key=[3, 2**40]))
    np.testing.assert_array_equal(rng(3, 2**40).random(5), expected.random(5))


@pytest.mark.parametrize("shape", [None, (1, 1, 1), (8, 1, 1), (2, 2, 2), (1, 4, 2), (4, 2, 1), (1, 1, 8)])
def test_batches_are_the_same_on_every_mesh(plan, shape):
    sharding = shape and rows_of(shape, jax.devices()[: int(np.prod(shape))])
    with open_batches(plan, Toy(), seed=9, batch_size=8, start_row=40, sharding=sharding) as batches:
        for k in range(3):
            batch = next(batches)
            a = 40 + 8 * k
            assert batch.rows == (a, a + 8)
            equal(batch.arrays, stacked([by_hand(plan, r, 9) for r in range(a, a + 8)]))
            for array in batch.arrays.values():
                assert isinstance(array, jax.Array)
                if sharding:
                    assert array.sharding.is_equivalent_to(sharding, array.ndim)


@settings(max_examples=20)
@given(
    st.sampled_from([(8, 1, 1), (2, 2, 2), (1, 8, 1), (4, 1, 2), (2, 4, 1)]),
    st.sampled_from([1, 2, 4]),
    st.permutations(range(8)),
)
def test_processes_make_their_own_rows_and_together_the_batch(shape, processes, order):
    """Device subsets stand for processes, in any order of the mesh."""
    sharding = rows_of(shape, [jax.devices()[i] for i in order])
    plan = Chunks(length=T).open(random_store(0, 30), 5)
    whole = Examples(plan, Toy(), 1)(range(100, 116))
    each = 8 // processes
    seen = set()
    for p in range(processes):
        devices = jax.devices()[p * each : (p + 1) * each]
        held = local_rows(sharding, 16, devices)
        where = sharding.devices_indices_map((16,))
        assert set(held.tolist()) == {r for d in devices for r in range(16)[where[d][0]]}
        assert held.tolist() == sorted(held.tolist())
        local = Examples(plan, Toy(), 1)((100 + held).tolist())
        equal(local, {name: array[held] for name, array in whole.items()})
        seen |= set(held.tolist())
    assert seen == set(range(16))


def test_a_mesh_that_does_not_divide_the_batch_is_an_error(plan):
    with pytest.raises(UserError, match="a batch of 12 rows does not divide over the mesh"):
        open_batches(plan, Toy(), seed=0, batch_size=12, sharding=rows_of((8, 1, 1)))


@pytest.mark.parametrize("num_threads", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 5, 77, 2**40])
def test_resumed_equals_uninterrupted(plan, start, num_threads):
    expected = [by_hand(plan, r, 2) for r in range(start, start + 24)]
    with open_batches(plan, Toy(), seed=2, batch_size=4, start_row=start, num_threads=num_threads) as batches:
        for _ in range(3):
            at = next(batches).rows[1]
    with open_batches(plan, Toy(), seed=2, batch_size=4, start_row=at, num_threads=num_threads) as batches:
        for k in range(3, 6):
            batch = next(batches)
            assert batch.rows == (start + 4 * k, start + 4 * k + 4)
            equal(batch.arrays, stacked(expected[4 * k : 4 * k + 4]))


def test_row_ids_wrap_on_the_device_and_not_on_the_host(plan):
    with open_batches(plan, Toy(), seed=2, batch_size=4, start_row=2**32 - 2) as batches:
        batch = next(batches)
    assert batch.rows == (2**32 - 2, 2**32 + 2)
    assert batch.arrays["row_id"].tolist() == [2**32 - 2, 2**32 - 1, 0, 1]


@pytest.mark.parametrize("shape", [None, (4, 2, 1)])
@pytest.mark.parametrize("rows", [1, 8, 9, 23, 24])
def test_evaluation_pads_with_rows_of_zeros(rows, shape):
    plan = Pairs(length=T + 3).open(random_store(0, 60), 5, shuffle=False)
    sharding = shape and rows_of(shape)
    with open_batches(plan, Toy(), seed=0, batch_size=8, stop_row=rows, sharding=sharding) as opened:
        batches = list(opened)
    assert [b.rows for b in batches] == [(a, min(a + 8, rows)) for a in range(0, rows, 8)]
    valid = np.concatenate([b.arrays["valid"] for b in batches])
    assert valid.tolist() == [r < rows for r in range(8 * len(batches))]
    last = batches[-1]
    real = last.rows[1] - last.rows[0]
    equal(
        {k: v[:real] for k, v in last.arrays.items()},
        stacked([by_hand(plan, r, 0) for r in range(*last.rows)]),
    )
    for array in last.arrays.values():
        assert not np.asarray(array[real:]).astype(bool).any()


def test_nothing_to_evaluate_is_no_batch(plan):
    assert list(open_batches(plan, Toy(), seed=0, batch_size=8, start_row=8, stop_row=8)) == []


@pytest.mark.parametrize(
    "error, raised, message",
    [
        (KeyError, RuntimeError, "row 21: KeyError: 'oh dear'"),
        (UserError, UserError, "row 21: oh dear"),
        (OSError, Failure, "row 21: cannot read the store: oh dear"),
    ],
)
@pytest.mark.parametrize("num_threads", [0, 1, 2])
def test_an_error_names_its_row_and_ends_the_threads(plan, error, raised, message, num_threads):
    before = set(threading.enumerate())
    batches = open_batches(plan, Toy(fails_at=21, error=error), seed=0, batch_size=8, num_threads=num_threads)
    assert next(batches).rows == (0, 8) and next(batches).rows == (8, 16)
    with pytest.raises(raised, match=message):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert_ended(before)


def assert_ended(before: set) -> None:
    end = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_close_ends_threads_in_the_middle_of_a_batch(plan):
    before = set(threading.enumerate())
    batches = open_batches(plan, Toy(seconds=0.02), seed=0, batch_size=1000, num_threads=2)
    thread = threading.Timer(0.2, batches.close)
    thread.start()
    with pytest.raises(StopIteration):
        next(batches)  # a batch takes 20 s
    batches.close()
    thread.join()
    assert_ended(before)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e.pop("tokens"), "row 0: ValueError: example has .*'noise', 'number'.*spec has"),
        (lambda e: e.update(more=e["tokens"]), "row 0: ValueError: example has .*'more'"),
        (lambda e: e.update(tokens=e["tokens"][1:]), r"tokens is int32\[23\], spec says int32\[24\]"),
        (lambda e: e.update(tokens=e["tokens"].astype(np.int64)), r"tokens is int64\[24\], spec says int32"),
    ],
)
def test_an_example_unlike_its_spec_is_an_error(plan, change, message):
    class Wrong(Toy):
        def example(self, row, rng):
            example = super().example(row, rng)
            change(example)
            return example

    with pytest.raises(RuntimeError, match=message):
        next(open_batches(plan, Wrong(), seed=0, batch_size=4))
