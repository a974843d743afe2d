# SPDX-License-Identifier: Apache-2.0
"""What one of several processes does before it meets the others."""

import dataclasses

import pytest

from ssl_jax import data
from ssl_jax.claim import check_start
from ssl_jax.data import plan_cache
from ssl_jax.objectives import NextToken
from ssl_jax.types import UserError
from tests.plan import small


def test_the_order_of_rows_is_made_before_any_device_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plan_cache, "SMALLEST", 0)
    experiment = small.with_corpus(tmp_path)

    def start(experiment):
        return check_start(experiment, tmp_path / "run", "prepare it", first_process=True, fresh=False)

    with pytest.raises(UserError, match=r"several processes don't build it; .*: prepare it"):
        start(experiment)
    corpus = data.prepare(experiment.data, experiment.text)
    plan = experiment.objective.plan.open(corpus.train, experiment.seed)
    found = start(experiment)
    assert (found["corpus"], found["plan"]) == (corpus.fingerprint, plan.fingerprint)
    assert [folder.name for folder in plan_cache.root().glob("*/*")] == ["0"]  # of the first epoch
    planless = dataclasses.replace(experiment, objective=NextToken(plan=None))
    with pytest.raises(UserError, match="has no plan"):
        start(planless)
