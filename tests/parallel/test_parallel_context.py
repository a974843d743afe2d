# SPDX-License-Identifier: Apache-2.0
"""Rows whose positions lie on several devices: attention by all-gather and by ring, gathers, whole models.

The reference is one device, and for attention itself plain numpy.  Rows are a multiple of a prime that no
other size has, so what carries rows shows in a collective by its number of elements.
"""

import dataclasses
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
from tests.nn.common import QUICK, TINY, VOCAB, made
from tests.nn.test_nn_attention import drawn, reference
from tests.parallel.test_parallel_models import collectives

LENGTH = 16
RULES = parallel.Rules()
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
    """Masked positions, every position's next, and a class of the first position."""
    model = nn.merge(graphdef, params)
    hidden = model.encode(batch["tokens"], batch["segments"])
    table = model.trunk.table
    masked = model.heads["mlm"](nn.at_positions(hidden, batch["where"]), table)
    pooled = model.heads["nsp"](model.heads["pooler"](hidden))
    return (
        jnp.mean(nn.cross_entropy(masked, batch["targets"], VOCAB))
        + jnp.mean(nn.cross_entropy(model.heads["lm"](hidden, table), batch["next"], VOCAB))
        + jnp.mean(nn.cross_entropy(pooled, batch["label"], 2))
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
    ("qwen", Kernel.RING, MIXED),
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
