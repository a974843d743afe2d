# SPDX-License-Identifier: Apache-2.0
"""Plans' arrays on disk: found again, bounded, and never a reason to fail."""

import os
import time

import numpy as np
import pytest

from ssl_jax.data import plan_cache
from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_packed import Packed
from ssl_jax.data.plan_pairs import Pairs
from tests.data.plan_stores import random_store, summary


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(plan_cache, "SMALLEST", 1)
    return tmp_path / "plans"


def never():
    raise AssertionError("built although it was there")


def test_built_once_then_mapped(cache):
    made = plan_cache.fixed("key", 100, lambda: {"a": np.arange(5), "b": np.ones((2, 3))})
    again = plan_cache.fixed("key", 100, never)
    for arrays in (made, again):
        np.testing.assert_array_equal(arrays["a"], np.arange(5))
        assert isinstance(arrays["b"], np.memmap) and not arrays["b"].flags.writeable
    assert sorted(p.name for p in (cache / "key/fixed").iterdir()) == ["a.npy", "b.npy"]
    assert [p.name for p in (cache / "key").iterdir()] == ["fixed"]


def test_small_arrays_stay_in_memory(cache, monkeypatch):
    monkeypatch.setattr(plan_cache, "SMALLEST", 101)
    plan_cache.fixed("key", 100, lambda: {"a": np.arange(5)})
    assert not cache.exists()


def test_two_epochs_are_kept(cache):
    for epoch in range(5):
        plan_cache.of_epoch("key", epoch, 100, lambda epoch=epoch: {"a": np.full(3, epoch)})
    assert sorted(p.name for p in (cache / "key").iterdir()) == ["3", "4"]
    assert plan_cache.of_epoch("key", 3, 100, never)["a"].tolist() == [3, 3, 3]
    assert plan_cache.of_epoch("key", 1, 100, lambda: {"a": np.full(3, 1)})["a"].tolist() == [1, 1, 1]


def test_mapped_arrays_outlive_their_files(cache):
    first = plan_cache.of_epoch("key", 0, 100, lambda: {"a": np.arange(9)})
    for epoch in (1, 2, 3):
        plan_cache.of_epoch("key", epoch, 100, lambda: {"a": np.zeros(9)})
    assert not (cache / "key/0").exists()
    assert first["a"].tolist() == list(range(9))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01", None])
def test_a_torn_file_is_built_again(cache, damage):
    plan_cache.fixed("key", 100, lambda: {"a": np.arange(500)})
    file = cache / "key/fixed/a.npy"
    file.write_bytes(file.read_bytes()[:-8] if damage is None else damage)
    assert plan_cache.fixed("key", 100, lambda: {"a": np.arange(500)})["a"].tolist() == list(range(500))
    assert plan_cache.fixed("key", 100, never)["a"].tolist() == list(range(500))


def test_a_place_that_cannot_be_written_costs_memory_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "file"))
    assert plan_cache.fixed("key", 100, lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


def test_plans_unused_for_a_month_go(cache):
    plan_cache.fixed("old", 100, lambda: {"a": np.arange(3)})
    plan_cache.fixed("used", 100, lambda: {"a": np.arange(3)})
    month = time.time() - (plan_cache.UNUSED_DAYS + 1) * 86400
    for name in ("old", "used"):
        os.utime(cache / name, (month, month))
    plan_cache.fixed("used", 100, never)  # a use counts
    plan_cache.fixed("new", 100, lambda: {"a": np.arange(3)})
    assert sorted(p.name for p in cache.iterdir()) == ["new", "used"]


@pytest.mark.parametrize("plan", [Pairs(length=32), Packed(length=32), Chunks(length=32)])
def test_rows_are_the_same_from_memory_and_from_disk(plan, cache, monkeypatch):
    store = random_store(0, 40)
    rows = []
    for smallest in (1 << 40, 1, 1):  # in memory, written, found
        monkeypatch.setattr(plan_cache, "SMALLEST", smallest)
        opened = plan.open(store, 3)
        rows.append([summary(opened[r]) for r in (0, opened.num_rows + 1, 7)])
        assert cache.exists() == (smallest == 1)
    assert rows[0] == rows[1] == rows[2]
