# SPDX-License-Identifier: Apache-2.0
"""A small real run without files: BERT with both terms, on fake rows of very unequal mask counts."""

import functools
from typing import Any

import jax
import numpy as np

from ssl_jax import nn, optim, parallel
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.state import born, draw
from ssl_jax.loop.step import make_step
from ssl_jax.models import BertConfig
from ssl_jax.objectives.bert import BertPretraining
from ssl_jax.objectives.masking import Masking
from tests.objectives.fakes import meta, pair_rows

ROWS, LENGTH = 8, 24


class Toy:
    """objective, batch and state of a run on the given mesh; step(state, batch) compiled."""

    def __init__(self, mesh_config: parallel.MeshConfig | None = None, devices: int = 1, **step: Any):
        self.meta = meta(vocab_size=60)
        self.objective = BertPretraining(plan=Pairs(length=LENGTH), masking=Masking(rate=0.5)).bind(self.meta)
        config = BertConfig(
            num_layers=2,
            dim=16,
            num_heads=2,
            max_positions=LENGTH,
            dropout=0.0,
            attention_dropout=0.0,
            kernel=step.pop("kernel", nn.Kernel.XLA),
        ).bind(self.meta)
        self.mesh = (mesh_config or parallel.MeshConfig()).make(jax.devices()[:devices])
        self.rules = parallel.Rules()
        self.optim = optim.Optim(peak_lr=5e-4, schedule=optim.Linear(warmup=5))
        self.guards = step.pop("guards", (NonFinite(),))
        ema = step.get("ema")

        def build(rngs):
            trunk = config.build(rngs)
            return nn.Model(trunk, self.objective.heads(trunk, rngs))

        self.blueprint, self.tx = draw(
            build,
            self.objective,
            functools.partial(optim.build, self.optim),
            self.guards,
            averaged=ema is not None,
            mesh=self.mesh,
            rules=self.rules,
        )
        function = make_step(
            self.blueprint.graphdef,
            self.objective,
            self.tx,
            optim.schedule(self.optim, 50),
            self.guards,
            seed=0,
            **step,
        )
        shardings = self.blueprint.shardings
        self._jit = jax.jit(function, out_shardings=(shardings, None))

    def born(self) -> Any:
        return born(self.blueprint, 3, self.mesh, self.rules)

    def step(self, state: Any, batch: dict[str, Any]) -> Any:
        rows = parallel.batch_sharding(self.mesh)
        batch = jax.tree.map(lambda x: jax.device_put(x, rows), batch)
        with parallel.use(self.mesh, self.rules):
            return self._jit(state, batch)

    def batch(self, first: int = 0) -> dict[str, np.ndarray]:
        rows = pair_rows(LENGTH, first + ROWS)[first:]
        examples = [
            self.objective.example(r, np.random.Generator(np.random.Philox(key=[5, r.id]))) for r in rows
        ]
        stacked = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
        ids = np.arange(first, first + ROWS, dtype=np.uint32)
        return {**stacked, "row_id": ids, "row_hash": ids + 1, "valid": np.ones(ROWS, bool)}
