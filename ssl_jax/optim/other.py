# SPDX-License-Identifier: Apache-2.0
"""Any other optimizer of optax, by name, applied to one parameter of one layer at a time."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from ssl_jax.optim.algorithms import Algorithm, Rule, with_decay
from ssl_jax.optim.leaves import Kind, Leaf
from ssl_jax.types import UserError

# Those whose update is proportional to the learning rate and depends on one parameter alone.
SUPPORTED = (
    "acprop", "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adan", "ademamix", "adopt",
    "amsgrad", "lars", "lion", "nadam", "novograd", "radam", "rmsprop", "sgd", "sign_sgd", "signum",
    "simplified_ademamix", "sm3", "yogi",
)  # fmt: skip

_OURS = "use {}(), which treats stacked layers one by one"
_DECAYED = "use {!r}; optim.weight_decay adds the decay"
_NO_LR = "its step size is its own, and the schedule would multiply it a second time"
_NOT_LINEAR = "its update is not proportional to the learning rate, which the step applies outside"
_MORE = "it needs more than a step's gradient (a second pass, the loss, or other weights for evaluation)"
_REASONS = {
    _OURS.format("AdamW"): ("adamw",),
    _OURS.format("Lamb"): ("lamb",),
    _OURS.format("Muon"): ("muon",),
    _DECAYED.format("adamax"): ("adamaxw",),
    _DECAYED.format("nadam"): ("nadamw",),
    _NO_LR: ("cocob", "dadapt_adamw", "dog", "dowg", "prodigy", "polyak_sgd"),
    _NOT_LINEAR: ("dpsgd", "fromage", "madgrad", "noisy_sgd", "rprop"),
    _MORE: (
        *("lbfgs", "mechanize", "momo", "momo_adam", "sam", "sophia"),
        *("schedule_free", "schedule_free_adamw", "schedule_free_sgd"),
    ),
    "its projections are for single matrices, not for the kernels of attention": ("galore",),
}
REFUSED = {name: why for why, names in _REASONS.items() for name in names}
_INSIDE = ("lars", "novograd")  # decay before their normalisation, as in their papers
_RESERVED = {
    "learning_rate": "set optim.peak_lr",
    "weight_decay": "set optim.weight_decay",
    "weight_decay_rate": "set optim.weight_decay",
    "weight_decay_mask": "set optim.decay",
    "trust_ratio_mask": "biases and norms have no trust ratio already",
    "mask": "set optim.decay",
}


@dataclass(frozen=True, kw_only=True)
class Optax(Algorithm):
    """The optimizer `name` of optax or optax.contrib, with its scalar keyword arguments.

        Optax(name="lion", args=(("b1", 0.95), ("b2", 0.98)))

    It sees one parameter of one layer at a time, so factored moments and norms are a layer's.  Its own weight
    decay stays off and optim.weight_decay is added to its update, decoupled; LARS and NovoGrad alone take it
    inside, where their papers have it.  Momentum averages updates before the learning rate multiplies them.
    """

    name: str
    args: tuple[tuple[str, Any], ...] = ()

    def rule(self, leaf: Leaf, weight_decay: float) -> Rule:
        """Raises UserError for a name or an argument that optax doesn't have or that can't be used here."""
        make = _constructor(self.name)
        inside = self.name in _INSIDE
        fixed: dict[str, Any] = {"learning_rate": 1.0, **_checked(self.name, make, self.args)}
        if "weight_decay" in inspect.signature(make).parameters:
            fixed["weight_decay"] = weight_decay if inside else 0.0
        if self.name == "lars" and leaf.kind is Kind.VECTOR:
            fixed["trust_ratio_mask"] = False
        tx = make(**fixed)

        def update(g, state, p, t):
            inner = jax.tree.unflatten(_structure(tx, p), [state[name] for name in _names(tx, p)])
            u, inner = tx.update(g, inner, p)
            u = with_decay(-u, p, 0.0 if inside else weight_decay)
            return u, dict(zip(_names(tx, p), jax.tree.leaves(inner), strict=True))

        return Rule(
            self.name, lambda p: dict(zip(_names(tx, p), jax.tree.leaves(tx.init(p)), strict=True)), update
        )


def _constructor(name: str) -> Callable[..., Any]:
    if name in REFUSED:
        raise UserError(f"optim.algorithm: optax's {name!r} cannot be used here: {REFUSED[name]}")
    if name not in SUPPORTED:
        near = difflib.get_close_matches(name, SUPPORTED, n=5, cutoff=0.5) or SUPPORTED
        raise UserError(f"optim.algorithm: no optimizer of optax is called {name!r}; try {', '.join(near)}")
    import optax

    return getattr(optax, name, None) or getattr(optax.contrib, name)


def _checked(name: str, make: Callable[..., Any], args: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    known = [key for key in inspect.signature(make).parameters if key not in _RESERVED]
    for key, _ in args:
        if key in _RESERVED:
            raise UserError(f"optim.algorithm: {name} cannot be given {key!r} here; {_RESERVED[key]}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or known
            raise UserError(f"optim.algorithm: {name} has no argument {key!r}; it has {', '.join(near)}")
    return dict(args)


def _structure(tx: Any, p: Any) -> Any:
    return jax.tree.structure(jax.eval_shape(tx.init, p))


def _names(tx: Any, p: Any) -> list[str]:
    """One name a leaf of optax's nested state: checkpoints then hold plain dicts of arrays."""
    paths = jax.tree_util.tree_leaves_with_path(jax.eval_shape(tx.init, p))
    return [jax.tree_util.keystr(path, simple=True, separator="_") for path, _ in paths]
