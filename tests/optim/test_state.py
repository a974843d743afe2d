# SPDX-License-Identifier: Apache-2.0
"""The state: shardings of every moment on 8 devices, what a checkpoint sees, and the average of parameters.

Cause: moments built inside jit lose their parameter's sharding silently (flax #5112), and memory with it.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import optim
from tests.optim.trees import ALL, LITTLE_STACKED, axes_tree, is_names, random_tree

RULES = {"embed": "fsdp", "mlp": "tensor", "heads": "tensor", "vocab": "tensor"}
BIG = {
    "trunk": {
        "tokens": {"embedding": ("vocab", "embed")},
        "blocks": {
            "query": {
                "kernel": ("layers", "embed", "heads", "head_dim"),
                "bias": ("layers", "heads", "head_dim"),
            },
            "up": {"kernel": ("layers", "embed", "mlp"), "bias": ("layers", "mlp")},
            "norm": {"scale": ("layers", "embed")},
        },
    }
}
SIZES = {"layers": 2, "vocab": 2048, "embed": 256, "mlp": 1024, "heads": 4, "head_dim": 64}


def sharded(names, sizes):
    mesh = jax.make_mesh((1, 4, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)

    def spec(leaf):
        used = [RULES.get(n) for n in leaf]
        used = [a if a not in used[:i] else None for i, a in enumerate(used)]
        return NamedSharding(mesh, PartitionSpec(*used))

    shardings = jax.tree.map(spec, names, is_leaf=is_names)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(tuple(sizes[n] for n in leaf), jnp.float32), names, is_leaf=is_names
    )
    return shapes, shardings


def same(a, b, ndim):
    return a.is_equivalent_to(b, ndim)


@pytest.mark.parametrize("name", ALL)
def test_moments_are_sharded_as_their_parameters(name):
    shapes, shardings = sharded(BIG, SIZES)
    tx = optim.build(optim.Optim(algorithm=ALL[name], peak_lr=1.0), axes_tree(BIG))
    of_state = optim.state_shardings(tx, shapes, shardings)
    whole = jax.eval_shape(tx.init, shapes)
    assert jax.tree.structure(whole) == jax.tree.structure(of_state)
    assert whole.count.dtype == jnp.int32 and of_state.count.spec == PartitionSpec()
    leaves, treedef = jax.tree.flatten(shapes)
    places = treedef.flatten_up_to(of_state.leaves)
    arrays = treedef.flatten_up_to(whole.leaves)
    for p, sharding, at, array in zip(leaves, jax.tree.leaves(shardings), places, arrays, strict=True):
        for key, x in array.items():
            assert x.dtype in (jnp.float32, jnp.int32)
            if x.shape == p.shape:
                assert at[key].spec == sharding.spec, key
            if x.size * 4 > 2**20:
                assert not at[key].is_fully_replicated, (key, x.shape)


@pytest.mark.parametrize("name", ["lamb", "muon", "factored adafactor"])
def test_a_jitted_step_keeps_the_shardings(name):
    """Born sharded, and the same after two donated updates; 8 devices give the numbers of one."""
    sizes = {"layers": 2, "vocab": 32, "embed": 16, "mlp": 64, "heads": 4, "head_dim": 4}
    shapes, shardings = sharded(BIG, sizes)
    tx = optim.build(optim.Optim(algorithm=ALL[name], peak_lr=1.0), axes_tree(BIG))
    of_state = optim.state_shardings(tx, shapes, shardings)
    rng = np.random.default_rng(0)
    draw = lambda: jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    params, gradients = draw(), [draw(), draw()]

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return jax.tree.map(lambda p, u: p - 0.01 * u, params, updates), state

    many = jax.jit(step, donate_argnums=(0, 1), out_shardings=(shardings, of_state))
    p = jax.device_put(params, shardings)
    state = jax.jit(tx.init, out_shardings=of_state)(p)
    one, alone = params, tx.init(params)
    for grads in gradients:
        p, state = many(p, state, jax.device_put(grads, shardings))
        one, alone = jax.jit(step)(one, alone, grads)
    for x, at in zip(jax.tree.leaves(state), jax.tree.leaves(of_state), strict=True):
        assert same(x.sharding, at, x.ndim)
    for a, b in zip(jax.tree.leaves((p, state)), jax.tree.leaves((one, alone)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_factored_moments_keep_the_dimensions_they_keep():
    shapes, shardings = sharded(BIG, SIZES)
    tx = optim.build(optim.Optim(algorithm=ALL["factored adafactor"], peak_lr=1.0), axes_tree(BIG))
    up = optim.state_shardings(tx, shapes, shardings).leaves["trunk"]["blocks"]["up"]["kernel"]
    whole = jax.eval_shape(tx.init, shapes).leaves["trunk"]["blocks"]["up"]["kernel"]
    found = {key: (whole[key].shape, tuple(at.spec)) for key, at in up.items() if "v_" in key}
    assert sorted(found.values()) == [((2, 256), (None, "fsdp")), ((2, 1024), (None, "tensor"))]


def test_square_kernels_tell_rows_from_columns():
    names = {"trunk": {"kernel": ("layers", "embed", "mlp")}}
    shapes, shardings = sharded(names, {"layers": 3, "embed": 16, "mlp": 16})
    tx = optim.build(optim.Optim(algorithm=ALL["factored adafactor"], peak_lr=1.0), axes_tree(names))
    at = optim.state_shardings(tx, shapes, shardings).leaves["trunk"]["kernel"]
    # optax averages over the last axis for v_row: what is left runs along embed.
    specs = {key[2:]: tuple(s.spec) for key, s in at.items()}
    assert specs["v_row"] == (None, "fsdp") and specs["v_col"] == (None, "tensor")


@pytest.mark.parametrize("name", ALL)
def test_state_is_plain_arrays_with_unique_names(name):
    """What a checkpoint saves is a flat dict of arrays: none of optax's own classes, no placeholders."""
    tx = optim.build(optim.Optim(algorithm=ALL[name], peak_lr=1.0), axes_tree(LITTLE_STACKED))
    state = jax.eval_shape(tx.init, random_tree(LITTLE_STACKED, 0))
    nodes = set()

    def visit(node):
        nodes.add(type(node))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, tuple) else ():
            visit(child)

    visit(state)
    assert nodes <= {optim.OptimState, dict, jax.ShapeDtypeStruct}
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(state)
    ]
    assert len(set(names)) == len(names)


def test_average_of_parameters():
    values = [np.float32(x) for x in (1.0, 3.0, -2.0, 5.0)]
    ema, expected = {"p": jnp.float32(values[0])}, float(values[0])
    for step, value in enumerate(values[1:]):
        ema = jax.jit(optim.ema_update, static_argnums=2)(ema, {"p": value}, 0.2, step)
        d = min(0.2, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * value
        np.testing.assert_allclose(ema["p"], expected, rtol=1e-6)
    for decay, step in itertools.product((0.9, 0.999), (10**6,)):
        late = optim.ema_update({"p": jnp.float32(1.0)}, {"p": jnp.float32(2.0)}, decay, step)
        np.testing.assert_allclose(late["p"], 1.0 + (1 - decay), rtol=1e-6)
