# SPDX-License-Identifier: Apache-2.0
"""What a fine-tuned model says of texts, whatever its head: read as its training read them."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ssl_jax import nn
from ssl_jax.data import Table
from ssl_jax.data.pipeline import Examples
from ssl_jax.text import Text
from ssl_jax.types import OpenPlan, Row
from ssl_jax.use.heads import SQUAD, Answering, head_of
from ssl_jax.use.inputs import Line, batched, power_of_two
from ssl_jax.use.predictions import Prediction


class Outputs:
    """What objective.predict gives for rows, compiled once for each batch size."""

    def __init__(self, model: nn.Model, objective: Any):
        graphdef, self._params = nn.split(model)
        self._predict = jax.jit(lambda params, batch: objective.predict(nn.merge(graphdef, params), batch))

    def of(
        self,
        plan: OpenPlan,
        reads: Any,
        batch_size: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Row], dict[str, np.ndarray]]:
        """(rows, name -> [rows, ...]) of a plan that isn't shuffled.  reads: whose spec and example make the
        batches; progress is told how many rows are done."""
        examples, count, outputs = Examples(plan, reads, seed=0), plan.num_rows, []
        for start in range(0, count, batch_size):
            progress(start)
            batch = examples(range(start, start + batch_size), stop_row=count)
            outputs.append(jax.device_get(self._predict(self._params, batch)))
        progress(count)
        joined = {name: np.concatenate([each[name] for each in outputs])[:count] for name in outputs[0]}
        return [plan[r] for r in range(count)], joined


class Predictor:
    """Predictions of a model for any number of texts, batch_size of them at a time; compiled once.

    Raises UserError where the model has no head that says something of a whole text.
    """

    def __init__(
        self,
        model: nn.Model,
        objective: Any,
        text: Text,
        batch_size: int = 32,
        answering: Answering = SQUAD,
    ):
        self.head = head_of(objective, text, model.trunk.spec.max_positions, answering)
        self._batch_size = batch_size
        self._text = text
        self._outputs = Outputs(model, objective)

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
        size = min(self._batch_size, power_of_two(plan.num_rows))
        rows, joined = self._outputs.of(plan, self.head, size)
        for number, group in itertools.groupby(range(len(rows)), lambda r: self.head.owner(rows[r])):
            numbers = list(group)
            mine = {name: values[numbers] for name, values in joined.items()}
            yield self.head.prediction(table, number, [rows[r] for r in numbers], mine)
