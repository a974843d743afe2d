# SPDX-License-Identifier: Apache-2.0
"""SpanPrediction against BertForQuestionAnswering on padded rows that training hasn't seen, at every one of
the 50 steps: logits, and the loss over the positions that aren't padding.  Losses: test_training.py.

Logits are compared without their mean.  No loss and no answer depends on it, so the gradient of the head's
bias is rounding noise, which Adam turns into steps (1.1e-4 apart after 50).
"""

import dataclasses

import jax
import numpy as np
import pytest

from ssl_jax import nn, parallel
from tests.models.test_golden_curves import TOLERANCE
from tests.models.tiny import VOCAB
from tests.objectives.fakes import span_rows
from tests.parity.curve import BATCH, CURVES, LENGTH, STEPS, Run, batches
from tests.parity.torch_curve import inputs, torch_steps

pytestmark = pytest.mark.parity


def test_dev_logits_and_loss_at_every_step():
    import torch

    run = Run("spans")
    rows = [
        dataclasses.replace(row, id=row.id + 10_000) for row in span_rows(LENGTH, STEPS * BATCH, VOCAB, 9)
    ]
    dev = next(batches(dataclasses.replace(CURVES["spans"], rows=rows)))
    real = dev["segments"] > 0
    assert len(set(real.sum(axis=1))) > 3  # rows of many lengths

    @jax.jit
    def ours_of(params, dev):
        model = nn.merge(run.blueprint.graphdef, params)
        nll = run.objective.loss(model, (), dev, None)["nll"]
        return run.objective.predict(model, dev), nll.total.sum() / nll.weight.sum()

    seen = []
    with parallel.use(run.mesh, run.rules):
        for (state, _), (model, _) in zip(run.steps(), torch_steps("spans"), strict=True):
            ours, nll = jax.device_get(ours_of(state.params, dev))
            with torch.no_grad():
                out = model(**inputs(dev))
            losses = []
            for name, theirs in (("start", out.start_logits), ("end", out.end_logits)):
                centred = [x[real] - x[real].mean() for x in (ours[name], theirs.numpy())]
                np.testing.assert_allclose(*centred, rtol=0, atol=TOLERANCE)
                masked = theirs.masked_fill(torch.tensor(~real), -torch.inf)[torch.tensor(dev["weight"] > 0)]
                target = torch.tensor(dev[name][dev["weight"] > 0]).long()
                losses.append(torch.nn.functional.cross_entropy(masked, target).item())
            np.testing.assert_allclose(nll, np.mean(losses), rtol=0, atol=TOLERANCE)
            seen.append(ours["start"][real])
    assert len(seen) == STEPS
    assert np.ptp(np.array(seen), axis=0).max() > 0.1  # they move
