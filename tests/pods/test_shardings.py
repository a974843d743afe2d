# SPDX-License-Identifier: Apache-2.0
"""Where every array of every large recipe lies on a pod, as golden text: the state, the batch, the logits.

A recipe whose model changes, or a rule, shows as a diff of tests/golden/shardings/.  Nothing is computed: the
states are shapes alone, and the logits are read off the traced loss.  A new recipe is a name in RECIPES.
"""

import dataclasses
import functools
import itertools
import math

import jax
import pytest
from jax.sharding import PartitionSpec

from ssl_jax import config, nn, optim, parallel
from ssl_jax.data import Chunks
from ssl_jax.loop.state import draw, flat
from ssl_jax.models import GptConfig
from ssl_jax.objectives import NextToken
from ssl_jax.program import batch_shapes, bind, lay_out
from ssl_jax.types import Axes, Meta
from ssl_jax.weights import flat_params
from tests.objectives.fakes import FakeTokenizer, meta
from tests.pods.programs import arrays as program_arrays
from tests.pods.programs import programs

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
    "gpt2_xl",
    "modern_bert_base",
    "modern_gpt_small",
    "modern_gpt_7b",
]
WHOLE_HEADS = {"gpt2_xl": "fsdp=8"}  # 25 heads, which no tensor axis divides
CASES = [(recipe, mesh) for recipe in RECIPES for mesh in MESHES if WHOLE_HEADS.get(recipe, mesh) == mesh]
COPIED = {"gpt2_xl": "mlp.up.bias"}  # 1.2 MB in 48 layers, and the rules put it on tensor alone
MEGABYTE = 2**20


def golden_mesh(recipe: str) -> str:
    return WHOLE_HEADS.get(recipe, "data=2 fsdp=2 tensor=2")


@functools.cache
def blueprint(recipe: str, mesh_name: str):
    """(experiment, bound, blueprint of its state): shapes and shardings, no arrays."""
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
    return experiment, bound, state


def size(shape) -> int:
    return math.prod(shape.shape) * shape.dtype.itemsize


def held(shape, sharding) -> int:
    """Bytes on one device."""
    return math.prod(sharding.shard_shape(shape.shape)) * shape.dtype.itemsize


def leaves(tree):
    return jax.tree_util.tree_leaves(tree, is_leaf=lambda x: isinstance(x, Axes))


@functools.cache
def arrays(recipe: str, mesh_name: str) -> dict[str, tuple]:
    """Name -> (shape and dtype, sharding): the state, a micro-batch, and its logits as the loss pins them."""
    experiment, bound, state = blueprint(recipe, mesh_name)
    layout = lay_out(dataclasses.replace(experiment, mesh=MESHES[mesh_name]))
    state_of = {"params": "", "opt.leaves": "moment ", "ema": "average "}
    found = {}
    shapes, shardings = flat(state.shapes), flat(state.shardings)
    for name, shape in shapes.items():
        for part, title in state_of.items():
            if name.startswith(f"{part}."):
                found[title + name.removeprefix(f"{part}.")] = shape, shardings[name]
    batch = batch_shapes(bound.objective, layout, layout.batch_size // layout.accumulation)
    found |= {f"batch {name}": (shape, shape.sharding) for name, shape in batch.items()}

    def loss(params, batch):
        return bound.objective.loss(nn.merge(state.graphdef, params), (), batch, None)

    with parallel.use(layout.mesh, layout.rules):
        jaxpr = jax.make_jaxpr(loss)(state.shapes.params, batch)
    for eqn in jaxpr.eqns:
        out = eqn.outvars[0].aval
        of_logits = len(out.shape) == 3 and out.shape[-1] == bound.meta.padded_vocab
        if eqn.primitive.name == "sharding_constraint" and of_logits:
            found["logits"] = out, eqn.params["sharding"]
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_shardings_of_a_large_recipe(recipe, golden):
    mesh_name = golden_mesh(recipe)
    experiment, _, state = blueprint(recipe, mesh_name)
    decays = dict(
        zip(flat_params(state.shapes.params), leaves(optim.decay_mask(experiment.optim, state.axes)))
    )
    lines = [f"# {recipe} on {mesh_name}: shape, dtype, PartitionSpec, bytes a device, weight decay"]
    for name, (shape, sharding) in arrays(recipe, mesh_name).items():
        spec = ", ".join(map(repr, sharding.spec))
        cells = name, list(shape.shape), shape.dtype, f"P({spec})", held(shape, sharding)
        lines.append("  ".join([*map(str, cells), *["decayed"] * bool(decays.get(f"params.{name}"))]))
    golden(f"shardings/{recipe}.txt", "\n".join(lines))


@pytest.mark.parametrize(("recipe", "mesh"), CASES)
def test_nothing_large_is_replicated(recipe, mesh):
    """Parameters, moments, averages, batch and logits: a megabyte or more is cut at least in two."""
    found = arrays(recipe, mesh)
    assert "logits" in found and "batch tokens" in found
    whole = [name for name, (shape, at) in found.items() if size(shape) >= MEGABYTE and not any(at.spec)]
    assert [name for name in whole if COPIED.get(recipe, "-") not in name] == []
    state = [of for name, of in found.items() if not name.startswith(("batch", "logits"))]
    total, mine = sum(size(shape) for shape, _ in state), sum(itertools.starmap(held, state))
    fewest = {"data=2 fsdp=2 tensor=2": 4, "fsdp=8": 8}[mesh]
    assert mine < 1.25 * total / fewest, f"a device holds {mine / total:.2f} of the state"


@pytest.mark.parametrize("accumulation", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_no_device_holds_a_whole_gradient(accumulation):
    """The step's own, summed over micro-batches or not: stacked, it is cut as its parameter.  (A layer's, and
    a table's, are whole over fsdp for a moment, as their weights are.)"""
    mesh = parallel.MeshConfig(data=2, fsdp=2, tensor=2).make()
    config = GptConfig(num_layers=3, dim=40, num_heads=4, mlp_dim=56, max_positions=16)
    ours = programs(NextToken(plan=Chunks(length=16)), config, meta(60), 16, mesh)
    # Sums over micro-batches begin with the part of the rows along data that they are of: one on a device.
    arrays = program_arrays(ours.step(accumulation), "f32")
    assert not {(2, 3, 20, 28), (2, 3, 40, 28), (2, 3, 40, 56)} & arrays
    found = {shape[shape[:1] == (1,) :] for shape in arrays}
    assert {(3, 20, 28), (3, 28, 20)} <= found  # up and down, a device's own
    over_fsdp = {(3, 40, 28), (3, 28, 40), (3, 40, 2, 10), (3, 40, 20), (3, 2, 10, 40), (3, 20, 40)}
    assert not over_fsdp & found


@pytest.mark.parametrize("recipe", RECIPES)
def test_moments_lie_where_their_parameters_lie(recipe):
    _, _, state = blueprint(recipe, golden_mesh(recipe))
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
