# SPDX-License-Identifier: Apache-2.0
"""A fine-tuned MODEL on a split of its task: its metrics as a table, its predictions as files."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.tasks.base import CONSTANT, Predicted, Task
from ssl_jax.tasks.corpus import check_labels, read, tokenized
from ssl_jax.types import OpenPlan, Progress, UserError
from ssl_jax.use.predict import Outputs
from ssl_jax.weights import Loaded


@dataclass(frozen=True)
class Evaluated:
    """scores: `NAME/metric`, {} where the labels aren't known.  files: the predictions that were written."""

    scores: Mapping[str, float]
    files: Sequence[Path]


def evaluate_task(
    loaded: Loaded, task: Task, split: str, *, out: Path | None, batch_size: int, progress: Progress
) -> Evaluated:
    """Judges what the MODEL says of a split, and with `out` writes it in that folder.

    Raises UserError where there would be nothing to do.
    """
    task, labels = task.tuned(loaded.source.measured), loaded.network.labels
    predicted, known, parts = {}, set(), task.splits(split)
    outputs = Outputs(loaded.model, loaded.objective)  # one: it compiles once for all parts
    for name, part in parts.items():
        records = read(task, part, progress)
        check_labels(records, labels)
        table = tokenized(records, loaded.tokenizer, loaded.network.text, part, progress)
        plan = loaded.objective.plan.open(table, seed=0, shuffle=False)
        predicted[name] = predict(outputs, loaded, plan, batch_size, part, progress)
        if all(record.label is not None for record in records):
            known.add(name)
    if not known and out is None:
        raise UserError(f"{split} has no labels to measure with; --out DIR writes the predictions")
    scores = task.score({name: predicted[name] for name in parts if name in known}, labels) if known else {}
    files: list[Path] = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        files = [
            file for name, part in parts.items() for file in task.write(part, predicted[name], labels, out)
        ]
    return Evaluated(scores, tuple(dict.fromkeys(files)))


def show(evaluated: Evaluated, title: str, console: Any) -> None:
    rows = [[name, value] for name, value in evaluated.scores.items() if not name.endswith(f"/{CONSTANT}")]
    if rows:
        console.table(title, rows)
    for file in evaluated.files:
        console.print(f"written: {file}")


def predict(
    outputs: Outputs, loaded: Loaded, plan: OpenPlan, batch_size: int, name: str, progress: Progress
) -> Predicted:
    """What the model says of every row of a plan."""
    told = functools.partial(progress, f"evaluate {name}", total=plan.num_rows, unit="examples")
    return Predicted(*outputs.of(plan, loaded.objective, batch_size, told))
