# SPDX-License-Identifier: Apache-2.0
"""What the training step sends between devices: gradients, parameters and scalars, never hidden states.

The step is the real one (BERT's objective, AdamW, clipping, with and without micro-batches), compiled for 8
devices.  Rows and positions are multiples of primes that no size of a parameter has, so hidden states, logits
or gathered positions show in a collective by its number of elements, however XLA has reshaped them.
"""

import functools

import jax
import numpy as np
import pytest

from ssl_jax import parallel
from ssl_jax.data import Pairs
from ssl_jax.models import BertConfig
from ssl_jax.objectives import BertPretraining
from ssl_jax.plan import hlo, traffic
from ssl_jax.plan.memory import held
from tests.objectives.fakes import meta
from tests.pods.programs import Sent, collectives, programs

ROWS, LENGTH = 8 * 2 * 17, 13
DATA, FSDP = dict(data=8), dict(data=4, fsdp=2)


def of_rows(entry: Sent) -> bool:
    return entry.size % 17 == 0 or entry.size % LENGTH == 0


@functools.cache
def step_program(accumulation: int, **axes: int):
    """(blueprint, compiled text) of a training step on this mesh."""
    config = BertConfig(num_layers=2, dim=32, num_heads=4, mlp_dim=48, max_positions=16)
    objective, mesh = BertPretraining(plan=Pairs(length=LENGTH)), parallel.MeshConfig(**axes).make()
    ours = programs(objective, config, meta(60), ROWS, mesh)
    return ours.blueprint, ours.step(accumulation)


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
    blueprint, text = step_program(accumulation, **axes)
    params, sent = blueprint.shapes.params, collectives(text)
    assert not any(of_rows(Sent("", leaf.shape)) for leaf in jax.tree.leaves(params))
    assert sent
    assert not [entry for entry in sent if of_rows(entry)]


@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_data_mesh_reduces_gradients_and_scalars_and_sends_nothing_else(accumulation):
    blueprint, text = step_program(accumulation, **DATA)
    params, sent = blueprint.shapes.params, collectives(text)
    assert {entry.kind for entry in sent} == {"all-reduce"}
    whole = {leaf.size for leaf in jax.tree.leaves(params)}
    a_layer = {leaf.size // leaf.shape[0] for leaf in jax.tree.leaves(params["trunk"]["stack"]["blocks"])}
    assert {entry.size for entry in sent} <= whole | a_layer | {1}
    assert whole <= {entry.size for entry in sent} | {2 * size for size in a_layer}  # none is forgotten


@pytest.mark.slow
@pytest.mark.parametrize("axes", [DATA, FSDP])
def test_micro_batches_send_no_more_over_the_data_axis_than_the_batch_at_once(axes):
    def sent(accumulation):
        module = hlo.read(step_program(accumulation, **axes)[1])
        assert module.guessed == 0
        place_on_data = np.repeat(range(axes["data"]), axes.get("fsdp", 1)).tolist()
        return sum(entry.bytes for entry in traffic.collectives(module, place_on_data) if entry.across)

    blueprint, n = step_program(1, **axes)[0], axes["data"]
    gradients = 2 * (n - 1) / n * held(blueprint.shapes.params, blueprint.shardings.params)
    assert gradients <= sent(17) == sent(2) <= sent(1)


def test_hidden_states_are_found_where_they_are_sent():
    """The guard of the guard: a product of all rows with all rows."""
    rows = parallel.batch_sharding(parallel.MeshConfig().make())
    x = jax.ShapeDtypeStruct((ROWS, 32), np.float32, sharding=rows)
    text = jax.jit(lambda x: x @ x.T).lower(x).compile().as_text()
    assert any(of_rows(entry) for entry in collectives(text))
