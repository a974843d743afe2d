# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning against `transformers`: what the model says of other rows at every one of the 50 steps."""

import jax
import numpy as np
import pytest

from ssl_jax import nn, parallel
from tests.models.test_golden_curves import TOLERANCE
from tests.parity.curve import CURVES, STEPS, Run, batches
from tests.parity.torch_curve import inputs, torch_steps

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("name", ["classes", "number"])
def test_dev_logits_at_every_step(name):
    """Dev rows: those of the last batch, which no step before the last has seen."""
    import torch

    run = Run(name)
    *_, dev = batches(CURVES[name])
    predict = jax.jit(
        lambda params, dev: run.objective.predict(nn.merge(run.blueprint.graphdef, params), dev)
    )
    theirs = []
    for model, _ in torch_steps(name):
        with torch.no_grad():
            theirs.append(model(**inputs(dev)).logits.numpy())
    with parallel.use(run.mesh, run.rules):
        ours = [jax.device_get(predict(state.params, dev)["logits"]) for state, _ in run.steps()]
    assert len(ours) == len(theirs) == STEPS
    assert np.ptp(np.array(theirs), axis=0).max() > 0.1  # they move
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
