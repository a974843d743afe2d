# SPDX-License-Identifier: Apache-2.0
"""Attention over rows whose positions lie on several devices, by all-gather and by ring, against plain numpy
and one device."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn, parallel
from ssl_jax.loop.flops import forward_flops
from ssl_jax.nn import Kernel
from ssl_jax.types import UserError
from tests.nn.common import QUICK
from tests.nn.test_nn_attention import drawn, reference
from tests.parallel.test_parallel_models import collectives

LENGTH = 16
FOUR = {"data": 2, "context": 4}
MIXED = {"data": 1, "fsdp": 2, "tensor": 2, "context": 2}
SEGMENTS = np.array([[1] * 7 + [2] * 6 + [0] * 3, [1] * 3 + [2] * 13, [0] * 16, [1] * 16], np.int32)


def jitted(function, **options):
    return jax.jit(function, compiler_options=QUICK, **options)


def outputs_and_gradients(kernel, sight, q, k, v, local):
    """Of several kinds of attention, [(causal, window, whether local is traced), ...], in one program."""

    def one(causal, window, traced):
        def total(q, k, v):
            flag = local if traced else True
            out = nn.attention(
                q,
                k,
                v,
                jnp.asarray(SEGMENTS),
                causal=causal,
                window=window,
                local=flag,
                kernel=kernel,
                block=3,
            )
            return jnp.sum(jnp.sin(out)), out

        return jax.grad(total, (0, 1, 2), has_aux=True)(q, k, v)

    return [one(*which) for which in sight]


SIGHTS = [(False, None, False), (True, None, False), (False, 2, True), (True, 5, False)]
MORE = [(False, 0, False), (True, 0, True), (False, 5, False), (False, 9, False), (True, 2, False)]


@pytest.mark.parametrize(
    ("kernel", "axes", "sights"),
    [
        (Kernel.RING, FOUR, SIGHTS[1:3]),
        (Kernel.BLOCKS, MIXED, SIGHTS[1:3]),
        pytest.param(Kernel.XLA, MIXED, SIGHTS, marks=pytest.mark.slow),
        pytest.param(Kernel.RING, MIXED, SIGHTS + MORE, marks=pytest.mark.slow),
        pytest.param(Kernel.RING, FOUR, MORE, marks=pytest.mark.slow),
        pytest.param(Kernel.BLOCKS, MIXED, SIGHTS + MORE, marks=pytest.mark.slow),
    ],
)
def test_attention_over_devices_is_that_of_one(kernel, axes, sights):
    """Packed rows, grouped heads, causal, windows, a traced flag: outputs and gradients."""
    qkv = tuple(map(jnp.asarray, drawn(batch=4, length=LENGTH)))
    flag = jnp.bool_(True)
    one = jitted(functools.partial(outputs_and_gradients, Kernel.XLA, sights))(*qkv, flag)
    with parallel.use(parallel.MeshConfig(**axes).make()):
        many = jitted(functools.partial(outputs_and_gradients, kernel, sights))(*qkv, flag)
    for (causal, window, _), (expected, _), (got, out) in zip(sights, one, many, strict=True):
        np.testing.assert_allclose(
            out, reference(*drawn(batch=4, length=LENGTH), SEGMENTS, causal=causal, window=window), atol=2e-6
        )
        for a, b in zip(expected, got, strict=True):
            np.testing.assert_allclose(b, a, atol=2e-6)


def test_a_traced_flag_that_is_false_opens_the_window_on_a_ring():
    q, k, v = map(jnp.asarray, drawn(batch=4, length=LENGTH))
    run = lambda flag: nn.attention(
        q, k, v, jnp.asarray(SEGMENTS), causal=False, window=1, local=flag, kernel=Kernel.RING, block=3
    )
    with parallel.use(parallel.MeshConfig(**FOUR).make()):
        out = jitted(run)(jnp.bool_(False))
    np.testing.assert_allclose(
        out, reference(*map(np.asarray, (q, k, v)), SEGMENTS, causal=False, window=None), atol=2e-6
    )


@pytest.mark.parametrize(("tensor", "name"), [(8, "heads=4"), (4, "kv_heads=2")])
def test_heads_that_do_not_divide_are_named(tensor, name):
    q, k, v = map(jnp.asarray, drawn(batch=4, length=LENGTH))
    said = pytest.raises(UserError, match=rf"model\.num_{name} does not divide by mesh\.tensor={tensor}")
    with parallel.use(parallel.MeshConfig(tensor=tensor).make()), said:
        nn.attention(q, k, v, jnp.asarray(SEGMENTS), causal=True)


def biggest(text, dtype="f32"):
    """Elements of the largest array of a compiled program, as one device holds it."""
    return max(
        math.prod(int(n) for n in dims.split(",") if n)
        for dims in re.findall(rf"\b{dtype}\[([\d,]*)\]", text)
    )


def gradient_of_attention(kernel, length, **options):
    """The compiled gradient on eight devices of one context axis."""
    shapes = [jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)] * 3
    segments = jax.ShapeDtypeStruct((1, length), jnp.int32)
    total = lambda q, k, v, s: jnp.sum(nn.attention(q, k, v, s, kernel=kernel, block=64, **options))
    mesh = parallel.MeshConfig(data=1, context=8).make()
    row = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "context"))
    with parallel.use(mesh):
        of = jax.jit(
            jax.grad(total, (0, 1, 2)), in_shardings=(row, row, row, None), out_shardings=(row, row, row)
        )
        return of.lower(*shapes, segments).compile(compiler_options=QUICK)


def test_a_ring_holds_no_whole_row_and_no_square_of_scores():
    """8,192 positions, 1,024 a device, 64 queries at a time, forward and backward."""
    ring = gradient_of_attention(Kernel.RING, 8192, causal=True)
    assert biggest(ring.as_text()) == 2 * 64 * 1024  # the scores of one block of both heads, and a chunk
    assert not [entry for entry in collectives(ring.as_text()) if entry[0] == "all-gather"]
    gathering = gradient_of_attention(Kernel.BLOCKS, 8192, causal=True)
    assert biggest(gathering.as_text()) >= 2 * 64 * 8192


@pytest.mark.parametrize(("causal", "sent"), [(True, 1), (False, 3)])
def test_a_window_sends_neighbours_alone(causal, sent):
    """A window within one chunk: one hop back, or one ahead and then two back, and not seven."""
    text = gradient_of_attention(Kernel.RING, 1024, causal=causal, window=100).as_text()
    assert "all-gather" not in text
    chunk = 2 * 8 * 128
    hops = sum(
        1 for kind, shape in collectives(text) if (kind, math.prod(shape)) == ("collective-permute", chunk)
    )
    # Keys and values forward; these and their gradients backward, and the gradients home.
    assert hops <= 2 * sent + 4 * sent + 2


@pytest.mark.parametrize("kernel", [Kernel.RING, Kernel.XLA])
def test_attention_over_devices_counts_the_flops_of_one(kernel):
    def attend(kernel, q, k, v):
        segments = jnp.asarray(SEGMENTS)
        return nn.attention(q, k, v, segments, causal=True, kernel=kernel, block=2)

    qkv = drawn(batch=4, length=LENGTH)
    one = forward_flops(functools.partial(attend, Kernel.XLA), *qkv)
    with parallel.use(parallel.MeshConfig(**MIXED).make()):
        assert forward_flops(functools.partial(attend, kernel), *qkv) == one == 2 * 2 * 4 * 4 * LENGTH**2 * 6


@pytest.mark.parametrize("kernel", [Kernel.RING, pytest.param(Kernel.XLA, marks=pytest.mark.slow)])
def test_dropout_over_devices_keeps_the_mean_and_has_its_own_gradient(kernel):
    """The backward pass sees the masks of the forward; rows and positions on other devices draw others."""
    q, k, v = map(jnp.asarray, drawn(batch=2, length=LENGTH, width=2))
    segments, key = jnp.ones((2, LENGTH), jnp.int32), jax.random.key(0)

    def run(q, v):
        return nn.attention(q, k, v, segments, causal=False, kernel=kernel, dropout=0.5, key=key, block=3)

    def value_and_gradient(q, v):
        return jax.value_and_grad(lambda q, v: jnp.sum(jnp.sin(run(q, v))), (0, 1))(q, v)

    rng, step = np.random.default_rng(1), 1e-2
    way = tuple(jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in (q, v))
    with parallel.use(parallel.MeshConfig(data=2, context=4).make()):
        measured, ones = jitted(value_and_gradient), jitted(run)(jnp.zeros_like(q), jnp.ones_like(v))
        _, gradient = measured(q, v)
        ahead, behind = (measured(*(x + s * step * w for x, w in zip((q, v), way)))[0] for s in (1, -1))
    slope = sum(jnp.sum(g * w) for g, w in zip(gradient, way))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=5e-3)
    assert np.std(ones) > 0.1
    np.testing.assert_allclose(np.mean(ones), 1.0, atol=0.1)
    assert len({part.tobytes() for row in np.asarray(ones) for part in np.split(row, 4)}) == 8
