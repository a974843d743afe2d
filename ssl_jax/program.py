# SPDX-License-Identifier: Apache-2.0
"""From an Experiment to the training step that a run compiles, with no data yet: objects, mesh, shapes."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax import nn, optim, parallel
from ssl_jax.data import Corpus
from ssl_jax.experiment import Experiment
from ssl_jax.loop import flops
from ssl_jax.loop.loop import MicroBatch
from ssl_jax.loop.state import Blueprint, State, draw
from ssl_jax.loop.step import make_step
from ssl_jax.tasks.corpus import TaskData
from ssl_jax.types import Meta, UserError


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
    def axes(self) -> str:
        """The axes that have more than one device, for people."""
        sizes = [f"{name} {size}" for name, size in self.mesh.shape.items() if size > 1]
        return " x ".join(sizes) or "one device"

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

    def flops_per_row(self, branch: Callable[..., int] = max) -> float:
        """FLOPs of forward and backward by our formula; branch as in flops.of_jaxpr."""
        count = functools.partial(flops.train_flops, branch=branch)
        return self._of_terms(count) / self.layout.batch_size

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
