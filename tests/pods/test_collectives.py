# SPDX-License-Identifier: Apache-2.0
"""What the training step sends between devices: gradients, parameters and scalars, never hidden states.

The step is the real one (BERT's objective, AdamW, clipping, with and without micro-batches), compiled for 8
devices.  Rows and positions are multiples of primes that no size of a parameter has, so hidden states, logits
or gathered positions show in a collective by its number of elements, however XLA has reshaped them.
"""

import functools
import math
import re
from typing import NamedTuple

import jax
import numpy as np
import pytest

from ssl_jax import nn, optim, parallel
from ssl_jax.data import Pairs
from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.state import draw
from ssl_jax.loop.step import make_step
from ssl_jax.models import BertConfig
from ssl_jax.objectives import BertPretraining
from tests.objectives.fakes import meta

ROWS, LENGTH = 8 * 2 * 17, 13
DATA, FSDP = dict(data=8), dict(data=4, fsdp=2)
KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast"


class Sent(NamedTuple):
    """One array of one collective, as each device holds it."""

    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def of_rows(self) -> bool:
        return self.size % 17 == 0 or self.size % LENGTH == 0


def collectives(text: str) -> list[Sent]:
    """Operands and results of the collectives of an HLO module."""
    found = []
    shape_of = dict(re.findall(r"^\s*(?:ROOT )?(%?[\w.-]+) = (.*?) [\w-]+\(", text, re.MULTILINE))
    for result, kind, operands in re.findall(rf"= (.*?) ({KINDS})(?:-start)?\((.*?)\)", text):
        for typed in (result, *(shape_of.get(name, name) for name in re.findall(r"%[\w.-]+", operands))):
            for dims in re.findall(r"\w+\[([\d,]*)\]", typed):
                found.append(Sent(kind, tuple(int(n) for n in dims.split(",") if n)))
    return found


@functools.cache
def step_program(accumulation: int, **axes: int):
    """(shapes of the parameters, collectives) of a training step on this mesh."""
    known = meta(60)
    objective = BertPretraining(plan=Pairs(length=LENGTH)).bind(known)
    config = BertConfig(num_layers=2, dim=32, num_heads=4, mlp_dim=48, max_positions=16)
    mesh, rules = parallel.MeshConfig(**axes).make(), parallel.Rules()
    settings, guards = optim.Optim(peak_lr=1e-3), (NonFinite(),)

    def build(rngs):
        trunk = config.bind(known).build(rngs)
        return nn.Model(trunk, objective.heads(trunk, rngs))

    make_tx = functools.partial(optim.build, settings)
    blueprint, tx = draw(build, objective, make_tx, guards, averaged=False, mesh=mesh, rules=rules)
    schedule = optim.schedule(settings, 100)
    step = make_step(blueprint.graphdef, objective, tx, schedule, guards, seed=0, accumulation=accumulation)
    rows = parallel.batch_sharding(mesh)
    row = jax.ShapeDtypeStruct((), np.uint32)
    spec = {**objective.spec(), "row_id": row, "row_hash": row, "valid": jax.ShapeDtypeStruct((), bool)}
    batch = {name: jax.ShapeDtypeStruct((ROWS, *x.shape), x.dtype) for name, x in spec.items()}
    with parallel.use(mesh, rules):
        jitted = jax.jit(
            step,
            donate_argnums=0,
            in_shardings=(blueprint.shardings, rows),
            out_shardings=(blueprint.shardings, None),
            compiler_options=parallel.once(mesh),  # only LLVM's part, which comes after, is cut short
        )
        text = jitted.lower(blueprint.shapes, batch).compile().as_text()
    return blueprint.shapes.params, collectives(text)


@pytest.mark.parametrize(
    ("axes", "accumulation"),
    [
        (DATA, 1),
        (FSDP, 2),
        pytest.param(DATA, 2, marks=pytest.mark.slow),
        pytest.param(FSDP, 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else str(value),
)
def test_no_collective_touches_hidden_states(axes, accumulation):
    params, sent = step_program(accumulation, **axes)
    assert not any(Sent("", leaf.shape).of_rows for leaf in jax.tree.leaves(params))
    assert sent
    assert not [entry for entry in sent if entry.of_rows]


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_data_mesh_reduces_gradients_and_scalars_and_sends_nothing_else(accumulation):
    params, sent = step_program(accumulation, **DATA)
    assert {entry.kind for entry in sent} == {"all-reduce"}
    whole = {leaf.size for leaf in jax.tree.leaves(params)}
    a_layer = {leaf.size // leaf.shape[0] for leaf in jax.tree.leaves(params["trunk"]["stack"]["blocks"])}
    assert {entry.size for entry in sent} <= whole | a_layer | {1}
    assert whole <= {entry.size for entry in sent} | {2 * size for size in a_layer}  # none is forgotten


def test_hidden_states_are_found_where_they_are_sent():
    """The guard of the guard: a product of all rows with all rows."""
    rows = parallel.batch_sharding(parallel.MeshConfig().make())
    x = jax.ShapeDtypeStruct((ROWS, 32), np.float32, sharding=rows)
    text = jax.jit(lambda x: x @ x.T).lower(x).compile().as_text()
    assert any(entry.of_rows for entry in collectives(text))
