# SPDX-License-Identifier: Apache-2.0
"""The FLOP formula against counts by hand."""

import jax
import jax.numpy as jnp

from ssl_jax.loop import flops


def test_a_product_is_two_flops_a_multiply_add():
    a, b = jax.ShapeDtypeStruct((3, 5), "float32"), jax.ShapeDtypeStruct((5, 7), "float32")
    assert flops.forward_flops(jnp.matmul, a, b) == 2 * 3 * 5 * 7


def test_batched_and_looped_and_called():
    x = jax.ShapeDtypeStruct((4, 6, 6), "float32")

    def f(x):
        y = jnp.einsum("bij,bjk->bik", x, x)
        return jax.lax.scan(lambda c, _: (jax.jit(lambda c: c @ c)(c), None), y[0], None, length=10)[0]

    assert flops.forward_flops(f, x) == 2 * 4 * 6 * 6 * 6 + 10 * 2 * 6 * 6 * 6


def test_training_is_three_forwards_and_rematerialisation_does_not_count():
    w = jax.ShapeDtypeStruct((8, 8), "float32")
    f = jax.checkpoint(lambda w: jnp.tanh(w @ w) @ w)
    assert flops.train_flops(f, w) == 3 * 2 * (2 * 8 * 8 * 8)


def test_a_branch_counts_its_dearer_side_and_for_a_bound_its_cheaper_one():
    x = jax.ShapeDtypeStruct((4, 4), "float32")
    f = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
    g = lambda x: jax.lax.scan(lambda x, _: (f(x), None), x, None, length=3)[0]
    one = 2 * 4 * 4 * 4
    assert flops.forward_flops(g, x) == 3 * 2 * one
    assert flops.forward_flops(g, x, branch=min) == 3 * one


def test_an_unknown_chip_has_no_peak():
    assert flops.peak(jax.devices("cpu")[0]) is None
