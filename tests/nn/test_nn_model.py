# SPDX-License-Identifier: Apache-2.0
"""Model, split, merge, init, and the stack: what changes the execution alone changes no number."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn, parallel
from ssl_jax.types import Axes
from tests.nn.common import QUICK, TINY, VOCAB, builder, made, meta

rng = np.random.default_rng(0)
TOKENS = jnp.asarray(rng.integers(0, VOCAB, (2, 10)), jnp.int32)
SEGMENTS = jnp.asarray([[1] * 4 + [2] * 6, [1] * 7 + [0] * 3], jnp.int32)


def drawn(cfg):
    """(graphdef, params) as a run draws them, on one device."""
    mesh = parallel.MeshConfig().make(jax.devices()[:1])
    return nn.init(builder(cfg), jax.random.key(0), mesh, parallel.Rules())


def loss(graphdef, params, key=None):
    model = nn.merge(graphdef, params)
    hidden = model.encode(TOKENS, SEGMENTS, None, key)
    logits = model.heads["mlm"](hidden, model.trunk.table)
    return jnp.sum(jnp.where(SEGMENTS != 0, nn.cross_entropy(logits, TOKENS, VOCAB), 0.0))


@pytest.mark.parametrize("family", TINY)
def test_split_and_merge_are_inverse_and_the_dict_is_plain(family):
    graphdef, params = made(TINY[family])
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    assert all(
        isinstance(key, jax.tree_util.DictKey) and isinstance(key.key, str) for p, _ in paths for key in p
    )
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for _, leaf in paths)
    again = nn.split(nn.merge(graphdef, params))
    assert again[0] == graphdef
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, params, again[1]))


@pytest.mark.parametrize("family", TINY)
def test_axes_name_every_dimension_of_every_parameter(family):
    model = nn.merge(*made(TINY[family]))
    axes, params = parallel.axes_of(model), nn.split(model)[1]
    is_axes = lambda x: isinstance(x, Axes)
    assert jax.tree.structure(axes, is_leaf=is_axes) == jax.tree.structure(params)
    jax.tree.map(lambda a, p: np.testing.assert_equal(len(a.names), p.ndim), axes, params, is_leaf=is_axes)
    stack = jax.tree.leaves(axes["trunk"]["stack"]["blocks"], is_leaf=is_axes)
    assert {a.names[0] for a in stack} == {"layers"}


compute = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0, compiler_options=QUICK)
WAYS = [
    ("bert", {"scan": False}),
    ("modern", {"remat": nn.Remat.FULL}),
    ("modern", {"remat": nn.Remat.DOTS, "scan": False, "kernel": nn.Kernel.BLOCKS}),
]


@pytest.mark.parametrize(("family", "change"), WAYS)
def test_scan_and_remat_change_the_execution_alone(family, change):
    cfg = TINY[family]
    graphdef, params = made(cfg)
    other, _ = made(dataclasses.replace(cfg, **change))
    (value, gradient), (value_2, gradient_2) = compute(graphdef, params), compute(other, params)
    np.testing.assert_allclose(value, value_2, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), gradient, gradient_2)


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def levels_of(graphdef, params, x, segments, key=None):
    return nn.merge(graphdef, params).trunk(x, segments, key, every=True)


def test_layers_get_dropout_keys_of_their_own():
    """Two identical layers, identity norms: with one key for all, both would drop the same places."""
    cfg = dataclasses.replace(TINY["gpt"], dropout=0.5)
    graphdef, params = made(cfg, without_dropout=False)
    for change in ({"scan": True}, {"scan": False}):
        other, _ = made(dataclasses.replace(cfg, **change), without_dropout=False)
        levels = levels_of(
            other, params, jnp.ones((1, 8, 32)), jnp.ones((1, 8), jnp.int32), jax.random.key(0)
        )
        assert levels.shape == (3, 1, 8, 32)
        dropped = [np.asarray(levels[i + 1] == levels[i]) for i in range(2)]
        assert 0 < dropped[0].mean() < 1
        assert not np.array_equal(*dropped)
    values = [compute(graphdef, params, key)[0] for key in map(jax.random.key, (1, 2, 2))]
    assert values[0] != values[1] == values[2]


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("scan", [True, False])
def test_every_ends_with_what_the_trunk_returns(family, scan):
    graphdef, params = made(dataclasses.replace(TINY[family], scan=scan))
    trunk = nn.merge(graphdef, params).trunk
    x = trunk.embed(TOKENS, SEGMENTS)
    levels = levels_of(graphdef, params, x, SEGMENTS)
    assert levels.shape == (TINY[family].num_layers + 1, *x.shape)
    np.testing.assert_array_equal(levels[0], x)
    np.testing.assert_allclose(levels[-1], jax.jit(trunk, compiler_options=QUICK)(x, SEGMENTS), atol=1e-5)


def test_a_tied_head_sends_its_gradient_to_the_trunk():
    graphdef, params = made(TINY["bert"])

    def of_head(params):
        model = nn.merge(graphdef, params)
        logits = model.heads["lm"](jnp.ones((1, 1, 32)), model.trunk.table)
        return nn.cross_entropy(logits, jnp.zeros((1, 1), jnp.int32), VOCAB).sum()

    gradient = jax.jit(jax.grad(of_head), compiler_options=QUICK)(params)["trunk"]["embeddings"]["tokens"]
    assert bool(jnp.all(jnp.any(gradient[:VOCAB] != 0, axis=1)))
    np.testing.assert_array_equal(gradient[VOCAB:], 0)


def test_untied_heads_have_a_table_of_their_own():
    cfg = dataclasses.replace(TINY["qwen"], tied=False)
    params = made(cfg)[1]["heads"]
    assert params["lm"]["table"].shape == params["mlm"]["table"].shape == (128, 32)
    assert "lm" not in made(TINY["qwen"])[1]["heads"]


def test_padding_the_vocabulary_changes_no_draw():
    cfg = TINY["modern"]
    small, large = (drawn(cfg.bind(meta(vocab_shards=n)))[1] for n in (1, 8))
    a, b = (p["trunk"]["embeddings"]["tokens"] for p in (small, large))
    assert (a.shape[0], b.shape[0]) == (128, 1024)
    np.testing.assert_array_equal(a[:VOCAB], b[:VOCAB])
    assert not np.any(a[VOCAB:]) and not np.any(b[VOCAB:])
    del small["trunk"]["embeddings"], large["trunk"]["embeddings"]
    del small["heads"]["mlm"]["bias"], large["heads"]["mlm"]["bias"]
    jax.tree.map(np.testing.assert_array_equal, small, large)


def test_heads_are_found_by_name():
    model = nn.merge(*made(TINY["bert"]))
    assert list(model.heads) == ["mlm", "lm", "pooler", "nsp"]
    assert model.heads["nsp"] is model.heads.nsp
    assert "mlm" in model.heads and "names" not in model.heads
    with pytest.raises(KeyError, match="no head 'tags'; there are mlm, lm"):
        model.heads["tags"]
    pooled = model.heads["pooler"](model.encode(TOKENS, SEGMENTS))
    assert model.heads["nsp"](pooled).shape == (2, 2)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    cfg = dataclasses.replace(TINY["modern"], compute_dtype="bfloat16")
    graphdef, params = made(cfg)

    def outputs():
        model = nn.merge(graphdef, params)
        hidden = model.encode(TOKENS, SEGMENTS)
        return hidden, model.heads["mlm"](hidden, model.trunk.table)

    assert [out.dtype for out in jax.eval_shape(outputs)] == [jnp.bfloat16] * 2
    exact, _ = compute(made(TINY["modern"])[0], params)
    value, gradient = compute(graphdef, params)
    np.testing.assert_allclose(value, exact, rtol=5e-3)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_init_draws_the_same_on_every_mesh_and_shards_at_birth():
    build = builder(TINY["modern"])
    many = parallel.MeshConfig(data=2, fsdp=2, tensor=2).make()
    alone = drawn(TINY["modern"])[1]
    graphdef, spread = nn.init(build, jax.random.key(0), many, parallel.Rules())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), alone, spread)
    kernel = spread["trunk"]["stack"]["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, "fsdp", "tensor")
    assert kernel.addressable_shards[0].data.shape == (3, 16, 12)
    assert graphdef == made(TINY["modern"])[0]
