# SPDX-License-Identifier: Apache-2.0
"""What a fine-tuned model says of texts, whatever its head: read as its training read them."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ssl_jax import nn
from ssl_jax.data import Table
from ssl_jax.data.pipeline import Examples
from ssl_jax.text import Text
from ssl_jax.use.heads import head_of
from ssl_jax.use.inputs import Line, batched, power_of_two
from ssl_jax.use.predictions import Prediction


class Predictor:
    """Predictions of a model for any number of texts, batch_size of them at a time; compiled once.

    Raises UserError where the model has no head that says something of a whole text.
    """

    def __init__(self, model: nn.Model, objective: Any, text: Text, batch_size: int = 32):
        self.head = head_of(objective, text, model.trunk.spec.max_positions)
        self._batch_size = batch_size
        self._text = text
        graphdef, self._params = nn.split(model)
        self._outputs = jax.jit(lambda params, batch: objective.predict(nn.merge(graphdef, params), batch))

    def __call__(self, lines: Iterable[Line]) -> Iterator[Prediction]:
        """One prediction a line, in order.  Raises UserError for a line with too few or too many texts."""
        for chunk in batched(lines, self._batch_size):
            for line in chunk:
                self.head.check(line)
            yield from self._predict([line.texts for line in chunk])

    def _predict(self, texts: Sequence[tuple[str, ...]]) -> Iterator[Prediction]:
        records = [self.head.record(these) for these in texts]
        table = Table(records, self.head.objective.meta.tokenizer, self._text)
        plan = self.head.plan.open(table, seed=0, shuffle=False)
        examples, outputs = Examples(plan, self.head, seed=0), []
        size = min(self._batch_size, power_of_two(plan.num_rows))
        for start in range(0, plan.num_rows, size):
            batch = examples(range(start, start + size), stop_row=plan.num_rows)
            outputs.append(jax.device_get(self._outputs(self._params, batch)))
        rows = [plan[r] for r in range(plan.num_rows)]
        joined = {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}
        for number, group in itertools.groupby(range(len(rows)), lambda r: self.head.owner(rows[r])):
            numbers = list(group)
            mine = {name: values[numbers] for name, values in joined.items()}
            yield self.head.prediction(table, number, [rows[r] for r in numbers], mine)
