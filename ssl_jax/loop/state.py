# SPDX-License-Identifier: Apache-2.0
"""The training state: one dataclass of pytrees, sharded at birth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax import nn, optim, parallel
from ssl_jax.loop.guards import Guard
from ssl_jax.types import Objective


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Everything a step changes.  The learning rate and all randomness follow from step and the seed."""

    step: Any  # int32 [], updates tried so far, skipped ones included
    params: Any  # nested dict of float32 arrays
    opt: Any
    extra: Any  # the objective's own state
    guards: Any  # one entry a guard
    ema: Any  # () or averaged parameters


@dataclass(frozen=True)
class Blueprint:
    """What is known of a state before it exists: enough to compile, plan, restore and save."""

    graphdef: Any
    axes: Any  # types.Axes a parameter
    shapes: State  # of jax.ShapeDtypeStruct
    shardings: State
    make: Callable[[Any], State]  # key -> State, pure


def draw(
    build: Callable[[nnx.Rngs], Any],
    objective: Objective,
    make_tx: Callable[[Any], Any],
    guards: tuple[Guard, ...],
    *,
    averaged: bool,
    mesh: Mesh,
    rules: parallel.Rules,
) -> tuple[Blueprint, Any]:
    """The blueprint of a run's state, and its optimizer (which needs the axes of the parameters)."""
    with parallel.use(mesh, rules):
        graphdef, axes, shapes = nn.abstract(build)
        tx = make_tx(axes)

        def make(key):
            _, params = nn.split(build(nnx.Rngs(key)))
            return State(
                step=jnp.zeros((), jnp.int32),
                params=params,
                opt=tx.init(params),
                extra=objective.init_extra(nn.merge(graphdef, params)),
                guards=tuple(guard.init() for guard in guards),
                ema=jax.tree.map(jnp.copy, params) if averaged else (),
            )

        whole = jax.eval_shape(make, jax.eval_shape(lambda: jax.random.key(0)))
    of_params = parallel.shardings(axes, shapes, mesh, rules)
    replicated = NamedSharding(mesh, PartitionSpec())
    everywhere = lambda tree: jax.tree.map(lambda _: replicated, tree)
    shardings = State(
        step=replicated,
        params=of_params,
        opt=optim.state_shardings(tx, shapes, of_params),
        extra=everywhere(whole.extra),
        guards=everywhere(whole.guards),
        ema=of_params if averaged else (),
    )
    return Blueprint(graphdef, axes, whole, shardings, make), tx


def born(blueprint: Blueprint, seed: int, mesh: Mesh, rules: parallel.Rules) -> State:
    """A fresh state.  No leaf ever exists unsharded."""
    with parallel.use(mesh, rules):
        key = jax.random.key(seed)
        make = jax.jit(
            blueprint.make, out_shardings=blueprint.shardings, compiler_options=parallel.once(mesh)
        )
        return make(key)


def flat(tree: Any) -> dict[str, Any]:
    """A tree, such as a State, as path -> leaf: the names that a checkpoint uses."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def unflat(leaves: dict[str, Any], like: State) -> State:
    """The inverse of flat; raises KeyError where a leaf is missing."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in flat(like)])
