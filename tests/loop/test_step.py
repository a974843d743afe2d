# SPDX-License-Identifier: Apache-2.0
"""The step: exact sums over micro-batches and meshes, guards, and what a skipped step leaves alone."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn, optim, parallel
from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.loop import fetched
from ssl_jax.loop.step import micro_batches
from tests.loop.toy import ROWS, Toy


def losses(toy: Toy, steps: int = 6) -> list[dict[str, float]]:
    state, out = toy.born(), []
    for i in range(steps):
        state, metrics = toy.step(state, toy.batch(i * ROWS))
        out.append(fetched(metrics))
    return out


@pytest.fixture(scope="module")
def plain() -> list[dict[str, float]]:
    return losses(Toy())


@pytest.mark.parametrize("accumulation", [2, 8])
def test_accumulated_equals_the_large_batch_with_unequal_mask_counts(plain, accumulation):
    batch = Toy().batch()
    counts = batch["weights"].sum(axis=1)
    assert len(set(counts.tolist())) > 2  # otherwise a mean of means would pass too
    for ours, whole in zip(losses(Toy(accumulation=accumulation)), plain, strict=True):
        for name in ("loss", "mlm", "nsp", "grad_norm", "mlm_accuracy"):
            np.testing.assert_allclose(ours[name], whole[name], rtol=0, atol=1e-5, err_msg=name)
        assert ours["hash"] == whole["hash"]


@pytest.mark.parametrize(
    ("mesh", "accumulation"),
    [
        (dict(data=2), 4),
        pytest.param(dict(data=2, context=2), 2, marks=pytest.mark.slow),
        pytest.param(dict(data=4, tensor=2), 2, marks=pytest.mark.slow),
        pytest.param(dict(data=2, fsdp=2, tensor=2), 2, marks=pytest.mark.slow),
    ],
)
def test_micro_batches_of_parts_of_the_data_axis_equal_the_large_batch(plain, mesh, accumulation):
    devices = math.prod(mesh.values())
    kernel = nn.Kernel.RING if "context" in mesh else nn.Kernel.XLA
    toy = Toy(parallel.MeshConfig(**mesh), devices=devices, kernel=kernel, accumulation=accumulation)
    for ours, single in zip(losses(toy), plain, strict=True):
        for name in ("loss", "mlm", "nsp", "grad_norm", "mlm_accuracy"):
            np.testing.assert_allclose(ours[name], single[name], rtol=0, atol=1e-5, err_msg=name)
        assert ours["hash"] == single["hash"]


@pytest.mark.parametrize(
    "mesh",
    [
        dict(),
        dict(data=4, fsdp=2),
        dict(data=2, fsdp=2, tensor=2),
        pytest.param(dict(data=1, fsdp=4, tensor=2), marks=pytest.mark.slow),
        pytest.param(dict(data=1, fsdp=8), marks=pytest.mark.slow),
    ],
)
def test_one_device_equals_eight(plain, mesh):
    for ours, single in zip(losses(Toy(parallel.MeshConfig(**mesh), devices=8)), plain, strict=True):
        for name in ("loss", "mlm", "nsp"):
            np.testing.assert_allclose(ours[name], single[name], rtol=0, atol=1e-5, err_msg=name)
        assert ours["hash"] == single["hash"]


def test_loss_is_the_sum_of_terms_divided_once(plain):
    toy = Toy()
    _, metrics = toy.step(toy.born(), toy.batch())
    m = fetched(metrics)
    assert m["loss"] == pytest.approx(m["mlm"] + m["nsp"], abs=1e-6)


def test_invalid_rows_change_nothing_but_the_weights_they_lack():
    toy = Toy()
    batch = toy.batch()
    half = {k: v.copy() for k, v in batch.items()}
    half["valid"][ROWS // 2 :] = False
    garbage = {k: v.copy() for k, v in half.items()}
    garbage["tokens"][ROWS // 2 :] = 7
    garbage["weights"][ROWS // 2 :] = 3.0
    one = fetched(toy.step(toy.born(), half)[1])
    two = fetched(toy.step(toy.born(), garbage)[1])
    assert one == two


def test_a_step_that_is_not_finite_is_skipped_and_counted_and_the_schedule_goes_on():
    toy = Toy(ema=0.9)
    state = toy.born()
    state, _ = toy.step(state, toy.batch())
    before = jax.device_get(state)
    bad = toy.batch()
    bad["weights"][0, 0] = np.nan
    state, metrics = toy.step(state, bad)
    after, m = jax.device_get(state), fetched(metrics)
    for part in ("params", "opt", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
    assert (m["skipped"], m["skipped_in_a_row"], int(after.step)) == (1, 1, 2)
    good, metrics = toy.step(state, toy.batch())
    assert fetched(metrics)["skipped_in_a_row"] == 0 and fetched(metrics)["skipped"] == 1
    assert fetched(metrics)["lr"] == pytest.approx(float(optim.schedule(toy.optim, 50)(2)))  # not (1)
    assert not np.array_equal(jax.tree.leaves(good.params)[0], jax.tree.leaves(before.params)[0])


def test_ten_in_a_row_stop_the_run_with_a_reason():
    guard = NonFinite(limit=10)
    state = guard.init()
    for _ in range(9):
        _, state = guard.check(state, jnp.float32(jnp.inf), jnp.float32(1.0))
    assert guard.verdict(fetched(state)) is None
    ok, state = guard.check(state, jnp.float32(1.0), jnp.float32(jnp.nan))
    assert not ok and "10 steps in a row" in guard.verdict(fetched(state))


def test_moments_and_average_are_sharded_as_their_parameters():
    toy = Toy(parallel.MeshConfig(data=1, fsdp=4, tensor=2), devices=8, ema=0.9)
    state = toy.born()
    state, _ = toy.step(state, toy.batch())
    specs = jax.tree.map(lambda x: x.sharding.spec, state.params)
    assert jax.tree.map(lambda x: x.sharding.spec, state.ema) == specs
    kernel = state.params["trunk"]["stack"]["blocks"]["mlp"]["up"]["kernel"]
    moments = state.opt.leaves["trunk"]["stack"]["blocks"]["mlp"]["up"]["kernel"]
    assert any(axis is not None for axis in kernel.sharding.spec)
    for moment in moments.values():
        assert moment.sharding.spec == kernel.sharding.spec


def test_micro_batches_hold_every_row_once():
    batch = {"x": np.arange(12).reshape(12, 1)}
    parts = np.asarray(micro_batches(batch, 3)["x"])
    assert parts.shape == (3, 4, 1) and sorted(parts.ravel().tolist()) == list(range(12))
