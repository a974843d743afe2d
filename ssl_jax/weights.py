# SPDX-License-Identifier: Apache-2.0
"""Weights of another run: to start from (--from), to branch off (--branch), to use."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import SingleDeviceSharding

from ssl_jax import config, nn, text
from ssl_jax.assemble import Bound, Setup, bind
from ssl_jax.loop.checkpoint import read_leaves, saved_steps
from ssl_jax.loop.state import State, flat, unflat
from ssl_jax.types import Axes, UserError
from ssl_jax.workdir import Workdir, changed, split_step


@dataclass(frozen=True)
class Source:
    """A checkpoint of a workdir, named but not yet read."""

    place: Workdir
    step: int

    def __str__(self) -> str:
        return f"{self.place.path}@{self.step}"

    def leaves(self, wanted: Any, shardings: Mapping[str, Any], default: Any) -> tuple[dict[str, Any], dict]:
        return read_leaves(self.place.checkpoints, self.step, wanted, shardings, default)


def find(model: str) -> Source:
    """MODEL as a checkpoint.  Raises UserError that says what is there instead."""
    path, step = split_step(model)
    place = Workdir(path)
    if not path.is_dir():
        raise UserError(f"there is no MODEL {path}; name a workdir, or WORKDIR@STEP")
    if not place.exists():
        raise UserError(f"{path} is no workdir: it has no config.json")
    steps = saved_steps(place.checkpoints)
    if not steps:
        raise UserError(f"{path} has no checkpoint yet")
    if step is not None and step not in steps:
        raise UserError(f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    return Source(place, step if step is not None else steps[-1])


def best_params(source: Source, shardings: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Path -> parameter: the averaged ones where the run kept an average."""
    averaged = source.place.experiment().optim.ema is not None
    prefix = "ema." if averaged else "params."
    moved = {prefix + name.removeprefix("params."): s for name, s in shardings.items()}
    leaves, _ = source.leaves(lambda name: name.startswith(prefix), moved, default)
    return {"params." + name.removeprefix(prefix): leaf for name, leaf in leaves.items()}


# ------------------------------------------------------------------------------------------- --from


def adopt(init: str, state: State, setup: Setup, console: Any) -> State:
    """state with the weights of a MODEL; optimizer, step and data position stay as born.

    The whole trunk must be there in the same shapes; a head that the MODEL lacks keeps its fresh weights.
    """
    source = find(init)
    theirs = text.load(source.place.tokenizer)
    if theirs.fingerprint != setup.bound.meta.tokenizer.fingerprint:
        raise UserError(
            f"{source} has another tokenizer than this recipe's corpus: its weights would mean nothing here"
        )
    shapes = flat_params(setup.blueprint.shapes.params)
    shardings = flat_params(setup.blueprint.shardings.params)
    axes = flat_params(setup.blueprint.axes)
    vocab_size = setup.bound.meta.vocab_size
    found = {
        name: refit(leaf, shapes[name], axes[name], vocab_size)
        for name, leaf in best_params(source, shardings, setup.layout.replicated).items()
        if name in shapes
    }
    wrong = []
    for name, shape in shapes.items():
        there = found[name].shape if name in found else None
        if there != shape.shape and (name in found or name.startswith("params.trunk.")):
            wrong.append(f"{name.removeprefix('params.')} is {there or 'missing'}, here {shape.shape}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{source} doesn't fit this model: {'; '.join(wrong[:5])}{more}")
    fresh = sorted({name.split(".")[2] for name in shapes if name not in found})
    console.print(f"weights from {source}" + (f"; fresh heads: {', '.join(fresh)}" if fresh else ""))
    mine = flat(state)
    for name, leaf in found.items():
        mine[name] = jax.device_put(leaf.astype(mine[name].dtype), shardings[name])
    new = unflat(mine, state)
    if setup.bound.experiment.optim.ema is not None:
        new = dataclasses.replace(new, ema=jax.tree.map(jnp.copy, new.params))
    return new


def flat_params(tree: Any) -> dict[str, Any]:
    """A tree of parameters (or of anything a parameter) by the names that a checkpoint uses."""
    return flat({"params": tree})


def refit(leaf: Any, shape: Any, axes: Axes, vocab_size: int) -> Any:
    """leaf with its vocabulary padded as here: entries past the true size are zeros anyway."""
    for axis, name in enumerate(axes.names):
        if name == "vocab" and leaf.shape[axis] != shape.shape[axis] and leaf.shape[axis] >= vocab_size:
            true = jax.lax.slice_in_dim(leaf, 0, vocab_size, axis=axis)
            widths = [(0, shape.shape[axis] - vocab_size if i == axis else 0) for i in range(leaf.ndim)]
            leaf = jnp.pad(true, widths)
    return leaf


# ----------------------------------------------------------------------------------------- --branch


@dataclass(frozen=True)
class BranchPoint:
    state: State
    step: int
    meta: dict[str, Any]


def branch_point(branch: str, setup: Setup, console: Any) -> BranchPoint:
    """The whole state of WORKDIR@STEP, optimizer and data position included, for another recipe's run."""
    source = find(branch)
    differences = config.diff(source.place.experiment(), setup.bound.experiment)
    if refused := [c for c in differences if c.kind == "identity"]:
        raise UserError(
            f"{source} can't be branched off by another recipe: {changed(refused)}; "
            "take the weights alone with --from"
        )
    shapes, shardings = flat(setup.blueprint.shapes), flat(setup.blueprint.shardings)
    leaves, meta = source.leaves(lambda name: name in shapes, shardings, setup.layout.replicated)
    wrong = [name for name, x in shapes.items() if name not in leaves or leaves[name].shape != x.shape]
    if wrong:
        raise UserError(
            f"{source} can't be branched off by this recipe: {wrong[0]} differs or is missing (a branch "
            "keeps model and optimizer; take the weights alone with --from)"
        )
    if meta["plan"] != setup.plan.fingerprint:
        raise UserError(f"{source} was trained on other data, so its position means nothing here; use --from")
    if source.step >= setup.num_steps:
        raise UserError(
            f"{source} is already at step {source.step} of {setup.num_steps}; raise loop.duration"
        )
    console.print(f"branching off {source}, data from row {meta['next_row']}")
    return BranchPoint(unflat(leaves, setup.blueprint.shapes), source.step, meta)


# -------------------------------------------------------------------------------------------- to use


@dataclass(frozen=True)
class Loaded:
    """A model ready for use on one device."""

    bound: Bound
    model: nn.Model
    step: int

    @property
    def tokenizer(self) -> Any:
        return self.bound.meta.tokenizer


def load(model: str) -> Loaded:
    """MODEL: a workdir (its newest checkpoint) or WORKDIR@STEP."""
    source = find(model)
    tokenizer = text.load(source.place.tokenizer)
    bound = bind(source.place.experiment(), tokenizer, source.place.resolved().get("vocab_shards", 1))
    static: dict[str, Any] = {}

    def params_of(key):
        static["graphdef"], params = nn.split(bound.build(nnx.Rngs(key)))
        return params

    shapes = jax.eval_shape(params_of, jax.random.key(0))
    found = best_params(source, {}, SingleDeviceSharding(jax.local_devices()[0]))
    names = list(flat_params(shapes))
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{source} lacks {missing[0]}: it was written by another version of ssl_jax")
    params = jax.tree.unflatten(jax.tree.structure(shapes), [found[name] for name in names])
    return Loaded(bound, nn.merge(static["graphdef"], params), source.step)
