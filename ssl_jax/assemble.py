# SPDX-License-Identifier: Apache-2.0
"""From an Experiment and a corpus to what runs: bound objects, open plans, a mesh, a compiled step."""

import collections
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax import nn, optim, parallel
from ssl_jax.data import Corpus
from ssl_jax.data.pipeline import open_batches
from ssl_jax.experiment import Experiment
from ssl_jax.loop import flops
from ssl_jax.loop.hooks import averages
from ssl_jax.loop.loop import MicroBatch, num_steps
from ssl_jax.loop.state import Blueprint, State, draw
from ssl_jax.loop.step import make_evaluation, make_step
from ssl_jax.tasks.base import HELDOUT, Predicted
from ssl_jax.tasks.corpus import TaskData
from ssl_jax.types import Meta, OpenPlan, UserError

HELDOUT_SEED = 1 << 32  # added to the seed: held-out masks are drawn apart from the training masks


@dataclass(frozen=True)
class Bound:
    """An experiment whose model and objective know the tokenizer."""

    experiment: Experiment
    meta: Meta

    @property
    def objective(self) -> Any:
        return self.experiment.objective

    def build(self, rngs: Any) -> nn.Model:
        trunk = self.experiment.model.build(rngs)
        return nn.Model(trunk, self.objective.heads(trunk, rngs))


def meta_of(corpus: Corpus | TaskData, vocab_shards: int) -> Meta:
    """What binds an experiment to the corpus of its run."""
    return Meta(
        tokenizer=corpus.tokenizer, vocab_shards=vocab_shards, labels=corpus.labels, texts=corpus.texts
    )


def bind(experiment: Experiment, meta: Meta) -> Bound:
    bound = dataclasses.replace(
        experiment, model=experiment.model.bind(meta), objective=experiment.objective.bind(meta)
    )
    length, room = bound.objective.plan.length, bound.model.max_positions
    if length > room:
        raise UserError(
            f"objective.plan.length is {length}, but the model has {room} positions; "
            f"--set objective.plan.length={room} or --set model.max_positions={length}"
        )
    return Bound(bound, meta)


@dataclass(frozen=True)
class Layout:
    """How the global batch lies on the mesh."""

    mesh: Mesh
    rules: parallel.Rules
    rows: NamedSharding  # of the batch axis
    batch_size: int
    accumulation: int

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())


def lay_out(experiment: Experiment, devices: Sequence[Any] | None = None) -> Layout:
    """The batch on these devices (default: those of all processes).

    Raises UserError where the batch or its rows don't divide.
    """
    mesh, rules = experiment.mesh.make(devices), experiment.mesh.rules
    rows = parallel.batch_sharding(mesh, rules)
    shards = rules.parts("batch", mesh)
    batch, micro = experiment.loop.batch_size, experiment.loop.micro_batch
    if batch < 1 or batch % shards:
        raise UserError(
            f"loop.batch_size={batch} doesn't divide over the {shards} shards of the batch "
            f"(mesh data x fsdp); try --set loop.batch_size={max(1, round(batch / shards)) * shards}"
        )
    if micro is MicroBatch.AUTO:
        micro = None  # until it is known what fits
    if micro is not None and (micro < 1 or (batch // shards) % micro):
        raise UserError(
            f"loop.micro_batch={micro} doesn't divide the {batch // shards} rows that each of the "
            f"{shards} shards has of loop.batch_size={batch}"
        )
    length = experiment.objective.plan.length
    parts = math.lcm(*(rules.parts(name, mesh) for name in ("length", "norm_length")))
    if length % parts:
        raise UserError(
            f"objective.plan.length={length} doesn't divide over the {parts} devices that share a row "
            f"(mesh.context, mesh.rules); try --set objective.plan.length={-(-length // parts) * parts}"
        )
    accumulation = 1 if micro is None else batch // shards // micro
    return Layout(mesh, rules, rows, batch, accumulation)


def batch_shapes(objective: Any, layout: Layout, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A whole batch's shapes, the pipeline's own fields included."""
    spec = {
        **objective.spec(),
        "row_id": jax.ShapeDtypeStruct((), "uint32"),
        "row_hash": jax.ShapeDtypeStruct((), "uint32"),
        "valid": jax.ShapeDtypeStruct((), "bool"),
    }
    return {
        name: jax.ShapeDtypeStruct((size, *x.shape), x.dtype, sharding=layout.rows)
        for name, x in spec.items()
    }


@dataclass(frozen=True)
class Program:
    """The training step on a mesh, before there is data: what a run compiles, and what `plan` looks at."""

    bound: Bound
    layout: Layout
    blueprint: Blueprint
    step: Callable[[State, Any], tuple[State, dict[str, Any]]]
    batch: dict[str, jax.ShapeDtypeStruct]  # the whole global batch

    def lower(self) -> jax.stages.Lowered:
        blueprint, layout = self.blueprint, self.layout
        jitted = jax.jit(
            self.step,
            donate_argnums=0,
            in_shardings=(blueprint.shardings, layout.rows),
            out_shardings=(blueprint.shardings, layout.replicated),
        )
        with parallel.use(layout.mesh, layout.rules):
            return jitted.lower(blueprint.shapes, self.batch)

    def coefs(self) -> dict[str, float]:
        """Term -> its share in the loss."""
        return {name: mean.coef for name, mean in self._of_terms(jax.eval_shape).items()}

    def flops_per_row(self) -> float:
        """FLOPs of forward and backward by our formula."""
        return self._of_terms(flops.train_flops) / self.layout.batch_size

    def _of_terms(self, what: Callable[..., Any]) -> Any:
        """what(the loss's terms, the shapes of its arguments)."""
        shapes, graphdef = self.blueprint.shapes, self.blueprint.graphdef

        def terms(params, extra, batch):
            return self.bound.objective.loss(nn.merge(graphdef, params), extra, batch, None)

        with parallel.use(self.layout.mesh, self.layout.rules):
            return what(terms, shapes.params, shapes.extra, self.batch)


def program(bound: Bound, layout: Layout, num_steps: int) -> Program:
    """The step of a bound experiment; num_steps: the length of its schedule."""
    experiment = bound.experiment
    blueprint, tx = draw(
        bound.build,
        bound.objective,
        functools.partial(optim.build, experiment.optim),
        experiment.loop.guards,
        averaged=experiment.optim.ema is not None,
        mesh=layout.mesh,
        rules=layout.rules,
    )
    step = make_step(
        blueprint.graphdef,
        bound.objective,
        tx,
        optim.schedule(experiment.optim, num_steps),
        experiment.loop.guards,
        seed=experiment.seed,
        accumulation=layout.accumulation,
        ema=experiment.optim.ema,
    )
    return Program(bound, layout, blueprint, step, batch_shapes(bound.objective, layout, layout.batch_size))


@dataclass(frozen=True)
class Setup:
    """A run, ready to start or to go on."""

    bound: Bound
    layout: Layout
    plan: OpenPlan
    heldout: Mapping[str, OpenPlan]  # name -> what is measured; {} where nothing is
    num_steps: int
    blueprint: Blueprint
    step: Callable[[State, Any], tuple[State, dict[str, Any]]]
    evaluate: Callable[[Any, Any, Any], dict[str, Any]]
    program: Program  # which step is the compiled form of
    coefs: dict[str, float]  # term -> its share in the loss
    flops_per_row: float | None  # forward and backward; None where no MFU will be printed
    compile_seconds: float

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


def vocab_shards(resolved: dict[str, Any], layout: Layout) -> int:
    """Of the run's birth; resolved: what an earlier start fixed."""
    return resolved.get("vocab_shards", layout.mesh.shape["tensor"])


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
    shards = vocab_shards(resolved, layout)
    bound = bind(experiment, meta_of(corpus, shards))
    plan = bound.objective.plan.open(corpus.train, experiment.seed)
    total = num_steps(experiment.loop.duration, layout.batch_size, plan.num_rows, plan.num_tokens)
    made = program(bound, layout, total)
    begin = time.perf_counter()
    compiled = made.lower().compile()
    seconds = time.perf_counter() - begin
    known = flops.peak(jax.devices()[0]) is not None
    return Setup(
        bound=bound,
        layout=layout,
        plan=plan,
        heldout=open_heldout(bound, corpus, warn),
        num_steps=total,
        blueprint=made.blueprint,
        step=compiled,
        program=made,
        evaluate=jax.jit(make_evaluation(made.blueprint.graphdef, bound.objective)),
        coefs=made.coefs(),
        flops_per_row=made.flops_per_row() if known else None,
        compile_seconds=seconds,
    )
