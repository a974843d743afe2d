# SPDX-License-Identifier: Apache-2.0
"""The real training step and evaluation of an objective and a model, compiled for a mesh and never run."""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import jax

from ssl_jax import parallel
from ssl_jax.experiment import Experiment
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.loop.state import Blueprint
from ssl_jax.loop.step import make_evaluation
from ssl_jax.optim import Optim
from ssl_jax.program import Layout, Program, bind, program
from ssl_jax.types import Meta

KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast"


class Programs(NamedTuple):
    """Of one objective and model on one mesh, not yet compiled; step(accumulation) and evaluation() give the
    compiled program's text."""

    blueprint: Blueprint
    step: Callable[..., str]
    evaluation: Callable[[], str]


def programs(objective, config, meta: Meta, rows: int, mesh, rules=None) -> Programs:
    """objective, config: unbound; rows: of the global batch."""
    rules = rules or parallel.Rules()
    loop = Loop(duration=Steps(100), batch_size=rows)
    bound = bind(Experiment(model=config, objective=objective, optim=Optim(peak_lr=1e-3), loop=loop), meta)
    # Only LLVM's part, which comes after the partitioning, is cut short.
    options = parallel.once(mesh)

    def made(accumulation: int = 1) -> Program:
        layout = Layout(mesh, rules, parallel.batch_sharding(mesh, rules), rows, accumulation)
        return program(bound, layout, num_steps=100)

    def step(accumulation: int = 1) -> str:
        return made(accumulation).lower().compile(options).as_text()

    def evaluation() -> str:
        function = make_evaluation(blueprint.graphdef, bound.objective)
        shapes, shardings = blueprint.shapes, blueprint.shardings
        with parallel.use(mesh, rules):
            jitted = jax.jit(function, in_shardings=(shardings.params, shardings.extra, whole.layout.rows))
            return jitted.lower(shapes.params, shapes.extra, whole.batch).compile(options).as_text()

    whole = made()
    blueprint = whole.blueprint
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
