# SPDX-License-Identifier: Apache-2.0
"""Attention against a plain numpy reference, for every kernel."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.nn.attention import Kernel, rope_frequencies, rotate
from ssl_jax.nn.attention import attention as eager
from ssl_jax.nn.masks import positions_of

ON_ONE = (Kernel.XLA, Kernel.BLOCKS)  # RING is BLOCKS on one device; tests/parallel has it on several
BLOCK = 4  # several blocks a row, the last one partly empty
attention = jax.jit(partial(eager, block=BLOCK), static_argnames=("causal", "window", "kernel", "dropout"))


def drawn(batch=2, length=11, heads=4, groups=2, width=6, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(batch, length, n, width) for n in (heads, groups, groups)]
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def reference(q, k, v, segments, *, causal, window):
    """Row by row, query by query, over a list of the keys that it sees; float64."""
    out = np.zeros(q.shape)
    for b, t, h in np.ndindex(q.shape[:3]):
        keys = [
            s
            for s in range(q.shape[1])
            if segments[b, s] == segments[b, t] != 0
            and (not causal or s <= t)
            and (window is None or abs(s - t) <= window)
        ]
        if keys:
            group = h // (q.shape[2] // k.shape[2])
            scores = k[b, keys, group].astype(np.float64) @ q[b, t, h] / np.sqrt(q.shape[3])
            weights = np.exp(scores - scores.max())
            out[b, t, h] = weights / weights.sum() @ v[b, keys, group]
    return out


SEGMENTS = np.array([[1] * 5 + [2] * 4 + [0] * 2, [0] * 11])


@pytest.mark.parametrize("kernel", ON_ONE)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 0, 2])
def test_attention_equals_numpy(kernel, causal, window):
    q, k, v = drawn()
    out = attention(*map(jnp.asarray, (q, k, v, SEGMENTS)), causal=causal, window=window, kernel=kernel)
    np.testing.assert_allclose(out, reference(q, k, v, SEGMENTS, causal=causal, window=window), atol=2e-6)


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 3), min_size=9, max_size=9),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
    st.sampled_from(ON_ONE),
)
def test_nothing_of_another_segment_reaches_a_position(lengths, causal, window, kernel):
    """Change every number outside a segment: the segment's outputs do not move by one bit."""
    segments = np.repeat(np.arange(1, 10), lengths)[:11]
    segments = np.pad(segments, (0, 11 - len(segments)))[None]
    q, k, v = drawn(batch=1)
    there = jnp.asarray(segments)
    run = lambda *qkv: np.asarray(
        attention(*map(jnp.asarray, qkv), there, causal=causal, window=window, kernel=kernel)
    )
    before = run(q, k, v)
    for number in set(segments[0]) - {0}:
        own = (segments == number)[..., None, None]
        after = run(*(np.where(own, x, 1e4 * np.ones_like(x)) for x in (q, k, v)))
        np.testing.assert_array_equal(before[segments == number], after[segments == number])


@pytest.mark.parametrize("kernel", ON_ONE)
def test_padding_gives_zeros_and_no_nan_in_the_gradient(kernel):
    q, k, v = (jnp.asarray(x) for x in drawn())
    segments = jnp.zeros((2, 11), jnp.int32)

    def total(*qkv):
        return jnp.sum(attention(*qkv, segments, causal=True, kernel=kernel))

    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(q, k, v)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_blocks_equal_those_of_xla(causal, window):
    q, k, v = (jnp.asarray(x) for x in drawn())
    segments = jnp.asarray(SEGMENTS)

    def total(kernel, *qkv):
        out = attention(*qkv, segments, causal=causal, window=window, kernel=kernel)
        return jnp.sum(jnp.sin(out))

    expected, got = (
        jax.jit(jax.grad(total, (1, 2, 3)), static_argnums=0)(kernel, q, k, v)
        for kernel in (Kernel.XLA, Kernel.BLOCKS)
    )
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("kernel", ON_ONE)
@pytest.mark.parametrize("local", [False, True])
def test_a_traced_flag_decides_whether_the_window_counts(kernel, local):
    q, k, v = (jnp.asarray(x) for x in drawn())
    segments = jnp.asarray(SEGMENTS)
    run = jax.jit(
        lambda flag: attention(q, k, v, segments, causal=False, window=1, local=flag, kernel=kernel)
    )
    expected = attention(q, k, v, segments, causal=False, window=1 if local else None)
    np.testing.assert_allclose(run(jnp.bool_(local)), expected, atol=1e-6)


def test_blocks_hold_a_fraction_of_the_memory_of_xla():
    """8,192 positions, forward and backward: the compiler's own count of temporary bytes."""
    shapes = [jax.ShapeDtypeStruct((1, 8192, 1, 8), jnp.float32)] * 3
    segments = jax.ShapeDtypeStruct((1, 8192), jnp.int32)

    def bytes_of(kernel):
        total = lambda q, k, v, s: jnp.sum(eager(q, k, v, s, causal=True, kernel=kernel))
        compiled = jax.jit(jax.grad(total, (0, 1, 2))).lower(*shapes, segments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(Kernel.BLOCKS) * 8 < bytes_of(Kernel.XLA)


@pytest.mark.parametrize("kernel", ON_ONE)
def test_attention_dropout_needs_a_key_and_keeps_the_mean(kernel):
    q, k, _ = (jnp.asarray(x) for x in drawn())
    v = jnp.ones((2, 11, 2, 6))
    segments = jnp.ones((2, 11), jnp.int32)
    run = lambda key: attention(q, k, v, segments, causal=False, kernel=kernel, dropout=0.5, key=key)
    np.testing.assert_allclose(run(None), 1.0, rtol=1e-6)
    outs = jax.vmap(run)(jax.random.split(jax.random.key(0), 200))
    assert np.std(outs) > 0.1
    np.testing.assert_allclose(np.mean(outs), 1.0, atol=0.02)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_positions_restart_with_each_segment(lengths):
    segments, padding = np.repeat(np.arange(1, len(lengths) + 1), lengths), 30 - sum(lengths)
    row = np.pad(segments, (0, padding))[None]
    expected = np.concatenate([np.arange(n) for n in (*lengths, padding)])
    np.testing.assert_array_equal(jax.jit(positions_of)(jnp.asarray(row))[0], expected)


def test_rotation_is_the_product_with_a_complex_number():
    x, _, _ = drawn(width=8)
    frequencies = rope_frequencies(100.0, 8)
    np.testing.assert_allclose(frequencies, [1, 100**-0.25, 0.1, 100**-0.75], rtol=1e-6)
    positions = np.arange(22).reshape(2, 11) % 13
    z = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * positions[..., None, None] * frequencies)
    out = rotate(jnp.asarray(x), jnp.asarray(positions), jnp.asarray(frequencies))
    np.testing.assert_allclose(out, np.concatenate([z.real, z.imag], -1), atol=1e-5)


@pytest.mark.parametrize("kernel", ON_ONE)
def test_bfloat16_stays_near_float32(kernel):
    q, k, v = drawn()
    run = lambda dtype: attention(
        *(jnp.asarray(x, dtype) for x in (q, k, v)), jnp.asarray(SEGMENTS), causal=True, kernel=kernel
    )
    assert run(jnp.bfloat16).dtype == jnp.bfloat16
    np.testing.assert_allclose(run(jnp.bfloat16).astype(jnp.float32), run(jnp.float32), atol=0.03)
    gradient = jax.grad(lambda q: jnp.sum(run_q(q)))
    run_q = lambda q: attention(
        q, *(jnp.asarray(x, jnp.bfloat16) for x in (k, v)), jnp.asarray(SEGMENTS), causal=True, kernel=kernel
    ).astype(jnp.float32)
    assert bool(jnp.isfinite(gradient(jnp.asarray(q, jnp.bfloat16))).all())
