# SPDX-License-Identifier: Apache-2.0
"""AdamW, LAMB and Muon as rules for one parameter of one layer.

A rule's update u is a descent direction without a learning rate: new = parameter - lr * u, with decoupled
weight decay already in u.  `build` applies each rule a layer (jax.vmap over leading "layers" axes), so a norm
or a matrix inside a rule is always that of a single layer.  Everything is float32.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from ssl_jax.optim.leaves import Kind, Leaf, Matrix
from ssl_jax.types import UserError


class Rule(NamedTuple):
    """How one parameter of one layer is updated.

    init(p) -> {name: array}; update(g, state, p, t) -> (u, state), t = 1, 2, ... the number of this update
    (float32 []); label names the rule in the report.
    """

    label: str
    init: Callable[[Any], dict[str, Any]]
    update: Callable[[Any, dict[str, Any], Any, Any], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Algorithm(abc.ABC):
    """What a recipe names.  A subclass says which rule a parameter gets."""

    @abc.abstractmethod
    def rule(self, leaf: Leaf, weight_decay: float) -> Rule:
        """The rule of one parameter; weight_decay is 0 where the parameter isn't decayed."""


def check_betas(algorithm: Any, *names: str) -> None:
    """Raises UserError where a decay rate of an average is not in [0, 1)."""
    for name in names:
        if not 0.0 <= getattr(algorithm, name) < 1.0:
            kind = type(algorithm).__name__
            raise UserError(f"optim.algorithm: {kind}.{name}={getattr(algorithm, name)} must be in [0, 1)")


def with_decay(u: Any, p: Any, weight_decay: float) -> Any:
    """u + weight_decay * p; u itself where there is no decay (XLA must keep a 0 * p: p might be infinite)."""
    return u + weight_decay * p if weight_decay else u


def _unbias(beta: float, t: Any) -> Any:
    """1 - beta^t.  In float32 the plain form loses 1e-5 of it at t = 1, beta = 0.999."""
    return -jnp.expm1(t * math.log(beta)) if beta else 1.0


@dataclass(frozen=True, kw_only=True)
class _Adam(Algorithm):
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    bias_correction: bool = True

    def __post_init__(self) -> None:
        check_betas(self, "b1", "b2")

    def _init(self, p: Any) -> dict[str, Any]:
        return {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p)}

    def _direction(self, g: Any, state: dict[str, Any], t: Any) -> tuple[Any, dict[str, Any]]:
        mu = self.b1 * state["mu"] + (1.0 - self.b1) * g
        nu = self.b2 * state["nu"] + (1.0 - self.b2) * g * g
        first, second = (_unbias(self.b1, t), _unbias(self.b2, t)) if self.bias_correction else (1.0, 1.0)
        return (mu / first) / (jnp.sqrt(nu / second) + self.eps), {"mu": mu, "nu": nu}


@dataclass(frozen=True, kw_only=True)
class AdamW(_Adam):
    """Kingma and Ba 2015, algorithm 1, with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

        u = m / (sqrt(v) + eps) + weight_decay * p

    with m, v divided by 1 - b^t.  bias_correction=False leaves the division out, as BERT's and ELECTRA's own
    code does (with eps=1e-6).
    """

    def rule(self, leaf: Leaf, weight_decay: float) -> Rule:
        def update(g, state, p, t):
            u, state = self._direction(g, state, t)
            return with_decay(u, p, weight_decay), state

        return Rule("adamw", self._init, update)


@dataclass(frozen=True, kw_only=True)
class Lamb(_Adam):
    """You et al. 2020, algorithm 2, with phi the identity.

        r = m / (sqrt(v) + eps) + weight_decay * p;     u = (|p| / |r|) r

    with the norms of one layer's array; the ratio is 1 where either norm is 0.  Biases and norms have no
    trust ratio (and, by the default rule, no decay), as in the authors' code.
    """

    eps: float = 1e-6

    def rule(self, leaf: Leaf, weight_decay: float) -> Rule:
        trusted = leaf.kind is not Kind.VECTOR

        def update(g, state, p, t):
            u, state = self._direction(g, state, t)
            u = with_decay(u, p, weight_decay)
            return (_trust_ratio(p, u) * u if trusted else u), state

        return Rule("lamb" if trusted else "lamb without trust ratio", self._init, update)


def _trust_ratio(p: Any, u: Any) -> Any:
    of_p, of_u = jnp.sqrt(jnp.sum(p * p)), jnp.sqrt(jnp.sum(u * u))
    sound = (of_p > 0) & (of_u > 0)
    return jnp.where(sound, of_p / jnp.where(sound, of_u, 1.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class Muon(Algorithm):
    """Jordan et al. 2024 (Muon): the momentum of each hidden matrix, orthogonalised by Newton-Schulz.

    Each layer's kernel is one matrix [inputs, outputs] (attention's [D, H, K] is [D, H * K], its output's
    [H, K, D] is [H * K, D]; an unnamed axis counts several matrices).  Embeddings, heads, biases and norms
    get `adam`; optim.report says which.

    rms: the update is scaled by rms * sqrt(max(rows, columns)) (Liu et al. 2025, Moonlight, section 2.2):
    its root mean square is then about `rms`, as Adam's is, and one learning rate and one decay serve both.
    None: sqrt(max(1, columns / rows)) in its place, Jordan's own; the peak is then Muon's (0.02 or so).
    adam_ratio: the learning rate of Adam's parameters divided by that of Muon's.

    The products run at jax's default matmul precision (on TPU one bfloat16 pass, as in the original).
    Five steps bring singular values near 1 (0.68 to 1.13), not to 1.
    """

    momentum: float = 0.95
    nesterov: bool = True
    steps: int = 5
    rms: float | None = 0.2
    adam: AdamW = AdamW(b2=0.95)
    adam_ratio: float = 1.0

    def __post_init__(self) -> None:
        check_betas(self, "momentum")

    def rule(self, leaf: Leaf, weight_decay: float) -> Rule:
        matrix = leaf.hidden_matrix
        if matrix is None:
            return _scaled(self.adam.rule(leaf, weight_decay), self.adam_ratio)

        def update(g, state, p, t):
            mu = self.momentum * state["mu"] + (1.0 - self.momentum) * g
            direction = mu / _unbias(self.momentum, t)
            if self.nesterov:
                ahead = mu / _unbias(self.momentum, t + 1)
                direction = self.momentum * ahead + (1.0 - self.momentum) * g / _unbias(self.momentum, t)
            _, rows, columns = matrix.shape(p.shape)
            if self.rms is None:
                scale = math.sqrt(max(1.0, columns / rows))
            else:
                scale = self.rms * math.sqrt(max(rows, columns))
            u = scale * _as_matrices(direction, matrix, lambda x: orthogonalize(x, self.steps))
            return with_decay(u, p, weight_decay), {"mu": mu}

        return Rule("muon", lambda p: {"mu": jnp.zeros_like(p)}, update)


def _scaled(rule: Rule, ratio: float) -> Rule:
    def update(g, state, p, t):
        u, state = rule.update(g, state, p, t)
        return ratio * u, state

    return rule if ratio == 1.0 else rule._replace(update=update)


def _as_matrices(x: Any, matrix: Matrix, f: Callable[[Any], Any]) -> Any:
    """f on x seen as [matrices, rows, columns], given back in x's own shape."""
    order = matrix.batch + matrix.rows + matrix.columns
    back = tuple(sorted(range(x.ndim), key=order.__getitem__))
    moved = x.transpose(order)
    return f(moved.reshape(matrix.shape(x.shape))).reshape(moved.shape).transpose(back)


def orthogonalize(x: Any, steps: int = 5) -> Any:
    """About U V^T for x = U S V^T of shape [..., rows, columns]: the quintic Newton-Schulz iteration.

    X <- a X + (b A + c A A) X with A = X X^T, from X = x / |x|_F; coefficients of Jordan et al. 2024, chosen
    for the slope at 0, so that singular values end near 1 rather than at it.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    x = x.swapaxes(-1, -2) if tall else x
    x = x / (jnp.sqrt(jnp.sum(x * x, axis=(-2, -1), keepdims=True)) + 1e-8)
    for _ in range(steps):
        gram = x @ x.swapaxes(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.swapaxes(-1, -2) if tall else x
