# SPDX-License-Identifier: Apache-2.0
"""Models over rows whose positions lie on several devices, and sequence parallelism, against one device.

Rows are a multiple of a prime that no other size has, so what carries rows shows in a collective by its size.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn, parallel
from ssl_jax.nn import Kernel
from tests.nn.common import TINY, VOCAB, made
from tests.parallel.test_parallel_attention import FOUR, LENGTH, MIXED, jitted
from tests.parallel.test_parallel_models import collectives

RULES = parallel.Rules()


@pytest.mark.parametrize("slots", [8, 5])
def test_positions_are_read_wherever_they_lie(slots):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, LENGTH, 3)), jnp.float32)
    where = jnp.asarray(rng.integers(0, LENGTH, (4, slots)), jnp.int32)
    expected = np.take_along_axis(np.asarray(x), np.asarray(where)[..., None], axis=1)
    weights = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)

    def both(x):
        pick = lambda x: nn.at_positions(x, where)
        return pick(x), jax.grad(lambda x: jnp.sum(pick(x) * weights))(x)

    with parallel.use(parallel.MeshConfig(**FOUR).make()):
        picked, gradient = jitted(both)(x)
    np.testing.assert_array_equal(picked, expected)
    by_hand = np.zeros(x.shape, np.float32)
    np.add.at(by_hand, (np.arange(4)[:, None], np.asarray(where)), np.asarray(weights))
    np.testing.assert_allclose(gradient, by_hand, atol=1e-6)


ROWS, MASKED = 4 * 17, 6


def batch():
    rng = np.random.default_rng(0)
    numbers = lambda high, *shape: rng.integers(0, high, (ROWS, *shape)).astype(np.int32)
    packed = 1 + np.sort(numbers(3, LENGTH), axis=1)
    return {
        "tokens": numbers(VOCAB, LENGTH),
        "segments": (packed * (np.arange(LENGTH) < 1 + numbers(LENGTH, 1))).astype(np.int32),
        "where": numbers(LENGTH, MASKED),
        "targets": numbers(VOCAB, MASKED),
        "next": numbers(VOCAB, LENGTH),
        "label": numbers(2),
    }


def loss(graphdef, params, batch):
    """Masked positions, every position's next, a class of the first position, and a span's two ends."""
    model = nn.merge(graphdef, params)
    hidden = model.encode(batch["tokens"], batch["segments"])
    table = model.trunk.table
    masked = model.heads["mlm"](nn.at_positions(hidden, batch["where"]), table)
    pooled = model.heads["nsp"](model.heads["pooler"](hidden))
    ends = model.heads["nsp"](hidden).swapaxes(1, 2)
    return (
        jnp.mean(nn.cross_entropy(masked, batch["targets"], VOCAB))
        + jnp.mean(nn.cross_entropy(model.heads["lm"](hidden, table), batch["next"], VOCAB))
        + jnp.mean(nn.cross_entropy(pooled, batch["label"], 2))
        + jnp.mean(nn.cross_entropy(ends, batch["where"][:, :2], LENGTH))
    )


@functools.cache
def compiled(family, kernel, axes, rules=RULES):
    """(value and gradient, the compiled program's text).  axes: of the mesh, as items."""
    graphdef, params = made(dataclasses.replace(TINY[family], kernel=kernel))
    mesh = parallel.MeshConfig(**dict(axes)).make(jax.devices()[: math.prod(size for _, size in axes)])
    of_params = parallel.shardings(parallel.axes_of(nn.merge(graphdef, params)), params, mesh, rules)
    rows = parallel.batch_sharding(mesh, rules)
    step = jitted(
        jax.value_and_grad(functools.partial(loss, graphdef)),
        in_shardings=(of_params, rows),
        out_shardings=(None, of_params),
    )
    with parallel.use(mesh, rules):
        program = step.lower(params, batch()).compile()
        return program(jax.device_put(params, of_params), jax.device_put(batch(), rows)), program.as_text()


def assert_same(one, many):
    np.testing.assert_allclose(many[0], one[0], rtol=1e-6)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(one[1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=3e-6 * scale), one[1], many[1])


ONE = (("data", 1),)
WAYS = [
    ("modern", Kernel.RING, FOUR),
    pytest.param("qwen", Kernel.RING, MIXED, marks=pytest.mark.slow),
    pytest.param("bert", Kernel.XLA, FOUR, marks=pytest.mark.slow),
    pytest.param("bert", Kernel.RING, MIXED, marks=pytest.mark.slow),
    pytest.param("gpt", Kernel.XLA, MIXED, marks=pytest.mark.slow),
    pytest.param("gpt", Kernel.RING, FOUR, marks=pytest.mark.slow),
    pytest.param("modern", Kernel.BLOCKS, MIXED, marks=pytest.mark.slow),
    pytest.param("qwen", Kernel.XLA, FOUR, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("family", "kernel", "axes"), WAYS)
def test_rows_over_devices_give_the_numbers_of_one(family, kernel, axes):
    """RoPE, learned positions, local and global layers, all heads: the loss and every gradient."""
    one, _ = compiled(family, Kernel.XLA, ONE)
    many, text = compiled(family, kernel, tuple(axes.items()))
    assert_same(one, many)
    rows = ROWS // axes["data"] // axes.get("fsdp", 1)
    sent = [(kind, math.prod(shape)) for kind, shape in collectives(text) if math.prod(shape) % 17 == 0]
    whole_row, width = rows * LENGTH, TINY[family].dim
    gathered = {size for kind, size in sent if kind == "all-gather"}
    if kernel is Kernel.RING:  # only what is picked of a row crosses devices whole
        assert gathered <= {rows * MASKED * width, rows * width}
    else:
        assert max(gathered) <= whole_row * width  # a row's keys or values, never all rows'
    assert max(size for _, size in sent) <= whole_row * width


SEQUENCE = parallel.Rules(norm_length=("context", "tensor"))


@pytest.mark.parametrize(
    ("family", "axes"),
    [
        ("gpt", {"data": 4, "tensor": 2}),
        pytest.param("bert", {"data": 2, "fsdp": 2, "tensor": 2}, marks=pytest.mark.slow),
        pytest.param("modern", {"data": 2, "tensor": 2, "context": 2}, marks=pytest.mark.slow),
    ],
)
def test_sequence_parallelism_moves_positions_alone_and_changes_no_number(family, axes):
    """Between layers a device keeps its part of the positions; no weight is gathered over tensor for it, and
    nothing changes its device but by all-gather and a sum.  (XLA makes reduce-scatters of these sums on TPU,
    not on CPU.)"""
    one, _ = compiled(family, Kernel.XLA, ONE)
    many, text = compiled(family, Kernel.XLA, tuple(axes.items()), SEQUENCE)
    assert_same(one, many)
    layers, width = TINY[family].num_layers, TINY[family].dim
    rows = ROWS // axes["data"] // axes.get("fsdp", 1)
    part = LENGTH // 2 // axes.get("context", 1)
    assert (
        f"f32[{layers},{rows},{part},{width}]" in text
    )  # what goes from layer to layer, kept for the gradient
    sent = collectives(text)
    assert ("all-gather", (rows, 2 * part, width)) in sent
    assert "all-to-all" not in {kind for kind, _ in sent}
    if "fsdp" not in axes:
        assert not [shape for kind, shape in sent if kind == "all-gather" and math.prod(shape) % 17]
