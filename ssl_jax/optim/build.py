# SPDX-License-Identifier: Apache-2.0
"""From a recipe's `optim` section to a transformation of gradients, its state's shardings and its report."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from ssl_jax.optim.algorithms import AdamW, Algorithm, Rule
from ssl_jax.optim.leaves import Decay, Leaf, check_patterns, leaves_of
from ssl_jax.optim.schedules import Linear, Schedule
from ssl_jax.types import UserError

_BRANCH = {"branch": True}  # changes no state, so a branch of a run may change it


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How parameters move: p <- p - lr(step) * u.

    peak_lr: the rate where the schedule's factor is 1.  weight_decay: decoupled and multiplied by the rate,
    as in `optax.adamw` and torch's AdamW.  clip_norm: gradients whose global norm is above it are scaled down
    to it; None never clips.  ema: decay of an average of the parameters (0.999, say), kept beside them.
    layer_decay: the rate of the trunk's layer l = 0 .. L - 1 is multiplied by layer_decay^(L - l), that of
    its embeddings by layer_decay^(L + 1), that of heads not at all (ELECTRA, Clark et al. 2020, appendix B).
    frozen: patterns (fnmatch) of parameters that never move, as in "trunk.*".
    """

    algorithm: Algorithm = field(default_factory=AdamW)
    peak_lr: float = field(metadata=_BRANCH)
    schedule: Schedule = field(default_factory=lambda: Linear(warmup=0.01), metadata=_BRANCH)
    weight_decay: float = field(default=0.01, metadata=_BRANCH)
    decay: Decay = field(default_factory=Decay, metadata=_BRANCH)
    clip_norm: float | None = field(default=1.0, metadata=_BRANCH)
    ema: float | None = None
    layer_decay: float = field(default=1.0, metadata=_BRANCH)
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.peak_lr) and self.peak_lr >= 0):
            raise UserError(f"optim.peak_lr={self.peak_lr} must be a number >= 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UserError(f"optim.weight_decay={self.weight_decay} must be a number >= 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(f"optim.clip_norm={self.clip_norm} must be above 0, or None for no clipping")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise UserError(f"optim.ema={self.ema} must be in [0, 1), or None for no averaging")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"optim.layer_decay={self.layer_decay} must be above 0 and at most 1")


class OptimState(NamedTuple):
    """count: int32 [], updates applied; leaves: the tree of parameters with a dict of arrays for each.

    An average that is an array like its parameter has the parameter's shape, layers axis included.
    """

    count: Any
    leaves: Any


def schedule(cfg: Optim, num_steps: int) -> Callable[[Any], Any]:
    """step (int, any shape) -> learning rate (float32, the same shape) of a run of num_steps.

    Valid under jit.  Raises UserError where the schedule doesn't fit into num_steps.
    """
    known = cfg.schedule.resolve(num_steps)
    return lambda step: cfg.peak_lr * known.factor(step, num_steps)


def build(cfg: Optim, axes: Any) -> optax.GradientTransformation:
    """The transformation of gradients, without a learning rate: new = params - lr * u.

    axes: types.Axes a parameter.  update(grads, state, params) clips by the global norm first (over all
    parameters), then applies cfg.algorithm a layer, with decoupled decay of decayed parameters in u.  init
    and update are pure and valid under jit; gradients that are not finite give updates that are not, for the
    caller to skip.  Raises UserError for an algorithm that can't be used.
    """
    leaves, treedef = leaves_of(axes, cfg.decay)
    check_patterns("optim.frozen", cfg.frozen, leaves)
    rules = [_per_layer(_rule(cfg, leaf), leaf.depth) for leaf in leaves]

    def init(params):
        states = [rule.init(p) for rule, p in zip(rules, treedef.flatten_up_to(params), strict=True)]
        return OptimState(jnp.zeros((), jnp.int32), treedef.unflatten(states))

    def update(grads, state, params):
        count = state.count + 1
        t = count.astype(jnp.float32)
        # A frozen gradient is none: it neither moves anything nor counts in the norm.
        moving = [
            jnp.zeros_like(g) if leaf.matches(cfg.frozen) else g
            for leaf, g in zip(leaves, treedef.flatten_up_to(grads), strict=True)
        ]
        grads = _clipped(moving, cfg.clip_norm)
        states, params = treedef.flatten_up_to(state.leaves), treedef.flatten_up_to(params)
        done = [r.update(g, s, p, t) for r, g, s, p in zip(rules, grads, states, params, strict=True)]
        new = OptimState(count, treedef.unflatten([s for _, s in done]))
        return treedef.unflatten(_slowed(cfg.layer_decay, leaves, [u for u, _ in done])), new

    return optax.GradientTransformation(init, update)


def _rule(cfg: Optim, leaf: Leaf) -> Rule:
    if leaf.matches(cfg.frozen):
        return Rule("frozen", lambda p: {}, lambda g, state, p, t: (jnp.zeros_like(g), state))
    return cfg.algorithm.rule(leaf, cfg.weight_decay if leaf.decayed else 0.0)


def _per_layer(rule: Rule, depth: int) -> Rule:
    """The rule for a parameter stacked along `depth` leading axes of layers."""
    for _ in range(depth):
        rule = Rule(rule.label, jax.vmap(rule.init), jax.vmap(rule.update, in_axes=(0, 0, 0, None)))
    return rule


def _slowed(layer_decay: float, leaves: list[Leaf], updates: list[Any]) -> list[Any]:
    """Each update times its depth's share of the rate (see Optim)."""
    if layer_decay == 1.0:
        return updates
    num_layers = max(u.shape[0] for leaf, u in zip(leaves, updates, strict=True) if leaf.depth)
    from_top = num_layers - jnp.arange(num_layers, dtype=jnp.float32)  # L .. 1

    def share(leaf: Leaf, u: Any) -> Any:
        if leaf.depth:
            return (layer_decay**from_top).reshape(-1, *[1] * (u.ndim - 1))
        # What stands in the stack beside its layers (the last norm) comes after them.
        return layer_decay ** (num_layers + 1) if leaf.keys[0] == "trunk" and leaf.keys[1] != "stack" else 1.0

    return [u * share(leaf, u) for leaf, u in zip(leaves, updates, strict=True)]


def _clipped(grads: Any, clip_norm: float | None) -> Any:
    grads = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
    if clip_norm is None:
        return grads
    scale = jnp.minimum(1.0, clip_norm / optax.tree.norm(grads))  # norm 0: inf, so 1
    return jax.tree.map(lambda g: scale * g, grads)


def ema_update(ema: Any, params: Any, decay: float, step: Any) -> Any:
    """The average of parameters after one more update; pure.

    d = min(decay, (1 + step) / (10 + step)), step counting from 0, so that the start is soon forgotten.
    """
    t = jnp.asarray(step, jnp.float32)
    d = jnp.minimum(decay, (1.0 + t) / (10.0 + t))
    return jax.tree.map(lambda e, p: e + (1.0 - d) * (p - e), ema, params)


# ----------------------------------------------------------------------------------------- shardings


def state_shardings(tx: optax.GradientTransformation, shapes: Any, shardings: Any) -> Any:
    """NamedShardings of the state of build's `tx`, from the parameters' shapes and NamedShardings.

    An array like its parameter is sharded exactly as the parameter; one that keeps some of its dimensions
    (factored moments) as these dimensions are; the rest is replicated.
    """
    treedef = jax.tree.structure(shapes)
    state = jax.eval_shape(tx.init, shapes)
    whole = [
        {name: _sharding(name, array.shape, p.shape, sharding) for name, array in arrays.items()}
        for arrays, p, sharding in zip(
            treedef.flatten_up_to(state.leaves),
            jax.tree.leaves(shapes),
            treedef.flatten_up_to(shardings),
            strict=True,
        )
    ]
    mesh = jax.tree.leaves(shardings)[0].mesh
    return OptimState(NamedSharding(mesh, PartitionSpec()), treedef.unflatten(whole))


def _sharding(
    name: str, shape: tuple[int, ...], of: tuple[int, ...], sharding: NamedSharding
) -> NamedSharding:
    if shape == of:
        return sharding
    spec = tuple(sharding.spec) + (None,) * (len(of) - len(sharding.spec))
    kept = [c for c in itertools.combinations(range(len(of)), len(shape)) if tuple(of[i] for i in c) == shape]
    if not kept:
        return NamedSharding(sharding.mesh, PartitionSpec())
    # Equal sizes leave a choice: optax drops the last of them from v_row and the first from v_col.
    chosen = kept[-1] if "v_col" in name else kept[0]
    return NamedSharding(sharding.mesh, PartitionSpec(*(spec[i] for i in chosen)))


# -------------------------------------------------------------------------------------------- report


def decay_mask(cfg: Optim, axes: Any) -> Any:
    """The tree of parameters with True where weight decay acts."""
    leaves, treedef = leaves_of(axes, cfg.decay)
    return treedef.unflatten([leaf.decayed for leaf in leaves])


def report(cfg: Optim, axes: Any, shapes: Any) -> str:
    """A table for people: what each parameter is, whether it decays, and by which rule it moves.

    shapes: anything with a .shape, a parameter.  "12 x [768, 3072]" is 12 layers, each on its own.
    """
    leaves, treedef = leaves_of(axes, cfg.decay)
    rows = [("parameter", "shape", "kind", "decay", "rule")]
    sizes = {"all": 0, "decayed": 0, "muon": 0}
    matrices = 0
    for leaf, array in zip(leaves, treedef.flatten_up_to(shapes), strict=True):
        layers, shape = math.prod(array.shape[: leaf.depth]), array.shape[leaf.depth :]
        label = _rule(cfg, leaf).label
        size = math.prod(array.shape)
        sizes["all"] += size
        decays = leaf.decayed and not leaf.matches(cfg.frozen)
        sizes["decayed"] += size * decays
        if label == "muon":
            count, height, width = leaf.hidden_matrix.shape(shape)
            sizes["muon"] += size
            matrices += layers * count
            label = f"muon on {layers * count} x [{height}, {width}]"
        stacked = f"{layers} x {list(shape)}" if leaf.depth else str(list(shape))
        rows.append((leaf.path, stacked, leaf.kind.value, "yes" if decays else "-", label))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[4]]) for row in rows]
    lines.append(f"{sizes['decayed']:,} of {sizes['all']:,} parameters decay, by {cfg.weight_decay} * lr")
    if matrices:
        lines.append(f"Muon orthogonalises {sizes['muon']:,} parameters in {matrices} matrices")
    return "\n".join(lines)
