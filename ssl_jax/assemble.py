# SPDX-License-Identifier: Apache-2.0
"""From an Experiment and a corpus to what runs: open plans, a compiled step, and how it is measured."""

import collections
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ssl_jax import parallel
from ssl_jax.data import Corpus
from ssl_jax.data.pipeline import open_batches
from ssl_jax.experiment import Experiment
from ssl_jax.loop import flops
from ssl_jax.loop.hooks import averages
from ssl_jax.loop.loop import num_steps
from ssl_jax.loop.state import Blueprint, State
from ssl_jax.loop.step import make_evaluation
from ssl_jax.program import Bound, Layout, Program, bind, lay_out, meta_of, program
from ssl_jax.tasks.base import HELDOUT, Predicted
from ssl_jax.tasks.corpus import TaskData
from ssl_jax.types import OpenPlan, UserError

HELDOUT_SEED = 1 << 32  # added to the seed: held-out masks are drawn apart from the training masks


@dataclass(frozen=True)
class Setup:
    """A run, ready to start or to go on."""

    program: Program
    plan: OpenPlan
    heldout: Mapping[str, OpenPlan]  # name -> what is measured; {} where nothing is
    num_steps: int
    step: Callable[[State, Any], tuple[State, dict[str, Any]]]  # the program's, compiled
    evaluate: Callable[[Any, Any, Any], dict[str, Any]]
    coefs: dict[str, float]  # term -> its share in the loss
    flops_per_row: float | None  # forward and backward; None where no MFU will be printed
    compile_seconds: float

    @property
    def bound(self) -> Bound:
        return self.program.bound

    @property
    def layout(self) -> Layout:
        return self.program.layout

    @property
    def blueprint(self) -> Blueprint:
        return self.program.blueprint

    @property
    def tokens_per_row(self) -> float:
        return self.plan.num_tokens / self.plan.num_rows

    def batches(self, start_row: int) -> Iterator[Any]:
        experiment = self.bound.experiment
        return open_batches(
            self.plan,
            self.bound.objective,
            seed=experiment.seed,
            batch_size=self.layout.batch_size,
            start_row=start_row,
            sharding=self.layout.rows,
            num_threads=experiment.loop.data_threads,
        )

    def measure(self, state: State) -> dict[str, float]:
        """`NAME/loss`, `NAME/term` and, with a task, its own metrics, of all that is held out.

        Masks never change from one measurement to the next.
        """
        experiment, measured, predicted = self.bound.experiment, {}, {}
        params = state.ema if experiment.optim.ema is not None else state.params
        for name, plan in self.heldout.items():
            means, outputs = self.evaluate_plan(plan, params, state.extra)
            measured |= {f"{name}/{term}": value for term, value in means.items()}
            if experiment.task is not None:
                rows = [plan[r] for r in range(len(next(iter(outputs.values()))))]
                predicted[name] = Predicted(rows, outputs)
        if experiment.task is not None:
            measured |= experiment.task.score(predicted, self.bound.meta.labels)
        return measured

    def evaluate_plan(self, plan: OpenPlan, params: Any, extra: Any) -> tuple[dict[str, float], Any]:
        """(term -> mean, name -> predictions [rows, ...]) over the rows of a plan that isn't shuffled."""
        experiment = self.bound.experiment
        batches = open_batches(
            plan,
            self.bound.objective,
            seed=experiment.seed + HELDOUT_SEED,
            batch_size=eval_batch(experiment, self.layout),
            stop_row=min(plan.num_rows, experiment.evals.max_rows or plan.num_rows),
            sharding=self.layout.rows,
            num_threads=experiment.loop.data_threads,
        )
        with batches, parallel.use(self.layout.mesh, self.layout.rules):
            outputs = collections.defaultdict(list)

            def results():
                for batch in batches:
                    result = self.evaluate(params, extra, batch.arrays)
                    if experiment.task is not None:
                        count = batch.rows[1] - batch.rows[0]
                        for name, value in gathered(result["predict"]).items():
                            outputs[name].append(value[:count])
                    yield result

            means = averages(results(), self.coefs)
        return means, {name: np.concatenate(values) for name, values in outputs.items()}


def gathered(outputs: Any) -> dict[str, np.ndarray]:
    """A batch's predictions on the host, the rows of all processes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(outputs, tiled=True)
    return jax.device_get(outputs)


def eval_batch(experiment: Experiment, layout: Layout) -> int:
    """Rows of an evaluation batch: what one micro-batch of training holds, unless the recipe says."""
    size = experiment.evals.batch_size or layout.batch_size // layout.accumulation
    shards = layout.rules.parts("batch", layout.mesh)
    return -(-size // shards) * shards


def open_heldout(bound: Bound, corpus: Corpus | TaskData, warn: Callable[[str], None]) -> dict[str, OpenPlan]:
    """The plans of what is held out, the first by the name `heldout`."""
    plan, seed = bound.objective.plan, bound.experiment.seed + HELDOUT_SEED
    if isinstance(corpus, TaskData):
        return {name: plan.open(table, seed, shuffle=False) for name, table in corpus.evaluations.items()}
    if corpus.heldout is None or corpus.heldout.num_documents == 0:
        warn("no document is held out, so nothing will be evaluated (data.heldout sets the share)")
        return {}
    try:
        return {HELDOUT: plan.open(corpus.heldout, seed, shuffle=False)}
    except UserError as error:
        warn(f"the held-out side is too small to evaluate on: {error}")
        return {}


def assemble(
    experiment: Experiment, corpus: Corpus | TaskData, resolved: dict[str, Any], warn: Callable[[str], None]
) -> Setup:
    """Compiles the step.  resolved: what an earlier start of this run fixed; empty for a new one."""
    layout = lay_out(experiment)
    shards = resolved.get("vocab_shards", layout.mesh.shape["tensor"])  # those of the run's birth
    bound = bind(experiment, meta_of(corpus, shards))
    plan = bound.objective.plan.open(corpus.train, experiment.seed)
    total = num_steps(experiment.loop.duration, layout.batch_size, plan.num_rows, plan.num_tokens)
    made = program(bound, layout, total)
    begin = time.perf_counter()
    compiled = made.lower().compile()
    seconds = time.perf_counter() - begin
    known = flops.peak(jax.devices()[0]) is not None
    return Setup(
        program=made,
        plan=plan,
        heldout=open_heldout(bound, corpus, warn),
        num_steps=total,
        step=compiled,
        evaluate=jax.jit(make_evaluation(made.blueprint.graphdef, bound.objective)),
        coefs=made.coefs(),
        flops_per_row=made.flops_per_row() if known else None,
        compile_seconds=seconds,
    )
