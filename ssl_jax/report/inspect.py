# SPDX-License-Identifier: Apache-2.0
"""Exactly what the model sees and must predict: a batch of a recipe or of a run's step, or a typed text."""

import dataclasses
from pathlib import Path
from typing import Any

from ssl_jax import data, program, text
from ssl_jax.data.pipeline import Examples
from ssl_jax.experiment import Experiment
from ssl_jax.loop.trackers import read_lines
from ssl_jax.tasks.corpus import TaskData, open_task
from ssl_jax.types import Meta, UserError
from ssl_jax.workdir import Workdir

SHOWN = 4  # rows of a batch


def inspect(
    target: Experiment | Path, *, batch: int | None, step: int | None, typed: str | None, console: Any
) -> None:
    """target: a recipe's experiment, or a workdir.  One of batch (from 0), step (from 1) and typed."""
    place = None if isinstance(target, Experiment) else Workdir(target)
    experiment = target if place is None else place.experiment()
    if typed is not None:
        labels = tuple(place.resolved().get("labels", ())) if place else ()
        tokenizer_dir = place.tokenizer if place else tokenizer_of(experiment, console)
        console.print(show_text(experiment, text.load(tokenizer_dir), typed, labels))
        return
    corpus = corpus_of(experiment, console)
    bound = program.bind(experiment, program.meta_of(corpus, 1))
    plan = bound.objective.plan.open(corpus.train, experiment.seed)
    size = experiment.loop.batch_size
    first = batch * size if step is None else (step - 1) * size
    last = place.resolved().get("num_steps") if place else None
    if step is not None and last is not None and step > last:
        raise UserError(f"{place.path} is a run of {last} steps; there is no step {step}")
    logged = None
    if place is not None and step is not None:
        logged = next(
            (line for line in read_lines(place.metrics) if line["step"] == step and "rows" in line), None
        )
        first, size = (logged["rows"][0], logged["rows"][1] - logged["rows"][0]) if logged else (first, size)
        if plan.fingerprint != place.resolved().get("plan"):
            raise UserError(
                f"the corpus is not the one that {place.path} was trained on; its batches can't be rebuilt"
            )
    examples = Examples(plan, bound.objective, experiment.seed)(range(first, first + size))
    console.print(plan.report())
    for i in range(min(SHOWN, size)):
        row = {name: examples[name][i] for name in bound.objective.spec()}
        console.print(f"\nrow {first + i}\n{bound.objective.show(row)}")
    sum_of_hashes = int(examples["row_hash"].sum(dtype="uint32"))
    console.print(f"\nrows {first} to {first + size - 1}, {min(SHOWN, size)} shown; hash {sum_of_hashes}")
    if logged is not None:
        same = logged["hash"] == sum_of_hashes
        console.print("the hash is the one in metrics.jsonl" if same else "")
        if not same:
            raise UserError(
                f"metrics.jsonl says hash {logged['hash']} for step {step}: this is not the batch that it saw"
            )
    elif step is not None:
        console.print(f"step {step} was not logged, so its hash can't be compared")


def corpus_of(experiment: Experiment, console: Any) -> data.Corpus | TaskData:
    if experiment.task is not None:
        return open_task(experiment.task, experiment.text, console.progress)
    return data.prepare(experiment.data, experiment.text, console.progress)


def tokenizer_of(experiment: Experiment, console: Any) -> Path:
    if experiment.task is not None:
        return corpus_of(experiment, console).tokenizer_dir
    return data.train_tokenizer(experiment.data, experiment.text, console.progress)


def show_text(experiment: Experiment, tokenizer: Any, typed: str, labels: tuple[str, ...]) -> str:
    """A typed text as a row of its own; where it has masks already, the ids that the model reads."""
    if tokenizer.specials.mask is not None and tokenizer.specials.mask in tokenizer.encode_with_masks(typed):
        ids = tokenizer.encode_with_masks(typed).tolist()
        return f"pieces: {' '.join(tokenizer.pieces(ids))}\nids:    {' '.join(map(str, ids))}"
    objective = dataclasses.replace(experiment.objective, meta=Meta(tokenizer=tokenizer, labels=labels))
    encoded = text.Encoder(tokenizer, experiment.text).encode_documents([typed])[0]
    row = objective.plan.typed(encoded)
    example = Examples({row.id: row}, objective, experiment.seed)([row.id])
    return objective.show({name: example[name][0] for name in objective.spec()})
