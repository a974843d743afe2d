# SPDX-License-Identifier: Apache-2.0
"""A fine-tuned MODEL on a split of its task: its metrics as a table, its predictions as files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax import nn
from ssl_jax.data.pipeline import Examples
from ssl_jax.tasks.base import CONSTANT, Predicted, Task
from ssl_jax.tasks.corpus import check_labels, read, tokenized
from ssl_jax.types import OpenPlan, Progress, UserError
from ssl_jax.weights import Loaded


def evaluate_task(
    loaded: Loaded, task: Task, split: str, *, out: Path | None, batch_size: int, console: Any
) -> dict[str, float]:
    """Prints and returns `NAME/metric` of a split; {} where its labels aren't known.

    out: the folder to write predictions in.  Raises UserError where there would be nothing to do.
    """
    labels, predicted, parts = loaded.network.labels, {}, task.splits(split)
    for name, part in parts.items():
        records = read(task, part, console.progress)
        check_labels(records, labels)
        table = tokenized(records, loaded.tokenizer, loaded.network.text, part, console.progress)
        plan = loaded.objective.plan.open(table, seed=0, shuffle=False)
        predicted[name] = predict(loaded, plan, batch_size, part, console.progress)
    judged = {name: one for name, one in predicted.items() if is_labelled(one)}
    if not judged and out is None:
        raise UserError(f"{split} has no labels to measure with; --out DIR writes the predictions")
    scores = task.score(judged, labels) if judged else {}
    if scores:
        rows = [[name, value] for name, value in scores.items() if not name.endswith(f"/{CONSTANT}")]
        console.table(f"{loaded.source} on {split}", rows)
    if out is not None:
        files = [
            file for name, part in parts.items() for file in task.write(part, predicted[name], labels, out)
        ]
        console.print("\n".join(f"written: {file}" for file in dict.fromkeys(files)))
    return scores


def predict(loaded: Loaded, plan: OpenPlan, batch_size: int, name: str, progress: Progress) -> Predicted:
    """What the model says of every row of a plan."""
    objective, count = loaded.objective, plan.num_rows
    graphdef, params = nn.split(loaded.model)
    outputs_of = jax.jit(lambda params, batch: objective.predict(nn.merge(graphdef, params), batch))
    examples, outputs = Examples(plan, objective, seed=0), []
    for start in range(0, count, batch_size):
        progress(f"evaluate {name}", start, count, "examples")
        batch = examples(range(start, start + batch_size), stop_row=count)
        outputs.append(jax.device_get(outputs_of(params, batch)))
    progress(f"evaluate {name}", count, count, "examples")
    rows = [plan[r] for r in range(count)]
    return Predicted(rows, joined(outputs, count))


def joined(outputs: list[Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    return {name: np.concatenate([each[name] for each in outputs])[:count] for name in outputs[0]}


def is_labelled(predicted: Predicted) -> bool:
    return all(row.label is not None for row in predicted.rows)
