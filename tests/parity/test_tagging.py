# SPDX-License-Identifier: Apache-2.0
"""Tagging against BertForTokenClassification: logits of identical weights.  Its losses: test_training.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import nn
from tests.models.tiny import FAMILIES, VOCAB, distance
from tests.parity.curve import CURVES, Run, batches
from tests.parity.names import NAMES
from tests.parity.peers import BUILDERS, load
from tests.parity.torch_curve import inputs

pytestmark = pytest.mark.parity


def test_logits_at_every_position_that_is_no_padding():
    import torch

    curve, run = CURVES["tagging"], Run("tagging")
    batch, params = next(batches(curve)), run.params()
    model = load(BUILDERS[curve.peer](FAMILIES[curve.family].config), NAMES[curve.peer](params, VOCAB)).eval()
    with torch.no_grad():
        theirs = model(**inputs(batch)).logits.numpy()
    arrays = {name: jnp.asarray(value) for name, value in batch.items()}
    logits = jax.jit(lambda params: curve.bound.logits(nn.merge(run.blueprint.graphdef, params), arrays))
    real = batch["segments"] > 0
    assert real.any() and not real.all()
    assert distance(np.asarray(logits(params))[real], theirs[real]) <= 1e-5
