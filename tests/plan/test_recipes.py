# SPDX-License-Identifier: Apache-2.0
"""Every large recipe fits on a topology as it is, says the real TPU compiler (of one GPU: the formula)."""

from importlib.util import find_spec

import pytest

from ssl_jax import config, nn
from ssl_jax.plan import memory, topology
from tests.plan.test_plan import planned

# recipe -> (topology, slices)
PLANS = {
    "bert_one_gpu": ("h100:1", 1),
    "bert_base:phase1": ("v5e:4x4", 1),
    "bert_base:phase2": ("v6e:4x4", 1),
    "roberta_base": ("v6e:8x8", 1),
    "bert_large:phase1": ("v5e:16x16", 1),
    "bert_large:phase2": ("v6e:16x16", 2),
    "modern_bert_base": ("v5p:4x4x8", 1),
    "gpt2_small": ("v5p:2x2x2", 1),
    "gpt2_medium": ("v5p:2x2x2", 1),
    "gpt2_xl": ("v6e:16x16", 1),
    "modern_gpt_small": ("v5p:2x2x2", 1),
    "modern_gpt_7b": ("v5p:16x16x16", 1),
}
TINY = {"bert_tiny", "gpt_tiny"}


def test_every_recipe_that_pretrains_more_than_a_tiny_model_has_a_plan():
    from ssl_jax.experiment import Experiment

    recipes = {
        name
        for name in config.shipped()
        if isinstance(found := config.load_recipe(name)[0], Experiment) and found.task is None
    }
    assert {name.partition(":")[0] for name in PLANS} == recipes - TINY


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'ssl_jax[plan]'"
)
@pytest.mark.parametrize("recipe", PLANS)
def test_a_large_recipe_fits(recipe):
    experiment, _, _ = config.load_recipe(recipe)
    target = topology.target_of(*PLANS[recipe])
    found = planned(experiment, target)
    needs = found.view.memory
    assert found.fits, f"{needs.total / 2**30:.1f} of {needs.capacity / 2**30:.1f} GiB"
    if not target.compiles:  # a GPU: by formula
        return
    assert found.view.compiled.guessed == 0
    assert found.view.compiled.sent or len(target.devices) == 1
    assert any(sent.across for sent in found.view.compiled.sent) == (target.num_slices > 1)
    by_hand = least_traffic(found.view)
    assert found.view.compiled.memory_bytes > by_hand
    if experiment.model.remat is nn.Remat.NONE and experiment.model.kernel is nn.Kernel.XLA:
        # Otherwise what is computed again moves too.
        assert found.view.compiled.memory_bytes < 3.5 * by_hand


def least_traffic(view) -> float:
    """Bytes: the state read and written, and of each micro-batch the weights (bfloat16, gathered) read
    forward and twice backward, what is kept for the backward pass written and read, and the gradients summed.
    """
    parts, layout = memory.of_state(view.program), view.program.layout
    times, shards = layout.accumulation, layout.mesh.shape["fsdp"]
    state = 2 * (parts["parameters"] + parts["moments"] + parts["average"])
    gradients = parts["parameters"] * (2 if times == 1 else 2 + 3 * times)
    return (
        state
        + gradients
        + times * (3 * parts["parameters"] / 2 * shards + 2 * memory.activation_bytes(view.program))
    )
