# SPDX-License-Identifier: Apache-2.0
"""Where every parameter of every large recipe lies on a pod, as golden text; its moments lie there too.

A recipe whose model changes, or a rule, shows as a diff of tests/golden/shardings/.  Nothing is computed: the
states are shapes alone.
"""

import dataclasses
import functools
import math

import jax
import pytest
from jax.sharding import PartitionSpec

from ssl_jax import config, optim, parallel
from ssl_jax.assemble import bind
from ssl_jax.loop.state import draw, flat
from ssl_jax.types import Axes, Meta
from ssl_jax.weights import flat_params
from tests.objectives.fakes import FakeTokenizer

MESHES = {
    "data=2 fsdp=2 tensor=2": parallel.MeshConfig(data=2, fsdp=2, tensor=2),
    "fsdp=8": parallel.MeshConfig(data=1, fsdp=8),
}
RECIPES = [
    "bert_base",
    "bert_large",
    "roberta_base",
    "gpt2_small",
    "gpt2_medium",
    "modern_bert_base",
    "modern_gpt_small",
]
MEGABYTE = 2**20


@functools.cache
def blueprint(recipe: str, mesh_name: str):
    """(experiment, blueprint of its state): shapes and shardings, no arrays."""
    experiment, _, _ = config.load_recipe(recipe)
    mesh = MESHES[mesh_name].make(jax.devices()[:8])
    experiment = dataclasses.replace(experiment, optim=dataclasses.replace(experiment.optim, ema=0.999))
    bound = bind(
        experiment,
        Meta(
            tokenizer=FakeTokenizer(experiment.text.tokenizer.vocab_size), vocab_shards=mesh.shape["tensor"]
        ),
    )
    state, _ = draw(
        bound.build,
        bound.objective,
        functools.partial(optim.build, experiment.optim),
        experiment.loop.guards,
        averaged=True,
        mesh=mesh,
        rules=parallel.Rules(),
    )
    return experiment, state


def size(shape) -> int:
    return math.prod(shape.shape) * shape.dtype.itemsize


def leaves(tree):
    return jax.tree_util.tree_leaves(tree, is_leaf=lambda x: isinstance(x, Axes))


@pytest.mark.parametrize("recipe", RECIPES)
def test_shardings_of_a_large_recipe(recipe, golden):
    experiment, state = blueprint(recipe, "data=2 fsdp=2 tensor=2")
    decays = leaves(optim.decay_mask(experiment.optim, state.axes))
    shapes, shardings = flat_params(state.shapes.params), flat_params(state.shardings.params)
    lines = [f"# {recipe} on data=2 fsdp=2 tensor=2: parameter, shape, dtype, PartitionSpec, decay"]
    for (name, shape), decayed in zip(shapes.items(), decays, strict=True):
        spec = ", ".join(map(repr, shardings[name].spec))
        cells = name.removeprefix("params."), list(shape.shape), shape.dtype, f"P({spec})"
        lines.append("  ".join([*map(str, cells), "decayed" if decayed else "-"]))
    golden(f"shardings/{recipe}.txt", "\n".join(lines))


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_large_is_replicated(recipe, mesh):
    """Parameters, moments and averages: whatever is a megabyte or more is cut at least in two."""
    _, state = blueprint(recipe, mesh)
    shapes, shardings = flat(state.shapes), flat(state.shardings)
    whole = [
        name for name, shape in shapes.items() if size(shape) >= MEGABYTE and not any(shardings[name].spec)
    ]
    assert not whole
    held = sum(
        math.prod(shardings[name].shard_shape(shape.shape)) * shape.dtype.itemsize
        for name, shape in shapes.items()
    )
    total = sum(map(size, shapes.values()))
    fewest = {"data=2 fsdp=2 tensor=2": 4, "fsdp=8": 8}[mesh]
    assert held < 1.25 * total / fewest, f"a device holds {held / total:.2f} of the state"


@pytest.mark.parametrize("recipe", RECIPES)
def test_moments_lie_where_their_parameters_lie(recipe):
    _, state = blueprint(recipe, "data=2 fsdp=2 tensor=2")
    treedef = jax.tree.structure(state.shapes.params)
    shardings = treedef.flatten_up_to(state.shardings.params)
    assert treedef.flatten_up_to(state.shardings.ema) == shardings
    alike = 0
    for shape, sharding, arrays, theirs in zip(
        jax.tree.leaves(state.shapes.params),
        shardings,
        treedef.flatten_up_to(state.shapes.opt.leaves),
        treedef.flatten_up_to(state.shardings.opt.leaves),
        strict=True,
    ):
        for name, array in arrays.items():
            if array.shape == shape.shape:
                assert theirs[name].spec == sharding.spec
                alike += 1
    assert alike >= len(shardings)  # each parameter has a moment of its own shape
    assert state.shardings.step.spec == state.shardings.opt.count.spec == PartitionSpec()
