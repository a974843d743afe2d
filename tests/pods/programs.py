# SPDX-License-Identifier: Apache-2.0
"""The real training step and evaluation of an objective and a model, compiled for a mesh and never run."""

import functools
import math
import re
from typing import NamedTuple

import jax
import numpy as np

from ssl_jax import nn, optim, parallel
from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.state import Blueprint, draw
from ssl_jax.loop.step import make_evaluation, make_step
from ssl_jax.types import Meta

KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast"


class Programs(NamedTuple):
    """Of one objective and model on one mesh, not yet compiled; step(accumulation) and evaluation() give the
    compiled program's text."""

    blueprint: Blueprint
    step: functools.partial
    evaluation: functools.partial


def programs(objective, config, meta: Meta, rows: int, mesh, rules=None) -> Programs:
    """objective, config: unbound; rows: of the global batch."""
    rules, objective = rules or parallel.Rules(), objective.bind(meta)

    def build(rngs):
        trunk = config.bind(meta).build(rngs)
        return nn.Model(trunk, objective.heads(trunk, rngs))

    settings, guards = optim.Optim(peak_lr=1e-3), (NonFinite(),)
    make_tx = functools.partial(optim.build, settings)
    blueprint, tx = draw(build, objective, make_tx, guards, averaged=False, mesh=mesh, rules=rules)
    of_rows = parallel.batch_sharding(mesh, rules)
    row = jax.ShapeDtypeStruct((), np.uint32)
    spec = {**objective.spec(), "row_id": row, "row_hash": row, "valid": jax.ShapeDtypeStruct((), bool)}
    batch = {name: jax.ShapeDtypeStruct((rows, *x.shape), x.dtype) for name, x in spec.items()}
    # Only LLVM's part, which comes after the partitioning, is cut short.
    options = {"compiler_options": parallel.once(mesh)}

    def step(accumulation: int = 1) -> str:
        function = make_step(
            blueprint.graphdef,
            objective,
            tx,
            optim.schedule(settings, 100),
            guards,
            seed=0,
            accumulation=accumulation,
        )
        shardings = blueprint.shardings
        with parallel.use(mesh, rules):
            jitted = jax.jit(
                function,
                donate_argnums=0,
                in_shardings=(shardings, of_rows),
                out_shardings=(shardings, None),
                **options,
            )
            return jitted.lower(blueprint.shapes, batch).compile().as_text()

    def evaluation() -> str:
        function = make_evaluation(blueprint.graphdef, objective)
        shardings = blueprint.shardings.params, blueprint.shardings.extra, of_rows
        with parallel.use(mesh, rules):
            jitted = jax.jit(function, in_shardings=shardings, **options)
            return jitted.lower(blueprint.shapes.params, blueprint.shapes.extra, batch).compile().as_text()

    return Programs(blueprint, step, evaluation)


def size(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


class Sent(NamedTuple):
    """One array of one collective, as each device holds it."""

    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def collectives(text: str) -> list[Sent]:
    """Operands and results of the collectives of an HLO module."""
    found = []
    shape_of = dict(re.findall(r"^\s*(?:ROOT )?(%?[\w.-]+) = (.*?) [\w-]+\(", text, re.MULTILINE))
    for result, kind, operands in re.findall(rf"= (.*?) ({KINDS})(?:-start)?\((.*?)\)", text):
        for typed in (result, *(shape_of.get(name, name) for name in re.findall(r"%[\w.-]+", operands))):
            for dims in re.findall(r"\w+\[([\d,]*)\]", typed):
                found.append(Sent(kind, tuple(int(n) for n in dims.split(",") if n)))
    return found


def arrays(text: str, dtypes: str = r"pred|bf16|[fsu]\d+") -> set[tuple[int, ...]]:
    """The shapes of all arrays of an HLO module, as one device holds them."""
    found = re.findall(rf"\b(?:{dtypes})\[([\d,]+)\]", text)
    return {tuple(int(n) for n in dims.split(",")) for dims in found}
