# SPDX-License-Identifier: Apache-2.0
"""Models on meshes of 8 devices: what is sent between them, and that the numbers are those of one device.

Rows, positions and masked positions are multiples of primes that no size of a parameter has, so a collective
that carries anything but parameters, gradients and scalars shows by its number of elements.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn, parallel
from tests.nn.common import QUICK, TINY, VOCAB, made

ROWS, LENGTH, MASKED = 8 * 17, 13, 11
DATA = {"data": 8}
FSDP = {"data": 2, "fsdp": 4}
TENSOR = {"data": 4, "tensor": 2}
ALL = {"data": 2, "fsdp": 2, "tensor": 2}
CONTEXT = {"data": 4, "context": 2}


def batch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, LENGTH + 1, (ROWS, 1))
    return {
        "tokens": rng.integers(0, VOCAB, (ROWS, LENGTH)).astype(np.int32),
        "segments": (np.arange(LENGTH) < lengths).astype(np.int32),
        "types": rng.integers(0, 2, (ROWS, LENGTH)).astype(np.int32),
        "where": rng.integers(0, LENGTH, (ROWS, MASKED)).astype(np.int32),
        "targets": rng.integers(0, VOCAB, (ROWS, MASKED)).astype(np.int32),
        "label": rng.integers(0, 2, ROWS).astype(np.int32),
    }


def loss(graphdef, params, batch):
    """BERT's: masked positions gathered, and a class of the pooled first position."""
    model = nn.merge(graphdef, params)
    hidden = model.encode(batch["tokens"], batch["segments"], batch["types"])
    logits = model.heads["mlm"](nn.at_positions(hidden, batch["where"]), model.trunk.table)
    mlm = nn.cross_entropy(logits, batch["targets"], VOCAB)
    nsp = nn.cross_entropy(model.heads["nsp"](model.heads["pooler"](hidden)), batch["label"], 2)
    return jnp.mean(mlm) + jnp.mean(nsp)


@functools.cache
def compiled(family, **axes):
    """(value and gradient on this mesh, the compiled program's text)."""
    graphdef, params = made(TINY[family])
    devices = jax.devices()[: math.prod(axes.values())]
    mesh, rules = parallel.MeshConfig(**axes).make(devices), parallel.Rules()
    of_params = parallel.shardings(parallel.axes_of(nn.merge(graphdef, params)), params, mesh, rules)
    fed = jax.device_put(batch(), parallel.batch_sharding(mesh, rules))
    step = jax.jit(
        jax.value_and_grad(functools.partial(loss, graphdef)),
        in_shardings=(of_params, parallel.batch_sharding(mesh, rules)),
        out_shardings=(None, of_params),
        compiler_options=QUICK,
    )
    with parallel.use(mesh, rules):
        program = step.lower(params, fed).compile()
        return program(jax.device_put(params, of_params), fed), program.as_text()


def collectives(text):
    """[(kind, shape), ...], one entry for each array of each collective."""
    found = []
    kinds = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast"
    for result, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text):
        for dims in re.findall(r"\w+\[([\d,]*)\]", result):
            found.append((kind, tuple(int(n) for n in dims.split(",") if n)))
    return found


def carries_rows(shape):
    return any(math.prod(shape) % prime == 0 for prime in (17, LENGTH, MASKED))


WAYS = [
    ("bert", DATA),
    ("bert", FSDP),
    ("bert", ALL),
    ("modern", FSDP),
    ("modern", CONTEXT),
    ("qwen", TENSOR),
]


@pytest.mark.parametrize(("family", "axes"), WAYS)
def test_a_mesh_gives_the_numbers_of_one_device(family, axes):
    (value, gradient), _ = compiled(family, data=1)
    (value_8, gradient_8), _ = compiled(family, **axes)
    np.testing.assert_allclose(value_8, value, rtol=1e-6)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-6 * scale), gradient_8, gradient)


@pytest.mark.parametrize(("family", "axes"), [way for way in WAYS if way[1] in (DATA, FSDP)])
def test_no_collective_touches_hidden_states(family, axes):
    sizes = {leaf.size for leaf in jax.tree.leaves(made(TINY[family])[1])}
    assert not any(carries_rows((size,)) for size in sizes)
    sent = collectives(compiled(family, **axes)[1])
    assert sent and not [entry for entry in sent if carries_rows(entry[1])]


def test_a_data_mesh_sends_gradients_and_scalars_alone():
    """Each gradient once; the tied table's twice, as it is looked up and multiplied with."""
    params = made(TINY["bert"])[1]
    sent = collectives(compiled("bert", **DATA)[1])
    assert {kind for kind, _ in sent} == {"all-reduce"}
    layers = TINY["bert"].num_layers
    blocks = sum(leaf.size for leaf in jax.tree.leaves(params["trunk"]["stack"]["blocks"]))
    table = params["trunk"]["embeddings"]["tokens"].size
    whole = sum(leaf.size for leaf in jax.tree.leaves(params))
    once_a_layer = blocks // layers  # the scan's body is one instruction for all layers
    elements = sum(math.prod(shape) for _, shape in sent)
    assert whole - blocks + once_a_layer <= elements <= whole - blocks + once_a_layer + table + 8


def test_the_collective_finder_sees_hidden_states_where_they_are_sent():
    """The guard of the guards: a mean over all rows of the hidden states must be found."""
    mesh = parallel.MeshConfig().make()
    rows = parallel.batch_sharding(mesh)
    x = jax.ShapeDtypeStruct((ROWS, LENGTH, 32), jnp.float32, sharding=rows)
    text = jax.jit(lambda x: jnp.tanh(x) @ jnp.sum(x, axis=0).T).lower(x).compile().as_text()
    assert [entry for entry in collectives(text) if carries_rows(entry[1])]


def test_parameters_are_sharded_as_the_rules_say():
    (_, gradient), _ = compiled("bert", **ALL)
    specs = {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.sharding.spec)
        for path, leaf in jax.tree_util.tree_flatten_with_path(gradient["trunk"])[0]
    }
    blocks = "stack.blocks"
    assert specs["embeddings.tokens"] == ("tensor", "fsdp")
    assert specs["embeddings.positions"] == (None, "fsdp")
    assert specs[f"{blocks}.attention.query.kernel"] == (None, "fsdp", "tensor")
    assert specs[f"{blocks}.attention.query.bias"] == (None, "tensor")
    assert specs[f"{blocks}.attention.out.kernel"] == (None, "tensor", None, "fsdp")
    assert specs[f"{blocks}.mlp.up.kernel"] == (None, "fsdp", "tensor")
    assert specs[f"{blocks}.mlp.down.kernel"] == (None, "tensor", "fsdp")
    assert specs[f"{blocks}.mlp.down.bias"] == specs[f"{blocks}.mlp_norm.scale"] == ()
